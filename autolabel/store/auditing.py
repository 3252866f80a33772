"""Audits in the database: what was drawn for people to judge, and what they said.

The invariant: a rater's answers to an audit are stored whole or not at all, nothing is overwritten, and the newest answers are in force.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb

from autolabel.errors import ConfigError, DataError
from autolabel.hashing import content_id
from autolabel.store.connection import Database
from autolabel.store.run_store import RunStore

VERDICTS = ("right", "too broad", "too narrow", "wrong", "cannot tell")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A label in force that could be audited."""

    feature_index: int
    label_id: str
    text: str
    label_score: float | None
    p_correct: float | None
    trusted: bool


@dataclass(frozen=True, slots=True)
class AuditItem:
    """A label beside windows of a feature; in a check the label is another feature's."""

    number: int
    feature_index: int
    label_id: str
    text: str
    kind: str
    group: str
    p_correct: float | None
    window_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Audit:
    """A sample drawn. `groups` says of each group of labels how many there were (`n_labels`) and how many were drawn (`n_drawn`)."""

    audit_id: str
    evidence_set_id: str
    seed: int
    groups: Mapping[str, Mapping[str, int]]
    items: tuple[AuditItem, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """A rater's verdict on an item."""

    number: int
    verdict: str
    note: str | None


_WITH_WINDOWS = """
SELECT feature_index FROM examples WHERE evidence_set_id = $evidence_set_id AND split = 'test' GROUP BY feature_index
HAVING count(*) FILTER (kind = 'firing' AND coalesce(stratum, 'firing') = 'firing') > 0
    AND count(*) FILTER (in_exam AND stratum IN ('hard', 'random')) > 0
"""


def features_with_windows(db: Database, evidence_set_id: str) -> set[int]:
    """Features with test windows that fire and test windows that do not, without which nobody can judge a label."""
    with db.read() as connection:
        rows = connection.execute(_WITH_WINDOWS, {"evidence_set_id": evidence_set_id}).fetchall()
    return {index for (index,) in rows}


def load_candidates(db: Database, evidence_set_id: str) -> list[Candidate]:
    """Every labelled feature of an evidence set, by index."""
    with db.read() as connection:
        rows = connection.execute(
            "SELECT f.feature_index, f.label_id, f.label, f.label_score, t.p_correct, coalesce(t.trusted, false) FROM feature_labels f "
            "LEFT JOIN label_trust t ON t.evidence_set_id = f.evidence_set_id AND t.feature_index = f.feature_index "
            "AND t.label_id = f.label_id WHERE f.evidence_set_id = ? AND f.status = 'labelled' ORDER BY f.feature_index",
            [evidence_set_id],
        ).fetchall()
    return [Candidate(*row) for row in rows]


def keep_audit(store: RunStore, audit: Audit) -> None:
    """Store a sample; the same one again changes nothing."""
    head = {"audit_id": audit.audit_id, "evidence_set_id": audit.evidence_set_id, "seed": audit.seed}
    items = [
        {
            "audit_id": audit.audit_id,
            "item_number": item.number,
            "evidence_set_id": audit.evidence_set_id,
            "feature_index": item.feature_index,
            "label_id": item.label_id,
            "kind": item.kind,
            "group_name": item.group,
            "p_correct": item.p_correct,
            "window_ids": list(item.window_ids),
        }
        for item in audit.items
    ]
    store.insert_many({"audits": [head | {"groups": audit.groups, "n_items": len(items)}], "audit_items": items})


def load_audit(db: Database, audit: str | None) -> Audit:
    """The audit whose id starts so, or the newest.

    Raises:
        ConfigError: there is none, or more than one is meant.
    """
    with db.read() as connection:
        found = connection.execute(
            "SELECT audit_id, evidence_set_id, seed, groups FROM audits WHERE $start IS NULL OR starts_with(audit_id, $start) "
            "ORDER BY created_utc DESC, audit_id",
            {"start": audit},
        ).fetchall()
        if not found:
            what = f"no audit '{audit}'" if audit else "no audit"
            raise ConfigError(f"{db.path} holds {what}; draw one with `autolabel audit draw --db {db.path} --out audit.html`")
        if audit is not None and len(found) > 1:
            raise ConfigError(
                f"'{audit}' is the start of {len(found)} audits; give more of it: {', '.join(row[0] for row in found)}"
            )
        audit_id, evidence_set_id, seed, groups = found[0]
        items = _items(connection, audit_id)
    return Audit(audit_id, evidence_set_id, seed, json.loads(groups), items)


def _items(connection: duckdb.DuckDBPyConnection, audit_id: str) -> tuple[AuditItem, ...]:
    rows = connection.execute(
        "SELECT i.item_number, i.feature_index, i.label_id, l.text, i.kind, i.group_name, i.p_correct, i.window_ids "
        "FROM audit_items i JOIN labels l USING (label_id) WHERE i.audit_id = ? ORDER BY i.item_number",
        [audit_id],
    ).fetchall()
    return tuple(
        AuditItem(number, feature, label_id, text, kind, group, p_correct, tuple(windows))
        for number, feature, label_id, text, kind, group, p_correct, windows in rows
    )


def load_answers(db: Database, audit_id: str) -> dict[str, dict[int, str]]:
    """The verdicts in force: rater → item → verdict."""
    with db.read() as connection:
        rows = connection.execute(
            "SELECT rater, item_number, verdict FROM audit_results WHERE audit_id = ? ORDER BY rater, item_number", [audit_id]
        ).fetchall()
    found: dict[str, dict[int, str]] = {}
    for rater, number, verdict in rows:
        found.setdefault(rater, {})[number] = verdict
    return found


def take_answers(store: RunStore, audit: Audit, rater: str, answers: Sequence[Answer], *, replace: bool) -> None:
    """Store a rater's answers to an audit, all of them or none.

    Raises:
        DataError: an item is unknown, answered twice or not at all, or a verdict is none of `VERDICTS`.
        ConfigError: the rater has answered before and `replace` is not set.
    """
    require_complete(audit, answers)
    with store.database.read() as connection:
        before = connection.execute(
            "SELECT answers_id FROM audit_answers WHERE audit_id = ? AND rater = ? ORDER BY created_utc DESC, answers_id LIMIT 1",
            [audit.audit_id, rater],
        ).fetchone()
    if before is not None and not replace:
        raise ConfigError(
            f"'{rater}' has answered audit {audit.audit_id[:12]} already; pass --replace to let these answers stand instead, "
            "or another --rater"
        )
    said: list[Any] = [[answer.number, answer.verdict, answer.note] for answer in sorted(answers, key=lambda one: one.number)]
    answers_id = content_id("answers", [audit.audit_id, rater, said, before and before[0]])
    rows = [
        {
            "audit_id": audit.audit_id,
            "rater": rater,
            "answers_id": answers_id,
            "item_number": answer.number,
            "verdict": answer.verdict,
            "note": answer.note,
        }
        for answer in answers
    ]
    store.insert_many({"audit_answers": rows})


def require_complete(audit: Audit, answers: Sequence[Answer]) -> None:
    """Refuse answers that do not say one known verdict on each item.

    Raises:
        DataError: which items are wrong, and how.
    """
    known, given = {item.number for item in audit.items}, [answer.number for answer in answers]
    problems = {
        "unknown items": sorted(set(given) - known),
        "items answered more than once": sorted({number for number in given if given.count(number) > 1}),
        "items without a verdict": sorted(known - {answer.number for answer in answers if answer.verdict}),
    }
    for what, numbers in problems.items():
        if numbers:
            shown = ", ".join(map(str, numbers[:20])) + (", …" if len(numbers) > 20 else "")
            raise DataError(f"{what}: {shown}; audit {audit.audit_id[:12]} has items 1 to {len(known)}, and each needs one verdict")
    for answer in answers:
        if answer.verdict not in VERDICTS:
            raise DataError(f"item {answer.number}: the verdict '{answer.verdict[:40]}' is none of {', '.join(VERDICTS)}")
