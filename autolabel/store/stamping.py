"""Which run made a row, and when: filled in where the row does not say so itself."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from autolabel.store.rows import Row, TableTypes


class Stamps:
    """Fills in `run_id` and `created_utc` for one run, in the tables that have them."""

    def __init__(self, run_id: str, types: TableTypes) -> None:
        self._run_id = run_id
        self._types = types

    def row(self, table: str, row: Row) -> Row:
        """`row` with its stamps."""
        return self._of(table) | dict(row)

    def table(self, table: str, data: pa.Table | Sequence[Row]) -> pa.Table:
        """An Arrow table, or rows, as an Arrow table of the table's types with its stamps."""
        if not isinstance(data, pa.Table):
            return self._types.arrow_of_rows(table, [self._types.storable(table, self.row(table, row)) for row in data])
        for name, value in self._of(table).items():
            if name not in data.column_names:
                kind = self._types.of(table).field(name).type
                data = data.append_column(name, pa.array([value] * data.num_rows, type=kind))
        return self._types.arrow_of_arrow(table, data)

    def _of(self, table: str) -> dict[str, Any]:
        names = self._types.names(table)
        return {name: value for name, value in (("run_id", self._run_id), ("created_utc", now_utc())) if name in names}


def now_utc() -> datetime:
    """The present as naive UTC, as the store's timestamps are."""
    return datetime.now(UTC).replace(tzinfo=None)
