"""Contexts of files as documents of the corpus: which are alike, what they are called, which split they fall into.

Every context is a document of its own; what the files call a document is the source that its contexts share. The split is drawn for
the source, so that all contexts of a document fall into one.
"""

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

from autolabel.evidence.corpus import Context, Document
from autolabel.evidence.sources.base import SourceCounts
from autolabel.evidence.sources.tokens import Text
from autolabel.hashing import UInt64, combine
from autolabel.records import Split
from autolabel.sampling import TILE_TOKENS, grid_offset, split_of

_CONTEXT_SALT = 21


def id_hash(document_id: str) -> int:
    """64-bit hash of a document's id, which (other than `document_hash`) tells `A1` from `a1`."""
    return int.from_bytes(blake2b(document_id.encode("utf-8", errors="surrogatepass"), digest_size=8).digest(), "big")


@dataclass(frozen=True, slots=True)
class Survey:
    """The contexts of a source in the order of its files, 21 bytes each; the arrays have shape (n_contexts of the files,)."""

    hashes: UInt64
    """`Document.hash`: of the source, the text and the occurrence of that text in the source."""
    sources: UInt64
    """`Document.source_hash`."""
    lengths: NDArray[np.int32]
    """Tokens."""
    handed_out: NDArray[np.bool_]
    """False for a repetition that is left out."""
    n_duplicates: int

    @classmethod
    def of(cls, contexts: Iterable[tuple[int, Text]], drop_repeats: bool) -> "Survey":
        """Go once over (source hash, text) of all contexts.

        A text that occurs in its source again is left out if `drop_repeats`, else it is a document of its own.
        """
        sources, texts, lengths = array("Q"), array("Q"), array("i")
        for source, text in contexts:
            sources.append(source)
            texts.append(id_hash(text.text))
            lengths.append(len(text.token_ids))
        source_hashes = np.array(sources, dtype=np.uint64)
        alike = combine(_CONTEXT_SALT, source_hashes, np.array(texts, dtype=np.uint64))
        occurrences = _occurrences(alike)
        first = occurrences == 0
        return cls(
            hashes=combine(alike, occurrences.astype(np.uint64)),
            sources=source_hashes,
            lengths=np.array(lengths, dtype=np.int32),
            handed_out=first if drop_repeats else np.ones(len(first), dtype=bool),
            n_duplicates=int((~first).sum()),
        )

    def context(self, row: int, text: Text, name: str, origin: str, seed: int, shares: Mapping[Split, float]) -> Context:
        """The context in a row of the files; `name` is its document's id, `origin` the name of the whole source."""
        own, source, n_tokens = int(self.hashes[row]), int(self.sources[row]), len(text.token_ids)
        split = split_of(source, seed, shares)
        document = Document(own, source, origin, split, text.text, text.token_ids, text.bounds, name)
        offset = grid_offset(own, 0)
        return Context(document, 0, n_tokens, offset, max(n_tokens - offset, 0) // TILE_TOKENS, 0)

    def counts(self, seed: int, shares: Mapping[Split, float]) -> SourceCounts:
        """What is handed out, by split."""
        chosen = self.handed_out
        sources, index = np.unique(self.sources[chosen], return_inverse=True)
        splits = [split_of(int(source), seed, shares) for source in sources]
        offsets = np.array([grid_offset(int(name), 0) for name in self.hashes[chosen]], dtype=np.int64)
        tiles = np.maximum(self.lengths[chosen] - offsets, 0) // TILE_TOKENS
        by_source = np.bincount(index, weights=tiles, minlength=len(splits))
        tiles_by_split: Counter[Split] = Counter()
        for split, n_tiles in zip(splits, by_source.tolist(), strict=True):
            tiles_by_split[split] += int(n_tiles)
        return SourceCounts(
            n_source_documents=len(sources),
            n_contexts=int(chosen.sum()),
            n_duplicates=self.n_duplicates,
            n_tokens=int(self.lengths[chosen].sum(dtype=np.int64)),
            source_documents_by_split=Counter(splits),
            tiles_by_split=tiles_by_split,
        )


def _occurrences(hashes: UInt64) -> NDArray[np.int64]:
    """How many equal values precede each value."""
    order = np.argsort(hashes, kind="stable")
    ordered = hashes[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]])[: len(ordered)])
    lengths = np.diff(np.append(starts, len(ordered)))
    result = np.empty(len(hashes), dtype=np.int64)
    result[order] = np.arange(len(ordered)) - np.repeat(starts, lengths)
    return result
