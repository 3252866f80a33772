"""Selection of active features against the plainest way to write it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.evidence.sae.selecting import Entries, above, largest, largest_of_groups


def plain(dense: torch.Tensor) -> Entries:
    rows, features = (dense > 0).nonzero(as_tuple=True)
    return rows, features, dense[rows, features]


def same(found: Entries, expected: Entries) -> bool:
    return all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def top_k_by_sorting(pre: torch.Tensor, k: int) -> torch.Tensor:
    """What is left when all but the k largest are zeroed; a stable sort puts the lower of equal features first."""
    order = pre.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return torch.zeros_like(pre).scatter_(1, order, pre.gather(1, order))


def numbers(seed: int, rows: int, d_sae: int, levels: int | None = None) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    if levels is None:
        return torch.randn(rows, d_sae, generator=generator)
    return torch.randint(-levels, levels + 1, (rows, d_sae), generator=generator).float()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(0, 5),
    d_sae=st.sampled_from([1, 7, 64, 100, 256, 512, 1024, 4096]),
    share=st.sampled_from([0.0, 0.001, 0.002, 0.05, 0.5, 1.0]),
    levels=st.sampled_from([None, 1, 3]),
)
def test_the_largest_are_those_of_a_stable_sort(seed: int, rows: int, d_sae: int, share: float, levels: int | None) -> None:
    pre = numbers(seed, rows, d_sae, levels)
    k = max(1, round(share * d_sae))
    assert same(largest(pre, k), plain(top_k_by_sorting(pre, k)))


@pytest.mark.parametrize("d_sae", [4096, 32768])
def test_equal_values_everywhere_go_to_the_lowest_features(d_sae: int) -> None:
    _, features, values = largest(torch.full((3, d_sae), 2.5), 4)
    assert features.tolist() == [0, 1, 2, 3] * 3
    assert values.tolist() == [2.5] * 12


@pytest.mark.parametrize("apart", [1, 32, 255, 256, 257, 1024])
def test_the_lower_of_two_equal_values_wins_wherever_they_lie(apart: int) -> None:
    pre = torch.full((60, 2048), -1.0)
    for row in range(60):
        pre[row, [17 * row, 17 * row + apart]] = 2.5
    _, features, _ = largest(pre, 1)
    assert features.tolist() == [17 * row for row in range(60)]


def test_rows_with_fewer_positive_entries_than_k_give_fewer() -> None:
    pre = torch.full((2, 64), -1.0)
    pre[1, 40] = 0.5
    assert same(largest(pre, 5), (torch.tensor([1]), torch.tensor([40]), torch.tensor([0.5])))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31), rows=st.integers(0, 5), d_sae=st.sampled_from([1, 8, 12, 40, 333]), cut=st.floats(-2, 2, width=32)
)
def test_what_exceeds_a_threshold_is_found_with_and_without_words(seed: int, rows: int, d_sae: int, cut: float) -> None:
    pre = numbers(seed, rows, d_sae)
    thresholds = cut + 0.1 * numbers(seed + 1, 1, d_sae)[0]
    for threshold in (cut, thresholds):
        found_rows, features = (pre > threshold).nonzero(as_tuple=True)
        assert same(above(pre, threshold), (found_rows, features, pre[found_rows, features]))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    rows=st.integers(0, 4),
    groups=st.integers(1, 6),
    size=st.integers(1, 9),
    levels=st.sampled_from([None, 1]),
)
def test_each_group_has_one_winner_the_lowest_of_equals(seed: int, rows: int, groups: int, size: int, levels: int | None) -> None:
    pre = numbers(seed, rows, groups * size, levels)
    expected = torch.zeros_like(pre)
    for row in range(rows):
        for group in range(groups):
            run = pre[row, group * size : (group + 1) * size].tolist()
            expected[row, group * size + run.index(max(run))] = max(run)
    assert same(largest_of_groups(pre, groups), plain(expected))
