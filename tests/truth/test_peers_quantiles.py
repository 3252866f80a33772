"""delphi's draws: the leak is as large as it was measured in delphi's own code, and gone when it is switched off."""

import pytest

from autolabel.truth.peers.quantiles import draw


@pytest.mark.parametrize(("n", "shared"), [(200, 20), (300, 12), (500, 12), (1000, 11), (2000, 10), (10_000, 10)])
def test_the_test_repeats_what_the_labeler_is_shown(n: int, shared: int) -> None:
    drawn = draw(range(n), leaky=True)
    assert len(set(drawn.shown)) == 40
    assert len(set(drawn.tested)) == 50
    assert len(set(drawn.shown) & set(drawn.tested)) == shared


@pytest.mark.parametrize("n", [90, 200, 1000])
def test_without_the_leak_nothing_is_repeated(n: int) -> None:
    leaky, disjoint = (draw(range(n), leaky) for leaky in (True, False))
    assert disjoint.shown == leaky.shown
    assert len(set(disjoint.tested)) == 50
    assert not set(disjoint.shown) & set(disjoint.tested)


def test_as_many_come_from_every_tenth() -> None:
    drawn = draw(range(1005), leaky=True)
    assert [sum(one // 100 == tenth for one in drawn.shown) for tenth in range(11)] == [4] * 10 + [0]
    assert [sum(one // 100 == tenth for one in drawn.tested) for tenth in range(11)] == [5] * 10 + [0]


def test_few_tiles_are_all_taken_and_fewer_than_ten_are_none() -> None:
    assert draw(range(30), leaky=True).shown == tuple(range(30))
    assert draw(range(30), leaky=False).tested == ()
    assert draw(range(9), leaky=True).shown == ()
