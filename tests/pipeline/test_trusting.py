from pathlib import Path

from autolabel.pipeline.trusting import info_of, model_row, trust_row
from autolabel.records import Label
from autolabel.store.connection import Database
from autolabel.store.maintenance import check
from autolabel.store.run_store import RunStore
from autolabel.trust import load_models
from tests.audits import N_LABELS, audited_database
from tests.store import builders as b

RULE = {"scorer": "rule", "judge": "rule", "config_hash": "config-rule", "answer_mode": "rating", "judge_status": "not_needed"}
EMBEDDING = {"scorer": "embedding", "judge": "encoder", "config_hash": "config-embedding", "answer_mode": "rating"}


def label(index: int = 0) -> Label:
    return Label(f"label-{index}-a", b.EVIDENCE, b.SAE, index, "ok", "explain", text="pets")


def scored(metric: str, value: float | None, scorer: dict[str, str], **changes: object) -> b.Row:
    return b.score(0, "label-0-a", metric, value, **scorer) | {"part": None} | changes


def test_a_rule_that_is_precise_and_complete_is_trusted_and_a_bad_one_is_not() -> None:
    model = load_models()[0]
    assert model.threshold is not None
    good, bad = (
        trust_row(label(), [scored("population_precision", value, RULE), scored("population_recall", value, RULE)])
        for value in (0.97, 0.4)
    )
    assert good["value"] > model.threshold > 0.2 > bad["value"]
    assert good["low"] < good["value"] < good["high"]
    assert (good["metric"], good["scorer"], good["judge"], good["n"]) == ("p_correct", "trust", "trust rule_population", 60)
    assert good["config_hash"] == model_row(model)["model_id"] == info_of(model).config_hash


def test_without_a_model_there_is_a_reason_and_no_value() -> None:
    row = trust_row(label(), [scored("label_score", 0.9, {"scorer": "fuzzing"})])
    assert row["value"] is row["low"] is row["high"] is None
    assert "no trust model reads these scores alone (none)" in row["reason"]
    assert row["judge"] == "trust none"


def test_an_unfit_judge_is_not_listened_to() -> None:
    row = trust_row(label(), [scored("label_score", None, EMBEDDING, judge_status="judge_unfit", reason="unfit")])
    assert row["value"] is None


def test_the_id_follows_from_the_scores_that_were_read() -> None:
    one, same, other = (trust_row(label(), [scored("label_score", 0.5, EMBEDDING, score_id=name)]) for name in "aab")
    assert one["score_id"] == same["score_id"] != other["score_id"]
    with_more = trust_row(label(), [scored("label_score", 0.5, EMBEDDING, score_id="a"), scored("recall", 0.5, EMBEDDING)])
    assert with_more == one, "what no model reads changes nothing"


def test_labels_in_force_get_a_row_each_and_the_view_says_which_are_trusted(tmp_path: Path) -> None:
    path = audited_database(tmp_path)
    rule = [scored(f"population_{name}", 0.98, RULE, created_utc=b.at(5)) for name in ("precision", "recall")]
    embedding = [b.score(1, "label-1-a", metric, 0.7, **EMBEDDING) | {"part": None} for metric in ("auroc", "label_score")]
    said = [b.prediction(1, "label-1-a", "w-test-0", 0.5, scorer="embedding", config_hash="config-embedding")]
    b.add(path, "run-scores", scores=[*rule, *embedding], predictions=said)
    judged = scored("label_score", 0.6, {"scorer": "detection", "answer_mode": "probability"})
    found = {0: rule, 1: [*embedding, judged]}
    kept = [trust_row(label(index), found.get(index, [])) for index in range(N_LABELS)]
    with RunStore.open(path, "run-trust") as store:
        store.start_run("score", {}, "x", 0)
        for _ in range(2):
            store.insert_many({"trust_models": [model_row(model) for model in load_models()], "scores": kept})
        store.finish_run("done")
    trust = {row["feature_index"]: row for row in b.rows(path, "FROM label_trust")}
    assert (trust[0]["model"], trust[0]["trusted"]) == ("rule_population", True)
    assert (trust[1]["model"], trust[1]["threshold"], trust[1]["trusted"]) == ("detection", None, None)
    assert (trust[2]["model"], trust[2]["p_correct"], trust[2]["trusted"]) == (None, None, None)
    assert "no trust model" in trust[2]["reason"]
    assert len(b.rows(path, "SELECT * FROM scores WHERE scorer = 'trust' AND run_id = 'run-trust'")) == N_LABELS
    assert check(Database(path)) == []


def test_the_newest_score_of_each_kind_counts() -> None:
    both = trust_row(label(), [scored("label_score", value, EMBEDDING) for value in (0.0, 0.9)])
    low, high = (trust_row(label(), [scored("label_score", value, EMBEDDING)]) for value in (0.0, 0.9))
    assert both["value"] == high["value"] > low["value"]
