"""Text of Parquet files, read as dictionaries: a few bytes of a file can stand for a long text a million times over.

The invariant: text is made of a column only after the size of each distinct value is known.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from autolabel.errors import DataError
from autolabel.evidence.sources.base import MAX_TOKEN_BYTES

_AS_DICTIONARY = frozenset({"PLAIN", "PLAIN_DICTIONARY", "RLE_DICTIONARY", "RLE", "BIT_PACKED"})
"""Encodings that can be read as a dictionary."""


def text_paths(path: Path, file: pq.ParquetFile, columns: Mapping[str, pa.DataType]) -> list[str]:
    """Those of the columns, as Parquet calls them, that hold text.

    Raises:
        DataError: one has an encoding that cannot be read as a dictionary.
    """
    names = [name for name, kind in columns.items() if is_text(kind)]
    for group in range(file.num_row_groups):
        part = file.metadata.row_group(group)
        for chunk in map(part.column, range(part.num_columns)):
            name, strange = chunk.path_in_schema.split(".")[0], set(chunk.encodings) - _AS_DICTIONARY
            if name in names and strange:
                raise DataError(
                    f"'{path}': column '{name}' has the encoding {min(strange)}, expected PLAIN or RLE_DICTIONARY; write version 1 of "
                    "Parquet (DuckDB's and pyarrow's default)"
                )
    paths = (file.schema.column(index).path for index in range(len(file.schema)))
    return [of_leaf for of_leaf in paths if of_leaf.split(".")[0] in names]


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this kind holds texts or lists of texts."""
    return bool(pa.types.is_string(kind.value_type if pa.types.is_list(kind) else kind))


def read_texts(column: pa.Array, name: str, where: Callable[[int], str]) -> list[str]:
    """The texts of a column that was read as a dictionary; equal texts are one object. `where` names one by its place.

    Raises:
        DataError: a text is too long or no UTF-8.
    """
    used, first, places = np.unique(column.indices.to_numpy(), return_index=True, return_inverse=True)
    sizes = pc.binary_length(column.dictionary).to_numpy(zero_copy_only=False)[used]
    long = np.flatnonzero(sizes > MAX_TOKEN_BYTES)
    if len(long):
        raise DataError(
            f"{where(int(first[long[0]]))}: '{name}' holds a text of {sizes[long[0]]} bytes, at most {MAX_TOKEN_BYTES} are possible; "
            "write tokens and short names"
        )
    texts = [_text(value) for value in column.dictionary.take(pa.array(used))]
    if None in texts:
        raise DataError(f"{where(int(first[texts.index(None)]))}: '{name}' is not UTF-8; write text, not bytes")
    return [texts[place] or "" for place in places.tolist()]


def _text(value: pa.Scalar) -> str | None:
    try:
        text: str = value.as_py()
    except UnicodeDecodeError:
        return None
    return text
