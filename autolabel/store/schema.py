"""What the database file consists of: its migrations, the keys of its tables, its views, and how a file is recognised as
ours.

The invariant: a file counts as ours only by its table of migrations, and every statement that shapes a file comes
from the SQL files beside this module, which also hold the comments that `autolabel db schema` prints.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

import duckdb

MARKER = "autolabel_migrations"
"""The table that names the migrations a file has been through; no other program has one."""

MARKER_SQL = f"""
CREATE TABLE IF NOT EXISTS {MARKER} (name VARCHAR PRIMARY KEY, code_version VARCHAR NOT NULL, applied_utc TIMESTAMP NOT NULL);
COMMENT ON TABLE {MARKER} IS 'change of the schema that this file has been through';
COMMENT ON COLUMN {MARKER}.name IS 'the change';
COMMENT ON COLUMN {MARKER}.code_version IS 'version of autolabel that made it';
COMMENT ON COLUMN {MARKER}.applied_utc IS 'when it was made, UTC';
"""

TABLE_KEYS: dict[str, tuple[str, ...]] = {
    "runs": ("run_id",),
    "prompts": ("prompt_hash",),
    "llm_calls": ("request_hash",),
    "llm_attempts": ("attempt_id",),
    "llm_requests": ("request_hash",),
    "llm_batches": ("submission_id",),
    "llm_batch_items": ("submission_id", "request_hash"),
    "llm_batch_events": ("event_id",),
    "endpoint_probes": ("probe_id",),
    "saes": ("sae_id",),
    "corpora": ("corpus_id",),
    "evidence_sets": ("evidence_set_id",),
    "features": ("evidence_set_id", "feature_index"),
    "windows": ("evidence_set_id", "window_id"),
    "examples": ("evidence_set_id", "feature_index", "window_id", "kind"),
    "strata": ("evidence_set_id", "feature_index", "split", "stratum"),
    "labels": ("label_id",),
    "choices": ("choice_id",),
    "predictions": ("label_id", "evidence_set_id", "feature_index", "scorer", "config_hash", "split", "window_id"),
    "scores": ("score_id",),
    "calibrations": ("calibration_id",),
    "interventions": ("intervention_id",),
    "written_texts": ("label_id", "evidence_set_id", "feature_index", "scorer", "config_hash", "text_number"),
    "trust_models": ("model_id",),
    "audits": ("audit_id",),
    "audit_items": ("audit_id", "item_number"),
    "audit_answers": ("audit_id", "rater", "answers_id", "item_number"),
}
"""The columns that tell two rows of a table apart. Big tables have no index: writers drop known keys, `db check` counts."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One change of the schema. Its name is stored in the file; neither name nor SQL ever changes after a release."""

    name: str
    sql: str


def sql_file(name: str) -> str:
    """The text of an SQL file beside this module."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


_NAMES = ("m001_initial", "m002_llm_engine", "m003_evidence_engine", "m004_scores")
MIGRATIONS: tuple[Migration, ...] = tuple(Migration(name, sql_file(f"{name}.sql")) for name in _NAMES)
"""In order; append only."""

_TABLE_COMMENT = re.compile(r"^-- table: (?P<comment>.+)$")
_SHARED_COMMENT = re.compile(r"^-- every (?P<column>\w+): (?P<comment>.+)$")
_CREATE = re.compile(r"^CREATE TABLE (?P<table>\w+) \($")
_COLUMN = re.compile(r"^    (?P<column>[a-z]\w*) [A-Z][^-]*?(?:--: (?P<comment>.+))?$")


def comment_statements(sql: str) -> Iterator[str]:
    """`COMMENT ON` statements from the comments of a schema file.

    `-- table: …` before a CREATE TABLE describes the table, `--: …` after a column the column, and `-- every NAME: …`
    each column of that name without a comment of its own.
    """
    shared: dict[str, str] = {}
    table, table_comment = "", None
    for line in sql.splitlines():
        if match := _SHARED_COMMENT.match(line):
            shared[match["column"]] = match["comment"]
        elif match := _TABLE_COMMENT.match(line):
            table_comment = match["comment"]
        elif match := _CREATE.match(line):
            table = match["table"]
            if table_comment is not None:
                yield f"COMMENT ON TABLE {table} IS {quoted(table_comment)}"
            table_comment = None
        elif match := _COLUMN.match(line):
            comment = match["comment"] or shared.get(match["column"])
            if comment is not None:
                yield f"COMMENT ON COLUMN {table}.{match['column']} IS {quoted(comment)}"


def quoted(text: str) -> str:
    """`text` as an SQL string literal, for statements that take no parameters."""
    return "'" + text.replace("'", "''") + "'"


def apply_migration(connection: duckdb.DuckDBPyConnection, migration: Migration, code_version: str) -> None:
    """Make one change and record it; the caller's transaction holds both."""
    connection.execute(MARKER_SQL)
    connection.execute(migration.sql)
    for statement in comment_statements(migration.sql):
        connection.execute(statement)
    connection.execute(
        f"INSERT INTO {MARKER} VALUES (?, ?, CAST(now() AT TIME ZONE 'UTC' AS TIMESTAMP))",
        [migration.name, code_version],
    )


def create_views(connection: duckdb.DuckDBPyConnection) -> None:
    """Make every view anew, as this version defines it."""
    connection.execute(sql_file("views.sql"))


def has_newest_views(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether a file has the views as this version defines them; others may be there too."""
    return _newest_views() <= _views(connection)


@cache
def _newest_views() -> set[tuple[str, ...]]:
    with duckdb.connect(":memory:") as connection:
        create_tables(connection)
        create_views(connection)
        return _views(connection)


def _views(connection: duckdb.DuckDBPyConnection) -> set[tuple[str, ...]]:
    return set(connection.execute("SELECT view_name, sql, comment FROM duckdb_views() WHERE NOT internal").fetchall())


def create_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Give an empty in-memory database the newest tables and nothing else, to rehearse writes."""
    for migration in MIGRATIONS:
        connection.execute(migration.sql)


def create_everything(connection: duckdb.DuckDBPyConnection) -> None:
    """Give an empty in-memory database what a new file has, to describe it without a file."""
    for migration in MIGRATIONS:
        apply_migration(connection, migration, "")
    create_views(connection)


def applied_migrations(connection: duckdb.DuckDBPyConnection) -> list[str] | None:
    """The migrations a file has been through, oldest first; None when it is not one of ours; empty when it holds nothing at all."""
    tables = {name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    if MARKER in tables:
        rows = connection.execute(f"SELECT name FROM {MARKER} ORDER BY applied_utc, name").fetchall()
        return [name for (name,) in rows]
    return None if tables else []
