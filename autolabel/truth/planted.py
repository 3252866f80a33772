"""Level 1: word sets planted as directions into a real model, an SAE trained over it, and its features labelled.

Here nothing comes out as it was put in: the SAE may miss a concept, split it, or let a special case absorb it, and only then is there
a feature to label. Truth is the concept that a feature's decoder row was matched with.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.config import Settings, TrainSettings
from autolabel.evidence.collect import Collection
from autolabel.hashing import content_id
from autolabel.labelers.lexical import LexicalLabeler
from autolabel.pipeline.rows import label_row
from autolabel.planted.planting import PlantingSettings
from autolabel.planted.training import Planted, plant_and_train
from autolabel.records import Embedder, Label
from autolabel.store.reading import load_feature_evidence
from autolabel.store.run_store import RunStore
from autolabel.truth.bank import Meaning, groups
from autolabel.truth.built import store_evidence
from autolabel.truth.columns import Columns
from autolabel.truth.referees import EmbeddingReferee
from autolabel.truth.selection import OPTIONS
from autolabel.truth.tables import table


@dataclass(frozen=True, slots=True)
class PlantedMeaning:
    """A meaning as a concept to be planted: 1 on the token in which each of its words begins."""

    meaning: Meaning

    @property
    def label(self) -> str:
        """What it fires on."""
        return self.meaning.label

    def activations(self, text: str, bounds: NDArray[np.int32]) -> NDArray[np.float32]:
        """See `planted.concepts.Concept`."""
        columns = Columns([text], [""], [0])
        found = np.zeros(len(bounds) - 1, dtype=np.float32)
        words: NDArray[np.int64] = np.flatnonzero(self.meaning.predicate.marks(columns))
        found[np.searchsorted(bounds, columns.start[words], side="right") - 1] = 1.0
        return found


@dataclass(frozen=True, slots=True)
class PlantedResults:
    """What became of the concepts, and of the features that were matched with them."""

    planted: Planted
    labels: dict[int, Label]
    """Label of the feature matched with each recovered concept, by concept."""
    right: dict[int, bool]
    """Whether a referee takes it for the concept's own, among ten."""


def planted_concepts(n: int, seed: int) -> list[PlantedMeaning]:
    """Groups of word sets with their sets, so that there is something to absorb: whole groups by hash until there are `n`."""
    found: list[PlantedMeaning] = []
    for group in sorted(groups(), key=lambda group: content_id("planted", [seed, group.key])):
        found += [PlantedMeaning(group.meaning), *(PlantedMeaning(one.meaning) for one in group.sets)]
    return found[:n]


async def run_planted(
    settings: TrainSettings,
    concepts: Sequence[PlantedMeaning],
    planting: PlantingSettings,
    folder: Path,
    store: RunStore,
    embedder: Embedder | None,
    say: Callable[[str], None],
) -> PlantedResults:
    """Plant, train, match; collect evidence of the SAE over the planted model and label what was recovered, without an LLM.

    Raises:
        DataError: the model, the text or the concepts cannot be used.
    """
    say(f"planting {len(concepts)} concepts and training")
    found = plant_and_train(settings, concepts, planting, folder / "sae", lambda _: None)
    say(f"{sum(one.recovered for one in found.matches)} of {len(concepts)} concepts recovered")
    matched = {number: one.feature for number, one in enumerate(found.matches) if one.recovered and one.feature is not None}
    labels = await _labels(settings, found, matched, folder, store, say)
    right = {} if embedder is None else await _recognised(concepts, labels, embedder)
    return PlantedResults(found, labels, right)


async def _labels(
    settings: TrainSettings, found: Planted, matched: dict[int, int], folder: Path, store: RunStore, say: Callable[[str], None]
) -> dict[int, Label]:
    given: dict[str, Any] = {
        "db": str(store.database.path),
        "seed": settings.seed,
        "subject": settings.subject.model_dump(),
        "sae": {"path": str(folder / "sae")},
        "corpus": settings.corpus.model_dump(),
    }
    collection = Collection(Settings.model_validate(given), folder / "evidence", subject=found.subject)
    say("collecting evidence")
    collection.gate(force=True)
    for one in collection.run(lambda _: None):
        store_evidence(one, store)
        one.discard()
    evidence_of = load_feature_evidence(store.database, collection.evidence_set_id, matched.values())
    labels: dict[int, Label] = {}
    labeler = LexicalLabeler()
    for concept, feature in matched.items():
        evidence = evidence_of[feature]
        (labels[concept],) = await labeler.fill(labeler.drafts(evidence), evidence)
    store.insert_many({"labels": [label_row(label) for label in labels.values()]})
    return labels


async def _recognised(concepts: Sequence[PlantedMeaning], labels: dict[int, Label], embedder: Embedder) -> dict[int, bool]:
    """Whether the nearest of ten concepts is the one planted; the others are drawn by hash."""
    referee = EmbeddingReferee(embedder)
    asked = []
    for number, label in labels.items():
        others = sorted(
            (one.label for one in concepts if one.label != concepts[number].label),
            key=lambda text: content_id("option", [concepts[number].label, text]),
        )
        asked.append((number, label.text or "", [concepts[number].label, *others[: OPTIONS - 1]]))
    choices = await referee.choose(asked)
    return {number: choice == 0 for (number, _, _), choice in zip(asked, choices, strict=True)}


def markdown(results: PlantedResults) -> str:
    """A table of the concepts, and a line on all."""
    rows = []
    for number, one in enumerate(results.planted.matches):
        label = results.labels.get(number)
        rows.append(
            [
                one.concept,
                f"{one.strength:.2f}",
                str(one.n_tokens),
                "–" if one.cosine is None else f"{one.cosine:.2f}",
                "yes" if one.recovered else "no",
                str(one.n_aligned),
                str(one.n_within),
                "–" if one.absorption is None else f"{one.absorption:.2f}",
                "–" if one.f1 is None else f"{one.f1:.2f}",
                "–" if label is None else (label.text or label.status),
                "–" if number not in results.right else ("yes" if results.right[number] else "no"),
            ]
        )
    header = ["concept", "strength", "test tokens", "cosine", "recovered", "aligned", "within", "absorption", "F1"]
    header += ["lexical label", "recognised"]
    summary = ", ".join(f"{key} {value}" for key, value in results.planted.summary.row().items())
    return f"{table(header, rows)}\n\n{summary}\n"
