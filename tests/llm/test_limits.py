"""How hard one server may be asked: what is let through, and when."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.llm.limits import LONGEST_PAUSE_S, START, Pass, Throttle, Window, duration_s

MINUTE = 60.0


class Clock:
    """Goes forward when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def full(throttle: Throttle) -> list[Pass]:
    """Let through all that may be in flight."""
    return [throttle.enter(10) for _ in range(throttle.free)]


def answer_all(throttle: Throttle, passes: list[Pass]) -> None:
    for taken in passes:
        throttle.leave()
        throttle.answered(taken)


# Requests in flight


@pytest.mark.parametrize(("most", "start"), [(1, 1), (3, 3), (4, 4), (64, START)])
def test_it_starts_modestly(most: int, start: int) -> None:
    assert Throttle(most).free == start


def test_it_climbs_by_one_for_each_answer_until_it_is_at_the_top(clock: Clock) -> None:
    throttle = Throttle(50, clock=clock)
    seen = []
    for _ in range(6):
        passes = full(throttle)
        seen.append(len(passes))
        answer_all(throttle, passes)
    assert seen == [4, 8, 16, 32, 50, 50]


def test_an_answer_counts_only_if_its_request_saw_the_limit_used(clock: Clock) -> None:
    throttle = Throttle(50, clock=clock)
    passes = full(throttle)
    answer_all(throttle, passes[:1])
    late = throttle.enter(10)
    answer_all(throttle, [late])
    assert throttle.limit == START + 1
    answer_all(throttle, passes[1:])
    assert throttle.limit == START + 4


def test_a_limit_that_is_not_used_does_not_rise(clock: Clock) -> None:
    throttle = Throttle(64, clock=clock)
    for _ in range(50):
        answer_all(throttle, [throttle.enter(10)])
    assert throttle.limit == START


def test_it_halves_once_for_what_was_sent_together_and_again_for_what_was_sent_later(clock: Clock) -> None:
    throttle = Throttle(64, clock=clock)
    throttle.limit = 32
    first = full(throttle)
    clock.now += 1
    for taken in first:
        throttle.leave()
        throttle.pushed_back(taken)
    assert throttle.limit == 16
    second = full(throttle)
    clock.now += 1
    throttle.pushed_back(second[0])
    assert throttle.limit == 8


def test_after_a_push_back_it_rises_by_one_a_round(clock: Clock) -> None:
    throttle = Throttle(64, clock=clock)
    throttle.limit = 16
    taken = throttle.enter(10)
    throttle.pushed_back(taken)
    throttle.leave()
    assert throttle.limit == 8
    answer_all(throttle, full(throttle))
    assert 8.9 < throttle.limit <= 9


def test_however_often_it_is_pushed_back_one_request_may_be_in_flight(clock: Clock) -> None:
    throttle = Throttle(64, clock=clock)
    for _ in range(5):
        clock.now += 1
        throttle.pushed_back(throttle.enter(10))
        throttle.leave()
    assert (throttle.limit, throttle.free) == (1, 1)


@given(st.integers(1, 20), st.lists(st.sampled_from(["enter", "answered", "pushed back", "wait"]), max_size=80))
@settings(max_examples=60, deadline=None)
def test_the_limit_stays_between_one_and_what_was_configured(most: int, events: list[str]) -> None:
    clock = Clock()
    throttle = Throttle(most, clock=clock)
    passes: list[Pass] = []
    for event in events:
        if event == "wait":
            clock.now += 1
        elif event == "enter" and throttle.free > 0:
            passes.append(throttle.enter(10))
        elif event != "enter" and passes:
            taken = passes.pop(0)
            throttle.leave()
            if event == "answered":
                throttle.answered(taken)
            else:
                throttle.pushed_back(taken)
        assert 1 <= throttle.limit <= most
        assert throttle.in_flight == len(passes) <= most


# Pauses that the server asks for


@pytest.mark.parametrize(("asked", "kept"), [(7.0, 7.0), (900.0, LONGEST_PAUSE_S), (0.0, 0.0)])
def test_everybody_keeps_a_pause_that_was_asked_for(clock: Clock, asked: float, kept: float) -> None:
    throttle = Throttle(8, clock=clock)
    throttle.pushed_back(throttle.enter(10), asked)
    assert throttle.wait_s(10) == kept
    clock.now += kept
    assert throttle.wait_s(10) == 0


def test_a_shorter_pause_does_not_end_a_longer_one(clock: Clock) -> None:
    throttle = Throttle(8, clock=clock)
    first, second = throttle.enter(10), throttle.enter(10)
    throttle.pushed_back(first, 30)
    throttle.pushed_back(second, 2)
    throttle.pushed_back(second)
    assert throttle.wait_s(10) == 30


# Limits that the server states


def remaining(requests: int | None = None, tokens: int | None = None, reset: str | None = "10s") -> dict[str, str]:
    headers = {"x-ratelimit-remaining-requests": requests, "x-ratelimit-remaining-tokens": tokens}
    resets = {f"x-ratelimit-reset-{unit}": reset for unit in ("requests", "tokens") if reset is not None}
    return {name: str(value) for name, value in headers.items() if value is not None} | resets


def test_no_more_requests_are_sent_than_the_server_says_are_left(clock: Clock) -> None:
    throttle = Throttle(64, clock=clock)
    first = throttle.enter(10)
    throttle.heed(first, remaining(requests=2))
    waits = []
    for _ in range(3):
        waits.append(throttle.wait_s(10))
        throttle.enter(10)
    assert waits == [0, 0, 10]
    clock.now += 10
    assert throttle.wait_s(10) == 0


def test_no_more_tokens_are_sent_than_the_server_says_are_left(clock: Clock) -> None:
    throttle = Throttle(64, clock=clock)
    throttle.heed(throttle.enter(10), remaining(tokens=1000))
    throttle.enter(700)
    assert (throttle.wait_s(300), throttle.wait_s(301)) == (0, 10)


def test_what_was_sent_after_the_answered_request_is_counted_against_what_is_left(clock: Clock) -> None:
    throttle = Throttle(64, clock=clock)
    throttle.enter(1000)  # sent before: the server has counted it
    answered = throttle.enter(1000)
    for _ in range(3):
        throttle.enter(200)
    throttle.heed(answered, remaining(requests=5, tokens=1000))
    assert throttle.wait_s(400) == 0
    assert throttle.wait_s(401) == 10
    throttle.enter(100)
    throttle.enter(100)
    assert throttle.wait_s(1) == 10  # no request is left, though tokens are
    throttle.heed(answered, remaining(requests=50, tokens=10_000))
    assert throttle.wait_s(400) == 0


def test_a_slow_answer_to_an_early_request_says_nothing_new(clock: Clock) -> None:
    throttle = Throttle(64, clock=clock)
    early, late = throttle.enter(10), throttle.enter(10)
    throttle.heed(late, remaining(requests=100, tokens=100_000, reset="1s"))
    clock.now += 50
    throttle.heed(early, remaining(requests=0, tokens=0, reset="6m0s"))
    assert throttle.wait_s(10) == 0


@pytest.mark.parametrize(
    ("reset", "wait_s"), [("20ms", 0.02), ("6m0s", LONGEST_PAUSE_S), (None, MINUTE), ("soon", MINUTE), ("-3", MINUTE)]
)
def test_a_pause_lasts_until_the_limit_is_whole_again_but_not_for_ever(clock: Clock, reset: str | None, wait_s: float) -> None:
    throttle = Throttle(64, clock=clock)
    throttle.heed(throttle.enter(10), remaining(requests=0, reset=reset))
    assert throttle.wait_s(10) == pytest.approx(wait_s)


@pytest.mark.parametrize("left", ["-1", "many", "", "1e5", "nan"])
def test_a_number_left_that_is_none_is_passed_over(clock: Clock, left: str) -> None:
    throttle = Throttle(64, clock=clock)
    throttle.heed(throttle.enter(10), {"x-ratelimit-remaining-requests": left, "x-ratelimit-reset-requests": "10s"})
    assert throttle.wait_s(10**9) == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20ms", 0.02),
        ("1.5s", 1.5),
        ("6m0s", 360),
        ("1m30.951s", 90.951),
        ("1h2m3s", 3723),
        ("1d2h", 93_600),
        ("5m", 300),
        ("577.5ms", 0.5775),
        ("500µs", 0.0005),
        ("12us", 0.000012),
        ("59", 59),
        (" 0.25 ", 0.25),
        ("0", 0),
        ("1" * 400, float("inf")),
        ("", None),
        (None, None),
        ("-5", None),
        ("-5s", None),
        ("soon", None),
        ("5 s", None),
        ("5s later", None),
        ("nan", None),
        ("1e3", None),
        ("2030-01-01T00:00:00Z", None),
    ],
)
def test_durations(text: str | None, seconds: float | None) -> None:
    assert duration_s(text) == (seconds if seconds is None else pytest.approx(seconds))


@given(st.text())
def test_any_duration_is_a_number_of_seconds_or_none(text: str) -> None:
    seconds = duration_s(text)
    assert seconds is None or seconds >= 0


# Limits that the settings state


items = st.lists(st.tuples(st.integers(1, 15), st.floats(0, 12), st.integers(0, 30)), min_size=1, max_size=40)
"""Of each item: its units, when it comes after the one before, and how many units it turns out to be."""


@given(items)
@settings(deadline=None)
def test_no_window_ever_holds_more_than_its_limit(arrivals: list[tuple[int, float, int]]) -> None:
    window, now, sent = Window(10, 6.0), 0.0, []
    for units, gap_s, in_fact in arrivals:
        now += gap_s
        waits = 0
        while (wait_s := window.wait_s(units, now)) > 0:
            now, waits = max(now + wait_s, now + 1e-12), waits + 1
        assert waits <= 3, "a wait is as long as it has to be"
        held = [entry for entry in sent if entry.at > now - 6.0 + 1e-9]
        assert not held or sum(entry.units for entry in held) + units <= 10
        sent.append(window.add(units, now))
        if in_fact < 16:
            window.correct(sent[len(sent) // 2], in_fact)


def test_an_item_larger_than_the_limit_passes_alone() -> None:
    window = Window(10, 6.0)
    assert window.wait_s(25, 0.0) == 0
    window.add(25, 0.0)
    assert window.wait_s(1, 2.0) == 4.0
    assert window.wait_s(25, 6.0) == 0
    window.add(3, 6.0)
    assert window.wait_s(25, 7.0) == 5.0


def test_a_correction_makes_room_at_once_and_none_when_the_item_has_left() -> None:
    window = Window(10, 6.0)
    entry = window.add(10, 0.0)
    assert window.wait_s(5, 1.0) == 5.0
    window.correct(entry, 4)
    window.correct(entry, 5)
    assert window.wait_s(5, 1.0) == 0
    assert window.wait_s(6, 1.0) == 5.0
    assert window.wait_s(10, 6.0) == 0
    window.correct(entry, 0)
    window.add(10, 6.0)
    assert window.wait_s(1, 6.0) == 6.0


def test_a_window_remembers_no_more_than_its_period() -> None:
    window = Window(1000, 6.0)
    for second in range(5000):
        assert window.wait_s(1, float(second)) == 0
        window.add(1, float(second))
    assert len(window._items) <= 7


def sent_in(throttle: Throttle, clock: Clock, n: int, tokens: int, in_fact: int | None = None) -> list[float]:
    """When each of `n` requests goes out that are sent as fast as the throttle lets them."""
    start, times = clock.now, []
    for _ in range(n):
        while (wait_s := throttle.wait_s(tokens)) > 0:
            clock.now = max(clock.now + wait_s, clock.now + 1e-9)
        times.append(clock.now - start)
        taken = throttle.enter(tokens)
        throttle.leave()
        if in_fact is not None:
            throttle.correct(taken, in_fact)
    return times


def most_within(times: list[float], period_s: float) -> int:
    return max(sum(start <= time < start + period_s - 1e-6 for time in times) for start in times)


def test_requests_per_minute_are_kept_and_spread(clock: Clock) -> None:
    times = sent_in(Throttle(64, requests_per_minute=100, clock=clock), clock, 350, 10)
    assert most_within(times, MINUTE) == 100
    assert most_within(times, MINUTE / 10) == 10
    assert times[-1] < 4 * MINUTE


def test_tokens_per_minute_are_kept_and_a_correction_gives_the_rest_back(clock: Clock) -> None:
    reserved = sent_in(Throttle(64, tokens_per_minute=1000, clock=clock), clock, 30, 50)
    assert most_within(reserved, MINUTE) == 20
    corrected = sent_in(Throttle(64, tokens_per_minute=1000, clock=clock), clock, 200, 50, in_fact=10)
    assert most_within(corrected, MINUTE) == 96  # the next one may take 50, so the last 40 are never sure to be enough


def test_one_request_a_minute_still_goes_out(clock: Clock) -> None:
    times = sent_in(Throttle(64, requests_per_minute=1, tokens_per_minute=5, clock=clock), clock, 3, 500)
    assert times == [0, MINUTE, 2 * MINUTE]
