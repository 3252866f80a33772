"""The table of scorers: who beats whom, ranks, calibration, and the judge's own error against the truth."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats

from autolabel.hashing import content_id
from autolabel.records import Example, Prediction
from autolabel.truth.bank import NEAR_KINDS
from autolabel.truth.built import Built, Shipped
from autolabel.truth.features import RELATIONS, Family, Relation
from autolabel.truth.score_table import (
    Pair,
    judge_against_truth,
    pair_of,
    scored_labels,
    scorer_row,
)
from autolabel.truth.selection import NEAR_F1


def pair(index: int, relation: Relation, value: float | None, f1: float = 0.5, family: Family = "words") -> Pair:
    return Pair(index, family, relation, value, None, None, f1)


TOY = [
    pair(0, "true", 0.9, 1.0),
    pair(0, "broader", 0.5, 0.6),
    pair(0, "sibling", 0.9, 0.1),
    pair(0, "wrong", 0.1, 0.0),
    pair(0, "paraphrase", 0.9, 1.0),
    pair(1, "true", 0.4, 1.0, "gated"),
    pair(1, "broader", 0.6, 0.7, "gated"),
    pair(1, "wrong", 0.4, 0.05, "gated"),
]


def test_the_right_label_beats_others_and_ties_count_half() -> None:
    row = scorer_row("toy", "judge", TOY)
    assert (row.name, row.judge, row.n_features, row.n_pairs) == ("toy", "judge", 2, 8)
    assert row.beats["broader"].value == 0.5
    assert row.beats["sibling"].value == 0.5, "a tie"
    assert row.beats["wrong"].value == (1 + 0.5) / 2
    assert row.beats["paraphrase"].value == 0.5
    assert row.beats["near"].value == (1 + 0.5 + 0) / 3
    assert row.beats["narrower"].value is None
    assert {family: found.value for family, found in row.beats_by_family.items()} == {"words": 0.75, "gated": 0.0}


def test_ranks_follow_the_exact_f1() -> None:
    row = scorer_row("toy", "judge", TOY)
    near = [one for one in TOY if one.relation in NEAR_KINDS]
    for found, pairs in ((row.spearman_near, near), (row.spearman_all, TOY)):
        expected = scipy.stats.spearmanr([one.value for one in pairs], [one.f1 for one in pairs]).statistic
        assert found.value == pytest.approx(expected)
        assert found.low is not None
        assert found.low <= expected


def test_pairs_without_a_value_are_no_pairs() -> None:
    kept = scorer_row("toy", "judge", TOY)
    lost = scorer_row("toy", "judge", [*TOY, pair(0, "narrower", None), pair(2, "true", None), pair(2, "broader", 0.7)])
    assert {key: found.value for key, found in lost.beats.items()} == {key: found.value for key, found in kept.beats.items()}
    assert (lost.n_features, lost.n_pairs) == (3, 11)


def test_nothing_to_compare_is_none() -> None:
    empty = scorer_row("toy", "judge", [])
    assert all(found.value is None for found in empty.beats.values())
    assert empty.spearman_all.value is None
    constant = scorer_row("toy", "judge", [replace(one, value=0.5) for one in TOY])
    assert constant.spearman_all.value is None
    assert {found.value for key, found in constant.beats.items() if key not in ("narrower", "context_dropped")} == {0.5}
    assert scorer_row("toy", "judge", TOY[:2]).spearman_all.value is None, "two pairs have no ranks to speak of"


def able(built: Built) -> list[int]:
    return [feature.index for feature in built.features if built.exam(feature.index) and feature.family != "null"]


def told_apart(built: Built, index: int) -> list[Shipped]:
    """Near-misses that tiles can tell from the right label."""
    return [one for one in built.shipped[index] if one.shipped.relation in NEAR_KINDS and one.exact.f1 <= NEAR_F1]


def test_a_scorer_is_tried_on_the_right_label_and_every_near_miss_that_tiles_can_tell(built: Built) -> None:
    for index in able(built):
        chosen = scored_labels(built, index, near=len(NEAR_KINDS), wrong=2, paraphrases=1)
        relations = [one.shipped.relation for one in chosen]
        assert relations[0] == "true"
        assert (relations.count("true"), relations.count("wrong"), relations.count("paraphrase")) == (1, 2, 1)
        near = [one.label.label_id for one in chosen if one.shipped.relation in NEAR_KINDS]
        assert sorted(near) == sorted(one.label.label_id for one in told_apart(built, index))
        assert [one.shipped.relation for one in scored_labels(built, index, 0, 0, 0)] == ["true"]


def test_a_near_miss_that_predicts_the_tiles_is_left_out(built: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """No scorer of tiles can tell months from the word before months."""
    feature = next(feature for feature in built.features if feature.family == "next_token")
    shipped = built.shipped[feature.index]
    for f1, is_told in ((NEAR_F1, True), (NEAR_F1 + 0.01, False)):
        worth = [
            replace(one, exact=replace(one.exact, f1=f1)) if one.shipped.relation == "context_dropped" else one for one in shipped
        ]
        monkeypatch.setitem(built.shipped, feature.index, worth)
        relations = {one.shipped.relation for one in scored_labels(built, feature.index, 4, 2, 1)}
        assert ("context_dropped" in relations) == is_told
        assert {"true", "broader", "wrong"} <= relations


def test_features_take_turns_at_which_near_miss_is_scored(built: Built) -> None:
    taken = {}
    for index in able(built):
        misses = sorted(told_apart(built, index), key=lambda one: RELATIONS.index(one.shipped.relation))
        (chosen,) = [one for one in scored_labels(built, index, 1, 0, 0) if one.shipped.relation != "true"]
        assert chosen in misses
        taken[index] = misses.index(chosen) == built.number(index) % len(misses)
    assert all(taken.values())
    assert len({scored_labels(built, index, 1, 0, 0)[1].shipped.relation for index in able(built)}) > 1


def named_tiles(built: Built, shipped: Shipped) -> set[int]:
    assert shipped.shipped.predicate is not None
    return set(built.world.tiles_of(shipped.shipped.predicate).tolist())


def said(
    built: Built, shipped: Shipped, exam: Sequence[Example], value: Callable[[bool, Example], float | None]
) -> list[Prediction]:
    """What a judge says that knows whether the label's function holds in each tile."""
    named = named_tiles(built, shipped)
    holds = [built.tile_of_window[one.document_id, one.tile_index] in named for one in exam]
    values = [value(truth, one) for truth, one in zip(holds, exam, strict=True)]
    return [
        Prediction(one.window_id, found, "ok" if found is not None else "failed") for one, found in zip(exam, values, strict=True)
    ]


def judged(
    built: Built, value: Callable[[bool, Example], float | None]
) -> list[tuple[Shipped, Sequence[Example], Sequence[Prediction]]]:
    found = []
    for index in able(built):
        exam = built.exam(index)
        found += [(one, exam, said(built, one, exam, value)) for one in scored_labels(built, index, 4, 1, 0)]
    return found


def test_a_judge_that_knows_has_no_error(built: Built) -> None:
    area, error = judge_against_truth(built, judged(built, lambda truth, _: float(truth)), are_probabilities=True)
    assert (area.value, error.value) == (1.0, 0.0)
    assert area.n > 10
    assert judge_against_truth(built, judged(built, lambda truth, _: float(truth)), are_probabilities=False)[1].value is None


def test_a_judge_that_says_the_opposite_or_nothing_new(built: Built) -> None:
    area, error = judge_against_truth(built, judged(built, lambda truth, _: float(not truth)), are_probabilities=True)
    assert (area.value, error.value) == (0.0, 1.0)
    area, error = judge_against_truth(built, judged(built, lambda *_: 0.5), are_probabilities=True)
    assert area.value == 0.5
    assert error.value is not None


def test_calibration_error_of_toy_numbers(built: Built) -> None:
    """.95 where the function holds and .25 elsewhere: the gaps are .05 and .25, weighted by how often each comes up."""
    found = judged(built, lambda truth, _: 0.95 if truth else 0.25)
    values = [prediction.value for _, _, predictions in found for prediction in predictions]
    share = values.count(0.95) / len(values)
    _, error = judge_against_truth(built, found, are_probabilities=True)
    assert error.value == pytest.approx(share * 0.05 + (1 - share) * 0.25)
    assert error.n == len(values)
    _, always = judge_against_truth(built, judged(built, lambda *_: 1.0), are_probabilities=True)
    assert always.value == pytest.approx(1 - share), "1 is in the last bin"


def test_answers_that_are_lost_are_left_out(built: Built) -> None:
    def sometimes(truth: bool, example: Example) -> float | None:
        return float(truth) if int(content_id("some", example.window_id)[:4], 16) % 2 else None

    area, error = judge_against_truth(built, judged(built, sometimes), are_probabilities=True)
    assert (area.value, error.value) == (1.0, 0.0)
    assert error.n < sum(len(exam) for _, exam, _ in judged(built, sometimes))
    nothing = judge_against_truth(built, judged(built, lambda *_: None), are_probabilities=True)
    assert [one.value for one in nothing] == [None, None]
    assert [one.value for one in judge_against_truth(built, [], are_probabilities=True)] == [None, None]


def test_the_score_of_a_pair_is_the_headline_score_on_its_exam(built: Built) -> None:
    clean = next(i for i in able(built) if built.shipped[i][0].exact.f1 == 1.0)
    true, *others = scored_labels(built, clean, 4, 2, 0)
    exam = built.exam(clean)
    found = pair_of(built, true, exam, said(built, true, exam, lambda truth, _: float(truth)))
    assert (found.value, found.relation, found.family, found.f1) == (1.0, "true", built.feature(clean).family, 1.0)
    assert found.low is not None
    assert found.low < 1.0
    for other in others:
        worse = pair_of(built, other, exam, said(built, other, exam, lambda truth, _: float(truth)))
        assert worse.value is not None
        assert worse.value < 1.0
        assert worse.f1 == other.exact.f1
    few = pair_of(built, true, exam, said(built, true, exam, lambda truth, one: None if one.stratum == "hard" else 1.0))
    assert few.value is None


def test_answers_given_to_other_tiles_are_chance(built: Built) -> None:
    generator = np.random.default_rng(0)
    whole, broken = [], []
    for shipped, exam, predictions in judged(built, lambda truth, _: float(truth)):
        whole.append(pair_of(built, shipped, exam, predictions))
        for _ in range(5):
            turned = [replace(predictions[i], window_id=exam[n].window_id) for n, i in enumerate(generator.permutation(len(exam)))]
            broken.append(pair_of(built, shipped, exam, turned))
    row = scorer_row("known", "truth", whole)
    assert row.beats["near"].value is not None
    assert row.beats["near"].value > 0.85
    assert row.spearman_all.value is not None
    assert row.spearman_all.value > 0.6
    scores = {relation: [one.value or 0.0 for one in broken if one.relation == relation] for relation in ("true", "broader")}
    assert abs(np.mean(scores["true"])) < 0.1
    assert abs(np.mean(scores["true"]) - np.mean(scores["broader"])) < 0.1
