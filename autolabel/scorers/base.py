"""What every scorer is given and gives back."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from autolabel.hashing import content_id
from autolabel.metrics import Estimate
from autolabel.records import AnswerMode, Example, FeatureEvidence, Label, Metric, Prediction, Purpose, ScorerName


@dataclass(frozen=True, slots=True)
class ScorerInfo:
    """What a scorer is, for stored rows; `config_hash` covers everything that can change its predictions."""

    name: ScorerName | Literal["truth", "recovery", "delphi", "delphi_fuzz", "neuronpedia"]
    """A scorer of runs, or one of the benchmark's alone."""
    judge: str
    """The model that judges, or `rule`."""
    answer_mode: AnswerMode
    prompt_hash: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    needs_calibration: bool = True
    """False only for rules, which judge nothing."""
    tiles_per_group: int | None = None
    """Tiles of each group of an exam that it is asked about, drawn before any label exists; all of them when None."""

    @property
    def config_hash(self) -> str:
        """Names this scorer, judge, prompt, settings and how much of an exam it reads together."""
        part = [] if self.tiles_per_group is None else [self.tiles_per_group]
        return content_id("scorer", [self.name, self.judge, self.answer_mode, self.prompt_hash, self.settings, *part])


@runtime_checkable
class Scorer(Protocol):
    """Predicts, for each example, how likely the feature that a label describes is to fire there."""

    @property
    def info(self) -> ScorerInfo:
        """What it is."""

    async def predict(self, labels: Sequence[Label], examples: Sequence[Example], purpose: Purpose) -> list[list[Prediction]]:
        """One prediction per label and example, in order. A question that finds no usable answer is a prediction with a status.

        Labels are asked about together so that what they share (a text, a prompt's beginning) is run once; a label's
        predictions do not depend on which others it is asked with.
        """


@dataclass(frozen=True, slots=True)
class Written:
    """A text that was written from a label, and what the subject model made of it."""

    number: int
    text: str
    is_meant: bool
    """Whether the feature was meant to fire on it; the others are there to compare with."""
    max_activation: float | None
    """The feature's largest activation on it; None where the subject model could not be run."""
    rank: int | None = None
    """Place of the feature among all features by how far the text lifts them, 1 first; None where it was not ranked."""
    request_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Inquired:
    """What came of questions beside the exam."""

    found: dict[Metric, Estimate]
    n_failed: int = 0
    """Questions without a usable answer."""
    predictions: tuple[Prediction, ...] = ()
    """What was said of windows, where the questions were about windows."""
    written: tuple[Written, ...] = ()


class Inquiry(Protocol):
    """A scorer that asks questions of its own in place of the exam: which text does not belong, what does a text from the label do."""

    @property
    def info(self) -> ScorerInfo:
        """What it is."""

    async def inquire(self, label: Label, evidence: FeatureEvidence, purpose: Purpose) -> Inquired:
        """Ask about one label of one feature; a number that cannot be had is an `Estimate` without a value and with the reason."""


@runtime_checkable
class Comparing(Inquiry, Protocol):
    """An inquiry that also asks about labels of other features, to say what any label would come to."""

    async def inquire_beside(self, label: Label, others: Sequence[Label], evidence: FeatureEvidence, purpose: Purpose) -> Inquired:
        """Ask about one label of one feature, beside labels of others; see `Inquiry.inquire`."""
