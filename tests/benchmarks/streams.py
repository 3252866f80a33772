"""A stream of activations that needs no model: documents of random tokens, features that fire by Zipf's law, k on every token.

It is written once into plain files, so that any program can read the same; see `write`.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from autolabel.evidence.corpus import Context, Document, contexts_of
from autolabel.evidence.firings import FiringBatch
from autolabel.hashing import combine
from autolabel.records import Split
from autolabel.sampling import split_of

SHARES: dict[Split, float] = {"train": 0.35, "validation": 0.2, "test": 0.45}
ROW_TOKENS, ROWS_PER_DOCUMENT = 256, 4
VOCABULARY = 49_152
SHAPE_FILE = "stream.json"
_EXPONENT = 0.7
_SPARE_DRAWS = 16
_BLOCK_DOCUMENTS = 8


@dataclass(frozen=True, slots=True)
class Shape:
    """How big a stream is."""

    n_rows: int
    """Of 256 tokens each."""
    d_sae: int
    k: int
    seed: int
    row_tokens: int = ROW_TOKENS
    vocabulary: int = VOCABULARY

    @property
    def n_tokens(self) -> int:
        return self.n_rows * self.row_tokens


def write(folder: Path, shape: Shape) -> None:
    """Write a stream as files of `folder`.

    `stream.json` has the fields of `Shape`; `tokens.npy`, int32, shape (n_rows, 256); `features.npy`, int32, and `values.npy`,
    float32, shape (n_rows, 256, k): the features active on each token, ascending, and their activations, 0 where there is none.
    """
    entries = (shape.n_rows, shape.row_tokens, shape.k)
    tokens = open_memmap(folder / "tokens.npy", "w+", np.int32, entries[:2])
    features = open_memmap(folder / "features.npy", "w+", np.int32, entries)
    values = open_memmap(folder / "values.npy", "w+", np.float32, entries)
    generator = np.random.default_rng(shape.seed)
    for row in range(shape.n_rows):
        tokens[row] = generator.integers(0, shape.vocabulary, shape.row_tokens)
        features[row], values[row] = token_activations(generator, shape.row_tokens, shape.d_sae, shape.k)
    (folder / SHAPE_FILE).write_text(json.dumps(asdict(shape)))


def token_activations(
    generator: np.random.Generator, n_tokens: int, d_sae: int, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """k distinct features of each token by Zipf's law with exponent 0.7, ascending, and their values; shape (n_tokens, k).

    A token on which chance drew too few distinct ones has values of 0 in place of the others.
    """
    uniform = generator.random((n_tokens, k + _SPARE_DRAWS))
    drawn = np.minimum(d_sae * uniform ** (1 / (1 - _EXPONENT)), d_sae - 1).astype(np.int64)
    # Of equal draws the earliest counts; the first k that count are taken.
    order = np.argsort(drawn, axis=1, kind="stable")
    ordered = np.take_along_axis(drawn, order, axis=1)
    is_first = np.ones_like(drawn, dtype=bool)
    is_first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    counts = np.empty_like(is_first)
    np.put_along_axis(counts, order, is_first, axis=1)
    taken = counts & (np.cumsum(counts, axis=1) <= k)
    features = np.sort(np.where(taken, drawn, d_sae), axis=1)[:, :k]
    values = np.where(features < d_sae, generator.exponential(1.0, features.shape) + 0.01, 0.0)
    return np.minimum(features, d_sae - 1), values


class Stream:
    """A stream that `write` wrote."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.shape = Shape(**json.loads((folder / SHAPE_FILE).read_text()))

    def batches(self, context_tokens: int, batch_contexts: int = 8) -> Iterator[FiringBatch]:
        """What a collector reads: documents of 1,024 tokens, cut into contexts as those of a corpus are."""
        waiting: list[tuple[Context, NDArray[Any], NDArray[Any]]] = []
        for document, features, values in self._documents():
            for context in contexts_of(document, context_tokens):
                own = slice(context.start, context.start + context.n_tokens)
                waiting.append((context, features[own], values[own]))
                if len(waiting) == batch_contexts:
                    yield _batch(waiting)
                    waiting = []
        if waiting:
            yield _batch(waiting)

    def _documents(self) -> Iterator[tuple[Document, NDArray[Any], NDArray[Any]]]:
        """Every document with the features and values of its tokens."""
        step = _BLOCK_DOCUMENTS * ROWS_PER_DOCUMENT
        for start in range(0, self.shape.n_rows, step):
            tokens, features, values = (self._block(name, start, start + step) for name in ("tokens", "features", "values"))
            for row in range(0, len(tokens), ROWS_PER_DOCUMENT):
                own = slice(row, row + ROWS_PER_DOCUMENT)
                document = _document(start + row, self.shape.seed, tokens[own].ravel())
                yield document, features[own].reshape(-1, self.shape.k), values[own].reshape(-1, self.shape.k)

    def _block(self, name: str, start: int, stop: int) -> NDArray[Any]:
        """Some rows of a file; mapped for a moment only, since mapped pages count as memory of the process."""
        return np.array(np.load(self._folder / f"{name}.npy", mmap_mode="r")[start:stop])


def _document(number: int, seed: int, token_ids: NDArray[np.int32]) -> Document:
    """A document in which each token is four characters long."""
    name = int(combine(seed, number))
    text = "".join(f"{token % 1000:03d} " for token in token_ids.tolist())
    bounds = np.arange(len(token_ids) + 1, dtype=np.int32) * 4
    return Document(name, name, "stream", split_of(name, seed, SHARES), text, token_ids, bounds)


def _batch(parts: list[tuple[Context, NDArray[Any], NDArray[Any]]]) -> FiringBatch:
    contexts = [context for context, _, _ in parts]
    features, values = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    lengths = np.array([context.n_tokens for context in contexts])
    rows = np.repeat(np.arange(len(contexts)), lengths)
    positions = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    there = values > 0
    token = np.nonzero(there)[0]
    return FiringBatch(contexts, len(rows), 0, rows[token], positions[token], features[there].astype(np.int64), values[there])
