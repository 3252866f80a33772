"""Shrunken scores where the truth is known: nearer to it than raw ones, with intervals that hold it as often as they say."""

import numpy as np
import pytest
from scipy.special import expit

from autolabel.intervals import Estimate, unscored, wilson_bounds
from autolabel.shrinkage import LEAST_LABELS, shrink


def rescaled(precision: float) -> float:
    return (3 * precision - 1) / 2


def scored(precision: float, n: float = 20) -> Estimate:
    low, high = wilson_bounds(precision, n)
    return Estimate(rescaled(precision), rescaled(low), rescaled(high), 60, 0.0)


@pytest.mark.parametrize(("n_labels", "mean", "spread"), [(10, 1.5, 1.0), (30, 0.5, 1.0), (30, 3.0, 1.0), (100, 1.5, 0.5)])
def test_over_labels_the_intervals_hold_the_truth_and_the_error_is_less(n_labels: int, mean: float, spread: float) -> None:
    generator = np.random.default_rng(0)
    held, ours, raw = [], [], []
    for _ in range(4_000 // n_labels):
        true = expit(generator.normal(mean, spread, n_labels))
        scores = [scored(max(0.2, precision)) for precision in generator.binomial(20, true) / 20]
        for one, before, truth in zip(shrink(scores), scores, (3 * true - 1) / 2, strict=True):
            assert one.low is not None
            assert one.high is not None
            held.append(one.low <= truth <= one.high)
            ours.append((float(one.value or 0) - truth) ** 2)
            raw.append((float(before.value or 0) - truth) ** 2)
    assert 0.93 <= np.mean(held) <= 0.97
    assert np.mean(ours) < 0.97 * np.mean(raw)


def test_the_unsure_are_drawn_further_and_equal_labels_nearly_all_the_way() -> None:
    scores = [*(scored(0.6 + 0.02 * i, 200) for i in range(12)), scored(0.95, 200), scored(0.95, 6)]
    sure, unsure = shrink(scores)[-2:]
    assert float(unsure.value or 0) < float(sure.value or 0) < rescaled(0.95)
    alike = shrink([scored(0.8, 20 + i % 3) for i in range(40)])
    assert all(rescaled(0.77) < float(one.value or 0) < rescaled(0.83) for one in alike)
    assert max(float(one.high or 0) - float(one.low or 0) for one in alike) < 0.3


def test_order_changes_nothing_and_perfect_scores_stay_below_one() -> None:
    scores = [scored(precision) for precision in (1.0, 1.0, 0.9, 0.5, 0.4, 0.8, 0.7, 0.95, 0.6)]
    found = shrink(scores)
    backwards = shrink(scores[::-1])[::-1]
    assert [one.value for one in found] == pytest.approx([one.value for one in backwards])
    assert all(one.value is not None and one.value < 1 for one in found)
    assert all(one.n == 60 and one.chance == 0.0 for one in found)


def test_scores_near_chance_and_below_are_taken() -> None:
    found = shrink([scored(precision) for precision in np.linspace(0.2, 0.5, 12)])
    values = [float(one.value or 0) for one in found]
    assert values == sorted(values)
    assert values[0] > rescaled(0.2), "drawn towards the others"


def test_too_few_labels_learn_nothing_and_those_without_a_score_take_no_part() -> None:
    missing = unscored(5, 0.0, "too few tiles")
    few = [scored(0.8) for _ in range(LEAST_LABELS - 1)]
    refused = shrink([*few, missing])
    assert all(one.value is None for one in refused)
    assert refused[0].reason == "7 labels have a score; at least 8 are needed to learn how scores spread"
    assert refused[-1].reason == "too few tiles"
    enough = [*few, scored(0.5)]
    assert [one.value for one in shrink([missing, *enough])[1:]] == [one.value for one in shrink(enough)]
    assert shrink([missing, *enough])[0].reason == "too few tiles"
    assert shrink([]) == []
