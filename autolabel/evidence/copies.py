"""Finds near-copies: kept windows that share a run of 13 tokens with a window of another document.

The invariant: only runs that occur in more than one document are held on to, so memory follows what is shared, not what is kept.
"""

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from autolabel.hashing import UInt64
from autolabel.sampling import NEAR_COPY_TOKENS, run_hashes

_SLICE_BITS = 5
_RUN = np.dtype([("hash", np.uint64), ("row", np.uint32)])


class RunFiles:
    """All runs of all windows, in files by the first bits of their hash, so that equal ones can be found a slice at a time."""

    def __init__(self, folder: Path) -> None:
        self._paths = [folder / f"runs-{i}" for i in range(1 << _SLICE_BITS)]
        self._n_rows = 0

    def add(self, tokens: NDArray[np.int32], first_row: int) -> None:
        """Add windows by their token ids, shape (n, width), −1 in front; they have the rows `first_row` onwards."""
        n, width = tokens.shape
        self._n_rows = first_row + n
        if n == 0:
            return
        hashes = run_hashes(tokens.ravel()).ravel()
        start = (np.arange(n) * width)[:, None] + np.arange(width - NEAR_COPY_TOKENS + 1)[None, :]
        whole = tokens[:, : width - NEAR_COPY_TOKENS + 1] >= 0
        runs = np.empty(int(whole.sum()), dtype=_RUN)
        runs["hash"] = hashes[start[whole]]
        runs["row"] = np.broadcast_to(np.arange(first_row, first_row + n)[:, None], whole.shape)[whole]
        slices = runs["hash"] >> np.uint64(64 - _SLICE_BITS)
        order = np.argsort(slices, kind="stable")
        ends = np.searchsorted(slices[order], np.arange(len(self._paths) + 1))
        for number, path in enumerate(self._paths):
            with path.open("ab") as file:
                file.write(runs[order[ends[number] : ends[number + 1]]].tobytes())

    def shared(self, documents: UInt64) -> "SharedRuns":
        """The runs that occur in several documents; `documents` names the document of each window. Removes the files."""
        rows, numbers, n_shared = [], [], 0
        for path in self._paths:
            if not path.exists():
                continue
            runs = np.fromfile(path, dtype=_RUN)
            path.unlink()
            _, first, run = np.unique(runs["hash"], return_index=True, return_inverse=True)
            owner = documents[runs["row"]]
            is_shared = np.zeros(len(first), dtype=bool)
            is_shared[run[owner != owner[first][run]]] = True
            at = np.flatnonzero(is_shared[run])
            rows.append(runs["row"][at].astype(np.int64))
            numbers.append((np.cumsum(is_shared) - 1)[run[at]] + n_shared)
            n_shared += int(is_shared.sum())
        if n_shared == 0:
            return SharedRuns(_sparse(np.empty(0), np.empty(0), (self._n_rows, 0)))
        flat_rows, flat_numbers = np.concatenate(rows), np.concatenate(numbers)
        return SharedRuns(_sparse(flat_rows, flat_numbers, (self._n_rows, n_shared)))


class SharedRuns:
    """Which of the runs that several documents share lie in which window; windows go by row number."""

    def __init__(self, runs: scipy.sparse.csr_array) -> None:
        self._runs = runs
        self._suspect: NDArray[np.bool_] = np.diff(runs.indptr) > 0

    def of(self, rows: NDArray[np.int64], owners: NDArray[np.int64], n_owners: int) -> scipy.sparse.csr_array:
        """Which shared runs lie in any of the windows `rows` of each owner, 1 or 0; shape (n_owners, n_shared_runs)."""
        suspects = np.flatnonzero(self._suspect[rows])
        members = _sparse(owners[suspects], rows[suspects], (n_owners, self._runs.shape[0]))
        found: scipy.sparse.csr_array = members @ self._runs
        found.data[:] = 1
        return found

    def touched(self, rows: NDArray[np.int64], owners: NDArray[np.int64], runs: scipy.sparse.csr_array) -> NDArray[np.bool_]:
        """Which of the windows `rows` hold any of the runs of their owner (`runs` as from `of`); shape (n_rows,)."""
        touched = np.zeros(len(rows), dtype=bool)
        suspects = np.flatnonzero(self._suspect[rows] & (np.diff(runs.indptr) > 0)[owners])
        if len(suspects):
            both = self._runs[rows[suspects]].multiply(runs[owners[suspects]])
            touched[suspects] = np.asarray(both.sum(axis=1)).ravel() > 0
        return touched

    def touched_by_all(self, rows: NDArray[np.int64], runs: scipy.sparse.csr_array) -> NDArray[np.bool_]:
        """Which of the windows `rows` hold any of each owner's runs; shape (n_owners, n_rows)."""
        touched = np.zeros((runs.shape[0], len(rows)), dtype=bool)
        suspects = np.flatnonzero(self._suspect[rows])
        if len(suspects) and runs.nnz:
            touched[:, suspects] = (runs @ self._runs[rows[suspects]].T).toarray() > 0
        return touched


def _sparse(rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int]) -> scipy.sparse.csr_array:
    """1 at the given places."""
    return scipy.sparse.csr_array((np.ones(len(rows), dtype=np.int32), (rows, columns)), shape=shape)
