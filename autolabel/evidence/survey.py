"""One light reading of a corpus before the model runs: what it holds, which texts are the same, and what the gate reads.

Text is only hashed here, not tokenised, but for the few documents that show whether the corpus can be split at all. The invariant:
what is read afterwards follows from the texts themselves, never from the order in which files hold them.
"""

import hashlib
import heapq
from array import array
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from autolabel.config import CorpusSettings
from autolabel.errors import NothingToAdd
from autolabel.evidence.corpus import (
    MIN_DOCUMENTS_PER_SPLIT,
    CorpusCounts,
    Document,
    SourceText,
    Tokenizer,
    documents_of,
    n_tiles,
    require_splits,
    require_tiles,
    source_texts,
)
from autolabel.hashing import UInt64, combine
from autolabel.records import SPLITS
from autolabel.sampling import sample_key, shard_of

GATE_DOCUMENTS = 64
_GATE_TEXTS, _GATE_CHARACTERS = 256, 30_000
_RECENT, _PIECE = 2**16, 2**20


class Survey:
    """What the first reading found."""

    def __init__(
        self, settings: CorpusSettings, seed: int, tokenizer: Tokenizer, context_tokens: int, known: UInt64 | None = None
    ) -> None:
        """Read the corpus. `known`, sorted, are hashes of texts that an earlier collection holds already; they are passed over.

        Raises:
            DataError: a source cannot be read, or the corpus cannot be split.
            NothingToAdd: all of it is known.
        """
        self._settings, self._seed = settings, seed
        self._known = np.empty(0, dtype=np.uint64) if known is None else known
        self.n_known = 0
        """Texts passed over because an earlier collection holds them."""
        self._lengths = [-1] * len(settings.sources)
        self._gate: list[tuple[int, int, SourceText]] = []
        hashes, versions, ordinals, lengths = array("Q"), array("Q"), array("Q"), array("I")
        counts, counted = CorpusCounts(), _Hashes()
        splittable = known is not None
        for text in self._texts():
            hashes.append(text.hash)
            versions.append(text.version)
            ordinals.append(text.ordinal)
            lengths.append(len(text.raw.text))
            self._offer_to_gate(text)
            if (settings.max_tokens is not None or not splittable) and counted.add(text.hash):
                for document in documents_of(text, settings, seed, tokenizer):
                    counts.count(document)
                    counts.tiles_by_split[document.split] += n_tiles(document, context_tokens)
                splittable = splittable or _splittable(counts)
                if settings.max_tokens is not None and counts.n_tokens >= settings.max_tokens:
                    break
        if known is not None and not hashes:
            raise NothingToAdd(
                f"all {self.n_known} texts are in the evidence set already, so there is nothing to add; name other text"
            )
        if not splittable:
            require_splits(counts)
            require_tiles(counts)
        self._settle(np.asarray(hashes), np.asarray(versions), np.asarray(ordinals), np.asarray(lengths))

    def _texts(self) -> Iterator[SourceText]:
        """The texts in file order, those known already left out."""
        for text in source_texts(self._settings.sources, self._seed, lengths=self._lengths):
            if _holds(self._known, text.hash):
                self.n_known += 1
            else:
                yield text

    def _settle(self, hashes: UInt64, versions: UInt64, ordinals: UInt64, lengths: NDArray[np.uint32]) -> None:
        """Decide which of the texts that count as the same is read, and name the content; the texts are in the order of reading."""
        order = np.lexsort((versions, hashes))
        ordered = hashes[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = ordered[1:] != ordered[:-1]
        repeated = np.zeros(len(order), dtype=bool)
        repeated[:-1] = first[:-1] & ~first[1:]
        self._chosen = dict(zip(ordered[repeated].tolist(), ordinals[order[repeated]].tolist(), strict=True))
        self.hashes: UInt64 = ordered[first]
        """Of the texts that are read, sorted."""
        chosen = order[first]
        self.n_source_documents = len(hashes)
        self.n_duplicates = len(hashes) - len(chosen)
        self.n_characters = int(lengths[chosen].sum(dtype=np.uint64))
        """Of the texts that are read."""
        del ordered, order, first, repeated
        pieces = (slice(start, start + _PIECE) for start in range(0, len(chosen), _PIECE))
        self.content = sum(int(combine(self.hashes[i], versions[chosen[i]]).sum(dtype=np.uint64)) for i in pieces) % 2**64
        """Sum of the texts' scattered hashes modulo 2^64: the same for the same texts in any order."""
        in_order = hashlib.sha256(hashes.data)
        in_order.update(ordinals.data)
        self.order = in_order.hexdigest()
        """Which texts come after each other: what "so many texts are done" means is true of this order alone."""
        self._end = int(ordinals[-1]) + 1 if len(ordinals) else 0

    def documents(self, tokenizer: Tokenizer, shard: int = 0, n_shards: int = 1, skip: int = 0) -> Iterator[tuple[int, Document]]:
        """The documents of one shard, each with how many texts of the corpus have been read once it and its like are done.

        `skip` is such a number, of an earlier reading that goes on here.

        Raises:
            DataError: a source cannot be read any more.
        """
        settings = self._settings
        for text in source_texts(settings.sources, self._seed, skip, self._lengths):
            if text.ordinal >= self._end:
                return
            if self._chosen.get(text.hash, text.ordinal) != text.ordinal or _holds(self._known, text.hash):
                continue
            if n_shards > 1 and shard_of(text.hash, n_shards) != shard:
                continue
            for document in documents_of(text, settings, self._seed, tokenizer):
                yield text.ordinal + 1, document

    def gate_documents(self, tokenizer: Tokenizer) -> list[Document]:
        """Up to 64 test documents (of any split, where there are none), chosen by hash."""
        found: list[Document] = []
        for _, _, text in sorted(self._gate, key=lambda entry: -entry[0]):
            documents = list(documents_of(text, self._settings, self._seed, tokenizer))
            was_cut = len(text.raw.text) == _GATE_CHARACTERS and len(documents) > 1
            found += documents[:-1] if was_cut else documents
        of_test = [document for document in found if document.split == "test"]
        return (of_test or found)[:GATE_DOCUMENTS]

    def _offer_to_gate(self, text: SourceText) -> None:
        entry = (-sample_key(self._seed, text.hash), -text.version)
        if len(self._gate) == _GATE_TEXTS and entry <= self._gate[0][:2]:
            return
        if any(entry[0] == other[0] and entry[1] <= other[1] for other in self._gate):
            return
        self._gate = [other for other in self._gate if other[0] != entry[0]]
        heapq.heapify(self._gate)
        short = replace(text, raw=replace(text.raw, text=text.raw.text[:_GATE_CHARACTERS]))
        heapq.heappush(self._gate, (*entry, short))
        if len(self._gate) > _GATE_TEXTS:
            heapq.heappop(self._gate)


class _Hashes:
    """A set of 64-bit hashes in about 16 bytes apiece: sorted ones, and a few at most that came since."""

    def __init__(self) -> None:
        self._sorted: UInt64 = np.empty(0, dtype=np.uint64)
        self._recent: set[int] = set()

    def add(self, found: int) -> bool:
        """Whether the hash is new; it no longer is."""
        if found in self._recent or _holds(self._sorted, found):
            return False
        self._recent.add(found)
        if len(self._recent) > max(_RECENT, len(self._sorted) // 16):
            both = np.concatenate([self._sorted, np.fromiter(self._recent, np.uint64, len(self._recent))])
            both.sort(kind="stable")
            self._sorted, self._recent = both, set()
        return True


def _holds(ordered: UInt64, found: int) -> bool:
    place = int(np.searchsorted(ordered, np.uint64(found)))
    return place < len(ordered) and int(ordered[place]) == found


def _splittable(counts: CorpusCounts) -> bool:
    return all(counts.by_split[split] >= MIN_DOCUMENTS_PER_SPLIT and counts.tiles_by_split[split] > 0 for split in SPLITS)
