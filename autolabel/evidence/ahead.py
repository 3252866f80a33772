"""Work done ahead in threads: what an iterator yields is made while the consumer is still busy with what came before."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Generic, TypeVar

import torch

T = TypeVar("T")
Item = TypeVar("Item")

AT_ONCE_AT_MOST = 4
"""Items that `in_order` works on at the same time, which bounds the memory they take, on machines with more processors too."""


def in_order(function: Callable[[Item], T], items: Iterable[Item]) -> Generator[T, None, None]:
    """Yield `function` of every item in their order, computed on several processors, a few items ahead of the consumer.

    The first exception ends it; items that have not been begun are then left alone.
    """
    n_threads = min(torch.get_num_threads(), AT_ONCE_AT_MOST)
    waiting: deque[Future[T]] = deque()
    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="autolabel-in-order")
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > n_threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def ahead(items: Iterable[T], at_most: int) -> Generator[T, None, None]:
    """Yield `items` in their order, up to `at_most` of them made in advance; an exception of theirs is raised in its place.

    The iterator is run and closed in a thread of its own. Closing this one ends that thread first.
    """
    channel = _Channel[T](at_most)
    thread = threading.Thread(target=_fill, args=(channel, items), name="autolabel-ahead", daemon=True)
    thread.start()
    try:
        yield from channel
    finally:
        channel.close()
        thread.join()


class _Closed(Exception):
    """The consumer wants nothing more."""


class _Channel(Generic[T]):
    """A short queue between one producer and one consumer that either side can end."""

    def __init__(self, at_most: int) -> None:
        self._items: deque[T] = deque()
        self._at_most = at_most
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None

    def put(self, item: T) -> None:
        """Wait for room and add an item.

        Raises:
            _Closed: nobody will take it.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or len(self._items) < self._at_most)
            if self._closed:
                raise _Closed
            self._items.append(item)
            self._changed.notify_all()

    def end(self, error: BaseException | None) -> None:
        """Nothing more will come, because of `error` where there is one."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify_all()

    def close(self) -> None:
        """Nothing more will be taken."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._changed.notify_all()

    def __iter__(self) -> Iterator[T]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._ended or bool(self._items))
                if not self._items:
                    if self._error is not None:
                        raise self._error
                    return
                item = self._items.popleft()
                self._changed.notify_all()
            yield item


def _fill(channel: _Channel[T], items: Iterable[T]) -> None:
    iterator = iter(items)
    error: BaseException | None = None
    try:
        for item in iterator:
            channel.put(item)
    except _Closed:
        with suppress(AttributeError):
            iterator.close()  # type: ignore[attr-defined]
    except BaseException as raised:  # raised again where the items are taken
        error = raised
    channel.end(error)
