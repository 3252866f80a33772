"""Hard negatives: tiles where a feature is silent although something about them speaks for it.

They come from the background sample, so the activations of every feature in them are known, and they are drawn before any label
exists: by firing (a neighbouring feature is active), by words (the text looks like the feature's), by document.
"""

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray

from autolabel.evidence.kept import Kept

NEIGHBOURS_BY_DIRECTION = 5
NEIGHBOURS_BY_FIRING = 5
_CHUNK = 512


def neighbours(features: NDArray[np.int64], W_dec: torch.Tensor, kept: Kept) -> list[list[int]]:
    """The features closest to each of `features`: by cosine of decoder rows, then by Jaccard of firing in the train background."""
    directions = torch.nn.functional.normalize(W_dec, dim=1).numpy()
    fires = (kept.background["train"].by_tile > 0).astype(np.float32).tocsc()
    n_fires = np.asarray(fires.sum(axis=0)).ravel()
    found: list[list[int]] = []
    for start in range(0, len(features), _CHUNK):
        chunk = features[start : start + _CHUNK]
        cosine = directions[chunk] @ directions.T
        together = (fires[:, chunk].T @ fires).toarray()
        jaccard = together / np.maximum(n_fires[chunk][:, None] + n_fires[None, :] - together, 1)
        for matrix in (cosine, jaccard):
            matrix[np.arange(len(chunk)), chunk] = -1
        near = _largest(cosine, NEIGHBOURS_BY_DIRECTION)
        often = _largest(jaccard, NEIGHBOURS_BY_FIRING)
        for i in range(len(chunk)):
            together_ever = [int(f) for f in often[i] if jaccard[i, f] > 0]
            found.append(list(dict.fromkeys([*map(int, near[i]), *together_ever])))
    return found


def lookalike_order(shown: list[NDArray[np.int64]], candidates: NDArray[np.int64], kept: Kept) -> NDArray[np.int64]:
    """For each feature, `candidates` (tile rows) sorted by how much their words resemble its shown tiles, most alike first.

    `shown` holds the tile rows of each feature's train examples. Resemblance is the TF-IDF cosine over token ids, term counts
    logarithmic. Shape (n_features, n_candidates), entries index `candidates`.
    """
    vectors = _tf_idf(kept)
    owners = np.repeat(np.arange(len(shown)), [len(rows) for rows in shown])
    everything = np.concatenate(shown) if shown else np.empty(0, dtype=np.int64)
    members = scipy.sparse.csr_array((np.ones(len(everything)), (owners, everything)), shape=(len(shown), vectors.shape[0]))
    centres = members @ vectors
    targets = vectors[candidates].T.tocsc()
    order = np.empty((len(shown), len(candidates)), dtype=np.int64)
    for start in range(0, len(shown), _CHUNK):
        similarity = (centres[start : start + _CHUNK] @ targets).toarray()
        order[start : start + _CHUNK] = np.argsort(-similarity, axis=1, kind="stable")
    return order


def _tf_idf(kept: Kept) -> scipy.sparse.csr_array:
    """Unit TF-IDF vectors of all kept windows, shape (n_tiles, vocabulary)."""
    tokens, bounds = kept.token_ids
    n_tiles = len(bounds) - 1
    rows = np.repeat(np.arange(n_tiles), np.diff(bounds))
    counts = scipy.sparse.csr_array((np.ones(len(tokens)), (rows, tokens)), shape=(n_tiles, int(tokens.max(initial=0)) + 1))
    in_tiles = np.bincount(counts.indices, minlength=counts.shape[1])
    idf = np.log((1 + n_tiles) / (1 + in_tiles))
    counts.data = (1 + np.log(counts.data)) * idf[counts.indices]
    norms = np.sqrt(np.asarray(counts.multiply(counts).sum(axis=1)).ravel())
    counts.data /= np.repeat(np.maximum(norms, 1e-12), np.diff(counts.indptr))
    return counts


def _largest(matrix: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    k = min(k, matrix.shape[1])
    return np.argsort(-matrix, axis=1, kind="stable")[:, :k]
