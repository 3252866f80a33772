"""Activations beside ratings: weights to the population, statistics against plain ones, and intervals that allow for what was not seen."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.intervals import wilson_bounds
from autolabel.scorers.rated import Rated, average_precision, signed_gini


def rated(firing: list[int], silent: list[int], prevalence: float = 0.01) -> Rated:
    """Tiles with these ratings, each a document of its own; firing ones activate by 1, 2, 3, …"""
    n = len(firing) + len(silent)
    activations = [*(1.0 + i for i in range(len(firing))), *([0.0] * len(silent))]
    fires = [True] * len(firing) + [False] * len(silent)
    return Rated.of(activations, fires, [*firing, *silent], [f"document {i}" for i in range(n)], prevalence)


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(1, 5)), min_size=2, max_size=30))
def test_statistics_are_what_repeating_tiles_gives(tiles: list[tuple[int, bool, int]]) -> None:
    values, present, times = (np.array(column) for column in zip(*tiles, strict=True))
    if present.all() or not present.any():
        return
    repeated, held = np.repeat(values, times).astype(float), np.repeat(present, times)
    pairs = np.sign(repeated[held][:, None] - repeated[~held][None, :])
    assert signed_gini(values.astype(float), present, times.astype(float)) == pytest.approx(pairs.mean())
    thresholds = sorted(set(repeated.tolist()), reverse=True)
    points = [(held[repeated >= t].sum() / held.sum(), held[repeated >= t].mean()) for t in thresholds]
    steps = zip([0.0, *(recall for recall, _ in points)], points, strict=False)
    expected = sum((recall - before) * precision for before, (recall, precision) in steps)
    assert average_precision(values.astype(float), present, times.astype(float)) == pytest.approx(expected)


def test_firing_tiles_weigh_as_much_as_they_are_frequent() -> None:
    weights = rated([2] * 20, [0] * 40).weights(np.ones(60))
    assert weights[:20].sum() == pytest.approx(0.01)
    assert weights.sum() == pytest.approx(1.0)


def test_a_concept_that_is_the_feature_scores_one_but_never_surely() -> None:
    found = rated([2] * 20, [0] * 40).estimate(signed_gini, -1.0, 0.0, seed=0)
    assert (found.value, found.high, found.n) == (1.0, 1.0, 60)
    unseen = wilson_bounds(0.0, 40)[1] * 0.99
    assert found.low == pytest.approx(2 * (0.01 + unseen / 2) / (0.01 + unseen) - 1), (
        "40 silent tiles cannot rule out a frequent concept"
    )


def test_more_silent_tiles_say_more() -> None:
    few, many = (rated([2] * 20, [0] * n).estimate(signed_gini, -1.0, 0.0, seed=0).low for n in (40, 4000))
    assert few is not None
    assert many is not None
    assert many > few + 0.3


def test_a_concept_that_is_common_where_the_feature_is_silent_scores_near_chance() -> None:
    broad = rated([2] * 20, [2] * 20 + [0] * 20)
    found = broad.estimate(signed_gini, -1.0, 0.0, seed=0)
    assert found.value is not None
    assert 0 < found.value < 0.05, "as large a sample of firing tiles as of others would have said .5"
    assert broad.base_rate() == pytest.approx(0.01 + 0.99 / 2)


def test_a_concept_that_keeps_the_feature_silent_is_below_zero() -> None:
    found = rated([0] * 20, [2] * 20 + [0] * 20).estimate(signed_gini, -1.0, 0.0, seed=0)
    assert found.value is not None
    assert found.value < 0, "the sign is kept"


def test_a_feature_that_fires_on_more_than_the_concept_is_impure() -> None:
    pure, impure = (rated(firing, [0] * 40).estimate(average_precision, 0.0, 0.1, 0) for firing in ([2] * 20, [0, 2] * 10))
    assert (pure.value, impure.chance) == (1.0, 0.1)
    assert impure.value is not None
    assert impure.value < 0.75


def test_what_lies_between_is_left_out() -> None:
    with_doubt, without = rated([2] * 10 + [1] * 10, [0] * 40), rated([2] * 10, [0] * 40)
    assert with_doubt.estimate(signed_gini, -1.0, 0.0, 0).value == without.estimate(signed_gini, -1.0, 0.0, 0).value == 1.0


def test_documents_are_resampled_whole() -> None:
    firing, silent = [2] * 20 + [0] * 10, [0] * 400
    apart = rated(firing, silent)
    documents = np.concatenate([np.arange(30) // 10, 100 + np.arange(400)])
    alike = Rated(apart.activations, apart.fires, apart.ratings, documents, apart.prevalence)
    one, other = (each.estimate(average_precision, 0.0, None, 0) for each in (apart, alike))
    assert one.value == other.value
    assert one.high is not None
    assert other.high is not None
    assert other.high > one.high + 0.2, "the one document without the concept is not drawn now and then"


@pytest.mark.parametrize(
    ("firing", "silent", "why"),
    [
        ([0, 1], [0, 0], "holds the concept"),
        ([2, 2], [2, 1], "is without it"),
        ([], [2, 0], "no firing tile"),
        ([2, 0], [], "no silent tile"),
    ],
)
def test_what_the_ratings_cannot_carry_has_no_value(firing: list[int], silent: list[int], why: str) -> None:
    tiles = rated(firing, silent)
    found = tiles.estimate(signed_gini, -1.0, 0.0, 0)
    assert found.value is None
    assert why in str(found.reason)
    assert tiles.base_rate() is None


@settings(max_examples=20)
@given(
    st.lists(st.integers(0, 2), min_size=1, max_size=8),
    st.lists(st.integers(0, 2), min_size=1, max_size=8),
    st.sampled_from([1e-6, 0.3]),
)
def test_any_ratings_give_an_interval_or_a_reason(firing: list[int], silent: list[int], prevalence: float) -> None:
    for statistic, lowest in ((signed_gini, -1.0), (average_precision, 0.0)):
        found = rated(firing, silent, prevalence).estimate(statistic, lowest, None, 0)
        assert found.value is None or lowest <= found.value <= 1
