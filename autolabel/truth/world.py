"""The text of a benchmark in memory, and what functions do on it: the population that every number is exact over."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from autolabel.config import CorpusSettings
from autolabel.evidence.corpus import Context, CorpusCounts, Document, contexts_of, read_documents, require_splits
from autolabel.records import SPLITS, Split
from autolabel.sampling import TILE_TOKENS, tile_ids
from autolabel.truth.columns import Columns, Mask, PieceTokenizer
from autolabel.truth.nuisances import Firing, TokenPlaces
from autolabel.truth.predicates import Predicate

CONTEXT_TOKENS = 256
Tiles = NDArray[np.int32]
"""Numbers of tiles, ascending, each once."""


@dataclass(frozen=True, slots=True)
class Exact:
    """How well one function predicts another over all test tiles: no sample, no error."""

    precision: float | None
    """Share of the tiles it names that fire; None when it names none."""
    recall: float
    f1: float
    n_named: int
    n_fired: int


class World:
    """Documents with their tiles, and functions evaluated on them."""

    def __init__(self, documents: Sequence[Document], counts: CorpusCounts, n_source_documents: int) -> None:
        self.documents = list(documents)
        self.counts, self.n_source_documents = counts, n_source_documents
        self.columns = Columns(
            [document.text for document in self.documents],
            [document.source for document in self.documents],
            [document.hash for document in self.documents],
        )
        self.contexts: list[list[Context]] = [list(contexts_of(document, CONTEXT_TOKENS)) for document in self.documents]
        lengths = [len(document.token_ids) for document in self.documents]
        self.first_token: NDArray[np.int64] = np.cumsum([0, *lengths])
        """Number of each document's first token, and of all tokens at last."""
        self._lay_tiles()
        self._tiles_by_predicate: dict[Predicate, tuple[Tiles, int]] = {}

    @classmethod
    def read(cls, corpus: CorpusSettings, seed: int) -> "World":
        """Read a corpus; the split of each document follows from its own text and the seed.

        Raises:
            DataError: the text cannot be read, or leaves a split with too few documents.
        """
        counts = CorpusCounts()
        documents = sorted(read_documents(corpus, seed, PieceTokenizer(), counts), key=lambda document: document.hash)
        require_splits(counts)
        return cls(documents, counts, len({document.source_hash for document in documents}))

    @property
    def n_tokens(self) -> int:
        """Tokens of all documents."""
        return int(self.first_token[-1])

    @property
    def n_tiles(self) -> int:
        """Tiles of all documents."""
        return len(self.tile_first)

    def _lay_tiles(self) -> None:
        """Number all tiles, and say of every token which one it is in."""
        first, document, ids = [], [], []
        for number, contexts in enumerate(self.contexts):
            for context in contexts:
                start = self.first_token[number] + context.start + context.offset
                first.append(start + TILE_TOKENS * np.arange(context.n_tiles))
                document.append(np.full(context.n_tiles, number, dtype=np.int32))
                own = np.full(context.n_tiles, context.document.hash, dtype=np.uint64)
                ids.append(tile_ids(own, context.first_tile + np.arange(context.n_tiles)))
        self.tile_first: NDArray[np.int64] = np.concatenate(first).astype(np.int64)
        """First token of each tile; shape (n_tiles,), as of the next three."""
        self.tile_document: NDArray[np.int32] = np.concatenate(document)
        self.tile_id: NDArray[np.uint64] = np.concatenate(ids)
        splits = np.array([SPLITS.index(one.split) for one in self.documents], dtype=np.uint8)
        self.tile_split: NDArray[np.uint8] = splits[self.tile_document]
        sources = {hashed: n for n, hashed in enumerate(dict.fromkeys(one.source_hash for one in self.documents))}
        self.source_of_document = np.array([sources[one.source_hash] for one in self.documents], dtype=np.int32)
        """Number of each document's source document, the cluster of intervals."""
        self.tile_of_token = np.full(self.n_tokens, -1, dtype=np.int32)
        places = self.tile_first[:, None] + np.arange(TILE_TOKENS)[None, :]
        self.tile_of_token[places] = np.arange(len(self.tile_first), dtype=np.int32)[:, None]

    @cached_property
    def places(self) -> TokenPlaces:
        """The tokens of each word."""
        columns = self.columns
        first = np.empty(len(columns), dtype=np.int64)
        for number, document in enumerate(self.documents):
            own = slice(columns.first[number], columns.first[number + 1])
            # Token i begins before its white space, so a word's first token is the one that its first character lies in.
            first[own] = self.first_token[number] + np.searchsorted(document.bounds, columns.start[own], side="right") - 1
        document_of_word = columns.document
        following = np.append(first[1:], 0)
        last_of_document = np.append(document_of_word[1:] != document_of_word[:-1], True) if len(columns) else np.empty(0, bool)
        last = np.where(last_of_document, self.first_token[document_of_word + 1] - 1, following - 1)
        return TokenPlaces(first, last.astype(np.int64), last_of_document)

    @cached_property
    def _tokens(self) -> tuple[list[str], NDArray[np.int32]]:
        known: dict[str, int] = {}
        kinds = np.empty(self.n_tokens, dtype=np.int32)
        for number, document in enumerate(self.documents):
            bounds, text = document.bounds.tolist(), document.text
            found = [known.setdefault(text[start:end], len(known)) for start, end in pairwise(bounds)]
            kinds[self.first_token[number] : self.first_token[number + 1]] = found
        return list(known), kinds

    @property
    def token_types(self) -> list[str]:
        """The distinct tokens, white space before them included."""
        return self._tokens[0]

    @property
    def token_kind(self) -> NDArray[np.int32]:
        """Which of `token_types` each token is; shape (n_tokens,)."""
        return self._tokens[1]

    def split_tiles(self, tiles: Tiles, split: Split) -> Tiles:
        """Those of the tiles that are in a split."""
        own: Tiles = tiles[self.tile_split[tiles] == SPLITS.index(split)]
        return own

    def tiles_of_tokens(self, tokens: NDArray[np.int64]) -> Tiles:
        """The tiles that hold any of the tokens."""
        tiles: Tiles = np.unique(self.tile_of_token[tokens])
        inside: Tiles = tiles[tiles >= 0]
        return inside

    def marks(self, predicate: Predicate) -> Mask:
        """Where a predicate holds, by word."""
        return predicate.marks(self.columns)

    def tiles_of(self, predicate: Predicate) -> Tiles:
        """The tiles in which a predicate holds anywhere; remembered."""
        return self._evaluated(predicate)[0]

    def count(self, predicate: Predicate) -> int:
        """At how many words a predicate holds; remembered."""
        return self._evaluated(predicate)[1]

    def _evaluated(self, predicate: Predicate) -> tuple[Tiles, int]:
        if predicate not in self._tiles_by_predicate:
            words = np.flatnonzero(self.marks(predicate))
            self._tiles_by_predicate[predicate] = self.tiles_of_tokens(self.places.first[words]), len(words)
        return self._tiles_by_predicate[predicate]

    def tiles_fired(self, firing: Firing) -> Tiles:
        """The tiles in which a feature fires."""
        return self.tiles_of_tokens(firing.tokens)

    def n_source_documents_of(self, tiles: Tiles) -> int:
        """Source documents that the tiles come from."""
        return len(np.unique(self.source_of_document[self.tile_document[tiles]]))

    def exact(self, named: Tiles, fired: Tiles, split: Split = "test") -> Exact:
        """How well the tiles that a label names predict those that fire."""
        named, fired = self.split_tiles(named, split), self.split_tiles(fired, split)
        both = len(np.intersect1d(named, fired, assume_unique=True))
        together = len(named) + len(fired)
        return Exact(
            precision=both / len(named) if len(named) else None,
            recall=both / len(fired) if len(fired) else 0.0,
            f1=2 * both / together if together else 1.0,
            n_named=len(named),
            n_fired=len(fired),
        )
