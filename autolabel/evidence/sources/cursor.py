"""Going through a sorted file once, in steps: each step takes all that belongs to the next few contexts."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

BLOCK_ENTRIES = 1 << 22
"""A block of contexts ends with the one that makes it so many activations, each of which takes some hundred bytes on its way."""


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


def stretches(
    keys: Sequence[int], cursors: Sequence[Cursor[RowsT]], size: Callable[[RowsT], int]
) -> Iterator[tuple[int, int, list[RowsT]]]:
    """Cut `keys` where their rows have enough entries, of which `size` tells the number; yields start, end and rows of each stretch."""
    start, n = 0, 0
    pieces: list[RowsT] = []
    for end, key in enumerate(keys, 1):
        of_key = [piece for cursor in cursors for piece in cursor.take(key)]
        pieces += of_key
        n += sum(map(size, of_key))
        if n >= BLOCK_ENTRIES or end == len(keys):
            yield start, end, pieces
            start, n, pieces = end, 0, []
