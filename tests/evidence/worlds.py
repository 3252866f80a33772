"""Small worlds whose truth is known: documents of numbered tokens, and activations that a table reads off the tokens."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from autolabel.config import EvidenceSettings
from autolabel.evidence.batches import ActivationBatch
from autolabel.evidence.collector import Collector
from autolabel.evidence.corpus import Context, Document, contexts_of
from autolabel.evidence.draws import FeatureDraw
from autolabel.evidence.exams import ExamBuilder
from autolabel.evidence.kept import Kept
from autolabel.evidence.sae import SparseCoder
from autolabel.evidence.spill import Spill
from autolabel.hashing import document_hash
from autolabel.records import Split
from autolabel.sampling import split_of

CONTEXT_TOKENS = 128
BATCH_CONTEXTS = 4
SEED = 7
SHARES: dict[Split, float] = {"train": 0.35, "validation": 0.2, "test": 0.45}
SMALL = EvidenceSettings(
    strongest=6,
    firing_train=20,
    firing_validation=20,
    firing_test=40,
    background_train=100,
    background_validation=100,
    background_test=400,
    exam_validation=10,
    exam_test=21,
)


def document(token_ids: NDArray[np.integer[Any]], split: Split | None = None) -> Document:
    """A document whose token 17 reads `017 `."""
    text = "".join(f"{token:03d} " for token in token_ids.tolist())
    name = document_hash(text)
    bounds = np.arange(len(token_ids) + 1, dtype=np.int32) * 4
    return Document(name, name, "world", split or split_of(name, SEED, SHARES), text, token_ids.astype(np.int32), bounds)


def identity_coder(d: int, W_dec: torch.Tensor | None = None) -> SparseCoder:
    """An SAE whose feature i is direction i of its input."""
    return SparseCoder(
        W_enc=torch.eye(d),
        b_enc=torch.zeros(d),
        W_dec=torch.eye(d) if W_dec is None else W_dec,
        b_dec=torch.zeros(d),
        architecture="relu",
        k=None,
        hookpoint="layers.0",
        name="identity",
        format="autolabel",
        subject_model="none",
    )


def batches(documents: Iterable[Document], table: torch.Tensor, batch_contexts: int = BATCH_CONTEXTS) -> Iterator[ActivationBatch]:
    """All contexts of the documents in batches, activations by token id; `table` has shape (vocabulary, d)."""
    contexts = [context for document in documents for context in contexts_of(document, CONTEXT_TOKENS)]
    for start in range(0, len(contexts), batch_contexts):
        yield batch(contexts[start : start + batch_contexts], table, batch_contexts)


def batch(contexts: list[Context], table: torch.Tensor, batch_contexts: int) -> ActivationBatch:
    activations = torch.full((batch_contexts, CONTEXT_TOKENS - 1, table.shape[1]), 99.0)
    usable = torch.zeros(activations.shape[:2], dtype=torch.bool)
    for row, context in enumerate(contexts):
        ids = context.document.token_ids[context.start : context.start + context.n_tokens]
        activations[row, : len(ids)] = table[torch.from_numpy(ids).long()]
        usable[row, : len(ids)] = True
    return ActivationBatch(contexts, activations, usable, 0)


@dataclass
class Outcome:
    """What came of a pass over a world."""

    collector: Collector
    kept: Kept
    draws: list[FeatureDraw]


def collected(
    documents: Iterable[Document],
    table: torch.Tensor,
    folder: Path,
    settings: EvidenceSettings = SMALL,
    batch_contexts: int = BATCH_CONTEXTS,
    W_dec: torch.Tensor | None = None,
) -> Outcome:
    coder = identity_coder(table.shape[1], W_dec)
    with Spill(folder) as spill:
        collector = Collector(coder, settings, SEED, spill)
        for one in batches(documents, table, batch_contexts):
            collector.add(one)
        spill.close()
        kept = Kept(collector, spill)
    return Outcome(collector, kept, ExamBuilder(collector, kept, settings, coder.W_dec).draw())
