"""The single rows of a collected evidence set: of `saes`, `corpora` and `evidence_sets`."""

from typing import Any

from autolabel.config import Known, Settings
from autolabel.evidence.coders import kind_of
from autolabel.evidence.collector import Collector
from autolabel.evidence.gate import GateReport
from autolabel.evidence.sae import Coder
from autolabel.records import SPLITS


def sae_row(sae_id: str, coder: Coder, subject_model: str) -> dict[str, Any]:
    """The row of `saes` for a coder over a subject model."""
    return {
        "sae_id": sae_id,
        "name": coder.name,
        "kind": kind_of(coder),
        "format": coder.format,
        "subject_model": subject_model,
        "hookpoint_in": coder.hookpoint,
        "hookpoint_out": coder.hookpoint_out or coder.hookpoint,
        "architecture": coder.architecture,
        "d_model": coder.d_in,
        "d_sae": coder.d_sae,
        "weights_hash": coder.weights_hash,
        "config": coder.config,
    }


def corpus_row(settings: Settings, totals: dict[str, Any], collector: Collector, unseen: Known) -> dict[str, Any]:
    """The row of `corpora` but for its id; `totals` are the texts as found, `unseen` whether the SAE never trained on the test documents."""
    found, corpus = collector.corpus, settings.corpus_or_refuse
    return {
        "name": corpus.name,
        "sources": found.as_dict()["by_source"],
        "n_source_documents": totals["n_source_documents"],
        "n_documents": found.n_documents,
        "n_duplicates": totals["n_duplicates"],
        "n_tokens": found.n_tokens,
        "unseen_by_labeler": corpus.unseen_by_labeler,
        "unseen_by_sae": unseen,
        "unseen_by_subject": corpus.unseen_by_subject,
    }


def set_row(
    evidence_set_id: str, sae_id: str, corpus_id: str, collection: dict[str, Any], collector: Collector, found: str
) -> dict[str, Any]:
    """The row of `evidence_sets` for a model that is no control, without what a load gate measured."""
    counts = collector.counts
    return {
        "evidence_set_id": evidence_set_id,
        "sae_id": sae_id,
        "corpus_id": corpus_id,
        "parent_evidence_set_id": None,
        "control": None,
        "settings": collection,
        "seed": collector.seed,
        "n_tokens": counts.all_tokens,
        "n_excluded_tokens": counts.outliers,
        "n_contexts": counts.all_contexts,
        "n_tiles": counts.n_tiles,
        **{f"n_tiles_{split}": counts.all_tiles[split] for split in SPLITS},
        "gate_forced": False,
        "evidence_hash": found,
    }


def gate_columns(gate: GateReport | None, forced: bool) -> dict[str, Any]:
    """What the load gate measured, for the row of `evidence_sets`."""
    return {
        "gate": None if gate is None else gate.as_dict(),
        "gate_forced": forced,
        "fvu": None if gate is None else gate.fvu,
        "fvu_median": None if gate is None else gate.fvu_median,
        "l0": None if gate is None else gate.l0,
    }


def unseen_by_sae(settings: Settings, coder: Coder) -> Known:
    """Whether the SAE's own record says that it left out what is now the test split; what the settings say wins."""
    corpus = settings.corpus_or_refuse
    if corpus.unseen_by_sae != "unknown":
        return corpus.unseen_by_sae
    here = {
        "seed": settings.seed,
        "split_shares": corpus.shares,
        "document_tokens": corpus.document_tokens,
        "left_out_split": "test",
    }
    return "yes" if all(coder.config.get(key) == value for key, value in here.items()) else "unknown"
