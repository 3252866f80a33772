"""The load gate: what an SAE computes on about 2,000 real tokens, before any money is spent on its features (validity §3)."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import islice

from autolabel.errors import GateRefused
from autolabel.evidence.corpus import Document
from autolabel.evidence.diagnosis import diagnose
from autolabel.evidence.examine import examine
from autolabel.evidence.fit import sample
from autolabel.evidence.gate_report import GateReport
from autolabel.evidence.sae import Coder, SparseCoder
from autolabel.evidence.subject import Subject

__all__ = ["GateReport", "measure", "norm_limit", "require_pass"]

_DOCUMENTS = 64


def measure(subject: Subject, coder: Coder, documents: Iterable[Document], context_tokens: int) -> GateReport:
    """Run the SAE over about 2,000 tokens of `documents`, and look for what would fit better.

    Raises:
        DataError: the SAE's width is not the model's, the hookpoint is unknown, or there is no text.
    """
    kept = list(islice(documents, _DOCUMENTS))
    report = examine(subject, coder, kept, context_tokens)
    if not isinstance(coder, SparseCoder):
        return report
    return replace(report, diagnosis=diagnose(subject, coder, kept, context_tokens, report))


def require_pass(report: GateReport, name: str) -> None:
    """Refuse an SAE whose numbers are nonsense.

    Raises:
        GateRefused: with every problem found.
    """
    problems = report.problems()
    if problems:
        advice = ", or pass --force" if report.diagnosis else "; check [sae] path and hookpoint, or pass --force"
        raise GateRefused(f"the SAE '{name}' does not fit '{report.hookpoint}': {'; '.join(problems)}{advice}")


def norm_limit(subject: Subject, hookpoint: str, documents: Iterable[Document], context_tokens: int) -> float:
    """The norm above which a token is an outlier: ten medians over about 2,000 tokens, to two significant digits.

    Raises:
        DataError: there is no token to measure.
    """
    return sample(subject, [hookpoint], documents, context_tokens).limit(hookpoint)
