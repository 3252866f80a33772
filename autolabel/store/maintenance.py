"""Looking after a database file: is it consistent, what does it hold, and do two of them say the same.

The invariant: nothing here writes.
"""

from pathlib import Path

import duckdb

from autolabel.errors import StoreError
from autolabel.store.connection import Database, one_line, open_file, require_current, require_file
from autolabel.store.schema import MARKER, TABLE_KEYS, create_everything, quoted

REFERENCES: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("llm_calls", ("run_id",), "runs"),
    ("llm_attempts", ("run_id",), "runs"),
    ("llm_requests", ("request_hash",), "llm_calls"),
    ("llm_batches", ("run_id",), "runs"),
    ("llm_batch_events", ("submission_id",), "llm_batches"),
    ("endpoint_probes", ("run_id",), "runs"),
    ("evidence_sets", ("sae_id",), "saes"),
    ("evidence_sets", ("corpus_id",), "corpora"),
    ("features", ("evidence_set_id",), "evidence_sets"),
    ("windows", ("evidence_set_id",), "evidence_sets"),
    ("examples", ("evidence_set_id", "feature_index"), "features"),
    ("examples", ("evidence_set_id", "window_id"), "windows"),
    ("strata", ("evidence_set_id", "feature_index"), "features"),
    ("labels", ("evidence_set_id", "feature_index"), "features"),
    ("labels", ("prompt_hash",), "prompts"),
    ("choices", ("evidence_set_id", "feature_index"), "features"),
    ("choices", ("label_id",), "labels"),
    ("predictions", ("label_id",), "labels"),
    ("predictions", ("evidence_set_id", "feature_index"), "features"),
    ("predictions", ("evidence_set_id", "window_id"), "windows"),
    ("scores", ("label_id",), "labels"),
    ("scores", ("evidence_set_id", "feature_index"), "features"),
    ("interventions", ("evidence_set_id", "feature_index"), "features"),
    ("audits", ("evidence_set_id",), "evidence_sets"),
    ("audit_items", ("audit_id",), "audits"),
    ("audit_items", ("label_id",), "labels"),
    ("audit_items", ("evidence_set_id", "feature_index"), "features"),
    ("audit_answers", ("audit_id", "item_number"), "audit_items"),
)
"""Rows of the first table whose columns are not NULL and have no like in the last are orphans."""

NOT_COMPARED = {"runs", "llm_attempts", "llm_batches", "llm_batch_items", "llm_batch_events", "endpoint_probes"}
"""Tables that say how things were asked, not what is known."""

RULES: tuple[tuple[str, str], ...] = (
    (
        "evidence sets whose number of features is not d_sae of their SAE",
        "SELECT evidence_set_id FROM evidence_sets e JOIN saes s USING (sae_id) "
        "WHERE (SELECT count(*) FROM features f WHERE f.evidence_set_id = e.evidence_set_id) <> s.d_sae",
    ),
    (
        "batches with more or fewer requests than they say",
        "SELECT submission_id FROM llm_batches b "
        "WHERE (SELECT count(*) FROM llm_batch_items i WHERE i.submission_id = b.submission_id) <> b.n_requests",
    ),
    (
        "failed labels with text, or good ones without",
        "SELECT label_id FROM labels WHERE (status = 'ok') <> (text IS NOT NULL)",
    ),
    (
        "failed predictions with a value, or good ones without",
        "SELECT window_id FROM predictions WHERE (status = 'ok') <> (value IS NOT NULL)",
    ),
    ("exam tiles that labelers may be shown", "SELECT window_id FROM examples WHERE in_exam AND split = 'train'"),
    (
        "examples in another split than their window",
        "SELECT window_id FROM examples x JOIN windows w USING (evidence_set_id, window_id) WHERE x.split <> w.split",
    ),
    (
        "documents in more than one split",
        "SELECT document_id FROM windows GROUP BY evidence_set_id, document_id HAVING count(DISTINCT split) > 1",
    ),
    (
        "windows that a labeler was shown from outside train",
        "SELECT l.label_id FROM (SELECT label_id, evidence_set_id, unnest(shown_window_ids) AS window_id FROM labels) l "
        "JOIN windows w USING (evidence_set_id, window_id) WHERE w.split <> 'train'",
    ),
    (
        "choices of a label that belongs to another feature",
        "SELECT choice_id FROM choices c JOIN labels l USING (label_id) "
        "WHERE c.feature_index <> l.feature_index OR c.evidence_set_id <> l.evidence_set_id",
    ),
    ("choices of a baseline", "SELECT choice_id FROM choices JOIN labels USING (label_id) WHERE origin = 'baseline'"),
    ("choices of a failed label", "SELECT choice_id FROM choices JOIN labels USING (label_id) WHERE status <> 'ok'"),
    (
        "labels with test answers from before they were chosen",
        "SELECT DISTINCT c.label_id FROM choices c JOIN predictions p USING (label_id, feature_index) "
        "WHERE c.chosen_by = 'run' AND p.split = 'test' AND p.created_utc < c.created_utc "
        "AND NOT EXISTS (SELECT 1 FROM choices o WHERE o.label_id = c.label_id AND o.created_utc <= p.created_utc)",
    ),
    (
        "scores without the predictions they come from",
        "SELECT score_id FROM scores s WHERE value IS NOT NULL AND NOT is_null AND metric IN ('label_score', 'auroc') "
        "AND NOT EXISTS (SELECT 1 FROM predictions p WHERE p.label_id = s.label_id AND p.evidence_set_id = s.evidence_set_id "
        "AND p.feature_index = s.feature_index AND p.scorer = s.scorer AND p.config_hash = s.config_hash AND p.split = s.split)",
    ),
    (
        "scores whose is_null does not say whether the label is the feature's own",
        "SELECT score_id FROM scores s JOIN labels l USING (label_id) WHERE s.is_null <> (s.feature_index <> l.feature_index)",
    ),
)
"""What must not be, and a query for the rows where it is."""


def check(db: Database) -> list[str]:
    """Everything in the file that cannot be right, one line each; empty when there is nothing."""
    with db.read(wait_s=30.0) as connection:
        return [
            *(line for table, columns, parent in REFERENCES for line in _orphans(connection, table, columns, parent)),
            *(line for table, keys in TABLE_KEYS.items() for line in _repeated(connection, table, keys)),
            *_not_numbers(connection),
            *(line for what, sql in RULES for line in _violations(connection, what, sql)),
        ]


def schema(path: Path | None = None) -> str:
    """The tables and views with their columns, types and comments; of a new database when no file is given."""
    if path is None:
        with duckdb.connect(":memory:") as connection:
            create_everything(connection)
            return _described(connection)
    with Database(path).read() as connection:
        return _described(connection)


def diff(first: Path, second: Path) -> list[str]:
    """Where two databases differ in what they know, one line a table; times, latencies, run ids and how things were asked aside."""
    for path in (first, second):
        require_file(path)
        with Database(path).exclusively():
            connection = open_file(path, read_only=True, wait_s=10.0)
            try:
                require_current(path, connection)
            finally:
                connection.close()
    if first.resolve() == second.resolve():
        return []
    with Database(first).exclusively(), Database(second).exclusively(), duckdb.connect(":memory:") as connection:
        try:
            connection.execute(f"ATTACH {quoted(str(first))} AS a (READ_ONLY)")
            connection.execute(f"ATTACH {quoted(str(second))} AS b (READ_ONLY)")
        except duckdb.Error as error:
            raise StoreError(f"{first} and {second} cannot be compared: {one_line(error)}") from error
        return [line for table in TABLE_KEYS if table not in NOT_COMPARED for line in _table_diff(connection, table)]


def _orphans(connection: duckdb.DuckDBPyConnection, table: str, columns: tuple[str, ...], parent: str) -> list[str]:
    given = " AND ".join(f"{column} IS NOT NULL" for column in columns)
    sql = f"SELECT {columns[-1]} FROM {table} ANTI JOIN {parent} USING ({', '.join(columns)}) WHERE {given}"
    return _violations(connection, f"{table} whose {' and '.join(columns)} {parent} does not hold", sql)


def _repeated(connection: duckdb.DuckDBPyConnection, table: str, keys: tuple[str, ...]) -> list[str]:
    sql = f"SELECT {keys[0]} FROM {table} GROUP BY {', '.join(keys)} HAVING count(*) > 1"
    return _violations(connection, f"{table} with the same {', '.join(keys)}", sql)


def _not_numbers(connection: duckdb.DuckDBPyConnection) -> list[str]:
    columns = connection.execute(
        "SELECT c.table_name, c.column_name FROM duckdb_columns() c JOIN duckdb_tables() t USING (table_oid) "
        "WHERE c.data_type = 'DOUBLE' ORDER BY ALL"
    ).fetchall()
    return [
        line
        for table, column in columns
        for line in _violations(connection, f"{table} with NaN in {column}", f"SELECT {column} FROM {table} WHERE isnan({column})")
    ]


def _violations(connection: duckdb.DuckDBPyConnection, what: str, sql: str) -> list[str]:
    row = connection.execute(f"SELECT count(*), min(found) FROM ({sql}) AS violations(found)").fetchone()
    count, example = row if row is not None else (0, None)
    return [f"{count} {what} (one is {example})"] if count else []


def _described(connection: duckdb.DuckDBPyConnection) -> str:
    tables = connection.execute(
        "SELECT table_name, 'table', comment FROM duckdb_tables() UNION ALL "
        "SELECT view_name, 'view', comment FROM duckdb_views() WHERE NOT internal ORDER BY 2, 1"
    ).fetchall()
    order = [*TABLE_KEYS, MARKER]
    tables.sort(key=lambda row: (row[1], order.index(row[0]) if row[0] in order else 0, row[0]))
    return "\n".join(line for name, kind, comment in tables for line in _described_table(connection, name, kind, comment))


def _described_table(connection: duckdb.DuckDBPyConnection, name: str, kind: str, comment: str | None) -> list[str]:
    columns = connection.execute(
        "SELECT column_name, data_type, coalesce(comment, '') FROM duckdb_columns() WHERE table_name = ? ORDER BY column_index",
        [name],
    ).fetchall()
    width = max(len(column) for column, _, _ in columns)
    type_width = max(len(data_type) for _, data_type, _ in columns)
    lines = [f"  {column:{width}}  {data_type:{type_width}}  {text}".rstrip() for column, data_type, text in columns]
    return [f"{kind} {name}: one row per {comment}", *lines, ""]


def _table_diff(connection: duckdb.DuckDBPyConnection, table: str) -> list[str]:
    columns = [
        name for name in _columns(connection, "a", table) if not name.endswith("_utc") and name not in ("run_id", "latency_ms")
    ]
    listed = ", ".join(f'"{name}"' for name in columns)
    only = {
        side: f"(SELECT {listed} FROM {side}.{table} EXCEPT ALL SELECT {listed} FROM {other}.{table})"
        for side, other in (("a", "b"), ("b", "a"))
    }
    counts = [_count(connection, only[side]) for side in ("a", "b")]
    if counts == [0, 0]:
        return []
    keys = ", ".join(TABLE_KEYS[table])
    differs = ", ".join(f'x."{name}" IS DISTINCT FROM y."{name}"' for name in columns)
    pair = connection.execute(
        f"SELECT {differs} FROM {only['a']} x JOIN {only['b']} y USING ({keys}) ORDER BY ({keys}) LIMIT 1"
    ).fetchone()
    changed = [name for name, is_different in zip(columns, pair or (), strict=False) if is_different]
    detail = f"; a row in both differs in {', '.join(changed)}" if changed else ""
    return [f"{table}: {counts[0]} rows only in the first, {counts[1]} only in the second{detail}"]


def _columns(connection: duckdb.DuckDBPyConnection, catalog: str, table: str) -> list[str]:
    rows = connection.execute(
        "SELECT column_name FROM duckdb_columns() WHERE database_name = ? AND table_name = ? ORDER BY column_index",
        [catalog, table],
    ).fetchall()
    return [name for (name,) in rows]


def _count(connection: duckdb.DuckDBPyConnection, source: str) -> int:
    row = connection.execute(f"SELECT count(*) FROM {source}").fetchone()
    return int(row[0]) if row is not None else 0
