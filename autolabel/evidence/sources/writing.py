"""Writes the two Parquet files of `kind = "activations"` (docs/activation-files.md) from anybody's own activations.

What is written has passed the checks of reading, and the files appear under their names only when they are whole.
"""

from collections.abc import Iterable, Sequence
from itertools import chain, groupby
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import ArrayLike, NDArray

from autolabel.errors import DataError
from autolabel.evidence.sources.activations import ACTIVATIONS_FILE, CONTEXTS_FILE
from autolabel.evidence.sources.base import MAX_FEATURES, MAX_TOKEN_BYTES
from autolabel.evidence.sources.cursor import BLOCK_ENTRIES
from autolabel.evidence.sources.files import place_of, require_length
from autolabel.evidence.sources.parquet import FORMAT_KEY, FORMAT_VERSION
from autolabel.evidence.sources.reading import Block, Entries, Negative, checked
from autolabel.evidence.sources.tokens import TokenReader
from autolabel.evidence.texts.records import cleaned

CONTEXT_SCHEMA = pa.schema([("context_id", pa.int64()), ("document_id", pa.string()), ("tokens", pa.list_(pa.string()))])
ACTIVATION_SCHEMA = pa.schema(
    [
        ("context_id", pa.int64()),
        ("feature_index", pa.int32()),
        ("positions", pa.list_(pa.int32())),
        ("values", pa.list_(pa.float32())),
    ]
)
_FLUSH_CONTEXTS = 512
_LARGEST_ID = (1 << 63) - 1


class ActivationWriter:
    """Writes context after context; use it in a `with` statement."""

    def __init__(self, folder: str | Path, subject_model: str | None = None, negative: Negative = "refuse") -> None:
        """Start `contexts.parquet` and `activations.parquet` in `folder`, which is made if need be.

        Raises:
            DataError: the folder cannot be written to.
        """
        self._negative: Negative = negative
        self._reader = TokenReader("text")
        self._reader.settle()  # the numbers of tokens are of no use here
        self._contexts: list[tuple[int, str, list[str]]] = []
        self._entries: list[tuple[int, Entries]] = []
        self._n_entries = 0
        self._last_id = -1
        metadata = {FORMAT_KEY: FORMAT_VERSION} | ({b"subject_model": cleaned(subject_model).encode()} if subject_model else {})
        self._paths = [place_of(folder) / name for name in (CONTEXTS_FILE, ACTIVATIONS_FILE)]
        self._partial = [path.with_name(path.name + ".partial") for path in self._paths]
        self._files: list[pq.ParquetWriter] = []
        try:
            self._paths[0].parent.mkdir(parents=True, exist_ok=True)
            for path, schema in zip(self._partial, (CONTEXT_SCHEMA, ACTIVATION_SCHEMA), strict=True):
                self._files.append(pq.ParquetWriter(path, schema.with_metadata(metadata), compression="zstd"))
        except OSError as error:
            raise DataError(f"cannot write activations to '{folder}': {error.strerror or error}") from None

    def add(
        self,
        document_id: str,
        tokens: Sequence[str],
        positions: ArrayLike | torch.Tensor,
        features: ArrayLike | torch.Tensor,
        values: ArrayLike | torch.Tensor,
        context_id: int | None = None,
    ) -> None:
        """Write one context.

        Args:
            document_id: The document it was cut from; contexts of one document are never split between train and test.
            tokens: Its tokens, BOS left out.
            positions: Token of each activation, counted from 0; shape (n,), any order.
            features: Feature of each activation.
            values: The activations; zeros are left out.
            context_id: Larger than that of the context before; the next number when absent.

        Raises:
            DataError: there are no tokens, a text cannot be written, an id is not larger than the one before, or the activations make no
                sense.
        """
        number = _number(self._last_id + 1 if context_id is None else context_id)
        where = f"context_id {number}"
        if number <= self._last_id:
            raise DataError(f"{where} comes after {self._last_id}; write contexts in the order of their ids, each id once")
        require_length(where, len(tokens))
        _require_texts(where, [document_id, *tokens])
        entries = _entries(where, _array(positions), _array(features), _array(values))
        block = Block(0, [document_id], [self._reader.read(tokens, where)], entries, lambda _: where)
        self._entries.append((number, checked(block, MAX_FEATURES, self._negative)))
        self._n_entries += len(entries)
        self._contexts.append((number, document_id, list(tokens)))
        self._last_id = number
        if len(self._contexts) >= _FLUSH_CONTEXTS or self._n_entries >= BLOCK_ENTRIES:
            self._flush()

    def __enter__(self) -> "ActivationWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        is_whole = False
        try:
            if kind is None:
                self._flush()
            for file in self._files:
                file.close()
            is_whole = kind is None
        finally:
            for partial, path in zip(self._partial, self._paths, strict=True):
                if is_whole:
                    partial.replace(path)
                else:
                    partial.unlink(missing_ok=True)

    def _flush(self) -> None:
        if not self._contexts:
            return
        contexts, entries = self._files
        columns = list(zip(*self._contexts, strict=True))
        contexts.write_batch(
            pa.RecordBatch.from_arrays(
                [pa.array(column, kind) for column, kind in zip(columns, CONTEXT_SCHEMA.types, strict=True)], schema=contexts.schema
            )
        )
        entries.write_batch(_rows(self._entries, entries.schema))
        self._contexts, self._entries, self._n_entries = [], [], 0


def write_activations(
    folder: str | Path,
    contexts: Iterable[tuple[int, str, Sequence[str]]],
    activations: Iterable[tuple[int, int, Sequence[int], Sequence[float]]],
    subject_model: str | None = None,
    negative: Negative = "refuse",
) -> None:
    """Write rows (context_id, document_id, tokens) and (context_id, feature_index, positions, values), both by ascending context_id.

    Raises:
        DataError: ids are not ascending, an activation has no context, or `ActivationWriter.add` refuses a context.
    """
    groups = groupby(activations, key=lambda row: row[0])
    following = next(groups, None)
    with ActivationWriter(folder, subject_model, negative) as writer:
        for context_id, document_id, tokens in contexts:
            rows: list[tuple[int, int, Sequence[int], Sequence[float]]] = []
            if following is not None and following[0] == context_id:
                rows = list(following[1])
                following = next(groups, None)
            _require_rows(context_id, rows)
            features = [feature for _, feature, positions, _ in rows for _ in positions]
            positions = list(chain.from_iterable(row[2] for row in rows))
            writer.add(document_id, tokens, positions, features, list(chain.from_iterable(row[3] for row in rows)), context_id)
        if following is not None:
            raise DataError(
                f"activations of context_id {following[0]} have no context; write both in ascending order of context_id"
            )


def _number(context_id: Any) -> int:
    """A context_id as Parquet takes it."""
    if not isinstance(context_id, int | np.integer) or isinstance(context_id, bool) or not context_id <= _LARGEST_ID:
        raise DataError(f"context_id {context_id!r} is no whole number up to {_LARGEST_ID}; number the contexts from 0")
    return int(context_id)


def _require_texts(where: str, texts: Sequence[Any]) -> None:
    """Refuse what cannot be written into a column of texts, or would not be read again."""
    for text in texts:
        if not isinstance(text, str):
            raise DataError(f"{where}: document_id and every token must be text; decode token ids with the model's tokenizer")
        try:
            n_bytes = len(text.encode())
        except UnicodeEncodeError:
            raise DataError(
                f"{where}: {text[:40]!a} holds half a surrogate pair, which is no text; decode tokens with errors='replace'"
            ) from None
        if n_bytes > MAX_TOKEN_BYTES:
            raise DataError(
                f"{where} holds a text of {n_bytes} bytes, at most {MAX_TOKEN_BYTES} are possible; write tokens and short document_ids"
            )


def _array(values: ArrayLike | torch.Tensor) -> NDArray[Any]:
    """Numbers from a list, an array, or a tensor on any device, half-precision ones included."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.is_floating_point() else values).numpy()
    return np.asarray(values).reshape(-1)


def _entries(where: str, positions: NDArray[Any], features: NDArray[Any], values: NDArray[Any]) -> Entries:
    """The activations of one context; refuses columns of unlike lengths, and positions or features that are no whole numbers."""
    n = len(values)
    if not len(positions) == len(features) == n:
        raise DataError(f"{where}: {len(positions)} positions, {len(features)} features and {n} values; expected as many of each")
    if n and (positions.dtype.kind not in "iu" or features.dtype.kind not in "iu" or values.dtype.kind not in "iuf"):
        found = f"{positions.dtype}, {features.dtype} and {values.dtype}"
        raise DataError(f"{where}: positions, features and values are {found}; expected whole numbers, whole numbers and numbers")
    with np.errstate(over="ignore"):  # what is too large becomes inf and is refused as such
        numbers = values.astype(np.float32)
    return Entries(np.zeros(n, dtype=np.int64), positions.astype(np.int64), features.astype(np.int64), numbers)


def _require_rows(context_id: int, rows: Sequence[tuple[int, int, Sequence[int], Sequence[float]]]) -> None:
    seen: set[int] = set()
    for _, feature, positions, values in rows:
        where = f"context_id {context_id}, feature_index {feature}"
        if len(positions) != len(values):
            raise DataError(f"{where}: {len(positions)} positions but {len(values)} values; each position needs its value")
        if feature in seen:
            raise DataError(f"{where} has two rows; put its positions and values into one")
        seen.add(feature)


def _rows(contexts: Sequence[tuple[int, Entries]], schema: pa.Schema) -> pa.RecordBatch:
    """A row per context and feature with the activations of some contexts."""
    ids = np.repeat([number for number, _ in contexts], [len(entries.rows) for _, entries in contexts]).astype(np.int64)
    features, positions, values = (
        np.concatenate([getattr(entries, name) for _, entries in contexts]) for name in ("features", "positions", "values")
    )
    order = np.lexsort((positions, features, ids))
    ids, features = ids[order], features[order]
    starts = np.flatnonzero(np.concatenate([[True], (ids[1:] != ids[:-1]) | (features[1:] != features[:-1])])[: len(ids)])
    offsets = pa.array(np.append(starts, len(ids)).astype(np.int32))
    columns: list[Any] = [
        pa.array(ids[starts]),
        pa.array(features[starts].astype(np.int32)),
        pa.ListArray.from_arrays(offsets, pa.array(positions[order].astype(np.int32))),
        pa.ListArray.from_arrays(offsets, pa.array(values[order])),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
