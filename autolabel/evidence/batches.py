"""Contexts in batches of fixed shape, so that what a context yields never depends on which others share its batch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from autolabel.evidence.corpus import Context, Document, contexts_of
from autolabel.evidence.subject import Subject

LENGTH_BUCKETS = (64, 128, 192)
"""Shorter contexts are run at one of these lengths instead of the full one."""
OUTLIER_FACTOR = 10.0
"""Tokens whose residual norm exceeds this many medians are attention sinks and are left out everywhere (validity §3)."""


@dataclass(frozen=True, slots=True)
class ActivationBatch:
    """A batch of contexts with the activations of their tokens; the first (BOS) position is gone.

    The last batch of a length has fewer contexts than rows, so that all have the same shape.
    """

    contexts: list[Context]
    activations: torch.Tensor
    """(batch_contexts, tokens, d_model), float32; what lies beyond a context's own tokens means nothing."""
    usable: torch.Tensor
    """(batch_contexts, tokens), bool: real tokens whose norm is not an outlier."""
    n_outliers: int


def run_contexts(
    subject: Subject,
    hookpoint: str,
    documents: Iterable[Document],
    context_tokens: int,
    batch_contexts: int,
    norm_limit: float,
    bos: bool = True,
) -> Iterator[ActivationBatch]:
    """Run every context of `documents` through the subject model; tokens with a norm above `norm_limit` are marked unusable.

    Contexts start with the model's BOS (or separator) token unless `bos` is False, which only the load gate asks for.
    """
    waiting: dict[int, list[Context]] = {}
    for document in documents:
        for context in contexts_of(document, context_tokens):
            length = _bucket(context.n_tokens, context_tokens - 1)
            waiting.setdefault(length, []).append(context)
            if len(waiting[length]) == batch_contexts:
                yield _run(subject, hookpoint, waiting.pop(length), length, batch_contexts, norm_limit, bos)
    for length, contexts in sorted(waiting.items()):
        yield _run(subject, hookpoint, contexts, length, batch_contexts, norm_limit, bos)


def usable_tokens(batch: ActivationBatch) -> torch.Tensor:
    """The activations of all usable tokens, shape (n, d_model)."""
    return batch.activations[batch.usable]


def _bucket(n_tokens: int, longest: int) -> int:
    return next((length for length in LENGTH_BUCKETS if n_tokens <= length < longest), longest)


def _run(
    subject: Subject, hookpoint: str, contexts: list[Context], length: int, batch_contexts: int, norm_limit: float, bos: bool
) -> ActivationBatch:
    token_ids = torch.full((batch_contexts, length + 1), subject.first_token_id, dtype=torch.int64)
    real = torch.zeros((batch_contexts, length), dtype=torch.bool)
    for row, context in enumerate(contexts):
        ids = context.document.token_ids[context.start : context.start + context.n_tokens]
        token_ids[row, 1 : len(ids) + 1] = torch.from_numpy(ids)
        real[row, : len(ids)] = True
    activations = subject.activations(token_ids, hookpoint)[:, 1:] if bos else subject.activations(token_ids[:, 1:], hookpoint)
    activations = activations.cpu()
    usual = activations.norm(dim=-1) <= norm_limit
    return ActivationBatch(contexts, activations, real & usual, int((real & ~usual).sum()))
