"""The same features on two halves of a text, each with several draws of tiles: what a score would have been on other text.

The invariant: no source document is in both halves, and within a half the draws differ in nothing but which tiles were drawn.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from autolabel.config import TruthSettings
from autolabel.errors import DataError
from autolabel.evidence.corpus import CorpusCounts, require_splits
from autolabel.hashing import content_id
from autolabel.records import Example, FeatureEvidence
from autolabel.sampling import shard_of
from autolabel.store.reading import load_feature_evidence
from autolabel.store.run_store import RunStore
from autolabel.truth.built import known_families, store_evidence
from autolabel.truth.evidence import collect
from autolabel.truth.features import Family, TruthFeature
from autolabel.truth.selection import Selected, select
from autolabel.truth.world import World

HALVES = 2
DRAWS = 2
Place = tuple[int, int]
"""A half and a draw from it."""


@dataclass(frozen=True, slots=True)
class Halves:
    """Evidence of the same features in every place."""

    features: tuple[TruthFeature, ...]
    """Those that have an exam everywhere."""
    n_without: int
    """Features left out because one place at least has too little evidence for an exam."""
    evidence: dict[Place, dict[int, FeatureEvidence]]
    n_tokens: tuple[int, ...]
    """Of each half."""

    def exam(self, place: Place, index: int) -> tuple[Example, ...]:
        """The test exam of a feature in one place."""
        return self.evidence[place][index].exam("test")


def build_halves(settings: TruthSettings, wanted: int, store: RunStore, report: Callable[[str], None]) -> Halves:
    """Choose features on the whole text and collect evidence for them in every place; `wanted` of those with an exam everywhere.

    Raises:
        ConfigError: a family is unknown.
        DataError: the text cannot be used, or leaves fewer than two features with an exam everywhere.
    """
    families = [family for family in known_families(settings.families) if family != "null"]
    world = World.read(settings.corpus, settings.seed)
    selected = select(world, settings.seed, settings.n, families, 0)
    report(f"{len(world.documents):,} documents, {world.n_tokens:,} tokens, {len(selected.features)} features")
    evidence: dict[Place, dict[int, FeatureEvidence]] = {}
    tokens = []
    for half in range(HALVES):
        part = half_of(world, half)
        tokens.append(part.n_tokens)
        for draw in range(DRAWS):
            report(f"half {half + 1}, draw {draw + 1}")
            evidence[half, draw] = _collected(settings, part, selected, (half, draw), store)
    able = [f for f in selected.features if all(found[f.index].exam("test") for found in evidence.values())]
    if len(able) < 2:
        raise DataError(
            f"{len(able)} of {len(selected.features)} features have an exam in both halves of the text, at least 2 are needed; use more text"
        )
    return Halves(tuple(spread(able, wanted)), len(selected.features) - len(able), evidence, tuple(tokens))


def half_of(world: World, half: int) -> World:
    """The documents of one half; blocks of one text stay together.

    Raises:
        DataError: it leaves a split with too few documents.
    """
    documents = [document for document in world.documents if shard_of(document.source_hash, HALVES) == half]
    counts = CorpusCounts()
    for document in documents:
        counts.count(document)
    require_splits(counts)
    return World(documents, counts, len({document.source_hash for document in documents}))


def spread(features: Sequence[TruthFeature], wanted: int) -> list[TruthFeature]:
    """So many of the features, families taking turns, in the order of their numbers."""
    seen: dict[Family, int] = {}
    turns = []
    for feature in features:
        turns.append((seen.get(feature.family, 0), feature.index, feature))
        seen[feature.family] = seen.get(feature.family, 0) + 1
    return sorted((feature for _, _, feature in sorted(turns)[:wanted]), key=lambda feature: feature.index)


def _collected(
    settings: TruthSettings, part: World, selected: Selected, place: Place, store: RunStore
) -> dict[int, FeatureEvidence]:
    half, draw = place
    content = content_id("text", [f"{document.hash:016x}" for document in part.documents])
    identity = {"seed": settings.seed + draw, "n": settings.n, "half": half, "corpus": content}
    name = f"{settings.corpus.name}, half {half + 1}"
    with tempfile.TemporaryDirectory(dir=store.database.path.parent, prefix="truth-") as folder:
        found, _ = collect(part, name, selected, settings.evidence, identity, Path(folder), lambda _: None)
        store_evidence(found, store)
    indices = [feature.index for feature in selected.features]
    return load_feature_evidence(store.database, found.evidence_set["evidence_set_id"], indices)
