"""Going through a sorted file once, in steps: each step takes all that belongs to the next few contexts."""

from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray


class Sliceable(Protocol):
    """Rows of which a part can be taken."""

    def __getitem__(self, rows: slice, /) -> Any:
        """The rows of a slice."""


RowsT = TypeVar("RowsT", bound=Sliceable)


class Cursor(Generic[RowsT]):
    """A place in a stream of pieces (keys, rows), whose keys ascend within a piece and from piece to piece."""

    def __init__(self, pieces: Iterator[tuple[NDArray[np.int64], RowsT]]) -> None:
        self._pieces = pieces
        self._rest = next(pieces, None)

    @property
    def next_key(self) -> int | None:
        """The first key that has not been taken; None at the end."""
        return None if self._rest is None else int(self._rest[0][0])

    def take(self, last: int) -> list[RowsT]:
        """All further rows with keys up to `last`, piece by piece."""
        return list(self._taken(last))

    def leave_out(self, last: int) -> None:
        """Pass over all further rows with keys up to `last`."""
        for _ in self._taken(last):
            continue

    def _taken(self, last: int) -> Iterator[RowsT]:
        while self._rest is not None:
            keys, rows = self._rest
            n_fitting = int(np.searchsorted(keys, last, side="right"))
            if n_fitting:
                yield rows[:n_fitting]
            if n_fitting < len(keys):
                self._rest = keys[n_fitting:], rows[n_fitting:]
                return
            self._rest = next(self._pieces, None)
