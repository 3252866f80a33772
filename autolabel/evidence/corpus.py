"""Text as the subject model reads it: documents, their splits, and contexts with a tile grid.

The invariant: everything about a document (its block cuts, its split, its tiles) follows from its own text and the seed.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from autolabel.config import CorpusSettings, TextSource
from autolabel.errors import DataError
from autolabel.evidence.texts import RawText, read_texts
from autolabel.hashing import combine, document_hash
from autolabel.records import SPLITS, Split
from autolabel.sampling import TILE_TOKENS, grid_offset, is_drawn, split_of

MIN_DOCUMENTS_PER_SPLIT = 20
PIECE_CHARACTERS = 1_000_000
"""Longer texts are cut at a line end before they are tokenised, so that memory does not follow the longest text."""

Encoded = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Token ids, shape (n,), and token boundaries in characters, shape (n + 1,): token i covers bounds[i] to bounds[i + 1]."""


class Tokenizer(Protocol):
    """Turns text into token ids with the characters each token covers."""

    def encode(self, text: str) -> Encoded:
        """Token ids and boundaries of `text`."""


@dataclass(frozen=True, slots=True)
class Document:
    """A block of text of at most `document_tokens` tokens: the unit of splitting."""

    hash: int
    source_hash: int
    source: str
    split: Split
    text: str
    token_ids: NDArray[np.int32]
    bounds: NDArray[np.int32]
    name: str | None = None
    """The id that its file gives it, else its file and place there."""


@dataclass(frozen=True, slots=True)
class Context:
    """A stretch of a document that is run through the model at once: tokens start … start + n_tokens of it.

    Its first `offset` tokens only give the model (and the reader) something to go by; then `n_tiles` tiles of 32 tokens follow,
    numbered from `first_tile` within the document; a last rest of less than a tile belongs to none.
    """

    document: Document
    start: int
    n_tokens: int
    offset: int
    n_tiles: int
    first_tile: int


@dataclass(frozen=True, slots=True)
class SourceText:
    """A text as found in a source, and its place among all texts of the corpus in file order."""

    ordinal: int
    source: str
    raw: RawText
    hash: int

    @property
    def version(self) -> int:
        """Tells apart texts of the same hash (they differ in case or white space) and equal texts of several sources."""
        digest = hashlib.sha256(f"{self.source}\n{self.raw.text}".encode())
        return int.from_bytes(digest.digest()[:8], "big")


@dataclass
class CorpusCounts:
    """What was read, for `corpora` and for the refusal of a corpus that cannot be split; counts of several readings add up."""

    n_documents: int = 0
    n_tokens: int = 0
    by_split: Counter[Split] = field(default_factory=Counter)
    tiles_by_split: Counter[Split] = field(default_factory=Counter)
    by_source: dict[str, Counter[str]] = field(default_factory=dict)

    def count(self, document: Document) -> None:
        """Add a document."""
        self.n_documents += 1
        self.n_tokens += len(document.token_ids)
        self.by_split[document.split] += 1
        self.by_source.setdefault(document.source, Counter()).update(documents=1, tokens=len(document.token_ids))

    def merge(self, other: "CorpusCounts") -> None:
        """Add what another reading counted."""
        self.n_documents += other.n_documents
        self.n_tokens += other.n_tokens
        self.by_split.update(other.by_split)
        self.tiles_by_split.update(other.tiles_by_split)
        for source, counts in other.by_source.items():
            self.by_source.setdefault(source, Counter()).update(counts)

    def as_dict(self) -> dict[str, Any]:
        """The counts, ready for JSON."""
        return {
            "n_documents": self.n_documents,
            "n_tokens": self.n_tokens,
            "by_split": dict(self.by_split),
            "tiles_by_split": dict(self.tiles_by_split),
            "by_source": {source: dict(self.by_source[source]) for source in sorted(self.by_source)},
        }

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> "CorpusCounts":
        """What `as_dict` gave."""
        by_source = {source: Counter(counts) for source, counts in found["by_source"].items()}
        splits = (Counter(found["by_split"]), Counter(found["tiles_by_split"]))
        return cls(found["n_documents"], found["n_tokens"], *splits, by_source)


def source_texts(sources: list[TextSource], seed: int, skip: int = 0, lengths: list[int] | None = None) -> Iterator[SourceText]:
    """Every text of the sources that is drawn and not blank, in file order.

    `skip` passes over the first texts. `lengths` holds how many texts each source has, −1 where that is not known: whole sources
    are then passed over, and what is found out is filled in.

    Raises:
        DataError: a source is missing or cannot be read.
    """
    ordinal = 0
    lengths = [-1] * len(sources) if lengths is None else lengths
    for number, source in enumerate(sources):
        start = ordinal
        if 0 <= lengths[number] <= skip - start:
            ordinal += lengths[number]
            continue
        ordinal += max(skip - start, 0)
        for raw in read_texts(source, skip=ordinal - start):
            hashed = document_hash(raw.text)
            if raw.text.strip() and is_drawn(hashed, seed, source.share):
                yield SourceText(ordinal, source_name(source), raw, hashed)
            ordinal += 1
        lengths[number] = ordinal - start


def source_name(source: TextSource) -> str:
    """What a source is called: as set, or after its file."""
    return source.name or Path(source.path.removeprefix("part:")).stem


def documents_of(text: SourceText, settings: CorpusSettings, seed: int, tokenizer: Tokenizer) -> Iterator[Document]:
    """Cut a text into documents; a text that is one block is a document under its own hash."""
    blocks = _blocks(text.raw.text, settings.document_tokens, tokenizer)
    first = next(blocks, None)
    second = next(blocks, None)
    if first is None:
        return
    found = chain([first], [] if second is None else [second], blocks)
    for index, (block, encoded) in enumerate(found):
        block_hash = document_hash(block)
        name = text.hash if second is None else int(combine(block_hash, text.hash, index))
        token_ids, bounds = tokenizer.encode(block) if encoded is None else encoded
        split = split_of(block_hash, seed, settings.shares)
        yield Document(name, text.hash, text.source, split, block, token_ids, bounds, text.raw.id)


def read_documents(settings: CorpusSettings, seed: int, tokenizer: Tokenizer, counts: CorpusCounts) -> Iterator[Document]:
    """Yield the documents of a corpus block by block, in file order, each text once (the first of those that count as the same).

    `counts` is filled on the way. What is to be collected is read by `survey.Survey.documents`, which does not depend on the order.

    Raises:
        DataError: a source is missing or cannot be read.
    """
    seen: set[int] = set()
    for text in source_texts(settings.sources, seed):
        if text.hash in seen:
            continue
        seen.add(text.hash)
        for document in documents_of(text, settings, seed, tokenizer):
            counts.count(document)
            yield document
        if settings.max_tokens is not None and counts.n_tokens >= settings.max_tokens:
            return


def require_splits(counts: CorpusCounts) -> None:
    """Refuse a corpus that leaves a split with too few documents to mean anything.

    Raises:
        DataError: the corpus is empty, or a split holds fewer than 20 documents.
    """
    if counts.n_documents == 0:
        raise DataError("the corpus holds no text; check [corpus] sources, their text_column and share")
    for split in SPLITS:
        if counts.by_split[split] < MIN_DOCUMENTS_PER_SPLIT:
            raise DataError(
                f"the {split} split holds {counts.by_split[split]} documents, at least {MIN_DOCUMENTS_PER_SPLIT} are needed; "
                "add text, raise [corpus] share, or lower document_tokens so that long documents are cut into more blocks"
            )


def require_tiles(counts: CorpusCounts) -> None:
    """Refuse a corpus whose documents are too short to hold a tile.

    Raises:
        DataError: a split holds no tile.
    """
    for split in SPLITS:
        if counts.tiles_by_split[split] == 0:
            raise DataError(
                f"the {counts.by_split[split]} documents of the {split} split hold no tile of {TILE_TOKENS} tokens; join short "
                f"texts into documents of at least {2 * TILE_TOKENS} tokens"
            )


def n_tiles(document: Document, context_tokens: int) -> int:
    """Tiles of a document."""
    return sum(context.n_tiles for context in contexts_of(document, context_tokens))


def contexts_of(document: Document, context_tokens: int) -> Iterator[Context]:
    """Cut a document into contexts of fewer than `context_tokens` tokens (one place is the BOS), each with its own tile grid."""
    start, index, tile = 0, 0, 0
    n_document = len(document.token_ids)
    tiles_per_context = (context_tokens - TILE_TOKENS) // TILE_TOKENS
    while start < n_document:
        offset = grid_offset(document.hash, index)
        n_tokens = min(offset + tiles_per_context * TILE_TOKENS, n_document - start)
        n_tiles = max(n_tokens - offset, 0) // TILE_TOKENS
        yield Context(document, start, n_tokens, offset, n_tiles, tile)
        start, index, tile = start + n_tokens, index + 1, tile + n_tiles


def _blocks(text: str, limit: int, tokenizer: Tokenizer) -> Iterator[tuple[str, Encoded | None]]:
    """Cut `text` at its last line end within each `limit` tokens; where there is none, at the limit."""
    for piece in _pieces(text):
        encoded = tokenizer.encode(piece)
        bounds = encoded[1]
        n_tokens = len(bounds) - 1
        if n_tokens <= limit:
            if piece:
                yield piece, encoded
            continue
        breaks = np.flatnonzero([piece[at - 1] == "\n" for at in bounds[1:-1]]) + 1
        first = 0
        while first < n_tokens:
            last = min(first + limit, n_tokens)
            if last < n_tokens:
                fitting = breaks[(breaks > first) & (breaks <= last)]
                last = int(fitting[-1]) if len(fitting) else last
            block = piece[bounds[first] : bounds[last]].strip()
            if block:
                yield block, None
            first = last


def _pieces(text: str) -> Iterator[str]:
    start = 0
    while len(text) - start > PIECE_CHARACTERS:
        end = text.rfind("\n", start, start + PIECE_CHARACTERS) + 1
        end = end if end > start else start + PIECE_CHARACTERS
        yield text[start:end]
        start = end
    yield text[start:] if start else text
