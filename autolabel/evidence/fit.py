"""How well an SAE fits some tokens: the numbers of the load gate, for the SAE as it was loaded and for variants of it alike."""

from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

import torch

from autolabel.errors import DataError
from autolabel.evidence.batches import OUTLIER_FACTOR, ActivationBatch, run_contexts_at
from autolabel.evidence.corpus import Document
from autolabel.evidence.sae import Coder
from autolabel.evidence.subject import Subject

GATE_TOKENS = 2048
_BATCH_CONTEXTS = 4
"""At most; fewer when so many long contexts hold more tokens than are wanted."""
_POWER_STEPS = 50


@dataclass(frozen=True, slots=True)
class Sample:
    """Activations of the same tokens at several hookpoints, in float32."""

    tokens: dict[str, torch.Tensor]
    """Hookpoint → (n_tokens, d), BOS positions left out, sinks still in it."""
    first: dict[str, torch.Tensor]
    """Hookpoint → (n_contexts, d): the BOS positions; no rows without BOS."""

    def limit(self, hookpoint: str) -> float:
        """The norm above which a token is an outlier: ten medians, to two significant digits."""
        norms = self.tokens[hookpoint].norm(dim=1)
        return float(f"{OUTLIER_FACTOR * norms[norms.isfinite()].median().item():.1e}")

    def usable(self, hookpoints: Sequence[str]) -> torch.Tensor:
        """Tokens that are finite and no outlier at any of the hookpoints, bool, shape (n_tokens,), on the CPU."""
        masks = [(self.tokens[hookpoint].norm(dim=1) <= self.limit(hookpoint)).cpu() for hookpoint in hookpoints]
        return torch.stack(masks).all(dim=0)

    def every(self, n: int) -> "Sample":
        """Every nth token."""
        return Sample({place: rows[::n] for place, rows in self.tokens.items()}, self.first)


@dataclass(frozen=True, slots=True)
class Fit:
    """FVU is the fraction of variance unexplained: lower is better, 1 is as bad as the mean, NaN where something is not finite."""

    fvu: float
    fvu_median: float
    """Median over tokens."""
    l0: float
    """Mean number of active features per token."""
    density: torch.Tensor
    """Share of tokens on which each feature is active, shape (d_sae,)."""


def sample(
    subject: Subject,
    hookpoints: Iterable[str],
    documents: Iterable[Document],
    context_tokens: int,
    bos: bool = True,
    n_tokens: int = GATE_TOKENS,
) -> Sample:
    """About `n_tokens` tokens of `documents`, if there are so many, read at every hookpoint in one pass; of longer contexts, every nth token.

    Raises:
        DataError: there is no token, or the model lacks a hookpoint.
    """
    limits = dict.fromkeys(hookpoints, float("inf"))
    tokens: dict[str, list[torch.Tensor]] = {hookpoint: [] for hookpoint in limits}
    first: dict[str, list[torch.Tensor]] = {hookpoint: [] for hookpoint in limits}
    n = 0
    batch_contexts = max(1, min(_BATCH_CONTEXTS, n_tokens // context_tokens))
    with closing(run_contexts_at(subject, limits, documents, context_tokens, batch_contexts, bos)) as batches:
        for batch in batches:
            for hookpoint, at in batch.items():
                rows = at.activations[: len(at.contexts)]
                tokens[hookpoint].append(rows[_real(at, rows.device)])
                first[hookpoint].append(rows[:, 0][:0] if at.first is None else at.first[: len(at.contexts)])
            n += sum(context.n_tokens for context in at.contexts)
            if n >= n_tokens:
                break
    if n == 0:
        raise DataError("the corpus holds no text to measure the model's activations on; check [corpus] sources and share")
    whole = Sample(*({place: torch.cat(rows) for place, rows in parts.items()} for parts in (tokens, first)))
    return whole.every(max(1, n // n_tokens))


def fit(coder: Coder, x: torch.Tensor, target: torch.Tensor) -> Fit:
    """Encode `x`, shape (n_tokens, d_in), and compare what comes of it with `target`, shape (n_tokens, d_out)."""
    return fit_many(coder, [(x, target)])[0]


def fit_many(coder: Coder, samples: Sequence[tuple[torch.Tensor, torch.Tensor]]) -> list[Fit]:
    """`fit` for several small samples, each `x` and `target`, encoded together in as few blocks as they fill."""
    code, outputs = coder.reconstruct(torch.cat([x.to(coder.device, torch.float32) for x, _ in samples]))
    found, start = [], 0
    for x, target in samples:
        n, stop = max(len(x), 1), start + len(x)
        output = outputs[start:stop]
        target = target.to(output.device, torch.float32)
        error, spread = (target - output).square().sum(1), (target - target.mean(0)).square().sum(1)
        active = code.features[(code.tokens >= start) & (code.tokens < stop)]
        density = torch.bincount(active, minlength=coder.d_sae) / n
        found.append(Fit((error.sum() / spread.sum()).item(), (error / spread).median().item(), len(active) / n, density))
        start = stop
    return found


def mean_and_sink_fvu(target: torch.Tensor) -> float:
    """FVU of the best reconstruction from the mean and one direction, which is all that a sink needs: the first principal component.

    Found by power iteration from the token farthest from the mean, so always the same; NaN without a token.
    """
    if len(target) == 0:
        return float("nan")
    centred = (target - target.mean(0)).float()
    total = centred.square().sum()
    direction = centred[centred.square().sum(1).argmax()]
    for _ in range(_POWER_STEPS):
        direction = torch.nn.functional.normalize(centred.T @ (centred @ direction), dim=0)
    return (1 - (centred @ direction).square().sum() / total).item()


def _real(batch: ActivationBatch, device: torch.device) -> torch.Tensor:
    """Tokens of the contexts, outliers included, bool, shape (n_contexts, tokens)."""
    lengths = torch.tensor([context.n_tokens for context in batch.contexts], device=device)
    return torch.arange(batch.activations.shape[1], device=device) < lengths[:, None]
