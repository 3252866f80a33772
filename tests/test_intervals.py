"""The interval methods against published numbers, exact values and the limits at which they degenerate."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, rankdata

from autolabel.intervals import (
    FLOOR,
    Estimate,
    codes,
    effective_sizes,
    firing_rate_upper,
    intraclass_correlation,
    logit_interval,
    mid_ranks,
    mover_mean,
    newcombe_bounds,
    rule_of_three,
    t_quantile,
    unscored,
    wilson,
    wilson_bounds,
)


@pytest.mark.parametrize(
    "parts",
    [
        (0.5, None, 0.6, None),
        (None, None, None, None),
        (None, 0.1, 0.2, "why"),
        (0.5, 0.4, 0.6, "why"),
        (0.5, 0.6, 0.7, None),
        (0.5, 0.5, 0.5, None),
        (math.nan, 0.1, 0.2, None),
        (0.5, math.nan, 0.6, None),
        (0.5, 0.4, math.inf, None),
    ],
)
def test_contradictory_estimates_cannot_be_made(
    parts: tuple[float | None, float | None, float | None, str | None],
) -> None:
    value, low, high, reason = parts
    with pytest.raises(ValueError, match=r"has no value|must have|width 0"):
        Estimate(value, low, high, 1, None, reason)


@given(st.lists(st.integers(-5, 5) | st.floats(-1, 1), min_size=1, max_size=80))
def test_ties_share_their_mean_rank(values: list[float]) -> None:
    assert mid_ranks(np.array(values, dtype=np.float64)).tolist() == rankdata(values).tolist()


def test_unscored_says_why() -> None:
    assert unscored(3, 0.5, "too few") == Estimate(None, None, None, 3, 0.5, "too few")


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_the_textbook_interval(counts: tuple[int, int]) -> None:
    estimate, exact = wilson(*counts), binomtest(*counts).proportion_ci(method="wilson")
    assert (estimate.low, estimate.high) == pytest.approx((exact.low, exact.high), abs=1e-12)
    assert (estimate.high or 0) > (estimate.low or 0)


def test_wilson_with_a_design_effect_is_wilson_on_fewer() -> None:
    assert wilson(10, 40, design_effect=4.0).low == pytest.approx(wilson_bounds(0.25, 10)[0])
    assert wilson(0, 0).reason == "nothing was counted"


@pytest.mark.parametrize("parts", [(3, 2, 1.0), (-1, 2, 1.0), (1, 2, 0.5), (1, 2, math.nan)])
def test_wilson_refuses_impossible_counts(parts: tuple[int, int, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 ≤ k ≤ n"):
        wilson(*parts)


def test_correlation_is_one_when_clusters_agree_and_zero_when_they_cannot_be_told() -> None:
    clusters, groups = np.repeat(np.arange(10), 3), np.zeros(30, dtype=np.int64)
    agree = np.repeat(np.arange(10.0), 3)
    assert intraclass_correlation(agree, groups, clusters) == 1
    assert intraclass_correlation(np.tile([0.0, 1.0, 2.0], 10), groups, clusters) == 0
    assert intraclass_correlation(agree, groups, np.arange(30)) == 0
    assert intraclass_correlation(np.ones(30), groups, clusters) == 1
    assert intraclass_correlation(agree, groups, groups) == 1


def test_correlation_finds_the_one_that_was_planted() -> None:
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(3000), rng.integers(1, 4, 3000))
    values = np.sqrt(0.4) * rng.normal(size=3000)[clusters] + np.sqrt(0.6) * rng.normal(size=len(clusters))
    groups = (np.arange(len(clusters)) > len(clusters) // 2).astype(np.int64)
    assert intraclass_correlation(values + 5 * groups, groups, clusters) == pytest.approx(0.4, abs=0.06)


def test_effective_sizes_lie_between_documents_and_tiles() -> None:
    clusters, groups = np.repeat(np.arange(8), 5), np.repeat(np.array([0, 1]), 20)
    assert effective_sizes(np.ones(40), groups, clusters) == pytest.approx([4, 4])
    assert effective_sizes(np.arange(40.0), groups, np.arange(40)) == pytest.approx([20, 20])
    uneven = codes(["a"] * 4 + ["b"])
    assert effective_sizes(np.ones(5), np.zeros(5, dtype=np.int64), uneven) == pytest.approx([25 / 17])


def test_codes_do_not_depend_on_order() -> None:
    assert codes(["c", "a", "c"]).tolist() == [1, 0, 1]


def test_t_grows_as_documents_run_out() -> None:
    assert t_quantile(1) == t_quantile(2) == pytest.approx(12.706, abs=1e-3)
    assert t_quantile(10**6) == pytest.approx(1.96, abs=1e-3)


def test_the_floor_holds_when_resamples_agree_and_gives_way_when_they_do_not() -> None:
    assert logit_interval(1.0, 0.0, 20, 20) == wilson_bounds(1.0, 20 / FLOOR**2)
    assert logit_interval(0.8, 1e-6, 20, 20) == wilson_bounds(0.8, 20 / FLOOR**2)
    low, high = logit_interval(0.8, 0.2, 20, 20)
    assert 0 < low < wilson_bounds(0.8, 20 / FLOOR**2)[0]
    assert wilson_bounds(0.8, 20 / FLOOR**2)[1] < high < 1


@given(st.floats(0, 1), st.floats(1, 1000), st.floats(1, 1000))
def test_newcombe_solves_its_own_equation(area: float, m: float, n: float) -> None:
    low, high = newcombe_bounds(area, m, n)
    assert 0 <= low <= area <= high <= 1
    assert high > low
    for theta in {low, high} - {0.0, 1.0}:
        others = (m + n) / 2 - 1
        spread = 1 + others * (1 - theta) / (2 - theta) + others * theta / (1 + theta)
        variance = theta * (1 - theta) * spread / (m * n)
        assert abs(area - theta) == pytest.approx(1.959963984540054 * math.sqrt(variance), rel=1e-4, abs=1e-5)


def test_newcombe_is_symmetric_and_narrows() -> None:
    low, high = newcombe_bounds(0.9, 20, 40)
    assert newcombe_bounds(0.1, 20, 40) == pytest.approx((1 - high, 1 - low))
    wider = newcombe_bounds(0.9, 10, 20)
    assert wider[0] < low < 0.9 < high < wider[1]


def test_mover_of_two_equal_shares_is_narrower_by_root_two() -> None:
    single = wilson(15, 20)
    value, low, high = mover_mean(single, single)
    assert value == 0.75
    assert value - low == pytest.approx((0.75 - (single.low or 0)) / math.sqrt(2))
    assert high - value == pytest.approx(((single.high or 0) - 0.75) / math.sqrt(2))


def test_rule_of_three() -> None:
    assert rule_of_three(300) == 0.01
    assert rule_of_three(2) == rule_of_three(0) == 1
    with pytest.raises(ValueError, match="-1 trials"):
        rule_of_three(-1)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_firing_rate_upper_is_where_so_few_become_improbable(counts: tuple[int, int]) -> None:
    k, n = counts
    bound = firing_rate_upper(k, n)
    assert isinstance(bound, float)
    if k == n:
        assert bound == 1
    else:
        assert binom.cdf(k, n, bound) == pytest.approx(0.05, rel=1e-6)
    if k == 0:
        assert bound <= rule_of_three(n)


def test_firing_rate_upper_of_many_features_at_once() -> None:
    bounds = firing_rate_upper(np.array([0, 3, 10]), 10)
    assert bounds.tolist() == [firing_rate_upper(k, 10) for k in (0, 3, 10)]
    assert firing_rate_upper(np.array([], dtype=np.int64), 10).shape == (0,)


@pytest.mark.parametrize("counts", [(1, 0), (-1, 5), (6, 5)])
def test_firing_rate_upper_refuses_impossible_counts(counts: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="expected 0 ≤ k ≤ n"):
        firing_rate_upper(*counts)
