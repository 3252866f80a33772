from pathlib import Path
from typing import Any

import duckdb
import pytest

from autolabel.errors import StoreError
from autolabel.store.connection import Database
from autolabel.store.maintenance import check, diff, schema
from autolabel.store.schema import TABLE_KEYS
from tests.store.builders import add, at, choice, evidence_set, example, feature, label, prediction, score, window
from tests.store.processes import holding


def test_a_good_file_has_no_problem(database: Path) -> None:
    assert check(Database(database)) == []


PROBLEMS: list[tuple[dict[str, list[dict[str, Any]]], str]] = [
    ({"labels": [label(99)]}, "1 labels whose evidence_set_id and feature_index features does not hold (one is 99)"),
    (
        {"labels": [label(0, "x", prompt_hash="sha256:gone")]},
        "1 labels whose prompt_hash prompts does not hold (one is sha256:gone)",
    ),
    ({"choices": [choice(5, "gone")]}, "1 choices whose label_id labels does not hold (one is gone)"),
    (
        {"evidence_sets": [evidence_set(evidence_set_id="e2")]},
        "1 evidence sets whose number of features is not d_sae of their SAE (one is e2)",
    ),
    ({"examples": [example(0, "w-test-0", "train", in_exam=True, kind="neighbour")]}, "1 exam tiles that labelers may be shown"),
    ({"examples": [example(0, "w-test-0", "validation", kind="lookalike")]}, "1 examples in another split than their window"),
    ({"windows": [window("w-9", "test", document_id="doc-w-train")]}, "1 documents in more than one split"),
    ({"labels": [label(0, "x", shown_window_ids=["w-test-0"])]}, "1 windows that a labeler was shown from outside train"),
    ({"choices": [choice(5, "label-0-a")]}, "1 choices of a label that belongs to another feature"),
    ({"choices": [choice(0, "label-0-lexical", choice_id="c", created_utc=at(3))]}, "1 choices of a baseline"),
    ({"choices": [choice(3, "label-3-a", created_utc=at(3))]}, "1 choices of a failed label"),
    (
        {
            "labels": [label(5)],
            "choices": [choice(5, "label-5-a")],
            "predictions": [prediction(5, "label-5-a", "w-test-0", 0.5, created_utc=at(1))],
        },
        "1 labels with test answers from before they were chosen (one is label-5-a)",
    ),
    ({"scores": [score(5, "label-3-a", "auroc", 0.5, is_null=False)]}, "1 scores without the predictions they come from"),
    (
        {"scores": [score(5, "label-3-a", "auroc", 0.5, is_null=False)]},
        "1 scores whose is_null does not say whether the label is the feature's own",
    ),
]


@pytest.mark.parametrize(("wrong", "words"), PROBLEMS)
def test_each_problem_is_found(database: Path, wrong: dict[str, list[dict[str, Any]]], words: str) -> None:
    found = check(add(database, "run-2", **wrong))
    assert any(line.startswith(words) for line in found), found


def test_repeated_rows_and_nan_are_found(database: Path) -> None:
    with Database(database).write() as connection:
        connection.execute("INSERT INTO features FROM features WHERE feature_index = 0")
        connection.execute("ALTER TABLE calibrations ADD COLUMN odd DOUBLE DEFAULT 'nan'::DOUBLE")
        connection.execute(
            "INSERT INTO calibrations BY NAME SELECT 'k' AS calibration_id, 's' AS scorer, 'j' AS judge, 'binary' AS answer_mode, "
            "'c' AS config_hash, "
            "1 AS n, 0 AS n_failed, 'admitted' AS verdict, 'r' AS run_id, now()::TIMESTAMP AS created_utc"
        )
    found = check(Database(database))
    assert "1 features with the same evidence_set_id, feature_index (one is evidence-1)" in found
    assert "1 calibrations with NaN in odd (one is nan)" in found


def test_the_schema_in_words(database: Path) -> None:
    text = schema()
    assert schema(database) == text
    assert text.startswith(
        "table runs: one row per start of a command that writes\n  run_id        VARCHAR    one start of a command"
    )
    assert all(f"table {table}: one row per " in text for table in TABLE_KEYS)
    assert "view feature_labels: one row per feature of the newest evidence set" in text


def test_equal_work_is_equal_whatever_the_times(database: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(database.read_bytes())
    with Database(copy).write() as connection:
        connection.execute("UPDATE labels SET created_utc = created_utc + INTERVAL 1 DAY, run_id = 'other'")
        connection.execute("DELETE FROM llm_attempts")
        connection.execute("DELETE FROM runs")
    assert diff(database, copy) == []
    assert diff(database, database) == []


def test_differences_are_counted_and_shown(database: Path, tmp_path: Path) -> None:
    copy = tmp_path / "it's a copy.duckdb"
    copy.write_bytes(database.read_bytes())
    with Database(copy).write() as connection:
        connection.execute("UPDATE features SET density = 0.5, histogram = [1] WHERE feature_index = 1")
        connection.execute("DELETE FROM strata WHERE feature_index = 1")
        connection.execute("INSERT INTO windows FROM windows WHERE window_id = 'w-train'")
    assert diff(database, copy) == [
        "features: 1 rows only in the first, 1 only in the second; a row in both differs in density, histogram",
        "windows: 0 rows only in the first, 1 only in the second",
        "strata: 4 rows only in the first, 0 only in the second",
    ]


def test_only_databases_of_ours_are_compared(database: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        diff(database, tmp_path / "none.duckdb")
    duckdb.connect(str(tmp_path / "empty.duckdb")).close()
    with pytest.raises(StoreError, match="older schema"):
        diff(database, tmp_path / "empty.duckdb")


def test_a_file_that_is_taken_between_looks_is_said_to_be(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "copy.duckdb"
    copy.write_bytes(database.read_bytes())
    monkeypatch.setattr("autolabel.store.maintenance.require_current", lambda path, connection: None)
    monkeypatch.setattr("autolabel.store.maintenance.open_file", lambda path, **_: duckdb.connect(":memory:"))
    with holding(copy, read_only=False), pytest.raises(StoreError, match="cannot be compared"):
        diff(database, copy)


def test_features_of_the_builders_are_complete() -> None:
    assert feature(0).keys() >= {"firing_rate", "histogram"}
