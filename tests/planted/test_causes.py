import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from autolabel.errors import DataError
from autolabel.evidence.subject import Subject
from autolabel.planted.causes import Cause, Targets, deal_causes, first_tokens, truth_rows
from autolabel.planted.planting import Planting

WORDS = {"dogs": ["bark", "walk"], "boats": ["sail"], "hills": ["zigzag", "high"]}


def test_targets_are_the_first_tokens_of_words_behind_a_blank(subject: Subject) -> None:
    found = first_tokens(subject, ["dog", " dog", "boat", "", "zigzag"])
    assert set(found.token_ids) == {int(subject.encode(f" {word}")[0][0]) for word in ("dog", "boat")}
    assert found.token_ids == tuple(sorted(found.token_ids))
    assert subject.encode(" zigzag")[1][:2].tolist() == [0, 1]  # a mere blank, which says nothing of the word


def test_effects_are_dealt_out_in_turn_by_seed(subject: Subject, planting: Planting) -> None:
    effects = [("causal", 0.25), ("inert", 0.0), ("promotes_other", 0.5)]
    deals = [deal_causes(subject, planting, WORDS, effects, seed) for seed in range(6)]  # type: ignore[arg-type]
    for causes in deals:
        assert [cause.concept for cause in causes] == planting.labels
        assert Counter((cause.kind, cause.delta) for cause in causes) == Counter(effects)
        for cause in causes:
            assert cause.own == first_tokens(subject, WORDS[cause.concept])
            assert cause.targets == first_tokens(subject, WORDS[cause.promotes])
            assert (cause.promotes != cause.concept) == (cause.kind == "promotes_other")
    assert len({tuple(cause.kind for cause in causes) for causes in deals}) > 1
    assert deals[0] == deal_causes(subject, planting, WORDS, effects, 0)  # type: ignore[arg-type]


def test_a_label_without_words_or_unlike_no_other_is_refused(subject: Subject, planting: Planting) -> None:
    with pytest.raises(DataError, match="'boats' has no word that begins with a token of its own"):
        deal_causes(subject, planting, WORDS | {"boats": [" "]})
    same = {label: ["walk"] for label in WORDS}
    with pytest.raises(DataError, match="every other concept has target tokens in common with"):
        deal_causes(subject, planting, same, [("promotes_other", 0.5)])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "other"}, "'other' is no kind of cause"),
        ({"delta": 0.0}, "an effect of 0.0 nats does not go with 'causal'"),
        ({"delta": -0.5}, "an effect of -0.5 nats"),
        ({"delta": float("nan")}, "an effect of nan nats"),
        ({"kind": "inert"}, "an effect of 0.5 nats does not go with 'inert'"),
        ({"targets": Targets((), ())}, "has no target token"),
        ({"kind": "promotes_other"}, "they have target tokens in common"),
    ],
)
def test_impossible_causes_are_refused(causes: list[Cause], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        replace(causes[0], **changes)


def test_the_truth_is_a_row_per_plant(planting: Planting, causes: list[Cause]) -> None:
    rows = json.loads(json.dumps(truth_rows(planting, causes, "layers.2"), allow_nan=False))
    assert [(row["plant"], row["concept"], row["kind"], row["delta"]) for row in rows] == [
        (0, "dogs", "causal", 0.5),
        (1, "boats", "promotes_other", 1.0),
        (2, "hills", "inert", 0.0),
    ]
    assert rows[1]["promotes"] == "hills"
    assert rows[1]["target_token_ids"] == rows[2]["own_token_ids"]
    assert (rows[0]["layer"], rows[0]["read"]) == ("layers.1", "layers.2")
    assert rows[0]["direction_hash"] == planting.direction_hash(0)
