"""Scores mean what they say: ends, chance level, what leaves them unchanged, when they are absent, how often intervals hold."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.special import ndtri

from autolabel import ranking
from autolabel.metrics import (
    Estimate,
    auroc,
    balanced_accuracy,
    flip_rate,
    label_score,
    paired_difference,
    population_precision,
    recall,
    share,
    wilson,
)

STRATA = np.repeat(["firing", "hard", "random"], 20)
FIRES = STRATA == "firing"
TILES = np.arange(60)
DOCUMENTS = TILES // 2
GRID = st.lists(st.integers(-6, 6), min_size=60, max_size=60).map(np.array)
FINITE = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=60, max_size=60)
CLUSTERS = st.lists(st.integers(0, 70), min_size=60, max_size=60)


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranking, "N_RESAMPLES", 200)


def sound(estimate: Estimate) -> None:
    assert estimate.value is not None
    assert estimate.low is not None
    assert estimate.high is not None
    assert estimate.low <= estimate.value <= estimate.high
    assert estimate.high > estimate.low


# --- label_score ---


@given(CLUSTERS)
@settings(max_examples=30)
def test_perfect_is_one_whatever_the_documents(clusters: list[int]) -> None:
    estimate = label_score(FIRES, STRATA, clusters, seed=1)
    sound(estimate)
    assert (estimate.value, estimate.high) == (1, 1)


def test_a_flawless_exam_claims_no_more_than_its_size_allows() -> None:
    low = label_score(FIRES, STRATA, TILES, seed=1).low
    few_documents = label_score(FIRES, STRATA, TILES // 4, seed=1).low
    assert low == pytest.approx(0.798, abs=0.001)
    assert low is not None
    assert few_documents is not None
    assert few_documents < low - 0.1


@given(st.floats(allow_nan=False, allow_infinity=False), CLUSTERS)
@settings(max_examples=30)
def test_constant_is_exactly_chance(value: float, clusters: list[int]) -> None:
    estimate = label_score(np.full(60, value), STRATA, clusters, seed=1)
    sound(estimate)
    assert estimate.value == estimate.chance == 0


def test_groups_weigh_the_same_whatever_their_sizes() -> None:
    strata = ["firing"] * 10 + ["hard"] * 30 + ["random"] * 200
    broad = [1] * 40 + [0] * 200
    assert label_score(broad, strata, range(240), seed=1).value == (3 / 2 - 1) / 2
    assert label_score([0] * 240, strata, range(240), seed=1).value == 0


def test_all_firing_tiles_last_is_the_least_possible() -> None:
    expected = np.mean([(i / 20) / (2 + i / 20) for i in range(1, 21)])
    estimate = label_score(TILES, STRATA, TILES, seed=1)
    sound(estimate)
    assert estimate.value == pytest.approx((3 * expected - 1) / 2)
    assert label_score(-TILES, STRATA, TILES, seed=1).value == 1
    assert -0.22 < (estimate.value or 0) < -0.15


def by_counting(values: NDArray[np.int64], times: NDArray[np.float64]) -> float:
    """Average precision of an exam of 20 + 20 + 20 tiles of which each counts so often, threshold by threshold."""
    weights = times / np.repeat(times.reshape(3, 20).sum(axis=1), 20)
    total, found = 0.0, 0.0
    for threshold in sorted(set(values.tolist()), reverse=True):
        above = values >= threshold
        gain = weights[above & FIRES].sum() - found
        found += gain
        total += gain * found / weights[above].sum() if gain else 0.0
    return float(total)


@given(GRID, CLUSTERS)
@settings(max_examples=20)
def test_average_precision_of_every_draw_is_what_counting_gives(values: NDArray[np.int64], clusters: list[int]) -> None:
    exam = ranking.Exam.of(STRATA, clusters)
    weights = exam.resample(seed=4)
    found = exam.average_precision(values.astype(np.float64), weights)
    assert weights.shape == (60, len(found))
    assert found == pytest.approx([by_counting(values, times) for times in _times(exam)], abs=1e-12)
    assert exam.average_precision(values.astype(np.float64)) == pytest.approx([by_counting(values, np.ones(60))], abs=1e-12)


def _times(exam: ranking.Exam) -> NDArray[np.float64]:
    """How often each tile is drawn, shape (n_draws, n)."""
    n = int(exam.documents.max()) + 1
    times = np.random.default_rng(4).multinomial(n, np.full(n, 1 / n), size=200)[:, exam.documents].astype(np.float64)
    return times[(times.reshape(-1, 3, 20).sum(axis=2) > 0).all(axis=1)]


def test_the_documents_of_an_exam_are_drawn_once_for_all_labels_and_anew_for_another_exam_or_seed() -> None:
    exam, again, other = (ranking.Exam.of(STRATA, clusters) for clusters in (DOCUMENTS, DOCUMENTS, TILES))
    assert exam.resample(0) is again.resample(0)
    assert not exam.resample(0).flags.writeable
    assert not np.array_equal(exam.resample(0), exam.resample(1))
    assert not np.array_equal(exam.resample(0), other.resample(0))


def test_useless_predictions_without_ties_average_a_little_above_zero() -> None:
    rng = np.random.default_rng(0)
    exam = ranking.Exam.of(STRATA, TILES)
    scores = [(3 * exam.average_precision(rng.random(60))[0] - 1) / 2 for _ in range(2000)]
    harmonic = (1 / np.arange(1, 61)).sum()
    expected = (19 / 59) * (60 - harmonic) / 60 + harmonic / 60
    assert np.mean(scores) == pytest.approx((3 * expected - 1) / 2, abs=0.006)
    assert np.mean(scores) == pytest.approx(0.06, abs=0.01)


@given(GRID, st.permutations(range(60)))
@settings(max_examples=40)
def test_neither_order_nor_a_rising_transform_changes_a_bit(values: NDArray[np.int64], order: list[int]) -> None:
    before = label_score(values, STRATA, DOCUMENTS, seed=3)
    assert label_score(values[order], STRATA[order], DOCUMENTS[order], seed=3) == before
    assert label_score(np.exp(values), STRATA, DOCUMENTS, seed=3) == before
    assert label_score(values.astype(float) ** 3 - 100, STRATA, DOCUMENTS, seed=3) == before
    area = auroc(values, FIRES, DOCUMENTS)
    assert auroc(values[order], FIRES[order], DOCUMENTS[order]) == area
    assert auroc(np.exp(values), FIRES, DOCUMENTS) == area


@given(FINITE, CLUSTERS, st.integers(0, 2**63))
@settings(max_examples=60)
def test_any_finite_input_gives_a_sound_estimate(values: list[float], clusters: list[int], seed: int) -> None:
    sound(label_score(values, STRATA, clusters, seed))
    sound(auroc(values, FIRES, clusters))
    sound(paired_difference(values, [values[::-1], values], STRATA, clusters, seed))


def test_the_seed_decides_the_interval_and_nothing_else() -> None:
    values = np.random.default_rng(0).normal(size=60) + 1.5 * FIRES
    first, again, other = (label_score(values, STRATA, DOCUMENTS, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert other.value == first.value
    assert other != first
    assert other.low == pytest.approx(first.low, abs=0.1)


def test_tiles_of_one_document_that_agree_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    documents = TILES // 4
    values = (rng.normal(size=15)[documents] + 1.5 * FIRES).round(1)
    grouped, apart = label_score(values, STRATA, documents, 1), label_score(values, STRATA, TILES, 1)
    assert grouped.value == apart.value
    assert (grouped.high or 0) - (grouped.low or 0) > (apart.high or 0) - (apart.low or 0)


@pytest.mark.parametrize("missing", ["firing", "hard", "random"])
def test_a_group_with_fewer_than_ten_tiles_is_not_scored(missing: str) -> None:
    keep = np.concatenate([np.flatnonzero(missing != STRATA), np.flatnonzero(missing == STRATA)[:9]])
    estimate = label_score(TILES[keep], STRATA[keep], TILES[keep], seed=1)
    assert (estimate.value, estimate.low, estimate.high, estimate.chance, estimate.n) == (None, None, None, 0, 49)
    assert f"9 {missing}" in (estimate.reason or "")
    assert paired_difference(TILES[keep], [TILES[keep]], STRATA[keep], TILES[keep], seed=1).value is None


def test_an_empty_exam_is_not_scored() -> None:
    assert "0 firing" in (label_score([], [], [], seed=1).reason or "")


def test_one_document_to_a_group_still_gives_an_interval() -> None:
    estimate = label_score(np.sin(TILES), STRATA, np.repeat([0, 1, 2], 20), seed=1)
    sound(estimate)
    assert (estimate.high or 0) - (estimate.low or 0) > 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), None])
def test_numbers_that_are_not_finite_are_refused(bad: float | None) -> None:
    values = [*range(59), bad]
    with pytest.raises(ValueError, match="finite"):
        label_score(values, STRATA, TILES, seed=1)
    with pytest.raises(ValueError, match="finite"):
        paired_difference(TILES, [TILES, values], STRATA, TILES, seed=1)
    with pytest.raises(ValueError, match="finite"):
        auroc(values, FIRES, TILES)
    with pytest.raises(ValueError, match="finite"):
        auroc(TILES, FIRES, TILES, weights=values)


def test_unequal_lengths_are_refused() -> None:
    calls: list[Callable[[], Estimate]] = [
        lambda: label_score(TILES[1:], STRATA, TILES, seed=1),
        lambda: label_score(TILES, STRATA, TILES[1:], seed=1),
        lambda: label_score(TILES, STRATA[1:], TILES, seed=1),
        lambda: paired_difference(TILES, [TILES[1:]], STRATA, TILES, seed=1),
        lambda: auroc(TILES[1:], FIRES, TILES),
        lambda: auroc(TILES, FIRES, TILES[1:]),
        lambda: auroc(TILES, FIRES, TILES, weights=[1.0]),
        lambda: share(FIRES, TILES[1:]),
        lambda: recall(FIRES[1:], FIRES, TILES),
        lambda: balanced_accuracy(FIRES, FIRES[1:], TILES),
        lambda: flip_rate(FIRES, FIRES[1:]),
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"expected|must be"):
            call()


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(ValueError, match="'lookalike' is unknown, expected one of firing, hard, random"):
        label_score([1.0], ["lookalike"], ["a"], seed=1)


# --- paired_difference ---


def test_perfect_against_constant_is_one_and_not_certain() -> None:
    estimate = paired_difference(FIRES, [np.zeros(60)], STRATA, TILES, seed=1)
    sound(estimate)
    assert estimate.value == 1
    assert estimate.low is not None
    assert 0.7 < estimate.low < 0.9


def test_a_label_against_itself_differs_by_nothing() -> None:
    values = np.random.default_rng(0).normal(size=60) + FIRES
    estimate = paired_difference(values, [values], STRATA, TILES, seed=1)
    sound(estimate)
    assert (estimate.value, estimate.chance, estimate.n) == (0, 0, 60)
    assert (estimate.high or 1) < 0.15


def test_swapping_two_labels_turns_the_sign() -> None:
    rng = np.random.default_rng(0)
    better, worse = rng.normal(size=60) + 3 * FIRES, rng.normal(size=60)
    ahead, behind = (
        paired_difference(better, [worse], STRATA, TILES, 1),
        paired_difference(worse, [better], STRATA, TILES, 1),
    )
    assert ahead.value == -(behind.value or 0)
    assert (ahead.low or 0) > 0 > (behind.high or 0)


def test_nulls_that_differ_among_themselves_widen_the_lift() -> None:
    rng = np.random.default_rng(0)
    alike = [rng.permutation(60) for _ in range(8)]
    unlike = [*alike[:4], *(FIRES + 0.001 * null for null in alike[4:])]
    for nulls in (alike, unlike):
        sound(paired_difference(FIRES, nulls, STRATA, TILES, 1))
    mean_width, spread_width = (
        (e.high or 0) - (e.low or 0) for e in (paired_difference(FIRES, nulls, STRATA, TILES, 1) for nulls in (alike, unlike))
    )
    assert spread_width > 1.5 * mean_width


def test_nothing_to_compare_with_is_no_lift() -> None:
    estimate = paired_difference(FIRES, [], STRATA, TILES, seed=1)
    assert estimate.reason == "there is no other label to compare with"


# --- auroc ---


def test_auroc_ends_and_chance() -> None:
    perfect, reverse, constant = (auroc(v, FIRES, TILES) for v in (FIRES, ~FIRES, np.zeros(60)))
    for estimate in (perfect, reverse, constant):
        sound(estimate)
    assert (perfect.value, perfect.high) == (1, 1)
    assert (reverse.value, reverse.low) == (0, 0)
    assert constant.value == constant.chance == 0.5
    assert perfect.low == pytest.approx(1 - (reverse.high or 0))


@given(GRID)
@settings(max_examples=40)
def test_auroc_counts_pairs_and_turns_with_the_values(values: NDArray[np.int64]) -> None:
    firing, other = values[FIRES][:, None], values[~FIRES][None, :]
    pairs = ((firing > other) + 0.5 * (firing == other)).mean()
    estimate, turned = auroc(values, FIRES, DOCUMENTS), auroc(-values, FIRES, DOCUMENTS)
    assert estimate.value == pytest.approx(pairs)
    assert turned.value == pytest.approx(1 - pairs)
    assert turned.low == pytest.approx(1 - (estimate.high or 0))


def test_auroc_weights_balance_groups_and_cost_precision() -> None:
    strata = np.array(["firing"] * 20 + ["hard"] * 10 + ["random"] * 40)
    fires, broad = strata == "firing", strata != "random"
    weights = np.where(strata == "random", 0.25, 1.0)
    plain, balanced = auroc(broad, fires, range(70)), auroc(broad, fires, range(70), weights)
    assert plain.value == pytest.approx(0.9)
    assert balanced.value == pytest.approx(0.75)
    same = auroc(broad, fires, range(70), np.full(70, 7.0))
    assert (same.value, same.low, same.high) == pytest.approx((plain.value, plain.low, plain.high))
    lopsided = auroc(TILES[::-1] + 9 * FIRES, FIRES, TILES, np.where(TILES % 10 == 0, 1.0, 1e-9))
    sound(lopsided)
    assert (lopsided.high or 0) - (lopsided.low or 0) > 0.4


def test_auroc_refuses_weights_that_are_not_positive() -> None:
    with pytest.raises(ValueError, match=r"weights hold 0\.0"):
        auroc(TILES, FIRES, TILES, np.append(np.ones(59), 0))


@pytest.mark.parametrize("flags", [np.zeros(60), np.ones(60), []])
def test_one_class_alone_has_no_auroc(flags: NDArray[np.float64]) -> None:
    n = len(flags)
    assert auroc(TILES[:n], flags, TILES[:n]).chance == 0.5
    assert "tiles fire" in (auroc(TILES[:n], flags, TILES[:n]).reason or "")
    assert "tiles fire" in (balanced_accuracy(flags, flags, TILES[:n]).reason or "")


# --- rates ---


def test_rates_of_a_perfect_and_a_useless_label() -> None:
    perfect, useless = balanced_accuracy(FIRES, FIRES, TILES), balanced_accuracy(np.ones(60), FIRES, TILES)
    for estimate in (perfect, useless, recall(FIRES, FIRES, TILES), share(FIRES, TILES)):
        sound(estimate)
    assert (perfect.value, perfect.high, useless.value, useless.chance) == (1, 1, 0.5, 0.5)
    assert recall(FIRES, FIRES, TILES) == wilson(20, 20)
    assert recall(np.append(np.zeros(10), np.ones(50)), FIRES, TILES) == wilson(10, 20)
    assert share(FIRES[FIRES], TILES[FIRES] // 4).low == pytest.approx(wilson(5, 5).low)
    assert recall(FIRES, np.zeros(60), TILES).reason == "no tile fires"
    assert share([], []).reason == "nothing was counted"


def test_flip_rate_counts_changed_answers() -> None:
    estimate = flip_rate([1, 1, 0, 0], [1, 0, 0, 0])
    assert (estimate.value, estimate.n, estimate.chance) == (0.25, 4, None)
    assert flip_rate([True], [True]).low == 0
    assert flip_rate([], []).reason == "nothing was asked twice"


@pytest.mark.parametrize("answers", [[0.7, 0.8], [[0, 1]], [2, 0], [float("nan"), 1], ["yes", "no"]])
def test_only_yes_and_no_count_as_answers(answers: list[float]) -> None:
    with pytest.raises(ValueError, match="yes"):
        flip_rate(answers, answers)


# --- population_precision ---


def test_population_precision_of_a_rare_feature_needs_rare_alarms() -> None:
    shown = population_precision(wilson(57, 60), wilson(8, 4000), 0.01, 0.009, 0.011)
    sound(shown)
    assert shown.value == pytest.approx(0.01 * 0.95 / (0.01 * 0.95 + 0.99 * 0.002))
    assert shown.chance == 0.01


def test_population_precision_that_is_not_estimable_says_what_is_known() -> None:
    estimate = population_precision(wilson(57, 60), wilson(0, 50), 0.01, 0.009, 0.011)
    assert estimate.value is None
    assert "at least 0.11" in (estimate.reason or "")
    assert "at most 1 " in (estimate.reason or "")
    assert "there are 50" in (estimate.reason or "")


def test_no_alarm_among_many_and_no_hit_at_all_are_estimable() -> None:
    clean = population_precision(wilson(60, 60), wilson(0, 5000), 0.3, 0.29, 0.31)
    wrong = population_precision(wilson(0, 60), wilson(200, 500), 0.01, 0.009, 0.011)
    for estimate in (clean, wrong):
        sound(estimate)
    assert (clean.value, clean.high, wrong.value, wrong.low) == (1, 1, 0, 0)


@pytest.mark.parametrize(
    ("tpr", "fpr", "prevalence", "reason"),
    [
        (wilson(0, 0), wilson(1, 50), 0.1, "true-positive rate is unknown: nothing was counted"),
        (wilson(5, 9), wilson(0, 0), 0.1, "false-positive rate is unknown: nothing was counted"),
        (wilson(0, 60), wilson(0, 60), 0.1, "the label was predicted for no tile"),
        (wilson(5, 9), wilson(1, 50), 0.0, "fires in a share of 0 of all tiles"),
        (wilson(5, 9), wilson(1, 50), 1.0, "fires in a share of 1 of all tiles"),
        (wilson(5, 9), wilson(1, 50), 1e-300, "fires in a share of 1e-300 of all tiles"),
    ],
)
def test_population_precision_without_its_parts(tpr: Estimate, fpr: Estimate, prevalence: float, reason: str) -> None:
    estimate = population_precision(tpr, fpr, prevalence, 0, 1)
    assert estimate.value is None
    assert reason in (estimate.reason or "")


@given(st.integers(0, 40), st.integers(0, 40), st.tuples(*[st.floats(0, 1)] * 3).map(sorted))
def test_population_precision_is_sound_or_absent(hits: int, alarms: int, ends: list[float]) -> None:
    low, prevalence, high = ends
    estimate = population_precision(wilson(hits, 40), wilson(alarms, 40), prevalence, low, high)
    if estimate.value is None:
        assert estimate.reason
    else:
        sound(estimate)


@pytest.mark.parametrize("ends", [(0.2, 0.1, 0.3), (0.1, 0.3, 0.2), (-0.1, 0.1, 0.2), (0.1, 0.2, 1.1), (0, float("nan"), 1)])
def test_population_precision_refuses_a_prevalence_outside_its_interval(ends: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="prevalence"):
        population_precision(wilson(1, 2), wilson(1, 2), ends[1], ends[0], ends[2])


# --- coverage: documents redrawn, two tiles each, a document effect of .3 ---


def drawn_exam(rng: np.random.Generator, distance: float) -> NDArray[np.float64]:
    noise = np.sqrt(0.3) * rng.normal(size=30)[DOCUMENTS] + np.sqrt(0.7) * rng.normal(size=60)
    signal: NDArray[np.float64] = distance * np.repeat([1.0, 0.5, 0.0], 20) + noise
    return signal


@pytest.mark.parametrize("distance", [1.0, 2.1, 3.4, 5.2])
def test_label_score_intervals_hold(distance: float) -> None:
    rng = np.random.default_rng(7)
    population = distance * np.repeat([1.0, 0.5, 0.0], 50_000) + rng.normal(size=150_000)
    exam = ranking.Exam.of(np.repeat(["firing", "hard", "random"], 50_000), np.arange(150_000))
    truth = (3 * exam.average_precision(population)[0] - 1) / 2
    estimates = [label_score(drawn_exam(rng, distance), STRATA, DOCUMENTS, seed) for seed in range(250)]
    assert np.mean([(e.low or 0) <= truth <= (e.high or 0) for e in estimates]) >= 0.92
    assert min((e.high or 0) - (e.low or 0) for e in estimates) > 0.05


@pytest.mark.parametrize("area", [0.7, 0.9, 0.97])
def test_auroc_intervals_hold(area: float) -> None:
    rng = np.random.default_rng(7)
    distance = np.sqrt(2) * ndtri(area)
    noise = np.sqrt(0.3) * rng.normal(size=(300, 30))[:, DOCUMENTS] + np.sqrt(0.7) * rng.normal(size=(300, 60))
    estimates = [auroc(row + distance * FIRES, FIRES, DOCUMENTS) for row in noise]
    assert np.mean([(e.low or 0) <= area <= (e.high or 0) for e in estimates]) >= 0.92
    assert min((e.high or 0) - (e.low or 0) for e in estimates) > 0.05
