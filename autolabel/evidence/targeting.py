"""The second stage of a collection: the text that was not read is searched for documents in which rare features may fire.

`rare` says why what is found can be counted without bias. The invariant: which features are rare and which tokens trigger them
follows from the finished first stage alone, so a collection cut off here goes on as if nothing had happened.
"""

from collections.abc import Callable
from contextlib import closing

import numpy as np
from numpy.typing import NDArray

from autolabel.config import Settings
from autolabel.evidence.collector import Collector
from autolabel.evidence.corpus import Tokenizer
from autolabel.evidence.encoding import firing_batches
from autolabel.evidence.rare import MARGIN, Rare, decide, trigger_tokens
from autolabel.evidence.shards import MIN_EXAMPLES_SHARDS, EvidenceSet
from autolabel.evidence.spill import among, joined
from autolabel.evidence.subject import Subject
from autolabel.evidence.survey import Survey
from autolabel.evidence.tiling import Pairs
from autolabel.hashing import UInt64
from autolabel.records import SPLITS, Split
from autolabel.sampling import TILE_TOKENS, draw_keys


def begin(collector: Collector, n_read: int, survey: Survey, tokenizer: Tokenizer) -> Rare:
    """What the second stage looks for, from a first stage that read the first `n_read` shards.

    The documents of the first stage that hold tiles of rare features are read once more, for their tokens alone.
    """
    collector.spill.cut()
    features, triggers = _deciding(collector)
    shards = (n_read, MIN_EXAMPLES_SHARDS)
    rare = Rare(shards, features, triggers, np.empty(0, dtype=np.uint64), collector.quotas)
    candidates = _candidates(collector, rare)
    unlike = [
        document.hash
        for shard in range(n_read if len(candidates) else 0)
        for _, document in survey.documents(tokenizer, shard, MIN_EXAMPLES_SHARDS)
        if among(np.array([document.hash], dtype=np.uint64), candidates)[0] and not rare.is_triggered(document.token_ids)
    ]
    return Rare(shards, features, triggers, np.unique(np.array(unlike, dtype=np.uint64)), collector.quotas)


def gather_rare(
    settings: Settings,
    subject: Subject,
    survey: Survey,
    one: EvidenceSet,
    collector: Collector,
    start: tuple[int, int],
    save: Callable[[int, int], None],
    report_tokens: Callable[[int], None],
) -> None:
    """Run the documents with triggers of all shards that the first stage left out.

    Args:
        settings: of the collection.
        subject: the model.
        survey: the text.
        one: the evidence set.
        collector: its collector, which knows its rare features.
        start: the shard to begin with, and how many texts of the corpus to pass over in it.
        save: is called at places where the collection may be cut off, with the shard and the number of texts that are done.
        report_tokens: is told after each batch how many tokens are done, those of the first stage included.
    """
    rare = collector.rare
    if rare is None or len(rare.features) == 0:
        return
    done = collector.counts.all_tokens + collector.counts.outliers
    between, limits = settings.engine.checkpoint_batches, {one.coder.hookpoint: one.norm_limit}
    for shard in range(start[0], MIN_EXAMPLES_SHARDS):
        skip = start[1] if shard == start[0] else 0
        found = survey.documents(subject, shard, MIN_EXAMPLES_SHARDS, skip)
        triggered = ((number, document) for number, document in found if rare.is_triggered(document.token_ids))
        stream = firing_batches(subject, [one.coder], limits, triggered, settings.subject_or_refuse, between, skip)
        with closing(stream):
            for (batch,) in stream:
                collector.add_rare(batch)
                done += batch.n_tokens + batch.n_outliers
                report_tokens(done)
                if batch.complete_through is not None:
                    save(shard, batch.complete_through)


def _deciding(collector: Collector) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rare features and their trigger tokens, from the kept train tiles of the texts that decide."""
    counts, quota = collector.counts, collector.firing["train"].k
    few = (counts.tiles_train > 0) & (counts.tiles_train <= quota)
    pairs = _held(collector, few, "train")
    ids, sources, _, tokens = _tiles(collector, np.unique(pairs.tile))
    pairs = pairs.select(decide(sources)[np.searchsorted(ids, pairs.tile)])
    feature = pairs.feature.astype(np.int64)
    n_deciding = np.bincount(feature, minlength=collector.d_sae)
    test_per_deciding = 2 * counts.all_tiles["test"] / max(counts.all_tiles["train"], 1)
    wanted = collector.settings.min_examples or 0
    is_rare = (n_deciding > 0) & (n_deciding * test_per_deciding < MARGIN * wanted)
    pairs = pairs.select(is_rare[feature])
    rows = np.repeat(np.searchsorted(ids, pairs.tile), pairs.length)
    on = tokens[rows, pairs.positions].astype(np.int64)
    return np.flatnonzero(is_rare), trigger_tokens(np.repeat(pairs.feature.astype(np.int64), pairs.length), on, pairs.values)


def _candidates(collector: Collector, rare: Rare) -> UInt64:
    """Documents of texts that did not decide, with sampled tiles of rare features; ascending."""
    is_rare = np.zeros(collector.d_sae, dtype=bool)
    is_rare[rare.features] = True
    tiles = np.unique(np.concatenate([_held(collector, is_rare, split).tile for split in SPLITS]))
    _, sources, documents, _ = _tiles(collector, tiles)
    return np.unique(documents[~decide(sources)])


def _held(collector: Collector, features: NDArray[np.bool_], split: Split) -> Pairs:
    """The tiles of some features in the uniform sample of a split; where enough features have enough, the spill is not empty."""
    parts = []
    for pairs in collector.spill.pairs():
        own = pairs.select(features[pairs.feature] & (pairs.split == SPLITS.index(split)))
        feature = own.feature.astype(np.int64)
        parts.append(own.select(collector.firing[split].holds(feature, draw_keys(collector.seed, feature, own.tile))))
    return joined(parts)


def _tiles(collector: Collector, wanted: UInt64) -> tuple[UInt64, UInt64, UInt64, NDArray[np.int32]]:
    """Of the tiles `wanted` (ascending): ids, hashes of texts, hashes of documents, and token ids, shape (n, 32)."""
    sources, documents = (np.empty(len(wanted), dtype=np.uint64) for _ in range(2))
    tokens = np.empty((len(wanted), TILE_TOKENS), dtype=np.int32)
    for batch in collector.spill.tiles():
        ids = batch["tile"].to_numpy()
        which = np.flatnonzero(among(ids, wanted))
        at = np.searchsorted(wanted, ids[which])
        sources[at] = batch["source_document"].to_numpy()[which]
        documents[at] = batch["document"].to_numpy()[which]
        lists = batch["token_ids"]
        ends = lists.offsets.to_numpy()[1:][which]
        tokens[at] = lists.values.to_numpy()[ends[:, None] + np.arange(-TILE_TOKENS, 0)]
    return wanted, sources, documents, tokens
