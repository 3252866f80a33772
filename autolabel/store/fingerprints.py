"""Remembering millions of request hashes in a few bytes each.

The invariant: what was added is always found; what was not is found wrongly with a chance of one in 2⁶⁴ for each that was.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

RECENT = 4_096
"""Additions kept in a dictionary (some 170 bytes each) before they are packed."""

Columns = tuple[NDArray[Any], ...]


def fingerprint(text: str) -> int:
    """64 bits that stand for `text`, as DuckDB's `md5_number_lower` has them."""
    return int.from_bytes(hashlib.md5(text.encode(), usedforsecurity=False).digest()[8:], "little")


class SortedRuns:
    """Rows of equally many numbers, found by the first; packed in sorted arrays of which each is at least twice as long as the next."""

    def __init__(self) -> None:
        self._runs: list[Columns] = []

    def add(self, *columns: NDArray[Any]) -> None:
        """Add rows; of two with the same first number the older is found."""
        run = _in_order(columns)
        while self._runs and len(self._runs[-1][0]) < 2 * len(run[0]):
            older = self._runs.pop()
            run = _in_order(tuple(np.concatenate(pair) for pair in zip(older, run, strict=True)))
        self._runs.append(run)

    def find(self, key: int) -> tuple[int, ...] | None:
        """The oldest row with this first number."""
        wanted = np.uint64(key)
        for run in self._runs:
            place = int(np.searchsorted(run[0], wanted))
            if place < len(run[0]) and run[0][place] == wanted:
                return tuple(int(column[place]) for column in run)
        return None

    def keys(self) -> NDArray[np.uint64]:
        """The first numbers of all rows."""
        return np.concatenate([run[0] for run in self._runs]) if self._runs else np.empty(0, np.uint64)


class Places:
    """Where each of many fingerprints lies in a file: 16 bytes apiece."""

    def __init__(self) -> None:
        self._recent: dict[int, int] = {}
        self._packed = SortedRuns()

    def add(self, key: int, offset: int) -> None:
        """Remember a place, unless an earlier one is known."""
        self._recent.setdefault(key, offset)
        if len(self._recent) >= RECENT:
            self._packed.add(self._recent_keys(), np.fromiter(self._recent.values(), np.int64, len(self._recent)))
            self._recent = {}

    def find(self, key: int) -> int | None:
        """The earliest place, or None."""
        packed = self._packed.find(key)
        return self._recent.get(key) if packed is None else packed[1]

    def keys(self) -> NDArray[np.uint64]:
        """Every fingerprint that has a place."""
        return np.concatenate([self._packed.keys(), self._recent_keys()])

    def _recent_keys(self) -> NDArray[np.uint64]:
        return np.fromiter(self._recent, np.uint64, len(self._recent))


def _in_order(columns: Columns) -> Columns:
    order = np.argsort(columns[0], kind="stable")
    return tuple(column[order] for column in columns)
