import numpy as np
import pytest
import scipy.sparse

from autolabel.evidence.kept import Background
from autolabel.evidence.marking import PeaksByRate


def background(generator: np.random.Generator, n_tiles: int, d_sae: int, density: float) -> Background:
    strengths = scipy.sparse.csr_array(scipy.sparse.random(n_tiles, d_sae, density=density, format="csr", rng=generator))
    strengths.sort_indices()
    return Background(np.arange(n_tiles), strengths, generator.integers(0, 32, strengths.nnz).astype(np.uint8))


def expected(
    tile: Background, place: int, rates: np.ndarray[tuple[int], np.dtype[np.float64]], feature: int, number: int
) -> set[int]:
    """Peaks of the features of a tile, taken one by one from the two lists of rarer and of more frequent ones."""
    at = slice(tile.by_tile.indptr[place], tile.by_tile.indptr[place + 1])
    others = sorted(zip(rates[tile.by_tile.indices[at]], tile.by_tile.indices[at], tile.peaks[at], strict=True))
    own = (rates[feature], feature)
    rarer = [other for other in others if other[:2] < own]
    commoner = [other for other in others if other[:2] > own]
    found: set[int] = set()
    while len(found) < number and (rarer or commoner):
        down = own[0] - rarer[-1][0] if rarer else np.inf
        up = commoner[0][0] - own[0] if commoner else np.inf
        found.add(int((rarer.pop() if down <= up else commoner.pop(0))[2]))
    return found


@pytest.mark.parametrize("seed", range(12))
def test_peaks_are_those_of_the_features_nearest_in_rate(seed: int) -> None:
    generator = np.random.default_rng(seed)
    n_tiles, d_sae = int(generator.integers(1, 12)), int(generator.integers(2, 60))
    tiles = background(generator, n_tiles, d_sae, float(generator.choice([0.05, 0.3, 0.9])))
    rates = np.log(generator.integers(1, 6, d_sae).astype(float))  # many are equal
    features, places = generator.integers(0, d_sae, 200), generator.integers(0, n_tiles, 200)
    numbers = generator.integers(0, 34, 200)
    found = PeaksByRate(tiles, rates).peaks(features, places, numbers)
    for bits, feature, place, number in zip(found.tolist(), features, places, numbers, strict=True):
        assert {bit for bit in range(32) if bits >> bit & 1} == expected(tiles, place, rates, feature, number)


def test_nothing_is_marked_where_nothing_fires() -> None:
    tiles = background(np.random.default_rng(0), 3, 5, 0.0)
    assert PeaksByRate(tiles, np.zeros(5)).peaks(np.array([0, 4]), np.array([0, 2]), np.array([3, 1])).tolist() == [0, 0]
