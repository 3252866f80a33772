"""The tokens of all kept windows: what each reads, and in how many windows it occurs."""

import numpy as np
import pyarrow as pa
import scipy.sparse
from numpy.typing import NDArray


class Vocabulary:
    """Token ids in ascending order; a token's text is that of its first occurrence in the order of tile ids."""

    def __init__(self) -> None:
        self._ids = np.empty(0, dtype=np.int32)
        self._in_windows = np.empty(0, dtype=np.int64)
        self._texts: dict[int, str] = {}
        self._n_windows = 0

    def add(self, tokens: NDArray[np.int32], tiles: pa.Table, counted: bool = True) -> None:
        """Count windows, whose token ids are `tokens`, shape (n, width), −1 in front; `tiles` holds their text.

        Where they are not `counted`, only what their tokens read is learnt.
        """
        ids, counts = np.unique(_once_per_row(tokens), return_counts=True)
        ids, counts = ids[ids >= 0], counts[ids >= 0] * counted
        merged = np.union1d(self._ids, ids)
        in_windows = np.zeros(len(merged), dtype=np.int64)
        in_windows[np.searchsorted(merged, self._ids)] += self._in_windows
        in_windows[np.searchsorted(merged, ids)] += counts
        self._ids, self._in_windows = merged, in_windows
        self._n_windows += len(tokens) * counted
        self._read_new(tokens, tiles)

    def _read_new(self, tokens: NDArray[np.int32], tiles: pa.Table) -> None:
        ids, first = np.unique(tokens, return_index=True)
        width = tokens.shape[1]
        for token, place in zip(ids.tolist(), first.tolist(), strict=True):
            if token < 0 or token in self._texts:
                continue
            row = place // width
            starts = tiles["token_starts"][row].as_py()
            text = tiles["text"][row].as_py()
            at = place % width - (width - len(starts))
            self._texts[token] = text[starts[at] : starts[at + 1] if at + 1 < len(starts) else None]

    def text(self, token: int) -> str:
        """What a token reads."""
        return self._texts[token]

    def tf_idf(self, tokens: NDArray[np.int32]) -> scipy.sparse.csr_array:
        """Unit TF-IDF vectors of windows, term counts logarithmic, shape (n, vocabulary)."""
        rows = np.repeat(np.arange(len(tokens)), tokens.shape[1])
        flat = tokens.ravel()
        real = flat >= 0
        columns = np.searchsorted(self._ids, flat[real])
        shape = (len(tokens), len(self._ids))
        counts = scipy.sparse.csr_array((np.ones(int(real.sum())), (rows[real], columns)), shape=shape)
        idf = np.log((1 + self._n_windows) / (1 + self._in_windows))
        counts.data = (1 + np.log(counts.data)) * idf[counts.indices]
        norms = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
        counts.data /= np.repeat(np.maximum(norms, 1e-12), np.diff(counts.indptr))
        return counts


def _once_per_row(tokens: NDArray[np.int32]) -> NDArray[np.int32]:
    """The tokens, each once for every row it is in."""
    ordered = np.sort(tokens, axis=1)
    fresh = np.ones(ordered.shape, dtype=bool)
    fresh[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    once: NDArray[np.int32] = ordered[fresh]
    return once
