import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from autolabel.evidence.ahead import AT_ONCE_AT_MOST, ahead, in_order


def n_threads() -> int:
    return sum(thread.name == "autolabel-ahead" for thread in threading.enumerate())


@pytest.mark.parametrize("n", [0, 1, 2, 3, 50])
def test_everything_comes_in_order(n: int) -> None:
    assert list(ahead(range(n), 2)) == list(range(n))
    assert n_threads() == 0


def test_it_works_in_another_thread_and_no_further_ahead_than_allowed() -> None:
    made: list[int] = []
    names: set[str] = set()
    room = threading.Event()

    def numbers() -> Iterator[int]:
        for number in range(20):
            made.append(number)
            names.add(threading.current_thread().name)
            if number == 4:
                room.set()
            yield number

    with closing(ahead(numbers(), 3)) as items:
        assert next(items) == 0
        assert room.wait(10)  # three wait, and the one that is being put has been made
        assert made == [0, 1, 2, 3, 4]
        assert next(items) == 1
    assert names == {"autolabel-ahead"}
    assert made in ([0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5])
    assert n_threads() == 0


def test_an_exception_comes_in_its_place() -> None:
    def broken() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("line 3 is malformed")

    taken: list[int] = []

    def take() -> None:
        for item in ahead(broken(), 5):
            taken.append(item)

    with pytest.raises(ValueError, match="line 3 is malformed"):
        take()
    assert taken == [1, 2]
    assert n_threads() == 0


def test_stopping_early_ends_the_thread_and_closes_the_iterator_there() -> None:
    closed: list[str] = []

    def endless() -> Iterator[int]:
        number = 0
        try:
            while True:
                yield number
                number += 1
        finally:
            closed.append(threading.current_thread().name)

    for item in ahead(endless(), 2):
        if item == 3:
            break
    assert n_threads() == 0
    assert closed == ["autolabel-ahead"]


def test_stopping_works_for_what_cannot_be_closed() -> None:
    with closing(ahead([1, 2, 3, 4, 5], 1)) as items:
        assert next(items) == 1
    assert n_threads() == 0


def test_no_thread_before_the_first_item_is_wanted() -> None:
    items = ahead([1], 1)
    assert n_threads() == 0
    items.close()


def test_results_come_in_the_order_of_the_items_whichever_is_ready_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.get_num_threads", lambda: 2)
    second_is_done = threading.Event()
    begun: list[int] = []

    def double(number: int) -> int:
        begun.append(number)
        if number == 0:
            assert second_is_done.wait(10)
        if number == 1:
            second_is_done.set()
        return 2 * number

    with closing(in_order(double, range(50))) as found:
        assert [next(found) for _ in range(3)] == [0, 2, 4]
        assert max(begun) < 3 + AT_ONCE_AT_MOST
        assert list(found) == list(range(6, 100, 2))
    assert sorted(begun) == list(range(50))


def test_the_first_exception_ends_it() -> None:
    begun: list[int] = []

    def broken(number: int) -> int:
        begun.append(number)
        if number == 5:
            raise ValueError("item 5 is malformed")
        return number

    taken: list[int] = []
    with pytest.raises(ValueError, match="item 5"):
        taken.extend(in_order(broken, range(1000)))
    assert len(begun) < 5 + 2 * AT_ONCE_AT_MOST
    assert not any(thread.name.startswith("autolabel-in-order") for thread in threading.enumerate())
