"""Level 1 of TruthBench from settings: directions planted into a model, an SAE trained on it, and the SAE matched with what was planted."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolabel.config import TrainSettings
from autolabel.evidence.corpus import CorpusCounts, read_documents, require_splits
from autolabel.evidence.gate import GateReport
from autolabel.evidence.sae import SparseCoder, native
from autolabel.evidence.subject import Subject
from autolabel.planted.concepts import Concept
from autolabel.planted.matching import ConceptMatch, MatchSummary, match
from autolabel.planted.observing import observe
from autolabel.planted.planting import Planting, PlantingSettings, plan
from autolabel.planted.subject import PlantedSubject
from autolabel.train_sae import train_sae
from autolabel.training import Progress

OBSERVED_TOKENS = 50_000


@dataclass(frozen=True, slots=True)
class Planted:
    """A planted model, an SAE over it, and what is known of the two."""

    subject: PlantedSubject
    """What evidence is to be collected from: `Collection(settings, folder, subject=…)`."""
    coder: SparseCoder
    gate: GateReport
    matches: list[ConceptMatch]
    """One per concept, in their order."""
    summary: MatchSummary

    @property
    def planting(self) -> Planting:
        """What was planted."""
        return self.subject.planting

    def rows(self) -> list[dict[str, Any]]:
        """A row per concept, ready for JSON."""
        hashes = (self.planting.direction_hash(number) for number in range(len(self.matches)))
        return [found.row() | {"direction_hash": named} for found, named in zip(self.matches, hashes, strict=True)]


def plant_and_train(
    settings: TrainSettings,
    concepts: Sequence[Concept],
    planting: PlantingSettings,
    folder: Path,
    report: Callable[[Progress], None],
    observed_tokens: int = OBSERVED_TOKENS,
) -> Planted:
    """Plant `concepts` at the hookpoint that an SAE is to be trained at, train it, write it to `folder`, and match it.

    Strengths are measured on documents that the SAE may see; everything that is said of the match is measured on test documents.

    Raises:
        DataError: the text, the model, the hookpoint or the concepts cannot be used.
    """
    subject = Subject.load(settings.subject)
    counts = CorpusCounts()
    documents = sorted(read_documents(settings.corpus, settings.seed, subject, counts), key=lambda document: document.hash)
    require_splits(counts)
    seen = [document for document in documents if document.split != "test"]
    unseen = [document for document in documents if document.split == "test"]
    planned = plan(subject, settings.training.hookpoint, concepts, seen, settings.subject.context_tokens, planting)
    planted = PlantedSubject(subject, planned)
    gate = train_sae(settings, folder, report, planted)
    coder = native.load(folder)
    observed = observe(planted, coder, unseen, settings.subject, gate.norm_limit, observed_tokens)
    matches, summary = match(coder.W_dec, planned, observed)
    return Planted(planted, coder, gate, matches, summary)
