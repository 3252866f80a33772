"""A benchmark that stands: its text, features and evidence, in memory and in the database."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from autolabel.config import TruthSettings
from autolabel.errors import ConfigError, ModelResponseError
from autolabel.evidence.finishing import Evidence
from autolabel.hashing import content_id
from autolabel.intervals import unscored
from autolabel.pipeline import rows
from autolabel.records import Example, FeatureEvidence, Label, Metric, Prediction, Purpose
from autolabel.scorers.base import Scorer, ScorerInfo
from autolabel.store.reading import load_feature_evidence
from autolabel.store.run_store import RunStore
from autolabel.truth.evidence import Firings, collect
from autolabel.truth.features import FAMILIES, Family, ShippedLabel, TruthFeature
from autolabel.truth.selection import Selected, select, sizes
from autolabel.truth.world import Exact, Tiles, World

TRUTH = ScorerInfo("truth", "truth", "binary", needs_calibration=False)
"""The scorer that knows: it runs a label's own function over every test tile."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """A shipped label, as a row of the store knows it, and its exact worth for its feature."""

    label: Label
    shipped: ShippedLabel
    exact: Exact


@dataclass
class Built:
    """A benchmark, ready to be measured on."""

    settings: TruthSettings
    world: World
    selected: Selected
    firings: Firings
    store: RunStore
    sae_id: str
    evidence_set_id: str
    fired: dict[int, Tiles] = field(default_factory=dict)
    """Tiles in which each feature fires, nuisances included."""

    @property
    def features(self) -> tuple[TruthFeature, ...]:
        """The benchmark's features."""
        return self.selected.features

    def feature(self, index: int) -> TruthFeature:
        """A feature of the benchmark, or one of the further nulls."""
        return self._by_index[index]

    def number(self, index: int) -> int:
        """A feature's place within its family, 0 first: what decides which labels are scored must not depend on other families."""
        family = self.feature(index).family
        return sum(feature.family == family for feature in self.features if feature.index < index)

    @cached_property
    def _by_index(self) -> dict[int, TruthFeature]:
        return {feature.index: feature for feature in (*self.selected.features, *self.selected.nulls)}

    @cached_property
    def evidence(self) -> dict[int, FeatureEvidence]:
        """Evidence of all splits, by feature."""
        return load_feature_evidence(self.store.database, self.evidence_set_id, self._by_index)

    def exam(self, index: int) -> tuple[Example, ...]:
        """The test exam of a feature; empty where there is too little evidence for one."""
        return self.evidence[index].exam("test")

    @cached_property
    def shipped(self) -> dict[int, list[Shipped]]:
        """The shipped labels of every feature, the true one first."""
        return {feature.index: self._shipped_of(feature) for feature in (*self.selected.features, *self.selected.nulls)}

    def _shipped_of(self, feature: TruthFeature) -> list[Shipped]:
        fired = self.fired[feature.index]
        found = []
        for one in feature.labels:
            named = fired[:0] if one.predicate is None else self.world.tiles_of(one.predicate)
            found.append(Shipped(self.label(feature.index, f"truth_{one.relation}", one.text), one, self.world.exact(named, fired)))
        return found

    def label(self, index: int, method: str, text: str) -> Label:
        """A label that comes with the benchmark."""
        grounds = [self.evidence_set_id, index, method, text]
        return Label(
            label_id=content_id("label", grounds),
            evidence_set_id=self.evidence_set_id,
            sae_id=self.sae_id,
            feature_index=index,
            status="ok",
            method=method,
            text=text,
            origin="imported",
        )

    def subset(self, n: int) -> list[TruthFeature]:
        """`n` features over all families in their proportions, the first of each."""
        families = list(dict.fromkeys(feature.family for feature in self.features))
        if n >= len(self.features):
            return list(self.features)
        wanted = sizes(max(n, len(families)), families)
        taken: dict[Family, int] = dict.fromkeys(families, 0)
        chosen = []
        for feature in self.features:
            if taken[feature.family] < wanted[feature.family]:
                taken[feature.family] += 1
                chosen.append(feature)
        return chosen

    @cached_property
    def tile_of_window(self) -> dict[tuple[str, int], int]:
        """Number of the tile, by document id and tile index."""
        world = self.world
        first: dict[int, int] = {}
        for number, document in enumerate(world.tile_document.tolist()):
            first.setdefault(document, number)
        return {
            (f"{world.documents[document].hash:016x}", number - first[document]): number
            for number, document in enumerate(world.tile_document.tolist())
        }


def build(settings: TruthSettings, store: RunStore, report: Callable[[str], None]) -> Built:
    """Read the text, choose features, collect evidence and store it with the shipped labels and their exact worth.

    Raises:
        ConfigError: a family is unknown.
        DataError: the text cannot be used.
    """
    families = known_families(settings.families)
    world = World.read(settings.corpus, settings.seed)
    report(f"{len(world.documents):,} documents, {world.n_tokens:,} tokens, {world.n_tiles:,} tiles")
    selected = select(world, settings.seed, settings.n, families, settings.nulls)
    report(
        f"{len(selected.features)} features, {len(selected.company)} that keep them company, {len(selected.nulls)} further nulls"
    )
    content = content_id("text", [f"{document.hash:016x}" for document in world.documents])
    identity = {"seed": settings.seed, "n": settings.n, "families": list(families), "nulls": settings.nulls, "corpus": content}
    with tempfile.TemporaryDirectory(dir=store.database.path.parent, prefix="truth-") as folder:
        evidence, firings = collect(
            world, settings.corpus.name, selected, settings.evidence, identity, Path(folder), lambda _: None
        )
        store_evidence(evidence, store)
    built = Built(settings, world, selected, firings, store, evidence.sae["sae_id"], evidence.evidence_set["evidence_set_id"])
    every = (*selected.features, *selected.nulls)
    built.fired = {feature.index: world.tiles_fired(firings.by_feature[feature.index]) for feature in every}
    _store_labels(built)
    return built


def known_families(names: Sequence[str]) -> list[Family]:
    """The families of these names, in the benchmark's order.

    Raises:
        ConfigError: there is no such family.
    """
    unknown = [name for name in names if name not in FAMILIES]
    if unknown:
        raise ConfigError(f"there is no family '{unknown[0]}'; the families are {', '.join(FAMILIES)}")
    return [family for family in FAMILIES if family in names]


def store_evidence(evidence: Evidence, store: RunStore) -> None:
    """Put an evidence set into a database."""
    single = {"saes": evidence.sae, "corpora": evidence.corpus, "evidence_sets": evidence.evidence_set}
    store.insert_evidence(single, {table: evidence.batches(table) for table in evidence.files})


def _store_labels(built: Built) -> None:
    """The shipped labels, and for each how well its function predicts its feature over all test tiles."""
    labels, scores = [], []
    for index, shipped in built.shipped.items():
        for one in shipped:
            labels.append(rows.label_row(one.label))
            scores += exact_rows(built, one.label, built.evidence[index], one.exact)
    built.store.insert_many({"labels": labels, "scores": scores})


def exact_rows(built: Built, label: Label, evidence: FeatureEvidence, exact: Exact) -> list[rows.Row]:
    """Rows of `scores` for what a label's function is worth; they have no error."""
    found: dict[Metric, float | None] = {"f1": exact.f1, "precision": exact.precision, "recall": exact.recall}
    return [
        certain_row(label, evidence, TRUTH, metric, value, exact.n_named) for metric, value in found.items() if value is not None
    ]


def certain_row(label: Label, evidence: FeatureEvidence, info: ScorerInfo, metric: Metric, value: float, n: int) -> rows.Row:
    """A row of `scores` for a number that is no estimate: its interval is the number itself."""
    status = "admitted" if info.needs_calibration else "not_needed"
    row = rows.score_row(label, evidence, info, "test", metric, unscored(n, None, "known"), 0, status)
    return row | {"value": value, "low": value, "high": value, "reason": None}


def smaller(exam: Sequence[Example], tiles: int | None) -> list[Example]:
    """The first tiles of each stratum of an exam by rank; the whole exam for None."""
    if tiles is None:
        return list(exam)
    left = dict.fromkeys(("firing", "hard", "random"), tiles)
    chosen = []
    for example in sorted(exam, key=lambda e: (e.sample_rank, e.window_id)):
        stratum = str(example.stratum)
        if left[stratum] > 0:
            left[stratum] -= 1
            chosen.append(example)
    return chosen


async def predicted(scorer: Scorer, labels: Sequence[Label], exam: Sequence[Example], purpose: Purpose) -> list[list[Prediction]]:
    """What a scorer says; where its model has no answer (a reply that was not recorded), failed predictions that say so."""
    try:
        return await scorer.predict(labels, exam, purpose)
    except ModelResponseError as error:
        return [[Prediction(example.window_id, None, error.status, str(error)) for example in exam] for _ in labels]
