"""What may be spent: whatever the order of events, the worst case of what is under way never crosses a limit."""

import asyncio
from fractions import Fraction

import pytest
from fake_time import run
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.errors import BudgetExceeded
from autolabel.llm.budget import NOTHING, Budget, Charge

NANO = Fraction(1, 10**9)
amounts = st.integers(0, 400)
calls = st.lists(st.tuples(amounts, amounts, amounts, amounts, st.integers(0, 6)), min_size=1, max_size=12)
"""Of each call: tokens and nano-dollars at worst, tokens and nano-dollars in fact, and how long it takes."""


def exact(usd: float | None) -> Fraction:
    assert usd is not None
    return Fraction(round(Fraction(usd) / NANO)) * NANO


class Ledger:
    """Counts by itself what a budget let out, in exact numbers."""

    def __init__(self, budget: Budget, limits: dict[str, int]) -> None:
        self.budget = budget
        self.limits = limits
        self.spent = {"calls": 0, "tokens": 0, "nano": 0}
        self.reserved = dict(self.spent)
        self.refused = 0

    def move(self, account: dict[str, int], sign: int, tokens: int, nano: int) -> None:
        for unit, amount in (("calls", 1), ("tokens", tokens), ("nano", nano)):
            account[unit] += sign * amount

    async def call(self, worst: tuple[int, int], actual: tuple[int, int], duration: int) -> None:
        charge = Charge(1, worst[0], worst[1] / 10**9)
        try:
            await self.budget.reserve(charge)
        except BudgetExceeded:
            self.refused += 1
            return
        self.move(self.reserved, 1, *worst)
        assert all(self.spent[unit] + self.reserved[unit] <= limit for unit, limit in self.limits.items())
        for _ in range(duration):
            await asyncio.sleep(0)
        self.budget.settle(charge, Charge(1, actual[0], actual[1] / 10**9))
        self.move(self.reserved, -1, *worst)
        self.move(self.spent, 1, *actual)

    def check_books(self) -> None:
        assert self.budget.reserved == NOTHING
        assert (self.budget.spent.calls, self.budget.spent.tokens) == (self.spent["calls"], self.spent["tokens"])
        assert exact(self.budget.spent.usd) == self.spent["nano"] * NANO


def limited(limits: dict[str, int]) -> Ledger:
    return Ledger(Budget(max_calls=limits["calls"], max_tokens=limits["tokens"], max_usd=limits["nano"] / 10**9), limits)


@given(calls, st.integers(0, 12), st.integers(0, 1500), st.integers(0, 1500))
@settings(max_examples=60, deadline=None)
def test_no_limit_is_crossed_however_calls_interleave(
    schedule: list[tuple[int, int, int, int, int]], max_calls: int, max_tokens: int, max_nano: int
) -> None:
    ledger = limited({"calls": max_calls, "tokens": max_tokens, "nano": max_nano})

    async def all_at_once() -> None:
        async with asyncio.TaskGroup() as group:
            for tokens, nano, more_tokens, more_nano, duration in schedule:
                group.create_task(ledger.call((tokens, nano), (min(tokens, more_tokens), min(nano, more_nano)), duration))

    run(all_at_once())
    assert all(ledger.spent[unit] <= limit for unit, limit in ledger.limits.items())
    assert ledger.spent["calls"] + ledger.refused == len(schedule)
    ledger.check_books()


@given(calls, st.integers(0, 1500), st.integers(0, 1500))
@settings(max_examples=60, deadline=None)
def test_an_endpoint_that_charges_more_than_it_may_is_let_have_nothing_more(
    schedule: list[tuple[int, int, int, int, int]], max_tokens: int, max_nano: int
) -> None:
    ledger = limited({"calls": 100, "tokens": max_tokens, "nano": max_nano})

    async def all_at_once() -> None:
        async with asyncio.TaskGroup() as group:
            for tokens, nano, actual_tokens, actual_nano, duration in schedule:
                group.create_task(ledger.call((tokens, nano), (actual_tokens, actual_nano), duration))
        over = ledger.spent["tokens"] > max_tokens or ledger.spent["nano"] > max_nano
        if over:
            with pytest.raises(BudgetExceeded, match="used up"):
                await ledger.budget.reserve(Charge(1))

    run(all_at_once())
    ledger.check_books()


async def test_a_call_waits_for_room_and_takes_it() -> None:
    budget = Budget(max_tokens=100)
    await budget.reserve(Charge(1, 60))
    waiting = [asyncio.create_task(budget.reserve(Charge(1, 40))) for _ in range(3)]
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, False, False]
    budget.settle(Charge(1, 60), Charge(1, 10))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert [task.done() for task in waiting] == [True, True, False]
    assert budget.reserved == Charge(2, 80)
    budget.settle(Charge(1, 40), Charge(1, 40))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting[2].done()
    budget.settle(Charge(1, 40), Charge(1, 10))
    await waiting[2]
    assert budget.spent + budget.reserved == Charge(4, 100)


async def test_once_it_is_used_up_everybody_is_told_even_who_would_fit() -> None:
    budget = Budget(max_tokens=100)
    await budget.reserve(Charge(1, 90))
    waiting = [asyncio.create_task(budget.reserve(Charge(1, tokens))) for tokens in (50, 60)]
    await asyncio.sleep(0)
    budget.settle(Charge(1, 90), Charge(1, 80))
    outcomes = await asyncio.gather(*waiting, budget.reserve(Charge(1, 1)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [BudgetExceeded] * 3
    assert str(outcomes[0]) == (
        "the budget of 100 tokens is used up: 80 tokens spent, and the next call may take 50 tokens; "
        "raise --max-tokens and give the same command to go on from here"
    )
    assert budget.spent + budget.reserved == Charge(1, 80)


@pytest.mark.parametrize(
    ("budget", "option"),
    [
        (Budget(max_calls=3, spent=Charge(3)), "--max-calls"),
        (Budget(max_tokens=10, spent=Charge(1, 9)), "--max-tokens"),
        (Budget(max_usd=0.00001, spent=Charge(1, 9, 0.0000095)), "0.00001 USD is used up: 0.00001 USD spent.* raise --max-usd"),
        (Budget(max_usd=0), "budget of 0 USD .* --max-usd"),
    ],
)
async def test_the_limit_that_is_in_the_way_is_named(budget: Budget, option: str) -> None:
    with pytest.raises(BudgetExceeded, match=option):
        await budget.reserve(Charge(1, 5, 0.000002))


async def test_who_cannot_wait_takes_room_only_where_there_is_some() -> None:
    budget = Budget(max_tokens=100)
    assert [budget.reserve_now(Charge(1, 60)) for _ in range(2)] == [True, False]
    assert budget.reserved == Charge(1, 60)
    budget.settle(Charge(1, 60), NOTHING)
    assert budget.reserve_now(Charge(1, 100))
    budget.settle(Charge(1, 100), Charge(1, 100))
    with pytest.raises(BudgetExceeded):
        await budget.reserve(Charge(1, 1))
    assert not budget.reserve_now(Charge(1, 0)), "nothing more is let out of a budget that was used up"


async def test_what_an_earlier_run_set_aside_counts_even_beyond_the_limit() -> None:
    budget = Budget(max_tokens=100)
    budget.take_over(Charge(1, 150))
    waiting = asyncio.create_task(budget.reserve(Charge(1, 50)))
    await asyncio.sleep(0)
    assert not waiting.done()
    budget.settle(Charge(1, 150), Charge(1, 40))
    await waiting
    assert budget.spent + budget.reserved == Charge(2, 90)


async def test_without_limits_everything_fits_priced_or_not() -> None:
    budget = Budget()
    await budget.reserve(Charge(1, 10**9, 10.0**6))
    await budget.reserve(Charge(1, 10**9, None))
    budget.settle(Charge(1, 10**9, None), Charge(1, 5, None))
    assert budget.spent == Charge(1, 5, None)


@pytest.mark.parametrize(
    ("spent", "worst"),
    [(NOTHING, Charge(1, 5, None)), (Charge(7, 7, None), Charge(1, 5, 0.01))],
    ids=["next call", "earlier calls"],
)
async def test_a_limit_in_money_lets_no_call_out_whose_price_is_unknown(spent: Charge, worst: Charge) -> None:
    budget = Budget(max_usd=10, spent=spent)
    with pytest.raises(BudgetExceeded, match="--max-usd cannot be kept, as the price of a call is unknown"):
        await budget.reserve(worst)
    assert budget.reserved == NOTHING


async def test_money_leaves_no_crumbs() -> None:
    budget = Budget(max_usd=0.3)
    for _ in range(3):
        await budget.reserve(Charge(1, 1, 0.1))
    for _ in range(3):
        budget.settle(Charge(1, 1, 0.1), Charge(1, 1, 0.1))
    assert (budget.spent.usd, budget.reserved) == (0.3, NOTHING)
    with pytest.raises(BudgetExceeded):
        await budget.reserve(Charge(1, 1, 1e-12))


async def test_nothing_is_left_of_a_call_that_stops_waiting() -> None:
    budget = Budget(max_tokens=100)
    await budget.reserve(Charge(1, 100))
    leaving, staying = (asyncio.create_task(budget.reserve(Charge(1, 100))) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    budget.settle(Charge(1, 100), NOTHING)
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await staying
    assert budget.reserved == Charge(1, 100)
    budget.settle(Charge(1, 100), Charge(1, 100))
    assert (budget.spent, budget.reserved) == (Charge(1, 100), NOTHING)


def test_charges_add_up() -> None:
    assert Charge(1, 2, 0.5) + Charge(3, 4, 0.25) - Charge(1, 1, 0.25) == Charge(3, 5, 0.5)
    assert Charge(1, 2, None) + NOTHING == Charge(1, 2, None) == Charge(1, 2, 0.5) - Charge(0, 0, None)
