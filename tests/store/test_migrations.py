import json
from pathlib import Path

import duckdb
import pytest

from autolabel.errors import SchemaTooNew, StoreError, StoreLocked
from autolabel.store import migrations, schema
from autolabel.store.connection import Database
from autolabel.store.migrations import migrate
from autolabel.store.schema import MIGRATIONS, TABLE_KEYS, Migration
from tests.store.builders import rows
from tests.store.processes import holding

VIEWS = ("current_choices", "current_evidence_sets", "headline_scorers", "feature_labels", "examples_text", "failures")


def test_a_new_file_gets_every_table_and_every_view_selects(tmp_path: Path) -> None:
    path = tmp_path / "deeper" / "labels.duckdb"
    assert migrate(path) == ["m001_initial"]
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
    bad = Migration("m002_bad", "ALTER TABLE runs ADD COLUMN extra INTEGER;\nSELECT nonsense;")
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, bad))
        with pytest.raises(StoreError, match="nonsense"):
            migrate(path)
    migrate(path)
    assert rows(path, f"SELECT name FROM {schema.MARKER}") == [{"name": "m001_initial"}]
    assert "extra" not in {row["column_name"] for row in rows(path, "SELECT column_name FROM duckdb_columns()")}


def test_a_later_migration_keeps_the_rows(database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = rows(database, "SELECT * FROM labels ORDER BY label_id")
    good = Migration("m002_good", "ALTER TABLE labels ADD COLUMN note VARCHAR;\nCOMMENT ON COLUMN labels.note IS 'x';")
    monkeypatch.setattr(schema, "MIGRATIONS", (*MIGRATIONS, good))
    monkeypatch.setattr("autolabel.store.connection.MIGRATIONS", (*MIGRATIONS, good))
    with pytest.raises(StoreError, match=r"older schema .without m002_good.*db migrate"), Database(database).read():
        pass
    with pytest.raises(StoreError, match="older schema"), Database(database).write():
        pass
    assert migrate(database) == ["m002_good"]
    assert rows(database, "SELECT * FROM labels ORDER BY label_id") == [row | {"note": None} for row in before]


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
    assert migrate(tmp_path / "x.duckdb") == ["m001_initial"]


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
