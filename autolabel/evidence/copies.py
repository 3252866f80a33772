"""Finds near-copies: kept windows that share a run of 13 tokens with a window of another document.

The invariant: only runs that occur in more than one document are held on to, so memory follows what is shared, not what is kept.
"""

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

from autolabel.hashing import UInt64
from autolabel.sampling import NEAR_COPY_TOKENS, run_hashes


class SharedRuns:
    """Which of the runs that several documents share lie in which window; windows go by row number."""

    def __init__(self, token_ids: NDArray[np.int32], bounds: NDArray[np.int64], documents: UInt64) -> None:
        """Index windows of `documents`, whose token ids lie one after the other: window i is `bounds[i]` to `bounds[i + 1]`."""
        n_runs = np.maximum(np.diff(bounds) - NEAR_COPY_TOKENS + 1, 0)
        rows = np.repeat(np.arange(len(n_runs)), n_runs)
        start = bounds[rows] + np.arange(len(rows)) - np.repeat(np.cumsum(n_runs) - n_runs, n_runs)
        _, first, run = np.unique(run_hashes(token_ids)[start], return_index=True, return_inverse=True)
        owner = documents[rows]
        shared = np.zeros(len(first), dtype=bool)
        shared[run[owner != owner[first][run]]] = True
        at = np.flatnonzero(shared[run])
        number = np.cumsum(shared) - 1
        self._runs = scipy.sparse.csr_array(
            (np.ones(len(at), dtype=np.int32), (rows[at], number[run[at]])), shape=(len(n_runs), int(shared.sum()))
        )
        self._suspect: NDArray[np.bool_] = np.diff(self._runs.indptr) > 0

    def of(self, rows: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which shared runs lie in any of the windows `rows`; shape (n_shared_runs,)."""
        found = np.zeros(self._runs.shape[1], dtype=bool)
        found[self._runs[rows[self._suspect[rows]]].indices] = True
        return found

    def touches(self, rows: NDArray[np.int64], runs: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Which of the windows `rows` hold any of `runs`; shape (n_rows,)."""
        touched = np.zeros(len(rows), dtype=bool)
        suspects = np.flatnonzero(self._suspect[rows])
        if len(suspects):
            touched[suspects] = self._runs[rows[suspects]] @ runs.astype(np.int32) > 0
        return touched
