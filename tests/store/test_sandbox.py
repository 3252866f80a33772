import time
from pathlib import Path

import pytest

from autolabel.errors import ConfigError, StoreError
from autolabel.store.sandbox import query, require_one_expression

ATTACKS = [
    "COPY (SELECT 1) TO '{out}'",
    "COPY features TO '{out}' (FORMAT parquet)",
    "EXPORT DATABASE '{out}'",
    "SELECT * FROM read_text('{secret}')",
    "SELECT * FROM read_csv('{secret}')",
    "SELECT * FROM read_blob('{secret}')",
    "SELECT * FROM sniff_csv('{secret}')",
    "SELECT * FROM read_duckdb('{secret}')",
    "FROM '{secret}'",
    "SELECT * FROM glob('/*')",
    "SELECT * FROM 'https://example.com/x.csv'",
    "ATTACH '{out}'",
    "ATTACH ':memory:' AS m",
    "DETACH labels",
    "INSTALL httpfs",
    "LOAD httpfs",
    "SET enable_external_access = true",
    "PRAGMA enable_external_access = true",
    "SET lock_configuration = false",
    "RESET memory_limit",
    "SET threads = 64",
    "SELECT 1; SELECT 2",
    "SELECT 1; COPY (SELECT 1) TO '{out}'",
    "CREATE TABLE t (a INTEGER)",
    "CREATE TEMP TABLE t AS SELECT 1",
    "CREATE OR REPLACE VIEW feature_labels AS SELECT 1",
    "INSERT INTO features SELECT * FROM features",
    "UPDATE runs SET status = 'done'",
    "DELETE FROM features",
    "DROP TABLE features",
    "EXPLAIN ANALYZE DELETE FROM features",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{out}'",
    "SELECT getenv('HOME')",
    "SELECT * FROM secret_frame",
    "SELECT * FROM query('COPY (SELECT 1) TO ''{out}''')",
    "PREPARE p AS SELECT 1",
    "CHECKPOINT",
    "VACUUM",
    "CALL enable_logging()",
    "",
    "-- nothing",
    "SELECT",
    "SELECT $missing",
    "SELECT * FROM no_such_table",
]


@pytest.mark.parametrize("attack", ATTACKS)
def test_nothing_but_reading_this_file(database: Path, tmp_path: Path, attack: str) -> None:
    secret, out = tmp_path / "secret.csv", tmp_path / "out"
    secret.write_text("a,b\n1,2\n")
    before = database.read_bytes()
    secret_frame = {"a": 1}
    assert secret_frame
    with pytest.raises(ConfigError) as caught:
        query(database, attack.format(secret=secret, out=out))
    assert "\n" not in str(caught.value)
    assert not out.exists()
    assert database.read_bytes() == before


def test_frames_of_the_program_are_no_tables(database: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        query(database, "SELECT * FROM settings")


@pytest.mark.parametrize(
    "sql", ["FROM features", "DESCRIBE features", "SHOW TABLES", "EXPLAIN SELECT 1", "WITH t AS (SELECT 1 AS a) FROM t;"]
)
def test_reading_statements(database: Path, sql: str) -> None:
    result = query(database, sql)
    assert result.table.num_rows > 0
    assert not result.truncated


def test_parameters_by_name(database: Path) -> None:
    result = query(database, "SELECT feature_index FROM features WHERE firing_rate > $least ORDER BY 1", params={"least": 0.05})
    assert result.table["feature_index"].to_pylist() == [0, 2]


def test_a_bomb_is_stopped_by_time(database: Path) -> None:
    started = time.monotonic()
    with pytest.raises(ConfigError, match=r"longer than 0\.3 s"):
        query(database, "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range * b.range % 7 = 3", timeout_s=0.3)
    assert time.monotonic() - started < 5


def test_a_bomb_is_stopped_by_memory(database: Path) -> None:
    with pytest.raises(ConfigError, match="Out of Memory"):
        query(database, "SELECT list(range) FROM range(1000000000)", memory_limit="100MB")


def test_a_huge_result_is_cut_without_being_made(database: Path) -> None:
    result = query(database, "SELECT * FROM range(1000000000000)", max_rows=5_000, memory_limit="200MB")
    assert result.truncated
    assert result.table["range"].to_pylist() == list(range(5_000))
    exact = query(database, "SELECT * FROM range(5000)", max_rows=5_000)
    assert (exact.table.num_rows, exact.truncated) == (5_000, False)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="does not exist"):
        query(tmp_path / "none.duckdb", "SELECT 1")


@pytest.mark.parametrize(
    "where", ["status = 'pending'", "label_score > .5 -- good", "label ILIKE '%)%' OR true", "1 IN (SELECT 1)", "/* ( */ true"]
)
def test_one_expression(where: str) -> None:
    require_one_expression(where)


@pytest.mark.parametrize(
    "where",
    [
        "",
        "true, true",
        "true) OR (true",
        "true) OR list_value(true",
        "true), list_value(true",
        "true) FROM features WHERE (true",
        "true) WHERE (true",
        "true) UNION SELECT list_value(1",
        "true) ORDER BY (1",
        "true); DROP TABLE features; SELECT (1",
        "true) --",
        "true) /*",
        "true ORDER BY 1",
        "DISTINCT true",
        "true) FILTER (WHERE true",
        "true) OVER (",
        "SELECT 1",
    ],
)
def test_more_or_less_than_one_expression(where: str) -> None:
    with pytest.raises(ConfigError, match="condition"):
        require_one_expression(where)
