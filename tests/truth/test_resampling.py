"""Intervals of the benchmark's own numbers."""

import numpy as np
import pytest
import scipy.stats

from autolabel.truth.resampling import NOTHING, Measured, mean_of, over_features


def test_means_of_yes_and_no_have_wilson_s_interval() -> None:
    found = mean_of([1.0, 1.0, 0.0, None])
    n, p, z = 3, 2 / 3, scipy.stats.norm.ppf(0.975)
    middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (p * (1 - p) / n + z**2 / (4 * n**2)) ** 0.5
    assert (found.value, found.n) == (pytest.approx(p), 3)
    assert (found.low, found.high) == (pytest.approx(middle - half), pytest.approx(middle + half))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_when_all_agree_the_interval_still_has_a_width(value: float) -> None:
    found = mean_of([value] * 10)
    assert found.value == value
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(0.2775, abs=1e-3)
    assert 0 <= found.low <= value <= found.high <= 1


def test_means_of_numbers_are_bootstrapped() -> None:
    values = [0.1, 0.5, 0.9, 0.3] * 25
    found = mean_of(values)
    assert found.value == pytest.approx(0.45)
    assert found.low is not None
    assert found.high is not None
    half = 1.96 * np.std(values) / 10
    assert (found.low, found.high) == (pytest.approx(0.45 - half, abs=0.01), pytest.approx(0.45 + half, abs=0.01))
    assert mean_of(values) == found
    assert mean_of(values, seed=1) != found


def test_nothing_has_no_mean() -> None:
    assert mean_of([]) == mean_of([None, None]) == NOTHING == Measured(None, None, None, 0)


def test_a_statistic_over_features_holds_its_value() -> None:
    rows = [1, 2, 3, 4, 100]
    found = over_features(rows, lambda drawn: float(np.mean(drawn)))
    assert (found.value, found.n) == (22.0, 5)
    assert found.low is not None
    assert found.high is not None
    assert 1 <= found.low < 22 < found.high <= 100
    constant = over_features([3, 3, 3], lambda drawn: float(max(drawn)))
    assert constant == Measured(3.0, n=3), "no width is no interval"
    always = over_features([1, 1, 1, 1], lambda drawn: float(np.mean(drawn)))
    assert (always.value, always.high, always.n) == (1.0, 1.0, 4)
    assert always.low == pytest.approx(0.5101, abs=1e-4)
    largest = over_features(rows, lambda drawn: float(max(drawn)))
    assert largest.high == 100


def test_a_statistic_that_some_draws_lack_and_one_that_all_lack() -> None:
    needs_both = over_features([0, 1], lambda drawn: 0.5 if len(set(drawn)) == 2 else None)
    assert (needs_both.value, needs_both.n) == (0.5, 2)
    assert needs_both.low == pytest.approx(0.0945, abs=1e-4)
    only_whole = over_features([0, 1, 2, 3, 4, 5, 6, 7], lambda drawn: 0.5 if list(drawn) == list(range(8)) else None)
    assert (only_whole.value, only_whole.n) == (0.5, 8)
    assert over_features([1, 2], lambda drawn: None) == Measured(None, n=2)
    assert over_features([], lambda drawn: 1.0) == Measured(None, n=0)
