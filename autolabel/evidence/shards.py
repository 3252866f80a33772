"""One shard of a corpus through the model into collectors: the one way in which text becomes evidence, on one machine or many."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

from autolabel.config import Settings
from autolabel.evidence.collector import Collector
from autolabel.evidence.encoding import firing_batches
from autolabel.evidence.gate import GateReport
from autolabel.evidence.sae import Coder
from autolabel.evidence.state import Checkpoint
from autolabel.evidence.subject import Subject
from autolabel.evidence.survey import Survey

MIN_EXAMPLES_SHARDS = 16
"""Pieces in which text is read when it need not all be."""


@dataclass
class EvidenceSet:
    """One evidence set to be collected: an SAE over the text."""

    number: int
    """Which of the settings' SAEs."""
    coder: Coder
    sae_id: str
    evidence_set_id: str
    checkpoint: Checkpoint
    gate: GateReport | None = None
    forced: bool = False
    """Whether the gate refused it and was overridden."""

    @property
    def norm_limit(self) -> float:
        """The norm above which tokens are outliers, as the gate measured it."""
        if self.gate is None:
            raise RuntimeError("nothing is collected before the load gate was passed")
        return self.gate.norm_limit


def gather_shard(
    settings: Settings,
    subject: Subject,
    survey: Survey,
    collectors: Sequence[tuple[Coder, float, Collector]],
    shard: tuple[int, int, int],
    save: Callable[[int], None] | None,
    report_tokens: Callable[[int], None],
) -> None:
    """Run the documents of one shard through the model into the collectors: the one way in which text becomes evidence.

    Args:
        settings: of the collection.
        subject: the model.
        survey: the text.
        collectors: each with its coder and the norm above which tokens are outliers at the coder's hookpoint.
        shard: its number, how many there are, and how many texts of the corpus to pass over.
        save: is called at places where the collection may be cut off, with the number of texts that are done.
        report_tokens: is told after each batch how many tokens are done.
    """
    number, n_shards, skip = shard
    documents = survey.documents(subject, number, n_shards, skip)
    limits: dict[str, float] = {}
    for coder, limit, _ in collectors:
        limits[coder.hookpoint] = min(limit, limits.get(coder.hookpoint, limit))
    coders = [coder for coder, _, _ in collectors]
    between = settings.engine.checkpoint_batches
    stream = firing_batches(subject, coders, limits, documents, settings.subject_or_refuse, between, skip)
    counts = collectors[0][2].counts
    with closing(stream):
        for batches in stream:
            for batch, (_, _, collector) in zip(batches, collectors, strict=True):
                collector.add(batch)
            report_tokens(counts.all_tokens + counts.outliers)
            if save is not None and batches[0].complete_through is not None:
                save(batches[0].complete_through)


def has_enough(collector: Collector) -> bool:
    """Whether enough of the features that fire do so in enough test tiles."""
    wanted = collector.settings.min_examples
    alive = collector.counts.fired > 0
    if wanted is None or not alive.any():
        return False
    enough = collector.counts.tiles("test")[alive] >= wanted
    return float(enough.mean()) >= collector.settings.min_examples_share
