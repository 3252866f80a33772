"""Training of an SAE from settings: text through the subject model into the trainer, and the result into files.

The invariant: no document of the test split, under the seed of the settings, is ever trained on.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from autolabel._version import __version__
from autolabel.config import TrainSettings
from autolabel.errors import DataError
from autolabel.evidence.batches import run_contexts, usable_tokens
from autolabel.evidence.corpus import CorpusCounts, Document, read_documents, require_splits
from autolabel.evidence.gate import GateReport, measure, norm_limit
from autolabel.evidence.sae import SparseCoder, native
from autolabel.evidence.subject import Subject
from autolabel.training import Progress, train

_NORM_DOCUMENTS = 64


def train_sae(
    settings: TrainSettings, folder: Path, report: Callable[[Progress], None], subject: Subject | None = None
) -> GateReport:
    """Train an SAE, write it to `folder`, and return what the load gate says of it on test documents.

    All documents are held in memory as token ids and read in the order of their hashes, so that every batch mixes all sources.
    The model is loaded as the settings say, unless one is given.

    Raises:
        DataError: the text, the model or the hookpoint cannot be used.
    """
    subject = subject or Subject.load(settings.subject)
    subject.require_hookpoint(settings.training.hookpoint)
    counts = CorpusCounts()
    documents = sorted(read_documents(settings.corpus, settings.seed, subject, counts), key=lambda document: document.hash)
    require_splits(counts)
    train_documents = [document for document in documents if document.split != "test"]
    limit = norm_limit(
        subject, settings.training.hookpoint, islice(train_documents, _NORM_DOCUMENTS), settings.subject.context_tokens
    )

    def stream() -> Iterator[torch.Tensor]:
        return _activations(subject, settings, train_documents, limit)

    try:
        weights = train(stream, settings.training, settings.seed, report)
    except ValueError as error:
        raise DataError(f"{error}; add text or lower batch_tokens") from None
    coder = SparseCoder(
        W_enc=weights.W_enc,
        b_enc=weights.b_enc,
        W_dec=weights.W_dec,
        b_dec=weights.b_dec,
        architecture="topk" if settings.training.architecture == "topk" else "relu",
        k=settings.training.k if settings.training.architecture == "topk" else None,
        hookpoint=settings.training.hookpoint,
        name=settings.name,
        format=native.FORMAT,
        subject_model=subject.name,
        config=_provenance(settings, counts, limit) | subject.weights_record,
    )
    native.save(folder, coder)
    test_documents = (document for document in documents if document.split == "test")
    return measure(subject, native.load(folder), test_documents, settings.subject.context_tokens)


def _activations(subject: Subject, settings: TrainSettings, documents: list[Document], limit: float) -> Iterator[torch.Tensor]:
    batches = run_contexts(
        subject,
        settings.training.hookpoint,
        documents,
        settings.subject.context_tokens,
        settings.subject.batch_contexts,
        limit,
    )
    return (usable_tokens(batch).cpu() for batch in batches)


def _provenance(settings: TrainSettings, counts: CorpusCounts, limit: float) -> dict[str, Any]:
    """What the SAE was made from, kept in its config so that collecting evidence can tell which documents it has not seen."""
    return {
        "autolabel_version": __version__,
        "seed": settings.seed,
        "split_shares": settings.corpus.shares,
        "document_tokens": settings.corpus.document_tokens,
        "left_out_split": "test",
        "sources": counts.by_source,
        "norm_limit": limit,
        **settings.training.model_dump(mode="json"),
    }
