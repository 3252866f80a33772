import numpy as np
import pytest
import scipy.sparse
import torch

from autolabel.evidence.kept import Background
from autolabel.evidence.negatives import NEIGHBOURS_BY_DIRECTION, NEIGHBOURS_BY_FIRING, Neighbours


def background(generator: np.random.Generator, n_tiles: int, d_sae: int) -> Background:
    strengths = scipy.sparse.csr_array(scipy.sparse.random(n_tiles, d_sae, density=0.2, format="csr", rng=generator))
    strengths.sort_indices()
    return Background(np.arange(n_tiles), strengths, np.zeros(strengths.nnz, dtype=np.uint8))


def by_firing(fires: np.ndarray[tuple[int, int], np.dtype[np.bool_]], feature: int) -> list[int]:
    """By Jaccard similarity, the lower index first of equally near ones."""
    both = (fires & fires[:, [feature]]).sum(axis=0)
    either = (fires | fires[:, [feature]]).sum(axis=0)
    near = [(-both[other] / either[other], other) for other in range(fires.shape[1]) if other != feature and both[other]]
    return [other for _, other in sorted(near)[:NEIGHBOURS_BY_FIRING]]


@pytest.mark.parametrize("seed", range(6))
def test_neighbours_are_the_nearest_by_direction_then_by_firing(seed: int) -> None:
    generator = np.random.default_rng(seed)
    d_sae = int(generator.integers(2, 300))
    tiles = background(generator, int(generator.integers(1, 40)), d_sae)
    W_dec = torch.from_numpy(generator.normal(size=(d_sae, 16)))
    directions = torch.nn.functional.normalize(W_dec.float(), dim=1)
    cosines = directions @ directions.T - 9 * torch.eye(d_sae)
    features = np.sort(generator.choice(d_sae, min(d_sae, 150), replace=False))
    fires = tiles.by_tile.toarray() > 0
    for feature, found in zip(features.tolist(), Neighbours(W_dec, tiles).of(features), strict=True):
        by_direction = cosines[feature].topk(min(NEIGHBOURS_BY_DIRECTION, d_sae - 1)).indices.tolist()
        assert found == list(dict.fromkeys([*by_direction, *by_firing(fires, feature)]))
    for feature, found in zip(features.tolist(), Neighbours(None, tiles).of(features), strict=True):
        assert found == by_firing(fires, feature)
