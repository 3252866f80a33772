"""Variance components: a published example, known components found again, and what cannot be estimated."""

import numpy as np
import pytest
from numpy.typing import NDArray

from autolabel.truth.variance import EFFECTS, FACETS, coefficient, components, standardised

SHROUT_FLEISS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)
"""Table 2 of Shrout & Fleiss (1979): six targets, four judges."""


def drawn(shape: tuple[int, int, int, int], sizes: dict[str, float], seed: int) -> NDArray[np.float64]:
    """Scores made of normal effects with these variances."""
    generator = np.random.default_rng(seed)
    scores = np.zeros(shape)
    for effect, variance in sizes.items():
        own = tuple(n if facet in effect else 1 for facet, n in zip(FACETS, shape, strict=True))
        scores = scores + np.sqrt(variance) * generator.standard_normal(own)
    return scores


def test_judges_alone_give_the_published_coefficients() -> None:
    found = components(SHROUT_FLEISS[:, :, None, None])
    assert found == {"f": pytest.approx(2.556, abs=1e-3), "j": pytest.approx(5.244, abs=1e-3), "fj": pytest.approx(1.019, abs=1e-3)}
    assert coefficient(found) == pytest.approx(0.29, abs=0.005)
    assert coefficient(found, {"j": 4}) == pytest.approx(0.62, abs=0.005)


def test_which_axis_the_raters_are_on_does_not_matter() -> None:
    for shape in [(6, 4, 1, 1), (6, 1, 4, 1), (6, 1, 1, 4)]:
        assert coefficient(components(SHROUT_FLEISS.reshape(shape))) == pytest.approx(0.2897638, abs=1e-6)


def test_components_are_found_again_on_average() -> None:
    sizes = dict(zip(EFFECTS, [4.0, 1.0, 0.5, 0.3, 1.5, 0.8, 0.4, 0.2, 0.6, 0.7, 1.0], strict=True))
    found = [components(drawn((30, 6, 6, 3), sizes, seed)) for seed in range(150)]
    means = {effect: float(np.mean([one[effect] for one in found])) for effect in EFFECTS}
    for effect, size in sizes.items():
        assert means[effect] == pytest.approx(size, abs=0.12 + 0.1 * size), effect


def test_a_draw_is_nested_in_its_half() -> None:
    """Draws that move all scores of one half, differently in each half, are no effect of the half."""
    scores = drawn((40, 2, 40, 8), {"f": 1.0, "hs": 2.0, "fjhs": 0.1}, seed=0)
    found = components(scores)
    assert found["hs"] == pytest.approx(2.0, rel=0.2)
    assert found["h"] < 0.15
    assert set(found) == set(EFFECTS)


def test_one_level_of_a_facet_leaves_its_effects_out() -> None:
    found = components(drawn((20, 1, 2, 2), {"f": 1.0, "fhs": 0.5}, seed=1))
    assert set(found) == {"f", "h", "hs", "fh", "fhs"}
    assert set(components(drawn((20, 2, 2, 1), {"f": 1.0}, seed=1))) == {"f", "j", "h", "fj", "fh", "jh", "fjh"}


def test_perfect_repetition_is_1_and_noise_is_near_0() -> None:
    same = np.broadcast_to(np.arange(10.0)[:, None, None, None], (10, 2, 2, 2))
    assert coefficient(components(same)) == pytest.approx(1.0)
    noise = [coefficient(components(drawn((40, 2, 2, 2), {"fjhs": 1.0}, seed))) for seed in range(40)]
    assert 0 <= np.mean([one for one in noise if one is not None]) < 0.06


def test_a_mean_over_more_levels_is_worth_more() -> None:
    found = components(drawn((50, 2, 2, 2), {"f": 1.0, "fj": 0.5, "fh": 0.3, "fjhs": 1.0}, seed=3))
    alone, halves, every = (coefficient(found, {"j": j, "h": h, "s": s}) for j, h, s in [(1, 1, 1), (1, 2, 2), (2, 2, 2)])
    assert alone is not None
    assert halves is not None
    assert every is not None
    assert alone == coefficient(found)
    assert alone < halves < every < 1


def test_nothing_that_varies_has_no_coefficient() -> None:
    assert coefficient(components(np.full((5, 2, 2, 2), 0.3))) is None


@pytest.mark.parametrize("shape", [(1, 2, 2, 2), (5, 2, 2), (0, 2, 2, 2)])
def test_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(features ≥ 2, judges, halves, draws\), all finite"):
        components(np.zeros(shape))


def test_numbers_that_are_not_finite_are_refused() -> None:
    scores = np.ones((4, 2, 2, 2))
    scores[2, 1, 0, 0] = np.nan
    with pytest.raises(ValueError, match="all finite"):
        components(scores)


def test_standardised_judges_have_one_scale() -> None:
    scores = drawn((30, 2, 2, 2), {"f": 1.0, "fjhs": 0.3}, seed=5)
    stretched = scores * np.array([1.0, 40.0])[None, :, None, None] + np.array([3.0, -7.0])[None, :, None, None]
    assert standardised(stretched) == pytest.approx(standardised(scores))
    assert standardised(stretched).mean(axis=(0, 2, 3)) == pytest.approx([0, 0])
    assert standardised(stretched).std(axis=(0, 2, 3)) == pytest.approx([1, 1])
    assert coefficient(components(stretched)) != pytest.approx(coefficient(components(standardised(stretched))), abs=0.1)


def test_a_judge_that_always_says_the_same_is_no_reason_to_divide_by_0() -> None:
    scores = np.stack([np.arange(6.0), np.full(6, 0.1)], axis=1)[:, :, None, None]
    found = standardised(scores)
    assert np.isfinite(found).all()
    assert (found[:, 1] == 0).all()
