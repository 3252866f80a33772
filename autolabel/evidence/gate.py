"""The load gate: what an SAE computes on about 2,000 real tokens, before any money is spent on its features (validity §3)."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import torch

from autolabel.errors import DataError, GateRefused
from autolabel.evidence.batches import OUTLIER_FACTOR, run_contexts, usable_tokens
from autolabel.evidence.corpus import Document
from autolabel.evidence.sae import SparseActivations, SparseCoder
from autolabel.evidence.subject import Subject

GATE_TOKENS = 2048
_BATCH_CONTEXTS = 4
_L0_FACTOR = 5.0
_MEAN_ONLY_FVU = 0.95
_WORSE_THAN_MEAN_FVU = 1.05


@dataclass(frozen=True, slots=True)
class GateReport:
    """What the gate measured; FVU is the fraction of variance unexplained, lower is better, 1 is as bad as the mean."""

    n_tokens: int
    n_excluded: int
    excluded_variance_share: float
    norm_limit: float
    fvu: float
    fvu_median: float
    fvu_without_bos: float
    l0: float
    advertised_l0: float | None
    silent_share: float
    dense_share: float

    def as_dict(self) -> dict[str, Any]:
        """The numbers, ready for JSON."""
        return asdict(self)

    def summary(self) -> str:
        """The numbers in one line."""
        advertised = "" if self.advertised_l0 is None else f" (its settings say {self.advertised_l0:.0f})"
        return (
            f"load gate on {self.n_tokens} test tokens: FVU {self.fvu:.3f} (median {self.fvu_median:.3f}, without BOS "
            f"{self.fvu_without_bos:.3f}), L0 {self.l0:.1f}{advertised}, {self.silent_share:.0%} of features silent, "
            f"{self.n_excluded} outlier tokens left out with {self.excluded_variance_share:.0%} of the variance"
        )

    def problems(self) -> list[str]:
        """Why the SAE should not be used, in words; empty when nothing is wrong."""
        found = []
        if not self.fvu < _WORSE_THAN_MEAN_FVU:
            cause = "a wrong hookpoint, a transposed matrix or a missing b_dec would explain it"
            found.append(f"FVU is {self.fvu:.2f}, worse than predicting the mean ({cause})")
        elif self.fvu >= _MEAN_ONLY_FVU:
            found.append(f"FVU is {self.fvu:.3f} without outlier tokens: it reconstructs little but the mean and the sink")
        if self.l0 == 0:
            found.append("no feature fires on any token")
        elif self.advertised_l0 and not 1 / _L0_FACTOR <= self.l0 / self.advertised_l0 <= _L0_FACTOR:
            found.append(f"{self.l0:.1f} features fire per token where its settings say {self.advertised_l0:.0f}")
        if self.dense_share > 0.5:
            found.append(f"{self.dense_share:.0%} of the features fire on at least half of the tokens")
        return found


def norm_limit(subject: Subject, hookpoint: str, documents: Iterable[Document], context_tokens: int) -> float:
    """The residual norm above which a token is an outlier: ten medians over about 2,000 tokens, to two significant digits.

    Raises:
        DataError: there is no token to measure.
    """
    return _limit(_some(subject, hookpoint, documents, context_tokens))


def _limit(x: torch.Tensor) -> float:
    return float(f"{OUTLIER_FACTOR * x.norm(dim=1).median().item():.1e}")


def measure(subject: Subject, coder: SparseCoder, documents: Iterable[Document], context_tokens: int) -> GateReport:
    """Run the SAE over about 2,000 tokens of `documents`.

    Raises:
        DataError: the SAE's width is not the model's, the hookpoint is unknown, or there is no text.
    """
    subject.require_hookpoint(coder.hookpoint)
    kept = list(islice(documents, 64))
    everything = _some(subject, coder.hookpoint, kept, context_tokens)
    limit = _limit(everything)
    x = everything[everything.norm(dim=1) <= limit]
    if x.shape[1] != coder.d_model:
        raise DataError(
            f"the SAE '{coder.name}' reads activations {coder.d_model} wide, but '{coder.hookpoint}' of '{subject.name}' is "
            f"{x.shape[1]} wide; it was trained on another model or hookpoint"
        )
    code, error, spread = _reconstruction(coder, x)
    without_bos = _some(subject, coder.hookpoint, kept, context_tokens, limit, bos=False)
    _, error_without_bos, spread_without_bos = _reconstruction(coder, without_bos)
    density = torch.bincount(code.features, minlength=coder.d_sae) / len(x)
    return GateReport(
        n_tokens=len(x),
        n_excluded=len(everything) - len(x),
        excluded_variance_share=max(0.0, 1 - (spread.sum() / (everything - everything.mean(0)).square().sum()).item()),
        norm_limit=limit,
        fvu=(error.sum() / spread.sum()).item(),
        fvu_median=(error / spread).median().item(),
        fvu_without_bos=(error_without_bos.sum() / spread_without_bos.sum()).item(),
        l0=len(code.values) / len(x),
        advertised_l0=coder.advertised_l0,
        silent_share=(density == 0).float().mean().item(),
        dense_share=(density >= 0.5).float().mean().item(),
    )


def require_pass(report: GateReport, name: str) -> None:
    """Refuse an SAE whose numbers are nonsense.

    Raises:
        GateRefused: with every problem found.
    """
    problems = report.problems()
    if problems:
        raise GateRefused(f"the SAE '{name}' does not fit: {'; '.join(problems)}. Check [sae] hookpoint, or pass --force")


def _reconstruction(coder: SparseCoder, x: torch.Tensor) -> tuple[SparseActivations, torch.Tensor, torch.Tensor]:
    """The code of `x` and, per token, the squared error of its reconstruction and the squared distance from the mean."""
    code = coder.encode(x)
    return code, (x - coder.decode(code, len(x))).square().sum(1), (x - x.mean(0)).square().sum(1)


def _some(
    subject: Subject,
    hookpoint: str,
    documents: Iterable[Document],
    context_tokens: int,
    limit: float = float("inf"),
    bos: bool = True,
) -> torch.Tensor:
    """The activations of about 2,000 tokens, shape (n, d_model)."""
    pieces, n = [], 0
    for batch in run_contexts(subject, hookpoint, documents, context_tokens, _BATCH_CONTEXTS, limit, bos):
        pieces.append(usable_tokens(batch))
        n += len(pieces[-1])
        if n >= GATE_TOKENS:
            break
    if n == 0:
        raise DataError("the corpus holds no text to measure the model's activations on; check [corpus] sources and share")
    return torch.cat(pieces)
