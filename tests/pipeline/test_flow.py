"""Features flow: in their order, a chunk ahead, let go of when done, stopped by the first error."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Sequence

import pytest

from autolabel.errors import BudgetExceeded
from autolabel.pipeline.flow import CHUNK_FEATURES, work_through


class Loaded:
    """A feature that can be told when it is gone."""

    def __init__(self, index: int) -> None:
        self.index = index


class Library:
    """Loads features and counts those that somebody still holds."""

    def __init__(self) -> None:
        self.chunks: list[list[int]] = []
        self.threads: set[int] = set()
        self.most_alive = 0
        self._alive: weakref.WeakSet[Loaded] = weakref.WeakSet()

    def load(self, features: Sequence[int]) -> list[Loaded]:
        self.chunks.append(list(features))
        self.threads.add(threading.get_ident())
        loaded = [Loaded(index) for index in features]
        self._alive.update(loaded)
        gc.collect()
        self.most_alive = max(self.most_alive, len(self._alive))
        return loaded


@pytest.mark.parametrize("n_workers", [1, 5, 5_000])
async def test_every_feature_is_worked_on_once_and_they_are_begun_in_order(n_workers: int) -> None:
    library, begun, told = Library(), [], []
    features = list(range(0, 600, 2))

    async def work(feature: Loaded) -> None:
        begun.append(feature.index)
        await asyncio.sleep(0)

    await work_through(features, library.load, work, n_workers, told.append)
    assert begun == features
    assert told == list(range(1, len(features) + 1))
    assert [index for chunk in library.chunks for index in chunk] == features
    assert threading.get_ident() not in library.threads, "the event loop does not read"
    await work_through([], library.load, work, n_workers, told.append)


@pytest.mark.parametrize("n_workers", [1, 8])
async def test_no_more_are_alive_than_are_worked_on_and_two_chunks(n_workers: int) -> None:
    library = Library()

    async def work(feature: Loaded) -> None:
        await asyncio.sleep(0)

    await work_through(range(20 * CHUNK_FEATURES), library.load, work, n_workers, lambda done: None)
    assert len(library.chunks) == 20
    assert library.most_alive <= n_workers + 2 * CHUNK_FEATURES


async def test_the_first_error_stops_the_others_and_comes_out_plain() -> None:
    library, begun, stopped = Library(), [], []

    async def work(feature: Loaded) -> None:
        begun.append(feature.index)
        try:
            await asyncio.sleep(0 if feature.index == 3 else 3600)
        except asyncio.CancelledError:
            stopped.append(feature.index)
            raise
        raise BudgetExceeded("over")

    with pytest.raises(BudgetExceeded, match="over"):
        await work_through(range(1000), library.load, work, 6, lambda done: None)
    assert sorted(begun) == [0, 1, 2, 3, 4, 5]
    assert sorted(stopped) == [0, 1, 2, 4, 5]


async def test_what_cannot_be_read_ends_it() -> None:
    def load(features: Sequence[int]) -> list[Loaded]:
        if features[0]:
            raise OSError("the disk is gone")
        return [Loaded(index) for index in features]

    async def work(feature: Loaded) -> None:
        await asyncio.sleep(0)

    with pytest.raises(OSError, match="the disk is gone"):
        await work_through(range(1000), load, work, 3, lambda done: None)
