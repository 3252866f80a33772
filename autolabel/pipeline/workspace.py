"""What a run knows of one evidence set: evidence, labels, choices and predictions, from the database and from this run.

The invariant: everything new goes into the store's journal before it is used, and nothing here waits for the database.
"""

from collections.abc import Iterable, Sequence

from autolabel.errors import ConfigError
from autolabel.pipeline import rows
from autolabel.records import FeatureEvidence, Label, Prediction, Split
from autolabel.scorers.base import ScorerInfo
from autolabel.store.reading import existing_predictions, load_current_choices, load_feature_evidence, load_labels
from autolabel.store.run_store import RunStore

_DECISION = ("label_id", "verdict", "reason", "validation_score", "scorer", "chosen_by")
"""What makes two choices about a feature the same one."""


class Workspace:
    """The features being worked on and what is known of them."""

    def __init__(self, store: RunStore, evidence_set_id: str, features: Sequence[int]) -> None:
        if not features:
            raise ConfigError("no feature is selected; check --features, --where and [select], and that features are alive")
        self.store = store
        self.evidence_set_id = evidence_set_id
        self.features = list(features)
        database = store.database
        self.evidence: dict[int, FeatureEvidence] = load_feature_evidence(database, evidence_set_id, features)
        chosen = load_current_choices(database, evidence_set_id)
        self.labels: dict[str, Label] = {
            label.label_id: label for label in load_labels(database, evidence_set_id, {*features, *chosen})
        }
        self.chosen: dict[int, str] = {feature: choice.label_id for feature, choice in chosen.items() if choice.label_id}
        self._in_force = chosen
        self._predictions = existing_predictions(database, evidence_set_id, features)

    def labels_of(self, feature: int) -> list[Label]:
        """All attempts at a label of `feature`, in order of their ids."""
        return sorted((label for label in self.labels.values() if label.feature_index == feature), key=lambda label: label.label_id)

    def add_labels(self, labels: Iterable[Label]) -> None:
        """Keep attempts at labels."""
        kept = list(labels)
        self.store.append("labels", [rows.label_row(label) for label in kept])
        self.labels.update({label.label_id: label for label in kept})

    def choose(self, feature: int, label: Label | None, reason: str, score: float | None, scorer: ScorerInfo | None) -> None:
        """Keep the decision about a feature; a person's choice stays in force."""
        before = self._in_force.get(feature)
        by_human = before is not None and before.chosen_by == "human"
        superseded = before.choice_id if before is not None and not by_human else None
        row = rows.choice_row(self.evidence[feature], label, reason, score, scorer, superseded)
        if before is not None and all(row[name] == getattr(before, name) for name in _DECISION):
            return
        self.store.append("choices", [row])
        if not by_human:
            self.chosen.pop(feature, None)
            if label is not None:
                self.chosen[feature] = label.label_id

    def predictions(self, label: Label, feature: int, info: ScorerInfo, split: Split) -> list[Prediction] | None:
        """The predictions under a label for the exam of `feature`, or None when they have not all been made."""
        found = {p.window_id: p for p in self._predictions.get((label.label_id, feature, info.name, info.config_hash, split), [])}
        exam = self.evidence[feature].exam(split)
        if not all(example.window_id in found for example in exam):
            return None
        return [found[example.window_id] for example in exam]

    def add_predictions(
        self, feature: int, info: ScorerInfo, split: Split, found: Sequence[tuple[Label, list[Prediction]]]
    ) -> None:
        """Keep what was predicted of one exam, for all labels in one write: labels asked together are never found apart later."""
        evidence = self.evidence[feature]
        made = [rows.prediction_rows(label, evidence, info, split, predictions) for label, predictions in found]
        self.store.append("predictions", [row for rows_of_label in made for row in rows_of_label])
        for label, predictions in found:
            self._predictions[label.label_id, feature, info.name, info.config_hash, split] = predictions
