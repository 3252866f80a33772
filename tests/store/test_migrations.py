import json
from pathlib import Path

import duckdb
import pytest

from autolabel.errors import SchemaTooNew, StoreError, StoreLocked
from autolabel.store import maintenance, migrations, schema
from autolabel.store.connection import Database
from autolabel.store.maintenance import check
from autolabel.store.migrations import migrate
from autolabel.store.run_store import RunStore
from autolabel.store.schema import MIGRATIONS, TABLE_KEYS, Migration, apply_migration
from tests.store.builders import attempt, rows
from tests.store.processes import holding

VIEWS = (
    *("current_choices", "current_evidence_sets", "headline_scorers", "feature_labels", "examples_text", "failures", "spend"),
    *("label_trust", "audit_results", "control_labels"),
)
NAMES = ["m001_initial", "m002_llm_engine", "m003_evidence_engine", "m004_scores"]


def test_a_new_file_gets_every_table_and_every_view_selects(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "labels.duckdb"
    assert migrate(path) == NAMES
    tables = {row["table_name"] for row in rows(path, "SELECT table_name FROM duckdb_tables()")}
    assert tables == {*TABLE_KEYS, schema.MARKER}
    assert {row["view_name"] for row in rows(path, "SELECT view_name FROM duckdb_views() WHERE NOT internal")} == set(VIEWS)
    assert all(rows(path, f"FROM {view}") == [] for view in VIEWS)


def test_migrating_again_changes_nothing(database: Path) -> None:
    before = rows(database, "FROM feature_labels")
    assert migrate(database) == []
    assert rows(database, "FROM feature_labels") == before


def test_every_table_and_column_says_what_it_is(tmp_path: Path) -> None:
    migrate(tmp_path / "x.duckdb")
    silent = rows(
        tmp_path / "x.duckdb",
        "SELECT table_name, column_name FROM duckdb_columns() WHERE comment IS NULL"
        " AND table_name IN (SELECT table_name FROM duckdb_tables())"
        " UNION ALL SELECT table_name, '' FROM duckdb_tables() WHERE comment IS NULL"
        " UNION ALL SELECT view_name, '' FROM duckdb_views() WHERE NOT internal AND comment IS NULL",
    )
    assert silent == []


def test_comments_are_quoted() -> None:
    sql = (
        "-- every a: shared\n-- table: it's one\nCREATE TABLE t (\n    a INTEGER,\n    b INTEGER, --: Bob's\n"
        "    c INTEGER,\n);\nCREATE TABLE u ("
    )
    assert list(schema.comment_statements(sql)) == [
        "COMMENT ON TABLE t IS 'it''s one'",
        "COMMENT ON COLUMN t.a IS 'shared'",
        "COMMENT ON COLUMN t.b IS 'Bob''s'",
    ]


def test_a_failing_first_migration_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "MIGRATIONS", (Migration("m001_bad", "CREATE TABLE t (a INTEGER);\nSELECT nonsense;"),))
    with pytest.raises(StoreError, match="nonsense"):
        migrate(tmp_path / "x.duckdb")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("is_new", [True, False])
def test_a_failing_later_migration_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_new: bool) -> None:
    path = tmp_path / "x.duckdb"
    if not is_new:
        migrate(path)
    bad = Migration("m999_bad", "ALTER TABLE runs ADD COLUMN extra INTEGER;\nSELECT nonsense;")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, bad))
        with pytest.raises(StoreError, match="nonsense"):
            migrate(path)
    migrate(path)
    assert rows(path, f"SELECT name FROM {schema.MARKER} ORDER BY name") == [{"name": name} for name in NAMES]
    assert "extra" not in {row["column_name"] for row in rows(path, "SELECT column_name FROM duckdb_columns()")}


def test_a_later_migration_keeps_the_rows(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows(database, "SELECT * FROM labels ORDER BY label_id")
    good = Migration("m999_good", "ALTER TABLE labels ADD COLUMN note VARCHAR;\nCOMMENT ON COLUMN labels.note IS 'x';")
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, good))
    monkeypatch.setattr("autolabel.store.connection.MIGRATIONS", (*MIGRATIONS, good))
    with pytest.raises(StoreError, match=r"older schema .without m999_good.*db migrate"), Database(database).read():
        pass
    with pytest.raises(StoreError, match="older schema"), Database(database).write():
        pass
    assert migrate(database) == ["m999_good"]
    assert rows(database, "SELECT * FROM labels ORDER BY label_id") == [row | {"note": None} for row in before]


FIRST_ROWS = """
INSERT INTO runs (run_id, command, config, config_hash, seed, code_version, status, message, started_utc, finished_utc)
VALUES ('r', 'run', '{"a": 1}', 'c', 7, '0.1', 'done', NULL, '2026-01-02 03:04:05', '2026-01-02 04:00:00');
INSERT INTO llm_attempts
    (attempt_id, request_hash, run_id, stage, feature_index, endpoint_id, model_requested, status, error,
     prompt_tokens, cached_tokens, completion_tokens, cost_usd, latency_ms, started_utc)
VALUES
    ('a1', 'q1', 'r', 'label', 3, 'https://api.test/v1', 'big', 'ok', NULL, 100, 20, 10, NULL, 12.5, '2026-01-02 03:04:06'),
    ('a2', 'q2', 'r', 'score', NULL, 'https://api.test/v1', 'big', 'failed', 'HTTP 500', NULL, NULL, NULL, NULL, 3.5, '2026-01-02 03:04:07'),
    ('a3', 'q3', 'r', 'score', 4, 'local', 'small', 'ok', NULL, 50, 0, 5, 0, 1.5, '2026-01-02 03:04:08');
"""


@pytest.fixture
def of_the_first_version(tmp_path: Path) -> Path:
    """A database that has only been through the first migration, with a run and its attempts."""
    path = tmp_path / "old.duckdb"
    with duckdb.connect(str(path)) as connection:
        connection.begin()
        apply_migration(connection, MIGRATIONS[0], "0.1")
        connection.execute(FIRST_ROWS)
        connection.execute("CREATE VIEW failures AS SELECT run_id, stage, status FROM llm_attempts")
        connection.commit()
    return path


def test_the_second_migration_keeps_runs_and_attempts(of_the_first_version: Path) -> None:
    path = of_the_first_version
    with duckdb.connect(str(path), read_only=True) as connection:
        before = {
            table: connection.sql(f"FROM {table} ORDER BY ALL").to_arrow_table().to_pylist() for table in ("runs", "llm_attempts")
        }
    with pytest.raises(StoreError, match=r"older schema .without m002_llm_engine"), Database(path).read():
        pass
    assert migrate(path) == NAMES[1:]
    assert rows(path, "FROM runs") == [row | {"job_hash": None} for row in before["runs"]]
    nothing = {"base_url": None, "http_status": None, "input_bytes": None, "reasoning_tokens": None}
    new = [
        nothing | {"via": "live", "charged_tokens": 110},
        nothing | {"via": "live", "charged_tokens": 0},
        nothing | {"via": "local", "charged_tokens": 55},
    ]
    found = rows(path, "FROM llm_attempts ORDER BY attempt_id")
    assert found == [row | added for row, added in zip(before["llm_attempts"], new, strict=True)]
    assert check(Database(path)) == []
    assert maintenance.schema(path) == maintenance.schema()
    assert not any("_before" in row["table_name"] for row in rows(path, "SELECT table_name FROM duckdb_tables()"))


def test_the_second_migration_lets_new_rows_in(of_the_first_version: Path) -> None:
    with RunStore.open(of_the_first_version, "r2") as store:
        store.start_run("run", {}, "c", 0, "job")
        store.record(None, attempt("q4", via="batch", http_status=429, charged_tokens=0))
        store.finish_run("out_of_budget", "--max-calls 1")
    assert rows(of_the_first_version, "SELECT run_id, job_hash, status FROM runs ORDER BY run_id") == [
        {"run_id": "r", "job_hash": None, "status": "done"},
        {"run_id": "r2", "job_hash": "job", "status": "out_of_budget"},
    ]


def test_a_migration_that_fails_leaves_the_file_of_before(of_the_first_version: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = Migration(MIGRATIONS[1].name, MIGRATIONS[1].sql + "\nSELECT nonsense;")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (MIGRATIONS[0], broken))
        with pytest.raises(StoreError, match="nonsense"):
            migrate(of_the_first_version)
    with duckdb.connect(str(of_the_first_version), read_only=True) as connection:
        assert connection.execute("SELECT count(*) FROM llm_attempts").fetchall() == [(3,)]
        assert connection.execute("SELECT count(*) FROM failures").fetchall() == [(3,)]
    assert migrate(of_the_first_version) == NAMES[1:]


def test_a_file_that_lacks_nothing_is_not_written(database: Path) -> None:
    with Database(database).write() as connection:
        connection.execute("CREATE VIEW of_somebody_else AS SELECT 1 AS one")
    with holding(database, read_only=True):
        assert migrate(database, wait_s=0.0) == []


def test_an_older_view_is_made_anew(database: Path) -> None:
    with Database(database).write() as connection:
        connection.execute("CREATE OR REPLACE VIEW spend AS SELECT 1 AS old")
    assert migrate(database) == []
    assert rows(database, "SELECT count(*) > 0 AS found, count(n_unpriced) > 0 AS new FROM spend") == [{"found": True, "new": True}]


def test_a_file_of_a_later_version_is_refused(database: Path) -> None:
    with Database(database).write() as connection:
        connection.execute(f"INSERT INTO {schema.MARKER} VALUES ('m999_future', '9.0', now()::TIMESTAMP)")
    before = database.read_bytes()
    with pytest.raises(SchemaTooNew, match=r"m999_future.*upgrade autolabel"):
        migrate(database)
    with pytest.raises(SchemaTooNew, match="m999_future"), Database(database).read():
        pass
    assert database.read_bytes() == before


def test_an_empty_database_is_adopted(tmp_path: Path) -> None:
    duckdb.connect(str(tmp_path / "x.duckdb")).close()
    assert migrate(tmp_path / "x.duckdb") == NAMES


def test_a_stranger_is_refused_and_left_alone(tmp_path: Path) -> None:
    strange, text, empty = tmp_path / "s.duckdb", tmp_path / "t.duckdb", tmp_path / "e.duckdb"
    with duckdb.connect(str(strange)) as connection:
        connection.execute("CREATE TABLE migrations (name VARCHAR)")
    text.write_text(json.dumps({"not": "a database"}) * 1000)
    empty.touch()
    for path, words in ((strange, "not one of autolabel's"), (text, "not a DuckDB database"), (empty, "not a DuckDB database")):
        before = path.read_bytes()
        with pytest.raises(StoreError, match=words) as caught:
            migrate(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        with pytest.raises(StoreError, match=words), Database(path).read():
            pass
        assert path.read_bytes() == before
    assert sorted(tmp_path.iterdir()) == [empty, strange, text]


def test_a_locked_new_file_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.duckdb"
    migrate(path)
    with holding(path, read_only=False) as pid:
        monkeypatch.setattr(Path, "exists", lambda _: False)
        with pytest.raises(StoreLocked, match=f"PID {pid}"):
            migrations.migrate(path, wait_s=0.0)
        monkeypatch.undo()
    assert path.exists()
