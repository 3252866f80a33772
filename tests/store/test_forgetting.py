"""What failed is forgotten whole and alone, so that a run can try it again."""

from pathlib import Path

import pytest

from autolabel.store.connection import Database
from autolabel.store.failures import Forgotten, forget_failures
from autolabel.store.maintenance import check
from tests.store.builders import (
    CONFIG,
    EVIDENCE,
    add,
    at,
    attempt,
    call,
    choice,
    evidence_set,
    feature,
    label,
    prediction,
    rows,
    sae,
    score,
)

NOTHING = Forgotten(0, 0, 0, 0, 0)


@pytest.fixture
def db(database: Path) -> Database:
    """Feature 3 failed to be labelled when it was made; no other failure is in it."""
    return Database(database)


def count(db: Database, table: str, where: str = "true") -> int:
    ((found,),) = [row.values() for row in rows(db.path, f"SELECT count(*) FROM {table} WHERE {where}")]
    return int(found)


def counts(db: Database) -> dict[str, int]:
    return {table: count(db, table) for table in ("labels", "choices", "predictions", "scores", "llm_calls", "llm_attempts")}


def test_nothing_is_forgotten_where_nothing_failed(db: Database) -> None:
    before = counts(db)
    assert forget_failures(db, EVIDENCE, [0, 1, 2, 4, 5]) == NOTHING
    assert forget_failures(db, "another set", range(6)) == NOTHING
    assert counts(db) == before


def test_failed_labels_and_failed_choices_go(db: Database) -> None:
    by_hand = label(3, "by-hand", origin="human", author="somebody", text="what I think")
    add(
        db.path,
        labels=[by_hand, label(3, "refused", status="refused", text=None, error="no")],
        choices=[
            choice(3, None, "failed", reason="none of 2 attempts came to a label"),
            choice(3, None, "failed", choice_id="by-hand", reason="nothing fits", chosen_by="human"),
        ],
    )
    found = forget_failures(db, EVIDENCE, [3])
    assert found == Forgotten(labels=2, choices=1, predictions=0, scores=0, llm_calls=0)
    assert found.summary().startswith("to be tried again: 2 labels, 1 choices, 0 predictions, 0 scores")
    assert count(db, "labels", "feature_index = 3") == count(db, "choices", "feature_index = 3") == 1
    assert check(db) == []
    assert forget_failures(db, EVIDENCE, [3]) == NOTHING


def test_an_exam_with_a_failed_answer_goes_whole_and_with_it_the_scores_of_its_feature(db: Database) -> None:
    sheet = {"scorer": "detection", "config_hash": "config-other"}
    add(
        db.path,
        predictions=[
            prediction(0, "label-0-a", "w-test-0", 0.9, **sheet),
            prediction(0, "label-0-a", "w-test-1", None, status="truncated", error="cut", **sheet),
            prediction(1, "label-0-a", "w-test-1", None, status="refused", error="no", **sheet),
            prediction(2, "label-2-a", "w-val-0", None, status="failed", error="no", split="validation"),
        ],
    )
    of_feature = {f: count(db, "scores", f"feature_index = {f}") for f in (0, 1, 2)}
    before = counts(db)
    found = forget_failures(db, EVIDENCE, [0, 2])
    assert found == Forgotten(labels=0, choices=0, predictions=3, scores=of_feature[0], llm_calls=0)
    assert {f: count(db, "scores", f"feature_index = {f}") for f in (0, 1, 2)} == of_feature | {0: 0}
    assert counts(db) == before | {"predictions": before["predictions"] - 3, "scores": before["scores"] - of_feature[0]}
    assert count(db, "predictions", f"feature_index = 0 AND config_hash = '{CONFIG}'") == 6, "other exams stay"
    assert count(db, "predictions", "feature_index = 1 AND status = 'refused'") == 1, "it was not selected"
    assert check(db) == []


def test_a_score_that_a_fault_prevented_goes_and_one_that_could_not_be_does_not(db: Database) -> None:
    why = {"reason": "unexpected: ZeroDivisionError: division by zero", "metric": "recall"}
    too_few = {"reason": "too few tiles: 3 firing", "metric": "auroc"}
    own = [score(5, "label-0-a", reasons.pop("metric"), None, **reasons) for reasons in (dict(why), dict(too_few))]
    add(db.path, scores=own)
    assert forget_failures(db, EVIDENCE, [5]) == Forgotten(0, 0, 0, 1, 0)
    assert [row["metric"] for row in rows(db.path, "SELECT metric FROM scores WHERE feature_index = 5")] == ["auroc"]


def test_useless_replies_to_failed_questions_go_and_the_ledger_stays(db: Database) -> None:
    """Of the same feature and stage only, and only where the kept reply is the one that could not be used."""
    kinds = {
        "own": {"stage": "label", "feature_index": 3},
        "an-apology": {"stage": "label", "feature_index": 3, "status": "refused"},
        "of-another-stage": {"stage": "validate", "feature_index": 3},
        "of-another-feature": {"stage": "label", "feature_index": 2},
        "good-by-now": {"stage": "label", "feature_index": 3},
    }
    unparsable = {"status": "unparsable", "error": "the reply holds no label"}
    again = attempt("good-by-now", attempt_id="later", stage="label", feature_index=3, started_utc=at(9))
    add(
        db.path,
        llm_calls=[call(name, {"text": ""}) for name in kinds],
        llm_attempts=[*(attempt(name, **(unparsable | where)) for name, where in kinds.items()), again],
        llm_requests=[{"request_hash": "own", "body": {"messages": []}}],
    )
    before = counts(db)
    assert forget_failures(db, EVIDENCE, [3]) == Forgotten(labels=1, choices=0, predictions=0, scores=0, llm_calls=2)
    assert counts(db) == before | {"labels": before["labels"] - 1, "llm_calls": before["llm_calls"] - 2}
    assert count(db, "llm_calls", "request_hash = 'own'") == count(db, "llm_requests") == 0
    assert check(db) == []


def test_another_evidence_set_keeps_its_failures(db: Database) -> None:
    there = {"evidence_set_id": "other", "sae_id": "sae-2"}
    add(
        db.path,
        saes=[sae(sae_id="sae-2", d_sae=4)],
        evidence_sets=[evidence_set(**there)],
        features=[feature(i, **there) for i in range(4)],
        labels=[label(3, "there", status="failed", text=None, error="no", shown_window_ids=[], **there)],
    )
    assert forget_failures(db, EVIDENCE, [3]).labels == 1
    assert count(db, "labels", "status <> 'ok'") == 1
    assert forget_failures(db, "other", [3]).labels == 1
