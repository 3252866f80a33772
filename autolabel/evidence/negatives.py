"""Hard negatives: tiles where a feature is silent although something about them speaks for it.

They come from the background sample, so the activations of every feature in them are known, and they are drawn before any label
exists: by firing (a neighbouring feature is active), by words (the text looks like the feature's), by document.
"""

from itertools import pairwise
from typing import TypeVar

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray

from autolabel.evidence.draws import best_of
from autolabel.evidence.kept import Background, Kept, Rows
from autolabel.records import SPLITS, ExampleKind, Split

NEIGHBOURS_BY_DIRECTION = 5
NEIGHBOURS_BY_FIRING = 5
CHARACTERISTIC_TOKENS = 64
"""How many tokens, those with the largest TF-IDF weight (more where weights are equal), stand for a feature in this."""
_COSINES_AT_ONCE = 1 << 24
_TOGETHER_AT_ONCE = 128
"""Features whose co-firing is counted together: with all others, where one fires everywhere."""
_CANDIDATES = 64
"""Features that come into question as nearest by cosines in bfloat16, some times as fast, before exact ones decide."""
_HARD_SHARES: tuple[tuple[ExampleKind, float], ...] = (("neighbour", 0.4), ("lookalike", 0.4), ("same_document", 0.2))
_FILLED_FROM: tuple[ExampleKind, ...] = ("lookalike", "neighbour", "same_document")

Number = TypeVar("Number", np.float32, np.float64)


class Neighbours:
    """Finds the features closest to given ones: by cosine of decoder rows, then by Jaccard of firing in the train background."""

    def __init__(self, W_dec: torch.Tensor | None, background: Background) -> None:
        self._directions = None if W_dec is None else torch.nn.functional.normalize(W_dec.float(), dim=1)
        self._rough = None if self._directions is None else self._directions.bfloat16()
        self._fires = background.fires()
        self._by_feature = self._fires.tocsc()
        self._n_fires = np.asarray(self._fires.sum(axis=0)).ravel()

    def of(self, features: NDArray[np.int64]) -> list[list[int]]:
        """Up to ten features each, nearest first."""
        near, often = self._by_direction(features), self._by_firing(features)
        return [list(dict.fromkeys([*one, *other])) for one, other in zip(near, often, strict=True)]

    def _by_direction(self, features: NDArray[np.int64]) -> list[list[int]]:
        if self._directions is None or self._rough is None:
            return [[] for _ in features]
        found: list[list[int]] = []
        n = max(_COSINES_AT_ONCE // len(self._directions), 1)
        n_others = len(self._directions) - 1
        for start in range(0, len(features), n):
            chunk = torch.from_numpy(features[start : start + n]).to(self._directions.device)
            rough = self._rough[chunk] @ self._rough.T
            rough[torch.arange(len(chunk)), chunk] = -2.0
            candidates = rough.topk(min(_CANDIDATES, n_others), dim=1).indices.sort(dim=1).values
            cosine = torch.einsum("fd,fcd->fc", self._directions[chunk], self._directions[candidates])
            best = cosine.topk(min(NEIGHBOURS_BY_DIRECTION, n_others), dim=1).indices
            found += candidates.gather(1, best).tolist()
        return found

    def _by_firing(self, features: NDArray[np.int64]) -> list[list[int]]:
        blocks = (features[start : start + _TOGETHER_AT_ONCE] for start in range(0, len(features), _TOGETHER_AT_ONCE))
        return [near for block in blocks for near in self._block_by_firing(block)]

    def _block_by_firing(self, features: NDArray[np.int64]) -> list[list[int]]:
        together = self._by_feature[:, features].T.tocsr() @ self._fires
        lengths, others = np.diff(together.indptr), together.indices
        lines = np.repeat(np.arange(len(features)), lengths)
        jaccard = together.data / np.maximum(self._n_fires[features][lines] + self._n_fires[others] - together.data, 1)
        jaccard[others == features[lines]] = 0
        edge = _largest(jaccard, lines, together.indptr, NEIGHBOURS_BY_FIRING)[:, -1]
        at = np.flatnonzero((jaccard >= edge[lines]) & (jaccard > 0))
        at = at[np.lexsort((others[at], -jaccard[at], lines[at]))]
        bounds = np.searchsorted(lines[at], np.arange(len(features) + 1))
        return [others[at[start:stop]][:NEIGHBOURS_BY_FIRING].tolist() for start, stop in pairwise(bounds.tolist())]


class Lookalikes:
    """How much the words of background tiles resemble those of a feature's shown tiles: the cosine of TF-IDF vectors."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        targets = {split: kept.vocabulary.tf_idf(kept.tokens(kept.background[split].rows)) for split in SPLITS}
        self._targets = {split: vectors.T.tocsr() for split, vectors in targets.items()}

    def centres(self, rows: Rows, owners: NDArray[np.int64], n_owners: int) -> scipy.sparse.csr_array:
        """The most characteristic tokens of the windows `rows` of each owner, with their weights; shape (n_owners, vocabulary)."""
        distinct, place = np.unique(rows, return_inverse=True)
        vectors = self._kept.vocabulary.tf_idf(self._kept.tokens(distinct))
        members = scipy.sparse.csr_array((np.ones(len(rows)), (owners, place)), shape=(n_owners, len(distinct)))
        centres = (members @ vectors).tocsr()
        lines = np.repeat(np.arange(n_owners), np.diff(centres.indptr))
        heavy = centres.data >= _largest(centres.data, lines, centres.indptr, CHARACTERISTIC_TOKENS)[lines, -1]
        return scipy.sparse.csr_array((centres.data[heavy], (lines[heavy], centres.indices[heavy])), shape=centres.shape)

    def similarity(self, centres: scipy.sparse.csr_array, split: Split) -> NDArray[np.float32]:
        """Resemblance of each background tile of a split to each centre; shape (n_owners, n_tiles)."""
        similarity: NDArray[np.float32] = (centres @ self._targets[split]).toarray().astype(np.float32)
        return similarity


def hard_places(
    allowed: NDArray[np.bool_], n_near: NDArray[np.float32], alike: NDArray[np.float32], same: NDArray[np.bool_], size: int
) -> dict[ExampleKind, NDArray[np.int64]]:
    """Places of `size` hard negatives per feature where there are so many, by kind; kinds that run short are made up for by others.

    Args:
        allowed: which background tiles may be drawn, shape (n_features, n_tiles), tiles in hash order.
        n_near: how many neighbours fire in each.
        alike: how much the words of each resemble the feature's.
        same: which come from a document in which the feature fires.
        size: tiles in all.
    """
    n_tiles = allowed.shape[1]
    earlier = -np.arange(n_tiles, dtype=np.float32)
    scores: dict[ExampleKind, NDArray[np.float32]] = {
        "neighbour": np.where(n_near > 0, n_near * np.float32(n_tiles) + earlier, -np.inf).astype(np.float32),
        "lookalike": alike,
        "same_document": np.where(same, earlier, -np.inf).astype(np.float32),
    }
    free = allowed.copy()
    found: dict[ExampleKind, list[NDArray[np.int64]]] = {kind: [] for kind in scores}
    wanted = np.full(len(allowed), size)

    def take(kind: ExampleKind, most: int) -> None:
        places = best_of(np.where(free, scores[kind], -np.inf).astype(np.float32), most)
        places[np.arange(most)[None, :] >= wanted[:, None]] = -1
        lines, columns = np.nonzero(places >= 0)
        free[lines, places[lines, columns]] = False
        wanted[:] -= (places >= 0).sum(axis=1)
        found[kind].append(places)

    for kind, share in _HARD_SHARES:
        take(kind, int(share * size))
    for kind in _FILLED_FROM:
        take(kind, size)
    return {kind: np.concatenate(parts, axis=1) for kind, parts in found.items()}


def _largest(values: NDArray[Number], lines: NDArray[np.int64], bounds: NDArray[np.int32], n: int) -> NDArray[Number]:
    """The `n` largest of the entries of each line of a sparse matrix, descending, 0 where there are fewer; shape (n_lines, n)."""
    width = max(int(np.diff(bounds).max(initial=0)), n)
    padded = np.zeros((len(bounds) - 1, width), dtype=values.dtype)
    padded[lines, np.arange(len(lines)) - bounds[lines]] = values
    largest: NDArray[Number] = torch.from_numpy(padded).topk(n, dim=1).values.numpy()
    return largest
