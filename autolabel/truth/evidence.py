"""Evidence about a benchmark's features, through the collector that every source of activations goes through."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.config import EvidenceSettings
from autolabel.evidence.collector import Collector
from autolabel.evidence.finishing import Evidence, Source, finished_tables
from autolabel.evidence.firings import FiringBatch
from autolabel.evidence.set_rows import set_row
from autolabel.evidence.spill import Spill
from autolabel.hashing import content_id
from autolabel.truth.features import Nuisances, TruthFeature
from autolabel.truth.nuisances import Firing, fired
from autolabel.truth.selection import Selected, firing_of
from autolabel.truth.world import World

FORMAT = "autolabel-truth"
_BATCH_DOCUMENTS = 64


class Firings:
    """What every feature of a benchmark fires on; the features are numbered as in the evidence set."""

    def __init__(self, world: World, selected: Selected) -> None:
        self.by_feature: list[Firing] = [firing_of(world, feature) for feature in selected.features]
        for meaning in selected.company:
            key = int(content_id("company", meaning.predicate.as_json())[:15], 16)
            marks = world.marks(meaning.predicate)
            self.by_feature.append(fired(marks, world.columns, world.places, Nuisances(), key, None))
        self.by_feature += [firing_of(world, feature) for feature in selected.nulls]
        tokens = np.concatenate([firing.tokens for firing in self.by_feature])
        features = np.repeat(np.arange(len(self.by_feature), dtype=np.int32), [len(one.tokens) for one in self.by_feature])
        order = np.lexsort((features, tokens))
        self.tokens: NDArray[np.int64] = tokens[order]
        """Token of every entry, ascending; shape (n_entries,), as of the next two."""
        self.features: NDArray[np.int32] = features[order]
        self.values: NDArray[np.float32] = np.concatenate([firing.values for firing in self.by_feature])[order]


def collect(
    world: World,
    corpus_name: str,
    selected: Selected,
    settings: EvidenceSettings,
    identity: dict[str, Any],
    folder: Path,
    report: Callable[[int], None],
) -> tuple[Evidence, Firings]:
    """The evidence set of a benchmark, its rows in files of `folder`; `report` is told how many tokens are done.

    Args:
        world: the text.
        corpus_name: what it is called.
        selected: the features.
        settings: how much evidence is kept.
        identity: what determines the benchmark: seed, families, number, corpus.
        folder: where files lie until the rows are stored.
        report: called now and then.
    """
    firings = Firings(world, selected)
    collector = Collector(len(firings.by_feature), settings, identity["seed"], Spill(folder))
    for batch in _batches(world, firings):
        collector.add(batch)
        report(collector.counts.all_tokens)
    config = identity | {"features": [described(feature) for feature in (*selected.features, *selected.nulls)]}
    sae_id = content_id("sae", ["functions", config])
    corpus_id = content_id("corpus", identity["corpus"])
    collection = settings.model_dump(mode="json")
    evidence_set_id = content_id("evidence_set", [sae_id, corpus_id, identity["seed"], collection])
    files, found = finished_tables(evidence_set_id, Source(sae_id, None, has_token_ids=False), collector, folder / "tables")
    sae = {
        "sae_id": sae_id,
        "name": f"TruthBench, seed {identity['seed']}",
        "kind": "functions",
        "format": FORMAT,
        "d_sae": len(firings.by_feature),
        "config": config,
    }
    corpus = {
        "corpus_id": corpus_id,
        "name": corpus_name,
        "sources": world.counts.by_source,
        "n_source_documents": world.n_source_documents,
        "n_documents": len(world.documents),
        "n_duplicates": 0,
        "n_tokens": world.n_tokens,
        "unseen_by_labeler": "unknown",
        "unseen_by_sae": "yes",
        "unseen_by_subject": "yes",
    }
    row = set_row(evidence_set_id, sae_id, corpus_id, collection, collector, found)
    return Evidence(sae, corpus, row, files), firings


def described(feature: TruthFeature) -> dict[str, Any]:
    """A feature as JSON: what it fires on, how it is disturbed, and what its labels say."""
    nuisances = {name: getattr(feature.nuisances, name) for name in Nuisances.__slots__}
    return {
        "feature_index": feature.index,
        "family": feature.family,
        "key": feature.candidate.key,
        "nuisances": nuisances,
        "magnitude": feature.candidate.magnitude,
        "labels": [
            {"text": one.text, "relation": one.relation, "predicate": None if one.predicate is None else one.predicate.as_json()}
            for one in feature.labels
        ],
        "function": feature.candidate.meaning.predicate.as_json(),
    }


def _batches(world: World, firings: Firings) -> Iterator[FiringBatch]:
    """The activations, some documents at a time."""
    for start in range(0, len(world.documents), _BATCH_DOCUMENTS):
        stop = min(start + _BATCH_DOCUMENTS, len(world.documents))
        contexts = [context for number in range(start, stop) for context in world.contexts[number]]
        begins = np.array(
            [world.first_token[number] + context.start for number in range(start, stop) for context in world.contexts[number]],
            dtype=np.int64,
        )
        low, high = np.searchsorted(firings.tokens, [world.first_token[start], world.first_token[stop]])
        tokens = firings.tokens[low:high]
        rows = np.searchsorted(begins, tokens, side="right") - 1
        n_tokens = int(world.first_token[stop] - world.first_token[start])
        features = firings.features[low:high].astype(np.int64)
        yield FiringBatch(contexts, n_tokens, 0, rows, tokens - begins[rows], features, firings.values[low:high])
