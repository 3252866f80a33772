"""Ranks by lift against a plain computation, ties, scales, and intervals that never claim too much."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.scorers.lifting import Lifts

ALL = np.ones(6, dtype=bool)


def plainly(own: np.ndarray, base: np.ndarray, feature: int) -> int:
    """The rank, feature by feature."""
    lifts = []
    for k in range(own.shape[1]):
        spread = np.concatenate([own[:, k], base[:, k]]).std()
        lifts.append((own[:, k].mean() - base[:, k].mean()) / spread if spread > 1e-12 else 0.0)
    return sum(lift >= lifts[feature] - 1e-9 for lift in lifts)


@given(st.integers(0, 10_000), st.integers(0, 5))
def test_the_rank_is_what_counting_gives(seed: int, feature: int) -> None:
    generator = np.random.default_rng(seed)
    own, base = (generator.poisson(0.7, (n, 6)).astype(np.float32) for n in (4, 7))
    lifts = Lifts.of(own, base, feature, ALL)
    assert lifts.rank() == plainly(own.astype(np.float64), base.astype(np.float64), feature)
    assert lifts.n_ranked == 6


def activations(*columns: list[float]) -> np.ndarray:
    return np.array(columns, dtype=np.float32).T


BASE = activations([0, 0, 0, 0], [9, 9, 0, 9], [0] * 4, [0] * 4, [0] * 4, [5, 5, 5, 5])
OWN = activations([3, 2, 3, 2], [9, 9, 0, 0], [0] * 4, [0] * 4, [0] * 4, [5, 5, 5, 5])


def test_a_label_that_lifts_its_own_feature_most_retrieves_it() -> None:
    assert Lifts.of(OWN, BASE, 0, ALL).rank() == 1
    assert Lifts.of(OWN, BASE, 1, ALL).rank() == 6, "it fires as often on the others' texts, and its lift is below that of silence"
    scaled = OWN * np.array([1e-4, 1, 1, 1, 1, 1], dtype=np.float32)
    assert Lifts.of(scaled, BASE, 0, ALL).rank() == 1, "its scale changes nothing"


def test_a_feature_that_is_always_on_or_never_is_tied_with_all_that_do_not_move() -> None:
    for feature in (2, 3, 5):
        assert Lifts.of(OWN, BASE, feature, ALL).rank() == 5


def test_only_ranked_features_count_and_the_asked_one_does_in_any_case() -> None:
    some = np.array([False, True, False, False, True, False])
    assert Lifts.of(OWN, BASE, 0, some).n_ranked == 3
    assert Lifts.of(OWN, BASE, 2, some).rank() == 2, "tied with one that is silent, above one that falls"


def test_every_text_has_its_own_rank() -> None:
    own = OWN.copy()
    own[:, 2], own[3, 0] = (0.0, 7.0, 0.0, 0.0), 0.0
    assert Lifts.of(own, BASE, 0, ALL).rank_of_each_text() == [1, 2, 1, 5], (
        "another lies higher in the second; in the last, none falls"
    )


def test_the_interval_holds_the_value_and_is_never_a_point() -> None:
    found = Lifts.of(OWN, BASE, 0, ALL).reciprocal_rank(seed=0)
    assert (found.value, found.high, found.n) == (1.0, 1.0, 4)
    assert found.low is not None
    assert found.low < 0.6
    assert found.chance == pytest.approx(sum(1 / k for k in range(1, 7)) / 6)
    assert found == Lifts.of(OWN, BASE, 0, ALL).reciprocal_rank(seed=0)


def test_texts_that_disagree_widen_the_interval() -> None:
    own, base = np.repeat(OWN, 10, axis=0), np.repeat(BASE, 10, axis=0)
    sure = Lifts.of(own, base, 0, ALL).reciprocal_rank(seed=0)
    own[:, 3] = np.tile([3.0, 2.0, 3.0, 2.0], 10) * (np.arange(40) != 0)
    unsure = Lifts.of(own, base, 0, ALL).reciprocal_rank(seed=0)
    assert (sure.value, unsure.value) == (1.0, 1.0), "the other is lifted a little less"
    assert sure.low is not None
    assert unsure.low is not None
    assert unsure.low < sure.low, "and as far in every third resample"


def test_nothing_to_compare_with_gives_no_value() -> None:
    found = Lifts.of(OWN, BASE[:0], 0, ALL).reciprocal_rank(seed=0)
    assert (found.value, found.reason) == (None, "4 texts to compare with 0 others; some of both are needed")


def test_a_dictionary_in_which_nothing_fires_is_all_ties() -> None:
    silent = np.zeros((3, 6), dtype=np.float32)
    found = Lifts.of(silent, silent, 4, ALL).reciprocal_rank(seed=0)
    assert found.value == pytest.approx(1 / 6)
