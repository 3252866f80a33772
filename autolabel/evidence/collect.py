"""Collecting evidence from settings: text through the subject model and the SAE into the rows of one evidence set."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from autolabel.config import Known, Settings
from autolabel.evidence.batches import run_contexts
from autolabel.evidence.collector import Collector, Counts
from autolabel.evidence.corpus import CorpusCounts, Document, n_tiles, read_documents, require_splits, require_tiles
from autolabel.evidence.exams import ExamBuilder
from autolabel.evidence.gate import GateReport, measure, require_pass
from autolabel.evidence.kept import Kept
from autolabel.evidence.sae import SparseCoder, load_sae
from autolabel.evidence.spill import Spill
from autolabel.evidence.subject import Subject
from autolabel.evidence.tables import evidence_hash, evidence_tables
from autolabel.hashing import content_id
from autolabel.records import SPLITS

_GATE_DOCUMENTS = 64


@dataclass(frozen=True, slots=True)
class Evidence:
    """A collected evidence set as rows of the store, without `run_id` and `created_utc`."""

    sae: dict[str, Any]
    corpus: dict[str, Any]
    evidence_set: dict[str, Any]
    tables: dict[str, pa.Table]
    """`features`, `windows`, `examples` and `strata`."""


class Collection:
    """One collection to be made. Its id is known before the model runs over the text, so that nothing is collected twice.

    The text is read twice, first only to count and hash it: a corpus that cannot be split is refused before anything costly.
    """

    def __init__(self, settings: Settings) -> None:
        """Load the model and the SAE, and count the text.

        Raises:
            DataError: the model, the SAE or the text cannot be used.
        """
        self._settings = settings
        self._coder = load_sae(settings.sae.path, settings.sae.hookpoint)
        self._subject = Subject.load(settings.subject)
        self._subject.require_hookpoint(self._coder.hookpoint)
        self._corpus, self._gate_documents = self._survey()
        self._sae_id = self._coder.sae_id(self._subject.identity)
        corpus_content = [self._corpus.content, self._corpus.n_documents, settings.corpus.document_tokens]
        self._corpus_id = content_id("corpus", corpus_content)
        self._collection = {
            **settings.evidence.model_dump(mode="json"),
            "dtype": settings.subject.dtype,
            "context_tokens": settings.subject.context_tokens,
            "batch_contexts": settings.subject.batch_contexts,
            "split_shares": settings.corpus.shares,
        }
        determinants = [self._sae_id, self._corpus_id, settings.seed, self._collection, self._subject.identity]
        self.evidence_set_id = content_id("evidence_set", determinants)
        self._gate: GateReport | None = None
        self._forced = False

    @property
    def n_tokens(self) -> int:
        """Tokens of text."""
        return self._corpus.n_tokens

    def gate(self, force: bool) -> GateReport:
        """Measure the SAE on test tokens.

        Raises:
            GateRefused: its numbers are nonsense and `force` is off.
        """
        report = measure(self._subject, self._coder, self._gate_documents, self._settings.subject.context_tokens)
        if not force:
            require_pass(report, self._coder.name)
        self._gate, self._forced = report, force and bool(report.problems())
        return report

    def run(self, report_tokens: Callable[[int], None]) -> Evidence:
        """One pass over the corpus; `report_tokens` is told after each batch how many tokens are done."""
        gate = self._gate or self.gate(force=False)
        settings = self._settings
        with tempfile.TemporaryDirectory() as folder, Spill(Path(folder)) as spill:
            collector = Collector(self._coder, settings.evidence, settings.seed, spill)
            counts = CorpusCounts()
            documents = read_documents(settings.corpus, settings.seed, self._subject, counts, chosen=self._corpus.versions)
            shape = (settings.subject.context_tokens, settings.subject.batch_contexts)
            for batch in run_contexts(self._subject, self._coder.hookpoint, documents, *shape, gate.norm_limit):
                collector.add(batch)
                report_tokens(collector.counts.all_tokens + collector.counts.outliers)
            self._corpus = counts
            spill.close()
            kept = Kept(collector, spill)
            draws = ExamBuilder(collector, kept, settings.evidence, self._coder.W_dec).draw()
            tables = evidence_tables(self.evidence_set_id, self._sae_id, collector.counts, kept, draws)
        set_row = self._set_row(collector.counts, gate, evidence_hash(tables))
        return Evidence(self._sae_row(), self._corpus_row(), set_row, tables)

    def _survey(self) -> tuple[CorpusCounts, list[Document]]:
        """Count the corpus, refuse one that cannot be split, and pick the test documents that the gate reads, by hash."""
        counts = CorpusCounts()
        gate_documents: list[Document] = []
        for document in read_documents(self._settings.corpus, self._settings.seed, self._subject, counts):
            counts.tiles_by_split[document.split] += n_tiles(document, self._settings.subject.context_tokens)
            if document.split == "test":
                gate_documents = sorted([*gate_documents, document], key=lambda known: known.hash)[:_GATE_DOCUMENTS]
        require_splits(counts)
        require_tiles(counts)
        if any(counts.versions[document.hash] != document.version for document in gate_documents):
            wanted = {document.hash for document in gate_documents}
            again = read_documents(self._settings.corpus, self._settings.seed, self._subject, CorpusCounts(), counts.versions)
            gate_documents = sorted((d for d in again if d.hash in wanted), key=lambda known: known.hash)
        return counts, gate_documents

    def _sae_row(self) -> dict[str, Any]:
        coder = self._coder
        return {
            "sae_id": self._sae_id,
            "name": coder.name,
            "kind": "sae",
            "format": coder.format,
            "subject_model": self._subject.name,
            "hookpoint_in": coder.hookpoint,
            "hookpoint_out": coder.hookpoint,
            "architecture": coder.architecture,
            "d_model": coder.d_model,
            "d_sae": coder.d_sae,
            "weights_hash": coder.weights_hash,
            "config": coder.config,
        }

    def _corpus_row(self) -> dict[str, Any]:
        corpus, settings = self._corpus, self._settings.corpus
        return {
            "corpus_id": self._corpus_id,
            "name": settings.name,
            "sources": corpus.by_source,
            "n_source_documents": corpus.n_source_documents,
            "n_documents": corpus.n_documents,
            "n_duplicates": corpus.n_duplicates,
            "n_tokens": corpus.n_tokens,
            "unseen_by_labeler": settings.unseen_by_labeler,
            "unseen_by_sae": _unseen_by_sae(self._settings, self._coder),
            "unseen_by_subject": settings.unseen_by_subject,
        }

    def _set_row(self, counts: Counts, gate: GateReport, found: str) -> dict[str, Any]:
        return {
            "evidence_set_id": self.evidence_set_id,
            "sae_id": self._sae_id,
            "corpus_id": self._corpus_id,
            "parent_evidence_set_id": None,
            "control": None,
            "settings": self._collection,
            "seed": self._settings.seed,
            "n_tokens": counts.all_tokens,
            "n_excluded_tokens": counts.outliers,
            "n_contexts": counts.all_contexts,
            "n_tiles": sum(counts.all_tiles.values()),
            **{f"n_tiles_{split}": counts.all_tiles[split] for split in SPLITS},
            "gate": gate.as_dict(),
            "gate_forced": self._forced,
            "fvu": gate.fvu,
            "fvu_median": gate.fvu_median,
            "l0": gate.l0,
            "evidence_hash": found,
        }


def _unseen_by_sae(settings: Settings, coder: SparseCoder) -> Known:
    """Whether the SAE's own record says that it left out what is now the test split; what the settings say wins."""
    if settings.corpus.unseen_by_sae != "unknown":
        return settings.corpus.unseen_by_sae
    here = {
        "seed": settings.seed,
        "split_shares": settings.corpus.shares,
        "document_tokens": settings.corpus.document_tokens,
        "left_out_split": "test",
    }
    return "yes" if all(coder.config.get(key) == value for key, value in here.items()) else "unknown"
