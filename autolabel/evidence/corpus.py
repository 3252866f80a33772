"""Text as the subject model reads it: documents, their splits, and contexts with a tile grid.

The invariant: everything about a document (its block cuts, its split, its tiles) follows from its own text and the seed.
"""

import glob
import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from autolabel.config import CorpusSettings, TextSource
from autolabel.errors import DataError
from autolabel.hashing import combine, content_id, document_hash
from autolabel.parts import locate
from autolabel.records import SPLITS, Split
from autolabel.sampling import TILE_TOKENS, grid_offset, is_drawn, split_of

MIN_DOCUMENTS_PER_SPLIT = 20
_JSONL_SUFFIXES = (".jsonl", ".jsonl.gz", ".ndjson")


class Tokenizer(Protocol):
    """Turns text into token ids with the characters each token covers."""

    def encode(self, text: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Token ids, shape (n,), and token boundaries in characters, shape (n + 1,): token i covers bounds[i] to bounds[i + 1]."""


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
    version: int = 0
    """Tells apart documents of the same hash: those that differ in case or white space, or are blocks of different texts."""


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


@dataclass
class CorpusCounts:
    """What was read, for `corpora` and for the refusal of a corpus that cannot be split."""

    n_source_documents: int = 0
    n_documents: int = 0
    n_duplicates: int = 0
    n_tokens: int = 0
    by_split: Counter[Split] = field(default_factory=Counter)
    tiles_by_split: Counter[Split] = field(default_factory=Counter)
    by_source: dict[str, dict[str, int]] = field(default_factory=dict)
    versions: dict[int, int] = field(default_factory=dict)
    """Document hash → the smallest `Document.version` found: the one that stands for all that are alike."""

    @property
    def content(self) -> int:
        """Sum of the documents' scattered hashes modulo 2^64: the same for the same documents in any order."""
        hashes, versions = (np.fromiter(words, dtype=np.uint64) for words in (self.versions.keys(), self.versions.values()))
        return int(combine(hashes, versions).sum(dtype=np.uint64))


def read_documents(
    settings: CorpusSettings, seed: int, tokenizer: Tokenizer, counts: CorpusCounts, chosen: Mapping[int, int] | None = None
) -> Iterator[Document]:
    """Yield the documents of a corpus block by block, in file order, each text once; `counts` is filled on the way.

    Of documents with the same hash the first is taken, or the one whose version `chosen` names: the `versions` counted by a
    first reading make what a second one yields independent of the order of the files.

    Raises:
        DataError: a source is missing, is not UTF-8 or holds a malformed line.
    """
    seen: set[int] = set()
    for source in settings.sources:
        name = source.name or Path(source.path.removeprefix("part:")).stem
        of_source = counts.by_source.setdefault(name, {"documents": 0, "tokens": 0})
        for text in _texts(source):
            source_hash = document_hash(text)
            if not text.strip() or not is_drawn(source_hash, seed, source.share):
                continue
            counts.n_source_documents += 1
            for block in _blocks(text, settings.document_tokens, tokenizer):
                if not block:
                    continue
                block_hash = document_hash(block)
                version = _version(block, source_hash)
                counts.versions[block_hash] = min(counts.versions.get(block_hash, version), version)
                if block_hash in seen or (chosen is not None and chosen.get(block_hash, version) != version):
                    counts.n_duplicates += 1
                    continue
                seen.add(block_hash)
                token_ids, bounds = tokenizer.encode(block)
                split = split_of(block_hash, seed, settings.shares)
                document = Document(block_hash, source_hash, name, split, block, token_ids, bounds, version)
                counts.n_documents += 1
                counts.n_tokens += len(token_ids)
                counts.by_split[document.split] += 1
                of_source["documents"] += 1
                of_source["tokens"] += len(token_ids)
                yield document
                if settings.max_tokens is not None and counts.n_tokens >= settings.max_tokens:
                    return


def _version(block: str, source_hash: int) -> int:
    return int(content_id("document", [block, source_hash])[:16], 16)


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


def _texts(source: TextSource) -> Iterator[str]:
    for path in _files(source.path):
        is_jsonl = path.name.endswith(_JSONL_SUFFIXES) if source.format == "auto" else source.format == "jsonl"
        if is_jsonl:
            yield from _json_lines(path, source.text_column)
        else:
            yield _whole(path)


def _files(path: str) -> list[Path]:
    located = Path(locate(path)).expanduser()
    if located.is_dir():
        visible = (p for p in located.rglob("*") if not any(part.startswith(".") for part in p.relative_to(located).parts))
        found = sorted(p for p in visible if p.is_file())
    elif located.is_file():
        found = [located]
    else:
        found = sorted(Path(p) for p in glob.glob(str(located), recursive=True) if Path(p).is_file())  # noqa: PTH207
    if not found:
        raise DataError(f"no text at '{path}'; expected a file, a folder with files, or a glob that matches some")
    return found


def _whole(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' is not UTF-8 text (byte {error.start}); convert it or leave it out") from None
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror}") from None


def _json_lines(path: Path, column: str) -> Iterator[str]:
    opener = gzip.open if path.name.endswith(".gz") else open
    try:
        with opener(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield _text_of(line, column, path, number)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"'{path}' is truncated or no gzip file ({error}); fetch it again") from None
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror}") from None


def _text_of(line: bytes, column: str, path: Path, number: int) -> str:
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"'{path}' line {number} is not UTF-8 (byte {error.start} of the line); convert the file") from None
    except json.JSONDecodeError as error:
        raise DataError(f"'{path}' line {number} is not JSON: {error.msg} at character {error.pos}") from None
    except ValueError as error:
        raise DataError(f"'{path}' line {number} cannot be read as JSON: {error}") from None
    except RecursionError:
        raise DataError(f"'{path}' line {number} is nested too deeply to be a document; remove the line") from None
    if not isinstance(record, dict) or not isinstance(record.get(column), str):
        keys = ", ".join(map(str, record)) if isinstance(record, dict) else type(record).__name__
        raise DataError(f"'{path}' line {number} has no text under '{column}' (it holds {keys or 'nothing'}); set text_column")
    text: str = record[column]
    return text.encode("utf-8", errors="replace").decode("utf-8")


def _blocks(text: str, limit: int, tokenizer: Tokenizer) -> Iterator[str]:
    """Cut `text` at its last line end within each `limit` tokens; where there is none, at the limit."""
    _, bounds = tokenizer.encode(text)
    if len(bounds) - 1 <= limit:
        yield text
        return
    breaks = np.flatnonzero([text[at - 1] == "\n" for at in bounds[1:-1]]) + 1
    first, n_tokens = 0, len(bounds) - 1
    while first < n_tokens:
        last = min(first + limit, n_tokens)
        if last < n_tokens:
            fitting = breaks[(breaks > first) & (breaks <= last)]
            last = int(fitting[-1]) if len(fitting) else last
        yield text[bounds[first] : bounds[last]].strip()
        first = last
