"""Forgetting what failed, so that the next run tries it again.

The invariant: nothing usable is forgotten that cannot be had again without a call, the ledger of what was spent is never touched, and
either all of it is forgotten or nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from autolabel.store.connection import Database

WAIT_S = 30.0
UNEXPECTED = "unexpected: "
"""How the reason begins of a score that a fault in the program prevented."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How many rows were forgotten of each table."""

    labels: int
    choices: int
    predictions: int
    scores: int
    llm_calls: int

    def summary(self) -> str:
        """One line about it."""
        return (
            f"to be tried again: {self.labels} labels, {self.choices} choices, {self.predictions} predictions, "
            f"{self.scores} scores; {self.llm_calls} replies that could not be used were dropped"
        )


def forget_failures(db: Database, evidence_set_id: str, features: Sequence[int]) -> Forgotten:
    """Delete, for these features of an evidence set and in one transaction, what did not come out well:

    - labels made by runs whose status is not ok;
    - choices made by runs whose verdict is failed;
    - predictions: an exam's answers under one label, by one scorer with one configuration, all of them when any of them is not ok. They
      are made together, and those that were good come back from the kept replies;
    - scores: all of a feature's test scores when any of its test predictions goes, because scores compare labels on common tiles;
      those without a value because of a fault in the program; and those by scorers that have texts written, where none were;
    - kept replies that could not be used, with their kept bodies, of the same features and stages. Without this the same question
      would find the same useless answer.

    Raises:
        StoreLocked: another process holds the file for too long.
    """
    with db.write(WAIT_S) as connection:
        connection.execute(
            "CREATE TEMP TABLE selected AS SELECT ? AS evidence_set_id, unnest(?::INTEGER[]) AS feature_index",
            [evidence_set_id, list(features)],
        )
        connection.execute(_SHEETS)
        connection.execute(_STAGES)
        connection.execute(_REPLIES)
        _delete(connection, "llm_requests", "request_hash IN (FROM useless_replies)")
        return Forgotten(
            llm_calls=_delete(connection, "llm_calls", "request_hash IN (FROM useless_replies)"),
            scores=_delete(connection, "scores", _SCORES),
            predictions=_delete(connection, "predictions", f"({_SHEET}) IN (FROM failed_sheets)"),
            choices=_delete(connection, "choices", f"{_SELECTED} AND verdict = 'failed' AND chosen_by = 'run'"),
            labels=_delete(connection, "labels", f"{_SELECTED} AND {_FAILED_LABEL}"),
        )


def _delete(connection: duckdb.DuckDBPyConnection, table: str, condition: str) -> int:
    row = connection.execute(f"DELETE FROM {table} WHERE {condition}").fetchone()
    return int(row[0]) if row is not None else 0


_SELECTED = "(evidence_set_id, feature_index) IN (FROM selected)"
_FAILED_LABEL = "status <> 'ok' AND origin IN ('run', 'baseline')"
_UNWRITTEN = f"{_SELECTED} AND scorer IN ('generation', 'fade') AND value IS NULL AND n_failed > 0"
_SHEET = "evidence_set_id, feature_index, label_id, scorer, config_hash, split"
_SHEETS = f"CREATE TEMP TABLE failed_sheets AS SELECT DISTINCT {_SHEET} FROM predictions WHERE status <> 'ok' AND {_SELECTED}"
_STAGES = f"""
CREATE TEMP TABLE failed_stages AS
SELECT feature_index, 'label' AS stage FROM labels WHERE {_SELECTED} AND {_FAILED_LABEL}
UNION SELECT feature_index, CASE split WHEN 'validation' THEN 'validate' ELSE 'score' END FROM failed_sheets
UNION SELECT feature_index, 'score' FROM scores WHERE {_UNWRITTEN}
"""
_REPLIES = """
CREATE TEMP TABLE useless_replies AS
SELECT request_hash FROM llm_attempts
GROUP BY request_hash HAVING arg_max(status, started_utc) IN ('refused', 'truncated', 'unparsable')
    AND bool_or((feature_index, stage) IN (FROM failed_stages))
"""
_SCORES = f"""
{_SELECTED} AND split = 'test' AND (
    feature_index IN (SELECT feature_index FROM failed_sheets WHERE split = 'test')
    OR (value IS NULL AND starts_with(reason, '{UNEXPECTED}'))
    OR ({_UNWRITTEN})
)
"""
