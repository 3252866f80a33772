"""A shuffling buffer between a stream of activations and a trainer: neighbouring tokens must not share a batch."""

from collections.abc import Callable, Iterator

import torch


def shuffled_batches(
    stream: Callable[[], Iterator[torch.Tensor]], buffer_tokens: int, batch_tokens: int, reuse: int, generator: torch.Generator
) -> Iterator[torch.Tensor]:
    """Yield batches, shape (batch_tokens, d), from a buffer of which half is refilled at a time; a stream that ends is reopened.

    Running the subject model costs far more than a training step, so each activation is used `reuse` times on average.

    Raises:
        ValueError: the stream holds fewer activations than one batch.
    """
    source = _endless(stream, batch_tokens)
    pool = torch.empty(0)
    while True:
        pool = _refilled(pool, source, buffer_tokens)
        n_batches = max(len(pool) // 2 // batch_tokens, 1)
        for _ in range(reuse):
            pool = pool[torch.randperm(len(pool), generator=generator)]
            yield from torch.split(pool[: n_batches * batch_tokens], batch_tokens)
        pool = pool[n_batches * batch_tokens :]


def _refilled(pool: torch.Tensor, source: Iterator[torch.Tensor], buffer_tokens: int) -> torch.Tensor:
    pieces, n = [pool] if len(pool) else [], len(pool)
    while n < buffer_tokens:
        piece = next(source)
        pieces.append(piece)
        n += len(piece)
    return torch.cat(pieces)


def _endless(stream: Callable[[], Iterator[torch.Tensor]], at_least: int) -> Iterator[torch.Tensor]:
    while True:
        n = 0
        for piece in stream():
            n += len(piece)
            yield piece
        if n < at_least:
            raise ValueError(f"the text yields {n} activations, fewer than one batch of {at_least}")
