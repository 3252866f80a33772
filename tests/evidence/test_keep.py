import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.evidence.keep import BottomK, strength_keys

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


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 40)), unique=True), st.integers(1, 5), st.integers(1, 9))
@settings(max_examples=150)
def test_the_smallest_keys_are_kept_however_they_come(entries: list[tuple[int, int]], k: int, step: int) -> None:
    whole, first, second = BottomK(4, k), BottomK(4, k), BottomK(4, k)
    for start in range(0, len(entries), step):
        piece = entries[start : start + step]
        features = np.array([feature for feature, _ in piece], dtype=np.int64)
        keys = np.array([key for _, key in piece], dtype=np.uint64)
        whole.offer(features, keys)
        (first if start // step % 2 else second).offer(features, keys)
        if step % 2:
            whole.settle()
    first.merge(second)
    for keep in (whole, first):
        keep.settle()
        for feature in range(4):
            expected = sorted(key for of, key in entries if of == feature)[:k]
            assert keep.keys[feature][: len(expected)].tolist() == expected
            held = keep.holds(np.full(41, feature), np.arange(41, dtype=np.uint64))
            assert [key for of, key in entries if of == feature and held[key]] == [
                key for of, key in entries if of == feature and key in expected
            ]
    assert whole.n_kept == sum(min(k, sum(of == feature for of, _ in entries)) for feature in range(4))


def test_a_feature_with_very_many_keys_is_kept_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    features = np.concatenate([np.zeros(5000, dtype=np.int64), generator.integers(0, 300, 2000)])
    keys = generator.permutation(len(features)).astype(np.uint64)
    at_once, often = BottomK(300, 7), BottomK(300, 7)
    at_once.offer(features, keys)
    monkeypatch.setattr("autolabel.evidence.keep.WAITING_KEYS", 50)
    for start in range(0, len(keys), 40):
        often.offer(features[start : start + 40], keys[start : start + 40])
    at_once.settle()
    often.settle()
    assert np.array_equal(at_once.keys, often.keys)
    assert at_once.keys[0].tolist() == sorted(keys[features == 0].tolist())[:7]
