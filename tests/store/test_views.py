from pathlib import Path
from typing import Any

import pytest

from autolabel.store.run_store import RunStore
from tests.store.builders import (
    EVIDENCE,
    add,
    at,
    attempt,
    choice,
    evidence_set,
    example,
    feature,
    label,
    rows,
    score,
    window,
)


def features(path: Path, columns: str = "*") -> dict[int, dict[str, Any]]:
    return {row["feature_index"]: row for row in rows(path, f"SELECT feature_index, {columns} FROM feature_labels")}


def statuses(path: Path) -> dict[int, str]:
    return {index: row["status"] for index, row in features(path, "status").items()}


def test_one_row_a_feature_with_its_status(database: Path) -> None:
    found = rows(database, "SELECT feature_index, status FROM feature_labels")
    expected = ["labelled", "labelled", "labelled", "failed", "silent", "pending"]
    assert [(row["feature_index"], row["status"]) for row in found] == list(enumerate(expected))


def test_without_a_label_there_is_still_a_row_a_feature(database: Path) -> None:
    newer = "evidence-2"
    sets = [feature(i, evidence_set_id=newer, evidence_status=s) for i, s in enumerate(["alive", "dense", "too_few", "silent"])]
    add(database, evidence_sets=[evidence_set(evidence_set_id=newer, created_utc=at(9))], features=sets)
    assert statuses(database) == {0: "pending", 1: "pending", 2: "too_few", 3: "silent"}


def test_a_control_is_never_the_current_set(database: Path) -> None:
    add(database, evidence_sets=[evidence_set(evidence_set_id="control", control="random_weights", created_utc=at(9))])
    assert {row["evidence_set_id"] for row in rows(database, "FROM feature_labels")} == {EVIDENCE}


def test_verdicts_decide_the_status(database: Path) -> None:
    add(
        database,
        choices=[choice(3, None, "failed"), choice(5, None, "uninterpretable", reason="no pattern"), choice(4, None, "failed")],
        labels=[label(5)],
    )
    assert statuses(database) == {0: "labelled", 1: "labelled", 2: "labelled", 3: "failed", 4: "failed", 5: "abstained"}
    assert features(database, "label_score_reason")[5]["label_score_reason"] == "no pattern"


def test_an_attempt_that_waits_for_its_choice_is_pending(database: Path) -> None:
    add(database, labels=[label(3, "b"), label(5, "lexical", origin="baseline", method="lexical")])
    assert statuses(database)[3] == "pending"
    assert statuses(database)[5] == "pending"


def test_the_newest_human_choice_wins(database: Path) -> None:
    human = {"chosen_by": "human", "author": "somebody"}
    add(
        database,
        labels=[label(0, "h1", origin="human"), label(0, "h2", origin="human"), label(0, "later")],
        choices=[
            choice(0, "label-0-h1", choice_id="h1", created_utc=at(5), **human),
            choice(0, "label-0-h2", choice_id="h2", created_utc=at(6), **human),
            choice(0, "label-0-later", choice_id="later", created_utc=at(7)),
        ],
    )
    row = features(database)[0]
    assert (row["label_id"], row["label_score"]) == ("label-0-h2", None)
    assert row["label_score_reason"] == "not scored on test tiles by an admitted judge"


def test_numbers_of_a_labelled_feature(database: Path) -> None:
    row = features(database)[1]
    assert (row["label_score"], row["judge"], row["answer_mode"], row["headline_scorer"]) == (
        0.6,
        "judge-1",
        "probability",
        "detection",
    )
    assert row["null_score"] == pytest.approx((0 + 0.1) / 2)
    assert (row["n_nulls"], row["lexical_score"], row["token_lookup_score"]) == (2, 0.4, 0.3)
    assert row["lift_null_low"] < row["lift_null"] < row["lift_null_high"]
    assert row["beyond_token"] == pytest.approx(0.3)
    assert (row["detection"], row["fuzzing"], row["embedding"]) == (0.9, 0.8, None)
    assert (row["test_reads"], row["cost_usd"], row["llm_tokens"]) == (1, 0.01, 110)
    assert (row["population_precision"], row["unseen_by_sae"], row["sae_name"]) == (None, "yes", "toy")


def test_an_unknown_price_is_not_free(database: Path) -> None:
    unknown = {"cost_usd": None, "endpoint_id": "api", "via": "live"}
    add(
        database,
        "run-2",
        labels=[label(5)],
        llm_attempts=[
            attempt("x", feature_index=5, status="refused", **unknown),
            attempt("y", feature_index=3, status="failed", prompt_tokens=None, charged_tokens=0, **unknown),
            attempt("z", feature_index=3, status="failed", prompt_tokens=None, completion_tokens=None, cost_usd=0.5),
        ],
    )
    found = features(database, "cost_usd, llm_tokens")
    assert found[5]["cost_usd"] is None
    assert (found[3]["cost_usd"], found[3]["llm_tokens"]) == (pytest.approx(0.51), 110 + 10)
    assert found[4]["cost_usd"] == 0


def test_a_run_that_kept_nothing_counts_with_the_one_that_resumed_it(database: Path) -> None:
    for run_id, job, tables in (
        ("killed", "job", {"llm_attempts": [attempt("k", feature_index=5, cost_usd=0.25)]}),
        ("another", "other job", {"llm_attempts": [attempt("o", feature_index=5, cost_usd=9.0)]}),
        ("resumed", "job", {"llm_attempts": [attempt("r", feature_index=5, cost_usd=0.5)], "labels": [label(5)]}),
    ):
        with RunStore.open(database, run_id) as store:
            store.start_run("label", {}, "c", 0, job)
            for table, given in tables.items():
                store.append(table, given)
    assert features(database, "cost_usd, llm_tokens")[5] == {"feature_index": 5, "cost_usd": 0.75, "llm_tokens": 220}


def test_what_was_spent(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    api = {"endpoint_id": "api", "base_url": "http://api.test/v1", "via": "live", "model_requested": "big"}
    unknown = {"prompt_tokens": None, "cached_tokens": None, "completion_tokens": None}
    with RunStore.open(path, "run-1") as store:
        store.start_run("score", {}, "c", 0, "job")
        store.append(
            "llm_attempts",
            [
                attempt("a", **api, feature_index=1, cached_tokens=40, reasoning_tokens=4, cost_usd=0.25),
                attempt("b", **api, feature_index=1, status="failed", **unknown, charged_tokens=500, cost_usd=0.5),
                attempt("c", **api, feature_index=1, status="failed", **unknown, charged_tokens=0, cost_usd=0.0, http_status=400),
                attempt("d", **api | {"via": "batch"}, feature_index=1, cost_usd=0.125),
                attempt("e", **api, feature_index=2, status="refused", cost_usd=None, started_utc=at(2)),
                attempt("f", **api, stage="calibrate", cost_usd=None, started_utc=at(0)),
                attempt("g", **api, stage="calibrate", cost_usd=0.5, attempt_id="g", started_utc=at(0)),
                attempt("h", feature_index=1, cost_usd=0.0, started_utc=at(3)),
            ],
        )
        store.finish_run("out_of_budget")
    counts = ("n_attempts", "n_ok", "n_failed")
    tokens = ("prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens", "charged_tokens")
    found = rows(path, "FROM spend")
    assert {(row["run_id"], row["command"], row["run_status"], row["model_requested"]) for row in found} == {
        ("run-1", "score", "out_of_budget", "big")
    }
    assert [
        (row["stage"], row["endpoint_id"], row["via"], row["feature_index"], *(row[name] for name in (*counts, *tokens)))
        for row in found
    ] == [
        ("calibrate", "api", "live", None, 2, 2, 0, 200, 0, 20, 0, 220),
        ("label", "api", "batch", 1, 1, 1, 0, 100, 0, 10, 0, 110),
        ("label", "api", "live", 1, 3, 1, 2, 100, 40, 10, 4, 610),
        ("label", "api", "live", 2, 1, 0, 1, 100, 0, 10, 0, 110),
        ("label", "local", "local", 1, 1, 1, 0, 100, 0, 10, 0, 110),
    ]
    assert [(row["cost_usd"], row["n_unpriced"]) for row in found] == [(0.5, 1), (0.125, 0), (0.75, 0), (None, 1), (0.0, 0)]


def headline(path: Path) -> tuple[str, str]:
    (row,) = rows(path, "SELECT scorer, answer_mode FROM headline_scorers WHERE run_id = 'run-1'")
    return row["scorer"], row["answer_mode"]


def scores_by(scorer: str, mode: str, features: tuple[int, ...]) -> list[dict[str, Any]]:
    named = {"scorer": scorer, "answer_mode": mode, "config_hash": f"c-{scorer}-{mode}"}
    return [score(i, f"label-{i}-a", "label_score", 0.5, **named) for i in features]


def test_the_headline_is_the_first_scorer_that_covers_enough(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    with RunStore.open(path, "run-1") as store:
        store.append("evidence_sets", [evidence_set()])
        store.append("features", [feature(i) for i in range(10)])
        store.append("labels", [label(i) for i in range(10)])
        store.append("choices", [choice(i, f"label-{i}-a") for i in range(10)])
        store.append("scores", scores_by("likelihood", "rating", tuple(range(10))))
        store.append("scores", scores_by("detection", "probability", tuple(range(8))))
        store.append("scores", scores_by("detection", "rating", tuple(range(10))))
        store.append("scores", scores_by("rule", "binary", tuple(range(10))))
    assert headline(path) == ("likelihood", "rating")
    add(path, scores=scores_by("detection", "binary", tuple(range(9))))
    assert headline(path) == ("detection", "binary")
    add(path, "run-3", scores=scores_by("detection", "probability", (8,)))
    assert headline(path) == ("detection", "probability")


def test_an_unfit_judge_is_no_headline(database: Path) -> None:
    unfit = {"judge_status": "judge_unfit", "reason": "the judge is unfit: calibration .55", "judge": "weak", "created_utc": at(9)}
    own = score(5, "label-5-a", "label_score", None, **unfit)
    add(database, labels=[label(5)], choices=[choice(5, "label-5-a")], scores=[own])
    assert rows(database, "FROM headline_scorers WHERE run_id = 'run-2'") == []
    row = features(database)[5]
    assert (row["label_score"], row["judge"], row["label_score_reason"]) == (None, None, "the judge is unfit: calibration .55")


def test_a_missing_score_says_why(database: Path) -> None:
    missing = score(5, "label-5-a", "label_score", None, reason="8 firing test tiles of 20")
    add(database, labels=[label(5)], choices=[choice(5, "label-5-a", run_id="run-1")], scores=[missing])
    row = features(database)[5]
    assert (row["status"], row["judge"], row["label_score"]) == ("labelled", "judge-1", None)
    assert row["label_score_reason"] == "8 firing test tiles of 20"


def test_examples_as_text(database: Path) -> None:
    text = "naïve 日本 👩‍👩 end"
    add(
        database,
        windows=[window("w-u", "train", ("naïve ", "日本 ", "👩‍👩 ", "end")), window("w-none", "train", ())],
        examples=[
            example(5, "w-u", "train", positions=[0, 2, 3], activations=[1, 2, 3], sample_rank=5),
            example(5, "w-none", "train", positions=[], activations=[], sample_rank=6),
        ],
    )
    found = {row["window_id"]: row["text_marked"] for row in rows(database, "FROM examples_text WHERE feature_index = 5")}
    assert found["w-u"] == "<<naïve >>日本 <<👩‍👩 end>>"
    assert found["w-u"].replace("<<", "").replace(">>", "") == text
    assert found["w-none"] == ""
    assert found["w-test-1"] == "the dog and the cat sat <<down>> <b>here</b>"


def test_failures_are_counted_beside_their_total(database: Path) -> None:
    found = rows(database, "SELECT kept_in, stage, status, n, n_all FROM failures")
    assert found == [
        {"kept_in": "labels", "stage": "label", "status": "unparsable", "n": 1, "n_all": 10},
        {"kept_in": "llm_attempts", "stage": "label", "status": "unparsable", "n": 1, "n_all": 4},
    ]
