"""What a report shows, whatever its markup: the summary, the labels in order, and what has no score.

The invariant: every feature is shown, listed or counted as left out.
"""

from dataclasses import dataclass

from autolabel.report import reading
from autolabel.report.cards import reason
from autolabel.report.reading import Row
from autolabel.report.summary import Summary, load_summary
from autolabel.store.connection import Database

UNTRIED = ("pending", "too_few", "silent")
"""Statuses without a label and with one reason for all: counted, not listed."""


@dataclass(frozen=True, slots=True)
class Unscored:
    """A feature without a score, and why."""

    row: Row
    reason: str


@dataclass(frozen=True, slots=True)
class Contents:
    """`labels` are all rows of `feature_labels` of the evidence set; `shown` are the first of `ranked`."""

    summary: Summary
    labels: list[Row]
    ranked: list[Row]
    """Labelled features, those whose score is surely high first."""
    shown: list[Row]
    unscored: list[Unscored]


def load_contents(db: Database, sae: str | None, max_features: int) -> Contents:
    """Everything but the cards."""
    with db.read():
        evidence = reading.chosen_set(db, sae)
        labels = reading.feature_labels(db, evidence["evidence_set_id"])
        errors = reading.latest_errors(db, evidence["evidence_set_id"])
        summary = load_summary(db, evidence, labels)
    ranked = sorted((row for row in labels if row["status"] == "labelled"), key=_rank)
    without = [row for row in labels if row["label_score"] is None and row["status"] not in UNTRIED]
    return Contents(
        summary, labels, ranked, ranked[:max_features], [Unscored(row, reason(row, errors) or "not scored") for row in without]
    )


def _rank(row: Row) -> tuple[bool, float, int]:
    low = row["label_score_low"]
    return (low is None, -(low or 0.0), row["feature_index"])
