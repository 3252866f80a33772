from itertools import pairwise

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.store import fingerprints as module
from autolabel.store.fingerprints import Places, SortedRuns, fingerprint

KEYS = st.integers(min_value=0, max_value=2**64 - 1)


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_python_and_duckdb_agree(text: str) -> None:
    assert duckdb.execute("SELECT md5_number_lower($text)", {"text": text}).fetchone() == (fingerprint(text),)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(KEYS, max_size=30), max_size=12), KEYS)
def test_what_was_added_is_found_and_nothing_else(batches: list[list[int]], other: int) -> None:
    runs = SortedRuns()
    for batch in batches:
        runs.add(np.array(batch, np.uint64))
    added = {key for batch in batches for key in batch}
    assert all(runs.find(key) == (key,) for key in added)
    assert (runs.find(other) is not None) == (other in added)
    assert sorted(runs.keys()) == sorted(key for batch in batches for key in batch)


def test_runs_stay_few() -> None:
    runs = SortedRuns()
    for start in range(0, 6_400, 64):
        runs.add(np.arange(start, start + 64, dtype=np.uint64))
    lengths = [len(run[0]) for run in runs._runs]
    assert all(longer >= 2 * shorter for longer, shorter in pairwise(lengths))


def test_the_earliest_place_of_a_request_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RECENT", 4)
    places = Places()
    for offset, key in enumerate([7, 2**64 - 1, 7, 0, 5, 7, 6, 8, 9, 5, 10]):
        places.add(key, offset)
    assert [places.find(key) for key in (7, 2**64 - 1, 0, 5, 6, 8, 9, 10, 11)] == [0, 1, 3, 4, 6, 7, 8, 10, None]
    assert set(places.keys().tolist()) == {0, 5, 6, 7, 8, 9, 10, 2**64 - 1}
