"""What a run knows of one evidence set: a few light facts about every feature, and everything about those being worked on.

The invariants: everything new goes into the store's journal before it is used; a feature's evidence and predictions are read shortly
before it is worked on and let go of afterwards, so that memory does not grow with the number of features. What reads, computes at
length or writes is called in a thread, so that the event loop waits for neither the database nor the disk.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self, TypeVar

from autolabel.errors import ConfigError
from autolabel.pipeline import rows
from autolabel.pipeline.drawing import judged_part
from autolabel.records import Example, FeatureEvidence, Label, Prediction, Split
from autolabel.scorers.base import ScorerInfo
from autolabel.store import reading
from autolabel.store.run_store import RunStore

T = TypeVar("T")
_DECISION = ("label_id", "verdict", "reason", "validation_score", "scorer", "chosen_by")
"""What makes two choices about a feature the same one."""


@dataclass(eq=False)
class LoadedFeature:
    """One feature while it is worked on: its evidence of one split, its labels, and the answers on its exam."""

    split: Split
    evidence: FeatureEvidence
    labels: dict[str, Label]
    """Every attempt at a label, by id."""
    answers: dict[tuple[str, str], list[Prediction]]
    """What a scorer said, by label id and `ScorerInfo.config_hash`."""
    co_firing: Mapping[int, float]
    """Other features that fire together with it: Jaccard index of firing tiles."""

    @property
    def index(self) -> int:
        """Its number in the SAE."""
        return self.evidence.feature_index

    @cached_property
    def exam(self) -> tuple[Example, ...]:
        """The exam of its split; train has none."""
        return self.evidence.exam(self.split)

    def proposed(self) -> list[Label]:
        """All attempts at a label, in order of their ids."""
        return [self.labels[label_id] for label_id in sorted(self.labels)]

    def exam_of(self, info: ScorerInfo) -> tuple[Example, ...]:
        """The tiles of the exam that a scorer is asked about."""
        return judged_part(info, self.exam)

    def predictions(self, label: Label, info: ScorerInfo) -> list[Prediction] | None:
        """The predictions under a label for `exam_of` the scorer, in its order, or None when they have not all been made."""
        found = {prediction.window_id: prediction for prediction in self.answers.get((label.label_id, info.config_hash), [])}
        exam = self.exam_of(info)
        if not all(example.window_id in found for example in exam):
            return None
        return [found[example.window_id] for example in exam]


class Workspace:
    """The features a run works on and what is known of them all."""

    def __init__(self, store: RunStore, evidence_set_id: str, features: Sequence[int]) -> None:
        if not features:
            raise ConfigError("no feature is selected; check --features, --where and [select], and that features are alive")
        self.store = store
        self.evidence_set_id = evidence_set_id
        self.features = list(features)
        rates = reading.load_firing_rates(store.database, evidence_set_id)
        chosen = reading.load_chosen_labels(store.database, evidence_set_id)
        in_force = reading.load_current_choices(store.database, evidence_set_id)
        self.firing_rates = {feature: rates[feature] for feature in self.features if feature in rates}
        self.chosen = {feature: chosen[feature] for feature in self.features if feature in chosen}
        """The label in force of each feature that has one, without its predicate."""
        self._in_force = {feature: in_force[feature] for feature in self.features if feature in in_force}
        self._new_labels: dict[str, Label] = {}
        """Labels of this run that may still be on their way to the database."""
        self._new_labels_lock = threading.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="aside")

    async def aside(self, work: Callable[..., T], *given: Any) -> T:
        """Do work that would hold up the event loop, one piece after the other in a thread: several would fight for the interpreter."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *given)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Wait for what is being done aside; what was not begun is not done."""
        self._thread.shutdown(cancel_futures=True)

    def load(self, features: Sequence[int], split: Split, co_firing_above: float | None = None) -> list[LoadedFeature]:
        """All that work on one split needs to know of some features, in their order.

        With `co_firing_above`, also which features fire together with them more than that.
        """
        database, here = self.store.database, self.evidence_set_id
        # Labels on their way are looked at before the database is, so that one arriving meanwhile is seen at least once.
        wanted = set(features)
        with self._new_labels_lock:
            new = [label for label in self._new_labels.values() if label.feature_index in wanted]
        evidence = reading.load_feature_evidence(database, here, features, split)
        together = {} if co_firing_above is None else reading.co_firing(database, here, features, self.chosen, co_firing_above)
        loaded = {i: LoadedFeature(split, evidence[i], {}, {}, together.get(i, {})) for i in features}
        for label in (*new, *reading.load_labels(database, here, features)):
            loaded[label.feature_index].labels[label.label_id] = label
        for key, found in reading.existing_predictions(database, here, features, split).items():
            label_id, feature, _, config_hash, _ = key
            loaded[feature].answers[label_id, config_hash] = found
        self._let_go_of_stored_labels()
        return list(loaded.values())

    def add_labels(self, feature: LoadedFeature, labels: Iterable[Label]) -> None:
        """Keep attempts at labels."""
        kept = {label.label_id: label for label in labels}
        self.store.append("labels", [rows.label_row(label) for label in kept.values()])
        feature.labels.update(kept)
        with self._new_labels_lock:
            self._new_labels.update({label_id: replace(label, shown_window_ids=()) for label_id, label in kept.items()})

    def choose(
        self, feature: LoadedFeature, label: Label | None, reason: str, score: float | None, scorer: ScorerInfo | None
    ) -> None:
        """Keep the decision about a feature; a person's choice stays in force."""
        before = self._in_force.get(feature.index)
        by_human = before is not None and before.chosen_by == "human"
        superseded = before.choice_id if before is not None and not by_human else None
        row = rows.choice_row(feature.evidence, label, reason, score, scorer, superseded)
        if before is not None and all(row[name] == getattr(before, name) for name in _DECISION):
            return
        self.store.append("choices", [row])
        if not by_human:
            self.chosen.pop(feature.index, None)
            if label is not None:
                self.chosen[feature.index] = replace(label, predicate=None, shown_window_ids=())

    def add_predictions(self, feature: LoadedFeature, info: ScorerInfo, found: Sequence[tuple[Label, list[Prediction]]]) -> None:
        """Keep what was predicted of the exam, for all labels in one write: labels asked together are never found apart later."""
        made = [rows.prediction_rows(label, feature.evidence, info, feature.split, said) for label, said in found]
        self.store.append("predictions", [row for rows_of_label in made for row in rows_of_label])
        feature.answers.update({(label.label_id, info.config_hash): said for label, said in found})

    def add_scores(self, compute: Callable[[], Sequence[rows.Row]]) -> None:
        """Compute scores and keep them."""
        scores = compute()
        if scores:
            self.store.append("scores", scores)

    def _let_go_of_stored_labels(self) -> None:
        with self._new_labels_lock:
            waiting = list(self._new_labels)
        stored = reading.stored_labels(self.store.database, waiting) if waiting else set()
        with self._new_labels_lock:
            for label_id in stored:
                del self._new_labels[label_id]
