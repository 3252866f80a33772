"""Activation files of every kind, written the way their makers write them, and what reading them gave."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from autolabel.config import SourceSettings
from autolabel.evidence.firings import FiringBatch
from autolabel.evidence.sources import ActivationFiles, open_source
from autolabel.records import Split

SEED = 3
SHARES: dict[Split, float] = {"train": 0.35, "validation": 0.2, "test": 0.45}

CONTEXT_TYPES = {"context_id": pa.int64(), "document_id": pa.string(), "tokens": pa.list_(pa.string())}
ACTIVATION_TYPES = {
    "context_id": pa.int64(),
    "feature_index": pa.int32(),
    "positions": pa.list_(pa.int32()),
    "values": pa.list_(pa.float32()),
}
Firing = tuple[str, str, int, int, float]
"""Document text, its token, position, feature, value."""


def write(
    folder: Path, contexts: list[Any], activations: list[Any], types: dict[str, pa.DataType] | None = None, **options: Any
) -> Path:
    """Rows as the two files hold them; `types` replaces those of columns."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows, known in (("contexts", contexts, CONTEXT_TYPES), ("activations", activations, ACTIVATION_TYPES)):
        columns = list(zip(*rows, strict=True)) or [()] * len(known)
        kinds = {column: (types or {}).get(column, kind) for column, kind in known.items()}
        arrays = [as_type(list(values), kind) for values, kind in zip(columns, kinds.values(), strict=True)]
        pq.write_table(pa.table(arrays, list(kinds)), folder / f"{name}.parquet", **options)
    return folder


def as_type(values: list[Any], kind: pa.DataType) -> pa.Array:
    """An array of nearly any type; dictionaries within lists have to be put together by hand."""
    if pa.types.is_list(kind) and pa.types.is_dictionary(kind.value_type):
        plain = pa.array(values, pa.list_(kind.value_type.value_type))
        return pa.ListArray.from_arrays(plain.offsets, plain.values.dictionary_encode())
    return pa.array(values, kind)


def opened(folder: Path, kind: str = "activations", **changes: Any) -> ActivationFiles:
    return open_source(SourceSettings.model_validate({"kind": kind, "path": str(folder), **changes}))


def batches(source: ActivationFiles, batch_contexts: int = 4, skip: int = 0) -> list[FiringBatch]:
    return list(source.read(SEED, SHARES, batch_contexts, skip))


def firings(read: list[FiringBatch]) -> list[Firing]:
    """Every activation in the order handed out."""
    found = []
    for batch in read:
        for row, position, feature, value in zip(batch.rows, batch.positions, batch.features, batch.values, strict=True):
            document = batch.contexts[row].document
            token = document.text[document.bounds[position] : document.bounds[position + 1]]
            found.append((document.text, token, int(position), int(feature), float(np.float32(value))))
    return found
