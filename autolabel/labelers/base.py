"""What every labeler is given and gives back."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

from autolabel.errors import ModelResponseError
from autolabel.hashing import content_id
from autolabel.records import Example, FeatureEvidence, Label

NOTHING_TO_SHOW = ModelResponseError("failed", "no train window fires, so there is nothing to label it by")
"""The outcome of every draft for a feature that was seen to fire in held-out text only."""


class Labeler(Protocol):
    """Proposes labels for one feature."""

    @property
    def method(self) -> str:
        """Names the labeler in stored rows."""

    def drafts(self, evidence: FeatureEvidence) -> list[Label]:
        """The labels this labeler will try for, before any work: their ids are fixed by what determines them. `status` is failed."""

    async def fill(self, drafts: Sequence[Label], evidence: FeatureEvidence) -> list[Label]:
        """The drafts with their outcome: text, or a status and an error."""


def draft(
    evidence: FeatureEvidence,
    method: str,
    determined_by: Any,
    shown: Sequence[Example],
    *,
    prompt_hash: str | None = None,
    model: str | None = None,
    sample_number: int = 0,
    origin: Literal["run", "baseline"] = "run",
) -> Label:
    """A label that has an id but no outcome yet. `determined_by` is whatever else its text follows from."""
    shown_ids = tuple(example.window_id for example in shown)
    determinants = [
        evidence.evidence_set_id,
        evidence.feature_index,
        method,
        prompt_hash,
        model,
        sample_number,
        shown_ids,
        determined_by,
    ]
    return Label(
        label_id=content_id("label", determinants),
        evidence_set_id=evidence.evidence_set_id,
        sae_id=evidence.sae_id,
        feature_index=evidence.feature_index,
        status="failed",
        method=method,
        prompt_hash=prompt_hash,
        model_requested=model,
        sample_number=sample_number,
        shown_window_ids=shown_ids,
        origin=origin,
        error="not attempted",
    )


def with_text(label: Label, text: str, **changes: Any) -> Label:
    """A draft that came to a label."""
    return replace(label, status="ok", text=text, error=None, **changes)


def without_text(label: Label, error: ModelResponseError) -> Label:
    """A draft that came to nothing."""
    return replace(label, status=error.status, text=None, error=str(error))


def spread(examples: Sequence[Example], n: int, turn: int = 0) -> list[Example]:
    """`n` examples over all strengths, strongest first; another `turn` takes others of each strength where there are others."""
    ordered = sorted(examples, key=lambda example: (-example.max_activation, example.window_id))
    if len(ordered) <= n:
        return ordered
    step = len(ordered) / n
    within = max(int(step), 1)
    return [ordered[min(int(i * step) + turn % within, len(ordered) - 1)] for i in range(n)]


def shown_firing(evidence: FeatureEvidence, n: int, turn: int) -> list[Example]:
    """The firing train windows a labeler shows: a third strongest ones, the rest spread over the uniform sample; no window twice."""
    strongest = evidence.of("train", "strongest")
    top = strongest[turn * (n // 3) : (turn + 1) * (n // 3)] or strongest[: n // 3]
    taken = {example.window_id for example in top}
    rest = [example for example in evidence.of("train", "firing") if example.window_id not in taken]
    return sorted([*top, *spread(rest, n - len(top), turn)], key=lambda e: (-e.max_activation, e.window_id))


def shown_silent(evidence: FeatureEvidence, n: int) -> list[Example]:
    """Non-firing train windows a labeler shows: hard and random ones in turn."""
    hard = [e for e in evidence.examples if e.split == "train" and e.stratum == "hard"]
    random = [e for e in evidence.examples if e.split == "train" and e.stratum == "random"]
    mixed = [example for pair in zip(hard, random, strict=False) for example in pair]
    return (mixed or hard or random)[:n]
