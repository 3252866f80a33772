"""Collecting evidence from settings: text through the subject model and the SAE into the rows of one evidence set."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from autolabel.config import Known, Settings
from autolabel.evidence.batches import run_contexts
from autolabel.evidence.collector import Collector, Counts
from autolabel.evidence.corpus import CorpusCounts, Document, read_documents, require_splits
from autolabel.evidence.draws import FeatureDraw
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

    evidence_set_id: str
    sae: dict[str, Any]
    corpus: dict[str, Any]
    evidence_set: dict[str, Any]
    tables: dict[str, pa.Table]
    """`features`, `windows`, `examples` and `strata`."""


def collect(
    settings: Settings, force: bool, report_gate: Callable[[GateReport], None], report_tokens: Callable[[int, int], None]
) -> Evidence:
    """Run the gate, then one pass over the corpus. `report_tokens` is told tokens done and tokens in all, once a batch.

    The text is read twice, first only to count and hash it: a corpus that cannot be split is refused before the model runs over it.

    Raises:
        DataError: the model, the SAE or the text cannot be used.
        GateRefused: the SAE's numbers on real tokens are nonsense and `force` is off.
    """
    coder = load_sae(settings.sae.path)
    if settings.sae.hookpoint:
        coder = replace(coder, hookpoint=settings.sae.hookpoint)
    subject = Subject.load(settings.subject)
    subject.require_hookpoint(coder.hookpoint)
    corpus, gate_documents = _survey(settings, subject)
    gate = measure(subject, coder, gate_documents, settings.subject.context_tokens)
    report_gate(gate)
    if not force:
        require_pass(gate, coder.name)
    with tempfile.TemporaryDirectory() as folder, Spill(Path(folder)) as spill:
        collector = Collector(coder, settings.evidence, settings.seed, spill)
        documents = read_documents(settings.corpus, settings.seed, subject, CorpusCounts())
        shape = (settings.subject.context_tokens, settings.subject.batch_contexts)
        for batch in run_contexts(subject, coder.hookpoint, documents, *shape, gate.norm_limit):
            collector.add(batch)
            report_tokens(collector.counts.all_tokens + collector.counts.outliers, corpus.n_tokens)
        spill.close()
        kept = Kept(collector, spill)
        draws = ExamBuilder(collector, kept, settings.evidence, coder.W_dec).draw()
        return _evidence(settings, force, subject, coder, corpus, gate, collector.counts, kept, draws)


def _survey(settings: Settings, subject: Subject) -> tuple[CorpusCounts, list[Document]]:
    """Count the corpus, refuse one that cannot be split, and pick the test documents that the gate reads."""
    counts = CorpusCounts()
    gate_documents: list[Document] = []
    for document in read_documents(settings.corpus, settings.seed, subject, counts):
        if document.split == "test" and len(gate_documents) < _GATE_DOCUMENTS:
            gate_documents.append(document)
    require_splits(counts)
    return counts, gate_documents


def _evidence(
    settings: Settings,
    force: bool,
    subject: Subject,
    coder: SparseCoder,
    corpus: CorpusCounts,
    gate: GateReport,
    counts: Counts,
    kept: Kept,
    draws: list[FeatureDraw],
) -> Evidence:
    sae_id = coder.sae_id(subject.identity)
    corpus_id = content_id("corpus", [corpus.content, corpus.n_documents, settings.corpus.document_tokens])
    collection = {
        **settings.evidence.model_dump(mode="json"),
        "dtype": settings.subject.dtype,
        "context_tokens": settings.subject.context_tokens,
        "batch_contexts": settings.subject.batch_contexts,
        "split_shares": settings.corpus.shares,
    }
    evidence_set_id = content_id("evidence_set", [sae_id, corpus_id, settings.seed, collection, subject.identity])
    tables = evidence_tables(evidence_set_id, sae_id, counts, kept, draws)
    return Evidence(
        evidence_set_id=evidence_set_id,
        sae={
            "sae_id": sae_id,
            "name": coder.name,
            "kind": "sae",
            "format": coder.format,
            "subject_model": subject.name,
            "hookpoint_in": coder.hookpoint,
            "hookpoint_out": coder.hookpoint,
            "architecture": coder.architecture,
            "d_model": coder.d_model,
            "d_sae": coder.d_sae,
            "weights_hash": coder.weights_hash,
            "config": coder.config,
        },
        corpus={
            "corpus_id": corpus_id,
            "name": settings.corpus.name,
            "sources": corpus.by_source,
            "n_source_documents": corpus.n_source_documents,
            "n_documents": corpus.n_documents,
            "n_duplicates": corpus.n_duplicates,
            "n_tokens": corpus.n_tokens,
            "unseen_by_labeler": settings.corpus.unseen_by_labeler,
            "unseen_by_sae": _unseen_by_sae(settings, coder),
            "unseen_by_subject": settings.corpus.unseen_by_subject,
        },
        evidence_set={
            "evidence_set_id": evidence_set_id,
            "sae_id": sae_id,
            "corpus_id": corpus_id,
            "parent_evidence_set_id": None,
            "control": None,
            "settings": collection,
            "seed": settings.seed,
            "n_tokens": counts.all_tokens,
            "n_excluded_tokens": counts.outliers,
            "n_contexts": counts.all_contexts,
            "n_tiles": sum(counts.all_tiles.values()),
            **{f"n_tiles_{split}": counts.all_tiles[split] for split in SPLITS},
            "gate": gate.as_dict(),
            "gate_forced": force and bool(gate.problems()),
            "fvu": gate.fvu,
            "fvu_median": gate.fvu_median,
            "l0": gate.l0,
            "evidence_hash": evidence_hash(tables),
        },
        tables=tables,
    )


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
