"""Everything a page says about one feature, gathered once for the terminal and for HTML.

The invariant: a number that was not stored is a `Figure` without a value and with its reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from autolabel.report import examples as windows
from autolabel.report import reading
from autolabel.report.examples import Shown, Tally
from autolabel.report.numbers import Figure
from autolabel.report.reading import Row
from autolabel.store.connection import Database
from autolabel.store.reading import load_feature_evidence

TUNED_READS = 5
"""Reads of the test tiles after which a score is no longer that of unseen text (validity §17)."""


@dataclass(frozen=True, slots=True)
class Score:
    """One line of the table of scores."""

    scorer: str
    judge: str
    answer_mode: str
    metric: str
    figure: Figure
    chance: float | None


@dataclass(frozen=True, slots=True)
class Card:
    """One feature: `row` is its row of `feature_labels`, `facts` of `features`, `decision` its choice with the label's provenance."""

    row: Row
    facts: Row
    decision: Row | None
    label_score: Figure
    lift_null: Figure
    beyond_token: Figure
    population_precision: Figure
    scores: tuple[Score, ...]
    nulls: tuple[float, ...]
    strongest: tuple[Shown, ...]
    firing: tuple[Shown, ...]
    not_firing: tuple[Shown, ...]
    tallies: tuple[Tally, ...]
    reason: str | None
    """Why there is no label or no score."""

    @property
    def index(self) -> int:
        """The feature."""
        return int(self.row["feature_index"])

    @property
    def aurocs(self) -> tuple[Score, ...]:
        """The area under the ROC curve by scorer, one line each."""
        return tuple(score for score in self.scores if score.metric == "auroc")

    @property
    def null(self) -> Figure:
        """The mean score of labels of other features on the same tiles, with the range of these scores in place of an interval."""
        if not self.nulls:
            return Figure(None, reason="no label of another feature was scored on these tiles")
        return Figure(self.row["null_score"], min(self.nulls), max(self.nulls), len(self.nulls))

    @property
    def like_another_label(self) -> bool:
        """Whether the label is not distinguishable from a label of another feature."""
        return self.lift_null.low is not None and self.lift_null.low <= 0

    @property
    def silent_title(self) -> str:
        """What stands above the tiles on which the feature is silent."""
        return "does not fire, wrong judgements first" if any(item.judgement for item in self.not_firing) else "does not fire"

    @property
    def is_tuned(self) -> bool:
        """Whether the test tiles were read so often that the score no longer speaks for unseen text."""
        return bool(self.row["test_reads"] > TUNED_READS)


def load_cards(db: Database, evidence_set_id: str, labels: Sequence[Row]) -> list[Card]:
    """The cards of features given by their rows of `feature_labels`, in that order."""
    features = [row["feature_index"] for row in labels]
    with db.read():
        facts = reading.feature_facts(db, evidence_set_id, features)
        decisions = reading.decisions(db, evidence_set_id, features)
        scores = reading.own_scores(db, evidence_set_id, features)
        nulls = reading.null_scores(db, evidence_set_id)
        predictions = reading.headline_predictions(db, evidence_set_id, features)
        errors = reading.latest_errors(db, evidence_set_id)
        evidence = load_feature_evidence(db, evidence_set_id, features)
    cards = []
    for row in labels:
        index = row["feature_index"]
        judgements = windows.judge(evidence[index].examples, predictions.get(index, {}), row["answer_mode"] or "")
        cards.append(
            Card(
                row=row,
                facts=facts[index],
                decision=decisions.get(index),
                **_figures(row, scores.get(index, [])),
                nulls=tuple(null["value"] for null in nulls.get(index, [])),
                **_windows(evidence[index].examples, evidence[index].max_activation, judgements),
                tallies=tuple(windows.tally(evidence[index].examples, judgements)),
                reason=reason(row, errors),
            )
        )
    return cards


def reason(row: Row, errors: dict[int, str]) -> str | None:
    """Why a feature has no label or no score, or None."""
    if row["status"] == "pending":
        return "no label has been chosen yet"
    if row["status"] == "silent":
        return "it never fired in this text"
    if row["status"] == "too_few":
        return "it fired too rarely in this text to be labelled and scored"
    if row["label_id"] is None and row["feature_index"] in errors:
        return errors[row["feature_index"]]
    stored: str | None = row["label_score_reason"]
    return stored


def _figures(row: Row, stored: Sequence[Row]) -> dict[str, Any]:
    headline = {score["metric"]: score for score in stored if score["is_headline"]}
    missing = row["label_score_reason"] or "not scored"
    without = {
        "label_score": missing,
        "lift_null": "no label of another feature was scored on these tiles",
        "beyond_token": "no token lookup was scored on these tiles",
        "population_precision": "not estimated",
    }
    others = [score for score in stored if not (score["is_headline"] and score["metric"] in without)]
    figures: dict[str, Any] = {name: Figure.of(headline.get(name), why) for name, why in without.items()}
    return figures | {
        "scores": tuple(
            Score(s["scorer"], s["judge"], s["answer_mode"], s["metric"], Figure.of(s, s["judge_status"]), s["chance"])
            for s in others
        )
    }


def _windows(examples: Sequence[Any], max_activation: float, judgements: dict[str, windows.Judgement]) -> dict[str, Any]:
    chosen = {
        "strongest": windows.strongest(examples),
        "firing": windows.across_strengths(examples),
        "not_firing": windows.not_firing(examples, judgements),
    }
    return {
        name: tuple(windows.shown(e, max_activation, judgements.get(e.window_id)) for e in found) for name, found in chosen.items()
    }
