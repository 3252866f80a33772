import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.evidence.keep import EMPTY, BottomK, strength_keys

N_FEATURES = 4
ENTRIES = st.lists(
    st.tuples(st.integers(0, N_FEATURES - 1), st.integers(0, 9), st.integers(1, 60)),
    max_size=80,
    unique_by=lambda entry: (entry[0], entry[2]),
)
"""Feature, key, tile; keys tie often, and then the tile decides."""


def offered(k: int, *parts: list[tuple[int, int, int]]) -> BottomK:
    keep = BottomK(N_FEATURES, k)
    for part in parts:
        columns = np.array(part, dtype=np.int64).reshape(-1, 3).T
        keep.offer(columns[0], columns[1].astype(np.uint64), columns[2].astype(np.uint64))
    return keep


def entries_of(keep: BottomK) -> list[tuple[int, int, int]]:
    at = np.argwhere(keep.keys != EMPTY)
    return [(int(f), int(keep.keys[f, i]), int(keep.tiles[f, i])) for f, i in at]


def brute_force(k: int, entries: list[tuple[int, int, int]]) -> list[list[int]]:
    return [[tile for _, _, tile in sorted(e for e in entries if e[0] == feature)[:k]] for feature in range(N_FEATURES)]


def kept(keep: BottomK) -> list[list[int]]:
    return [keep.kept(feature).tolist() for feature in range(N_FEATURES)]


@given(ENTRIES, st.integers(1, 6), st.integers(0, 80), st.randoms(use_true_random=False))
def test_any_order_and_any_batching_keep_the_same(entries: list[tuple[int, int, int]], k: int, cut: int, random: object) -> None:
    expected = brute_force(k, entries)
    assert kept(offered(k, entries)) == expected
    shuffled = list(entries)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert kept(offered(k, shuffled[:cut], shuffled[cut:])) == expected
    assert kept(offered(k, *([entry] for entry in shuffled))) == expected


@given(ENTRIES, st.integers(1, 6), st.integers(0, 80))
def test_merging_two_halves_equals_one_pass(entries: list[tuple[int, int, int]], k: int, cut: int) -> None:
    left, right = offered(k, entries[:cut]), offered(k, entries[cut:])
    merged = offered(k, entries_of(left), entries_of(right))
    assert np.array_equal(merged.keys, offered(k, entries).keys)
    assert kept(merged) == brute_force(k, entries)


@given(ENTRIES, st.integers(1, 6))
def test_an_offer_tells_which_entries_were_kept(entries: list[tuple[int, int, int]], k: int) -> None:
    keep = BottomK(N_FEATURES, k)
    columns = np.array(entries, dtype=np.int64).reshape(-1, 3).T
    admitted = keep.offer(columns[0], columns[1].astype(np.uint64), columns[2].astype(np.uint64))
    assert [entry for entry, kept in zip(entries, admitted, strict=True) if kept] == [
        entry for entry in entries if entry[2] in keep.kept(entry[0])
    ]


def test_nothing_offered_keeps_nothing() -> None:
    keep = offered(3, [])
    assert kept(keep) == [[]] * N_FEATURES


POSITIVE = st.floats(min_value=0, exclude_min=True, width=32, allow_infinity=False, allow_subnormal=True)


@given(POSITIVE, POSITIVE, st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1))
def test_the_stronger_tile_has_the_smaller_key_and_ties_go_by_hash(a: float, b: float, x: int, y: int) -> None:
    first, second = strength_keys(np.array([a, b], dtype=np.float32), np.array([x, y], dtype=np.uint64)).tolist()
    if a != b:
        assert (first < second) == (a > b)
    else:
        assert (first < second) == (x >> 32 < y >> 32)


@pytest.mark.parametrize("strided", [False, True])
def test_strength_keys_read_any_memory_layout(strided: bool) -> None:
    values = np.array([3, 0, 2, 0, 1, 0], dtype=np.float32)[::2] if strided else np.array([3, 2, 1], dtype=np.float32)
    assert np.all(np.diff(strength_keys(values, np.zeros(3, dtype=np.uint64)).astype(object)) > 0)
