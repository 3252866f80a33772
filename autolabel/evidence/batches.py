"""Contexts in batches of fixed shape, so that what a context yields never depends on which others share its batch."""

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace

import torch

from autolabel.evidence.ahead import ahead
from autolabel.evidence.corpus import Context, Document, contexts_of
from autolabel.evidence.subject import Subject

LENGTH_BUCKETS = (64, 128, 192)
"""Shorter contexts are run at one of these lengths instead of the full one."""
OUTLIER_FACTOR = 10.0
"""Tokens whose norm at the hookpoint exceeds this many medians are attention sinks and are left out everywhere (validity §3)."""
AHEAD_BATCHES = 4
"""Batches read and tokenised in advance, while the model runs over those before."""


@dataclass(frozen=True, slots=True)
class Flush:
    """Stands between documents: emit what is waiting for its batch to fill up, however few, so that a collection may be cut here."""

    complete_through: int
    """Number of the last document before it, as the source counts them."""


@dataclass(frozen=True, slots=True)
class ActivationBatch:
    """A batch of contexts with the activations of their tokens at one hookpoint; the first (BOS) position is gone.

    The last batch of a length, before a `Flush` or the end, has fewer contexts than rows, so that all have the same shape. Where
    nothing was waiting at a flush, the batch that says so has no context at all.
    """

    contexts: list[Context]
    activations: torch.Tensor
    """(batch_contexts, tokens, d), float32, on the device of the model; what lies beyond a context's own tokens means nothing."""
    usable: torch.Tensor
    """(batch_contexts, tokens), bool, on the CPU: real tokens whose norm is not an outlier."""
    n_outliers: int
    complete_through: int | None = None
    """That of a `Flush`, on the last batch before it."""
    first: torch.Tensor | None = None
    """(batch_contexts, d): activations at the BOS position, which nothing but the load gate looks at; None without BOS."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A batch before the model ran."""

    contexts: list[Context]
    token_ids: torch.Tensor
    """(batch_contexts, 1 + tokens), BOS first."""
    real: torch.Tensor
    """(batch_contexts, tokens), bool."""
    complete_through: int | None = None


def run_contexts(
    subject: Subject,
    hookpoint: str,
    documents: Iterable[Document | Flush],
    context_tokens: int,
    batch_contexts: int,
    norm_limit: float,
    bos: bool = True,
) -> Generator[ActivationBatch, None, None]:
    """Run every context of `documents` through the subject model and read it at one hookpoint; see `run_contexts_at`."""
    limits = {hookpoint: norm_limit}
    with closing(run_contexts_at(subject, limits, documents, context_tokens, batch_contexts, bos)) as batches:
        for batch in batches:
            yield batch[hookpoint]


def run_contexts_at(
    subject: Subject,
    norm_limits: Mapping[str, float],
    documents: Iterable[Document | Flush],
    context_tokens: int,
    batch_contexts: int,
    bos: bool = True,
) -> Generator[dict[str, ActivationBatch], None, None]:
    """Run every context of `documents` through the subject model once and read it at several hookpoints.

    `documents` are read and tokenised in a thread, a few batches ahead of the model: what reading them counts runs ahead too.
    Closing the iterator ends the thread.

    Args:
        subject: the model.
        norm_limits: for each hookpoint, the norm above which a token is an outlier there and marked unusable.
        documents: text, in any order; `Flush` between documents makes everything before it come out before anything after it.
        context_tokens: length of a context, BOS included.
        batch_contexts: rows of a batch.
        bos: contexts start with the model's BOS (or separator) token.

    Raises:
        DataError: the model lacks a hookpoint, or a document cannot be read.
    """
    batches = _prepared(subject.first_token_id, documents, context_tokens, batch_contexts)
    with closing(ahead(batches, AHEAD_BATCHES)) as prepared:
        for one in prepared:
            token_ids, first = (one.token_ids, 1) if bos else (one.token_ids[:, 1:], 0)
            captured = subject.capture_contexts(one.contexts, token_ids, first, list(norm_limits))
            yield {hookpoint: _batch(one, captured[hookpoint], limit, bos) for hookpoint, limit in norm_limits.items()}


def usable_tokens(batch: ActivationBatch) -> torch.Tensor:
    """The activations of all usable tokens, shape (n, d), on the device of the model."""
    return batch.activations[batch.usable.to(batch.activations.device)]


def _prepared(
    first_token_id: int, documents: Iterable[Document | Flush], context_tokens: int, batch_contexts: int
) -> Iterator[_Prepared]:
    """The batches, each as soon as it is full."""
    waiting: dict[int, list[Context]] = {}
    longest = context_tokens - 1

    def everything() -> list[_Prepared]:
        batches = [_fill(waiting[length], length, batch_contexts, first_token_id) for length in sorted(waiting)]
        waiting.clear()
        return batches

    for document in documents:
        if isinstance(document, Flush):
            *others, last = everything() or [_fill([], _bucket(1, longest), batch_contexts, first_token_id)]
            yield from others
            yield replace(last, complete_through=document.complete_through)
            continue
        for context in contexts_of(document, context_tokens):
            length = _bucket(context.n_tokens, longest)
            waiting.setdefault(length, []).append(context)
            if len(waiting[length]) == batch_contexts:
                yield _fill(waiting.pop(length), length, batch_contexts, first_token_id)
    yield from everything()


def _bucket(n_tokens: int, longest: int) -> int:
    return next((length for length in LENGTH_BUCKETS if n_tokens <= length < longest), longest)


def _fill(contexts: list[Context], length: int, batch_contexts: int, first_token_id: int) -> _Prepared:
    token_ids = torch.full((batch_contexts, length + 1), first_token_id, dtype=torch.int64)
    real = torch.zeros((batch_contexts, length), dtype=torch.bool)
    for row, context in enumerate(contexts):
        ids = context.document.token_ids[context.start : context.start + context.n_tokens]
        token_ids[row, 1 : len(ids) + 1] = torch.from_numpy(ids)
        real[row, : len(ids)] = True
    return _Prepared(contexts, token_ids, real)


def _batch(prepared: _Prepared, captured: torch.Tensor, norm_limit: float, bos: bool) -> ActivationBatch:
    activations = (captured[:, 1:] if bos else captured).float()
    usual = (activations.norm(dim=-1) <= norm_limit).cpu()
    usable, n_outliers = prepared.real & usual, int((prepared.real & ~usual).sum())
    first = captured[:, 0].float() if bos else None
    return ActivationBatch(prepared.contexts, activations, usable, n_outliers, prepared.complete_through, first)
