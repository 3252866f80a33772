"""P-values that are uniform where there is nothing to find, exact where they can be counted by hand, and none where they say nothing."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest

from autolabel.intervals import Estimate, unscored
from autolabel.significance import LEAST_OTHERS, Drawn, pooled_p_values, q_values, reach


def exams(n: int, n_others: int, seed: int, lift: float = 0.0, lifted: int = 0, decimals: int = 9) -> list[Drawn]:
    """Exams of different difficulty and spread; the first `lifted` labels do better than others'."""
    generator = np.random.default_rng(seed)
    found = []
    for number in range(n):
        centre, spread = generator.normal(0, 0.2), generator.uniform(0.05, 0.2)
        values = centre + spread * generator.normal(size=n_others + 1)
        own = values[0] + (lift * spread if number < lifted else 0.0)
        found.append(Drawn("s", round(own, decimals), np.round(values[1:], decimals).tolist()))
    return found


def p_of(estimate: Estimate) -> Estimate:
    assert estimate.value is not None
    return estimate


@pytest.mark.parametrize("decimals", [9, 1])
def test_where_there_is_nothing_to_find_p_is_uniform(decimals: int) -> None:
    """Also where most scores tie, by the randomised p; the conservative one is never too small."""
    generator = np.random.default_rng(5)
    drawn = [one for seed in range(10) for one in exams(200, 20, seed, decimals=decimals)]
    found = [p for start in range(0, 2000, 200) for p in pooled_p_values(drawn[start : start + 200])]
    randomised = np.array([p.randomised(u) for p, u in zip(found, generator.uniform(size=2000), strict=True)], dtype=np.float64)
    for level in (0.01, 0.05, 0.10, 0.5):
        interval = binomtest(int((randomised <= level).sum()), 2000).proportion_ci(0.999, method="exact")
        assert interval.low <= level <= interval.high
    assert all(float(p.randomised(0.0) or 0) <= float(p.middle or 0) <= float(p.estimate.value or 0) for p in found)


def test_counted_by_hand() -> None:
    """With one exam of ten equal spreads, standardising changes no order, so p is a share of ranks."""
    others = [float(i) for i in range(10)]
    drawn = [Drawn("s", own, others) for own in (-50.0, 4.5, 50.0)]
    low, middle, high = pooled_p_values(drawn, least_pool=30)
    assert high.estimate.value == 1 / 31, "never below 1 / (1 + pool)"
    assert (high.above, high.ties, high.estimate.n) == (0, 0, 30)
    assert low.estimate.value == 1.0
    assert middle.estimate.value == pytest.approx(0.5, abs=0.02)
    assert p_of(middle.estimate).low < 0.35 < 0.65 < p_of(middle.estimate).high
    assert high.estimate.high == pytest.approx(1 - 0.025 ** (1 / 30)), "Clopper and Pearson, none seen of thirty"
    assert (high.randomised(0.25), high.middle) == (0.25 / 31, 0.5 / 31)


def test_ties_count_against_the_label_and_by_half_in_the_middle() -> None:
    drawn = [Drawn("s", 0.0, [0.0] * 10) for _ in range(4)]
    for p in pooled_p_values(drawn, least_pool=40):
        assert (p.above, p.ties, p.estimate.value, p.middle) == (0, 40, 1.0, 0.5)


def test_exams_of_other_strata_do_not_count_and_a_small_pool_gives_none() -> None:
    one, other = exams(100, 20, 0), [Drawn("t", d.own, d.others) for d in exams(99, 20, 1)]
    mixed = [*one, *other]
    found = pooled_p_values(mixed)
    assert [p.estimate for p in found[:100]] == [p.estimate for p in pooled_p_values(one)]
    assert all(p.estimate.value is None and p.middle is None for p in found[100:])
    assert (found[100].estimate.reason or "").startswith("1,980 draws of labels of other features in its stratum")
    assert "2,000 are needed" in (found[100].estimate.reason or "")


def test_an_exam_with_few_others_has_no_p_and_no_part_in_the_pool() -> None:
    drawn = [*exams(100, 20, 0), Drawn("s", 9.0, [0.1] * (LEAST_OTHERS - 1)), Drawn("s", 9.0, [])]
    found = pooled_p_values(drawn)
    assert {p.estimate.n for p in found} == {2000}
    assert found[100].estimate.reason == "7 labels of other features on its exam; at least 8 are needed to standardise it"
    assert found[101].estimate.value is None
    assert pooled_p_values([]) == []
    assert pooled_p_values(drawn[100:])[0].estimate.value is None


def test_a_spread_that_is_small_by_luck_makes_no_discovery() -> None:
    """Nine equal scores and a label a hair above them, among exams that spread a hundred times as far."""
    drawn = [*exams(100, 20, 0), Drawn("s", 0.101, [0.1] * 9)]
    assert float(pooled_p_values(drawn)[-1].estimate.value or 0) > 0.2


def test_numbers_that_are_not_finite_are_refused() -> None:
    for own, others in ((math.nan, [0.0] * 10), (0.0, [0.0] * 9 + [math.inf])):
        with pytest.raises(ValueError, match="expected finite numbers"):
            pooled_p_values([Drawn("s", own, others)])


def test_false_discoveries_stay_rare_while_most_of_what_is_there_is_found() -> None:
    false, found, power = 0, 0, []
    for seed in range(20):
        p = [one.estimate for one in pooled_p_values(exams(150, 20, seed, lift=6.0, lifted=100))]
        chosen = np.array([q.value for q in q_values(p)], dtype=np.float64) <= 0.05
        false, found = false + int(chosen[100:].sum()), found + int(chosen.sum())
        power.append(chosen[:100].mean())
    assert 0 < false / found <= 0.05, "false discoveries happen, and are rare"
    assert np.mean(power) >= 0.8


def test_q_values_are_those_of_benjamini_and_hochberg() -> None:
    values = [0.01, 0.04, 0.03, 0.5]
    p = [Estimate(v, v / 2, min(1.0, 2 * v), 999, 0.5) for v in values]
    found = q_values([*p[:2], unscored(10, 0.5, "too few"), *p[2:]])
    q = [one.value for one in found]
    assert q == pytest.approx([0.04, 4 * 0.04 / 3, None, 4 * 0.04 / 3, 0.5])
    assert found[0].low == pytest.approx(0.02)
    assert found[0].high == pytest.approx(0.08)
    assert {one.n for one in found} == {4}
    assert found[2].reason == "no p-value: too few"
    assert q_values([]) == []
    assert q_values([unscored(0, 0.5, "x")])[0].value is None


def test_the_reach_of_a_list() -> None:
    p = [one.estimate for one in pooled_p_values(exams(150, 20, 3, lift=6.0, lifted=100))]
    found = reach([*p, unscored(3, 0.5, "few")])
    assert (found.n, found.n_without) == (150, 1)
    assert found.least_found == 1
    assert found.empty_share == pytest.approx(1 / 3, abs=0.15)
    assert found.power is not None
    assert found.power > 0.8
    assert f"{found.n_found} of 150 labels are discoveries" in found.text
    assert "1 labels have no p-value" in found.text


def test_a_coarse_pool_says_how_many_discoveries_it_takes() -> None:
    p = [Estimate(1 / 101, 0.0, 0.03, 100, 0.5) for _ in range(50)]
    found = reach([*p, *(Estimate(0.9, 0.8, 0.95, 100, 0.5) for _ in range(50))])
    assert found.least_found == 20, "100 labels at p = 1/101 need twenty at once: 100/101 · 1/20"
    nothing = reach([unscored(3, 0.5, "few")])
    assert (nothing.n, nothing.power, nothing.text) == (0, None, "no p-value could be given (1 labels)")
    all_empty = reach([Estimate(0.9, 0.8, 0.95, 100, 0.5)] * 20)
    assert (all_empty.empty_share, all_empty.power) == (1.0, None)
