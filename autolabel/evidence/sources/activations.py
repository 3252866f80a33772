"""`kind = "activations"`: two Parquet files of one's own, `contexts.parquet` and `activations.parquet` (docs/activation-files.md).

Both are sorted by context_id and read side by side, so that memory holds one block of contexts and a few thousand rows
(or some four million activations, where that is less).
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from autolabel.config import SourceSettings
from autolabel.errors import DataError
from autolabel.evidence.sources.base import MAX_FEATURES
from autolabel.evidence.sources.contexts import Survey, id_hash
from autolabel.evidence.sources.cursor import BLOCK_ENTRIES, Cursor, stretches
from autolabel.evidence.sources.files import hash_of, place_of, read_directions, require_asked, require_folder, require_length
from autolabel.evidence.sources.parquet import (
    ACTIVATION_COLUMNS,
    CONTEXT_COLUMNS,
    first_group_with,
    largest,
    longest_lists,
    open_parquet,
    read_rows,
    require_short_lists,
    require_sorted_groups,
)
from autolabel.evidence.sources.parquet_text import read_texts
from autolabel.evidence.sources.reading import Block, Entries, Source
from autolabel.evidence.sources.tokens import Text, TokenReader, TokenStyle, detect_style
from autolabel.evidence.texts.records import cleaned

FORMAT = "autolabel-activations"
CONTEXTS_FILE, ACTIVATIONS_FILE = "contexts.parquet", "activations.parquet"
DIRECTION_FILES = ("directions.safetensors", "directions.npy")
STYLE_CONTEXTS = 1000
"""The style of tokens is told from so many contexts."""
_SURVEY_ROWS = 256
_ACTIVATION_ROWS = 4096


def open_activations(settings: SourceSettings) -> Source:
    """Open Parquet files with activations; all contexts are gone through once, to count them and to find repetitions.

    Raises:
        DataError: a file is missing or malformed.
    """
    folder = require_folder(settings.path)
    contexts = folder / CONTEXTS_FILE
    activations = folder / ACTIVATIONS_FILE
    of_contexts, file = open_parquet(contexts, CONTEXT_COLUMNS), open_parquet(activations, ACTIVATION_COLUMNS)
    metadata = of_contexts.metadata.metadata or {}
    for path, parquet, name in ((contexts, of_contexts, "tokens"), (activations, file, "positions"), (activations, file, "values")):
        require_short_lists(path, parquet, name)
    require_sorted_groups(activations, file)
    directions_file = _directions_file(settings, folder)
    d_sae, directions = settings.d_sae, None
    if directions_file is not None:
        directions = read_directions(directions_file, d_sae)
        d_sae = len(directions)
    d_sae = d_sae or _n_features(activations, file)
    style = _style(settings, contexts)
    reader = TokenReader(style)
    survey = Survey.of(_sources(contexts, reader), drop_repeats=True)
    reader.settle()
    if len(survey.hashes) == 0:
        raise DataError(f"'{contexts}' holds no contexts; docs/activation-files.md says how to write some")
    return Source(
        name=settings.name or folder.resolve().name,
        kind="activations",
        format=FORMAT,
        d_sae=d_sae,
        config={
            "token_style": style,
            "negative": settings.negative,
            "directions": directions_file and cleaned(directions_file.name),
        },
        content_hash=hash_of([contexts, activations, *([directions_file] if directions_file else [])]),
        subject_model=settings.subject_model or metadata.get(b"subject_model", b"").decode(errors="replace") or None,
        directions=directions,
        complete=True,
        survey=survey,
        negative=settings.negative,
        blocks=lambda skip, n: _blocks(contexts, activations, reader, skip, n),
    )


def _directions_file(settings: SourceSettings, folder: Path) -> Path | None:
    if settings.directions is not None:
        return place_of(settings.directions)
    return next((folder / name for name in DIRECTION_FILES if (folder / name).is_file()), None)


def _n_features(path: Path, file: pq.ParquetFile) -> int:
    found = largest(path, file, "feature_index")
    if found is None:
        raise DataError(
            f"'{path}' holds no activations; write a row for each feature and context it fires in, or set [source] d_sae"
        )
    if found >= MAX_FEATURES:
        raise DataError(f"'{path}': feature_index {found} is beyond {MAX_FEATURES - 1}; number the features from 0 without gaps")
    require_asked(f"'{path}', feature_index {found}", found + 1, None)
    return max(found, 0) + 1


def _style(settings: SourceSettings, path: Path) -> TokenStyle:
    if settings.token_style != "auto":
        return settings.token_style
    blocks = _contexts(path, 0, _SURVEY_ROWS)
    tokens = islice(chain.from_iterable(zip(*block[1:], strict=True) for block in blocks), STYLE_CONTEXTS)
    return detect_style(token for _, of_context in tokens for token in of_context)


def _sources(path: Path, reader: TokenReader) -> Iterator[tuple[int, Text]]:
    for ids, documents, tokens in _contexts(path, 0, _SURVEY_ROWS):
        name = _name_of(path, ids)
        for row, (document, of_context) in enumerate(zip(documents, tokens, strict=True)):
            yield id_hash(document), reader.read(of_context, name(row))


def _contexts(path: Path, skip: int, n: int) -> Iterator[tuple[NDArray[np.int64], list[str], list[list[str]]]]:
    """Context ids, document ids and tokens of at most `n` contexts at a time, the first `skip` left out."""
    file = open_parquet(path, CONTEXT_COLUMNS)
    before = np.cumsum([0, *(file.metadata.row_group(group).num_rows for group in range(file.num_row_groups))])
    group = int(np.searchsorted(before, skip, side="right")) - 1
    left = skip - int(before[group])
    for whole in read_rows(path, file, CONTEXT_COLUMNS, n, group):
        batch = whole.slice(min(left, len(whole)))
        left = max(left - len(whole), 0)
        if len(batch) == 0:
            continue
        ids, lists = batch.column("context_id").to_numpy(), batch.column("tokens")
        name = _name_of(path, ids)
        ends = np.cumsum(lists.value_lengths().to_numpy())
        for row, length in enumerate(np.diff(ends, prepend=0).tolist()):
            require_length(name(row), length)
        documents = read_texts(batch.column("document_id"), "document_id", name)
        tokens = read_texts(lists.flatten(), "tokens", _name_within(name, ends))
        yield ids, documents, [tokens[start:end] for start, end in pairwise([0, *ends.tolist()])]


def _blocks(contexts: Path, activations: Path, reader: TokenReader, skip: int, n: int) -> Iterator[Block]:
    cursor: Cursor[pa.RecordBatch] | None = None
    first = skip
    for ids, documents, tokens in _contexts(contexts, skip, n):
        cursor = cursor or _cursor(activations, int(ids[0]), drop_earlier=skip > 0)
        for start, end, batches in stretches(ids.tolist(), [cursor], _n_entries):
            own = ids[start:end]
            name = _name_of(contexts, own)
            texts = [reader.read(of_context, name(row)) for row, of_context in enumerate(tokens[start:end])]
            entries = _entries(activations, contexts, batches, own)
            yield Block(first, documents[start:end], texts, entries, _name_of(activations, own))
            first += len(own)
    if cursor is not None and cursor.next_key is not None:
        raise _no_such_context(activations, contexts, cursor.next_key)


def _name_of(path: Path, ids: NDArray[np.int64]) -> Callable[[int], str]:
    return lambda row: f"'{path}', context_id {ids[row]}"


def _name_within(name: Callable[[int], str], ends: NDArray[np.int64]) -> Callable[[int], str]:
    """The context of a token, of which there are `ends` up to the end of each context."""
    return lambda place: name(int(np.searchsorted(ends, place, side="right")))


def _n_entries(batch: pa.RecordBatch) -> int:
    return len(batch.column("positions").flatten())


def _cursor(path: Path, first_id: int, drop_earlier: bool) -> Cursor[pa.RecordBatch]:
    """The rows of `activations.parquet`, those of contexts before `first_id` left out if they have been read before."""
    file = open_parquet(path, ACTIVATION_COLUMNS)
    group = first_group_with(file, first_id) if drop_earlier else 0
    n_rows = max(min(_ACTIVATION_ROWS, BLOCK_ENTRIES // max(longest_lists(file, "positions"), 1)), 1)
    rows = read_rows(path, file, ACTIVATION_COLUMNS, n_rows, group)
    cursor = Cursor((batch.column("context_id").to_numpy(), batch) for batch in rows)
    if drop_earlier:
        cursor.leave_out(first_id - 1)
    return cursor


def _entries(path: Path, contexts: Path, batches: Sequence[pa.RecordBatch], ids: NDArray[np.int64]) -> Entries:
    """Activations of the contexts `ids`; a row of the file per context and feature."""
    columns: list[tuple[NDArray[Any], ...]] = [_flat(path, contexts, batch, ids) for batch in batches]
    rows, features, lengths, positions, values = (
        np.concatenate(parts) if parts else np.empty(0, dtype=np.int64) for parts in (list(zip(*columns, strict=True)) or [()] * 5)
    )
    keys = rows * MAX_FEATURES + features
    unique, counts = np.unique(keys, return_counts=True)
    if len(unique) < len(keys):
        row, feature = divmod(int(unique[np.argmax(counts > 1)]), MAX_FEATURES)
        raise DataError(
            f"'{path}', context_id {ids[row]}: feature_index {feature} has two rows; put its positions and values into one"
        )
    return Entries(np.repeat(rows, lengths), positions, np.repeat(features, lengths), values.astype(np.float32, copy=False))


def _flat(path: Path, contexts: Path, batch: pa.RecordBatch, ids: NDArray[np.int64]) -> tuple[NDArray[Any], ...]:
    """Context within `ids`, feature and length of each row; positions and values of all rows one after the other."""
    of_rows = batch.column("context_id").to_numpy()
    rows = np.searchsorted(ids, of_rows)
    unknown = np.flatnonzero(ids[rows] != of_rows)
    if len(unknown):
        raise _no_such_context(path, contexts, of_rows[unknown[0]])
    features = batch.column("feature_index").to_numpy()
    beyond = np.flatnonzero((features < 0) | (features >= MAX_FEATURES))
    if len(beyond):
        where = f"'{path}', context_id {of_rows[beyond[0]]}"
        raise DataError(
            f"{where}: feature_index {features[beyond[0]]} is not within 0 to {MAX_FEATURES - 1}; number the features from 0"
        )
    positions, values = batch.column("positions"), batch.column("values")
    lengths, n_values = positions.value_lengths().to_numpy(), values.value_lengths().to_numpy()
    unlike = np.flatnonzero(lengths != n_values)
    if len(unlike):
        row = unlike[0]
        raise DataError(
            f"'{path}', context_id {of_rows[row]}, feature_index {features[row]}: {lengths[row]} positions but {n_values[row]} values; "
            "each position needs its value"
        )
    return rows, features, lengths, positions.flatten().to_numpy(), values.flatten().to_numpy()


def _no_such_context(path: Path, contexts: Path, context_id: Any) -> DataError:
    return DataError(
        f"'{path}' has context_id {context_id}, which '{contexts.name}' lacks; add its tokens there or leave its rows out"
    )
