"""Which server the next request goes to, and when: counted on servers that exist only as numbers, in time that passes at once."""

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest
from fake_time import now, run

from autolabel.errors import EndpointError
from autolabel.llm.limits import Throttle
from autolabel.llm.pool import DOWN_AFTER, Pool, Server


def pool_of(n: int, most: int = 8, patience_s: float = 60.0, **limits: Any) -> Pool:
    """A pool whose clock is the event loop's."""
    servers = [Server(f"http://{i}", [], Throttle(most, clock=now, **limits), now) for i in range(n)]
    return Pool(servers, patience_s)


async def entered(pool: Pool, tokens: int = 10) -> Server:
    server, _ = await pool.enter(tokens)
    return server


async def at_once(pool: Pool, tokens: int = 10) -> Server:
    return await asyncio.wait_for(entered(pool, tokens), 0.001)


async def turns(n: int = 5) -> None:
    """Let everybody who can go on do so."""
    for _ in range(n):
        await asyncio.sleep(0)


def silence(pool: Pool, server: Server) -> None:
    """A request of this server ends without an answer."""
    server.left_unanswered()
    pool.leave(server)


def answer(pool: Pool, server: Server) -> None:
    server.answered()
    pool.leave(server)


async def knock_out(pool: Pool, server: Server) -> None:
    for _ in range(DOWN_AFTER):
        server.throttle.enter(10)
        silence(pool, server)


def in_fake_time(test: Callable[[], Any]) -> Callable[[], None]:
    def in_no_time() -> None:
        run(test())

    in_no_time.__name__ = test.__name__
    in_no_time.__doc__ = test.__doc__
    return in_no_time


@in_fake_time
async def test_no_more_are_in_flight_than_the_limit_and_the_first_to_ask_goes_first() -> None:
    pool, order = pool_of(1, most=3), []

    async def ask(number: int) -> None:
        await pool.enter(10)
        order.append(number)

    waiting = [asyncio.create_task(ask(number)) for number in range(9)]
    await turns()
    assert order == [0, 1, 2]
    for left in range(1, 4):
        pool.leave(pool.servers[0])
        await turns()
        assert order == list(range(3 + left))
        assert pool.servers[0].throttle.in_flight == 3
    pool.close()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [type(None)] * 6 + [EndpointError] * 3


@in_fake_time
async def test_requests_go_where_the_load_is_least() -> None:
    pool = pool_of(3)
    pool.servers[2].throttle.limit = 2
    chosen = [pool.servers.index(await at_once(pool)) for _ in range(7)]
    assert sorted(chosen[:3]) == [0, 1, 2]
    assert [chosen.count(i) for i in range(3)] == [3, 3, 1]
    pool.leave(pool.servers[1])
    pool.leave(pool.servers[1])
    assert await at_once(pool) is pool.servers[1]


@in_fake_time
async def test_a_pause_of_one_server_sends_requests_to_the_other() -> None:
    pool = pool_of(2)
    _, taken = await pool.enter(10)
    pool.servers[0].throttle.pushed_back(taken, 20)
    assert {(await at_once(pool)).base_url for _ in range(4)} == {"http://1"}
    assert now() == 0
    assert (await entered(pool)) is pool.servers[0]
    assert now() == 20


@in_fake_time
async def test_a_large_request_at_the_head_waits_for_its_tokens_and_is_not_overtaken() -> None:
    pool, order = pool_of(1, tokens_per_minute=100), []

    async def ask(tokens: int) -> None:
        await pool.enter(tokens)
        order.append((tokens, now()))

    async with asyncio.TaskGroup() as group:
        for tokens in (60, 50, 1):
            group.create_task(ask(tokens))
    assert order == [(60, 0), (50, 60), (1, 60)]


@in_fake_time
async def test_tokens_that_were_not_taken_let_the_next_one_go_at_once() -> None:
    pool = pool_of(1, tokens_per_minute=100)
    server, taken = await pool.enter(90)
    waiting = asyncio.create_task(entered(pool, 50))
    await turns()
    assert not waiting.done()
    pool.leave(server)
    await turns()
    assert not waiting.done()
    pool.correct(server, taken, 20)
    await waiting
    assert now() == 0


# Servers that die


@in_fake_time
async def test_a_server_that_dies_is_routed_around() -> None:
    pool = pool_of(2)
    await knock_out(pool, pool.servers[0])
    assert [(await at_once(pool)).base_url for _ in range(4)] == ["http://1"] * 4


@in_fake_time
async def test_a_dead_server_gets_one_trial_at_a_time_after_ever_longer_rests() -> None:
    pool = pool_of(1, patience_s=1000)
    server = pool.servers[0]
    await knock_out(pool, server)
    rests = []
    for _ in range(7):
        before = now()
        await entered(pool)
        rests.append(now() - before)
        other = asyncio.create_task(entered(pool))
        await asyncio.sleep(3)
        assert not other.done(), "a second request in flight at a dead server"
        other.cancel()
        silence(pool, server)
    assert rests == [0.5, 1, 2, 4, 8, 8, 8]


@in_fake_time
async def test_what_was_in_flight_when_a_server_died_does_not_lengthen_its_rest() -> None:
    pool = pool_of(1, most=64)
    server = pool.servers[0]
    server.throttle.limit = 64
    for _ in range(64):
        await at_once(pool)
    for _ in range(64):
        silence(pool, server)
    await entered(pool)
    assert now() == 0.5


@in_fake_time
async def test_a_server_comes_back_with_its_first_answer() -> None:
    pool = pool_of(2, most=1)
    dead, alive = pool.servers
    await knock_out(pool, dead)
    assert await at_once(pool) is alive
    trial = await entered(pool)
    assert (trial, now()) == (dead, 0.5)
    answer(pool, trial)
    assert await at_once(pool) is dead
    assert now() == 0.5
    silence(pool, dead)
    assert not dead.is_down
    await knock_out(pool, dead)
    await asyncio.sleep(0.5)
    assert await at_once(pool) is dead, "after an answer the rests begin anew"


@in_fake_time
async def test_an_answer_in_between_means_that_a_server_is_alive() -> None:
    pool = pool_of(1)
    for _ in range(5):
        for outcome in (silence, silence, answer):
            outcome(pool, await at_once(pool))
    assert not pool.servers[0].is_down
    assert pool.servers[0].n_answered == 5


@in_fake_time
async def test_when_all_are_dead_for_as_long_as_patience_lasts_everybody_is_told() -> None:
    pool = pool_of(2, patience_s=60)

    async def hang() -> None:
        server = await entered(pool)
        await asyncio.sleep(25)
        silence(pool, server)

    for server in pool.servers:
        await knock_out(pool, server)
    await asyncio.sleep(10)
    waiting = [asyncio.create_task(hang()) for _ in range(50)]
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    refused = [outcome for outcome in outcomes if outcome is not None]
    assert len(refused) >= 40
    assert {str(error) for error in refused} == {
        "http://0 and http://1 answered nothing for 60 seconds; see that it runs, then give the same command again: "
        "what was answered is kept"
    }
    with pytest.raises(EndpointError):
        await at_once(pool)


@in_fake_time
async def test_nobody_waits_for_a_trial_that_hangs_longer_than_patience_lasts() -> None:
    pool = pool_of(1, patience_s=60)
    await knock_out(pool, pool.servers[0])
    await entered(pool)
    with pytest.raises(EndpointError, match="60 seconds"):
        await entered(pool)
    assert now() == 60


@in_fake_time
async def test_a_server_that_fell_silent_later_gets_its_own_time() -> None:
    pool = pool_of(2, patience_s=60)
    await knock_out(pool, pool.servers[0])
    await asyncio.sleep(50)
    await knock_out(pool, pool.servers[1])
    await asyncio.sleep(50)
    await at_once(pool)
    await asyncio.sleep(10)
    with pytest.raises(EndpointError):
        await at_once(pool)


@in_fake_time
async def test_an_answer_to_a_trial_ends_the_silence() -> None:
    pool = pool_of(1, patience_s=60)
    await knock_out(pool, pool.servers[0])
    await asyncio.sleep(59)
    answer(pool, await at_once(pool))
    await asyncio.sleep(500)
    for _ in range(DOWN_AFTER):
        silence(pool, await at_once(pool))
    await asyncio.sleep(59)
    await at_once(pool)


@in_fake_time
async def test_without_patience_the_first_death_is_the_end() -> None:
    pool = pool_of(1, patience_s=0)
    await knock_out(pool, pool.servers[0])
    with pytest.raises(EndpointError):
        await entered(pool)


# Waiters that go away


@in_fake_time
async def test_closing_sends_everybody_away() -> None:
    pool = pool_of(1, most=1)
    await at_once(pool)
    waiting = [asyncio.create_task(entered(pool)) for _ in range(5)]
    await turns()
    pool.close()
    outcomes = await asyncio.gather(*waiting, entered(pool), return_exceptions=True)
    assert {str(outcome) for outcome in outcomes} == {"the run is ending; nothing more is sent"}
    assert pool.servers[0].throttle.in_flight == 1


@pytest.mark.parametrize("leaver", [0, 1, 4])
def test_a_waiter_that_stops_waiting_leaves_its_turn_to_the_next(leaver: int) -> None:
    async def scenario() -> None:
        pool = pool_of(1, most=1)
        await at_once(pool)
        waiting = [asyncio.create_task(entered(pool)) for _ in range(5)]
        await turns()
        waiting.pop(leaver).cancel()
        for task in waiting:
            await turns()
            assert not task.done()
            pool.leave(pool.servers[0])
            await task
        assert pool.servers[0].throttle.in_flight == 1

    run(scenario())


@in_fake_time
async def test_a_waiter_that_leaves_as_its_place_becomes_free_takes_nothing_with_it() -> None:
    pool = pool_of(1, most=1)
    await at_once(pool)
    first, second = (asyncio.create_task(entered(pool)) for _ in range(2))
    await turns()
    pool.leave(pool.servers[0])
    first.cancel()
    await second
    assert first.cancelled()
    assert pool.servers[0].throttle.in_flight == 1


@pytest.mark.parametrize("seed", range(8))
def test_no_wake_up_is_lost_whatever_happens(seed: int) -> None:
    """Answers, failures, push-backs, deaths and departures at random: everybody gets through or gives up by himself."""
    luck = random.Random(seed)
    n, through, most = 300, [], 5

    async def scenario() -> None:
        limits = {"requests_per_minute": 500} if seed % 2 else {}
        pool = pool_of(1 + seed % 3, most=most, patience_s=1e9, **limits)

        async def ask(number: int) -> None:
            server, taken = await pool.enter(10)
            assert server.throttle.in_flight <= most
            try:
                await asyncio.sleep(luck.choice([0, 0, 0.01, luck.expovariate(2)]))
                fate = luck.random()
                if fate < 0.15:
                    server.left_unanswered()
                else:
                    server.answered()
                    if fate < 0.3:
                        server.throttle.pushed_back(taken, luck.choice([None, 0.2, 3.0]))
            finally:
                pool.leave(server)
            server.throttle.answered(taken)
            pool.correct(server, taken, luck.randint(1, 30))
            through.append(number)

        tasks = []
        for number in range(n):
            tasks.append(asyncio.create_task(ask(number)))
            if luck.random() < 0.3:
                await asyncio.sleep(luck.expovariate(20))
            if luck.random() < 0.1:
                luck.choice(tasks).cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert sum(server.throttle.in_flight for server in pool.servers) == 0
        assert len(through) == sum(not task.cancelled() for task in tasks) > n / 2

    run(scenario())
