"""The hash that says two collections found the same, whatever the pieces in which their tables were made."""

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_LEFT_OUT = ("evidence_set_id", "sae_id", "document_name")
"""Columns that name the collection or the place in a file, and are no part of what was found."""


class TableHasher:
    """sha256 over all values of some tables in the order of their rows, and where there are none; ids of the collection left out.

    Every column has digests of its own (of its values, of the lengths of its lists and texts, of where it is NULL), so that it
    makes no difference where one piece of a table ends and the next begins.
    """

    def __init__(self) -> None:
        self._digests: dict[str, Any] = {}

    def add(self, name: str, table: pa.Table) -> None:
        """Take the next rows of a table."""
        for column_name, column in zip(table.column_names, table.columns, strict=True):
            if column_name not in _LEFT_OUT:
                for chunk in column.chunks:
                    self._add_values(f"{name}.{column_name}", chunk)

    def hexdigest(self) -> str:
        """The hash of what was taken."""
        whole = hashlib.sha256()
        for name in sorted(self._digests):
            whole.update(f"{name} {self._digests[name].hexdigest()}\n".encode())
        return whole.hexdigest()

    def _add_values(self, name: str, values: pa.Array) -> None:
        self._feed(f"{name} null", values.is_null().to_numpy(zero_copy_only=False).tobytes())
        if pa.types.is_list(values.type):
            self._feed(f"{name} length", pc.list_value_length(values).fill_null(0).to_numpy().tobytes())
            self._add_values(f"{name} item", pc.list_flatten(values))
        elif pa.types.is_string(values.type):
            self._feed(f"{name} length", pc.binary_length(values).fill_null(0).to_numpy().tobytes())
            self._feed(f"{name} value", "".join(values.drop_null().to_pylist()).encode())
        elif pa.types.is_null(values.type):
            return
        else:
            zero = pa.scalar(False if pa.types.is_boolean(values.type) else 0, values.type)
            self._feed(f"{name} value", np.ascontiguousarray(values.fill_null(zero).to_numpy(zero_copy_only=False)).tobytes())

    def _feed(self, name: str, content: bytes) -> None:
        self._digests.setdefault(name, hashlib.sha256()).update(content)
