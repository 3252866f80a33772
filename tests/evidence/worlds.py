"""Small worlds whose truth is known: documents of numbered tokens, and activations that a table reads off the tokens."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from autolabel.config import EvidenceSettings
from autolabel.evidence.batches import ActivationBatch
from autolabel.evidence.collector import Collector
from autolabel.evidence.corpus import Context, Document, contexts_of
from autolabel.evidence.draws import KINDS, STATUSES, Draws
from autolabel.evidence.encoding import encoded
from autolabel.evidence.exams import ExamBuilder
from autolabel.evidence.kept import Kept
from autolabel.evidence.sae import SparseCoder
from autolabel.evidence.spill import Spill
from autolabel.evidence.tables import EvidenceTables
from autolabel.hashing import document_hash
from autolabel.records import SPLITS, STRATA, Split
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
class Drawn:
    """One example of a feature; positions and marks are tokens of the window."""

    row: int
    split: str
    kind: str
    stratum: str | None
    in_exam: bool
    rank: int
    quantile: int | None
    weight: float
    positions: list[int]
    values: list[float]
    marks: tuple[int, ...]

    @property
    def largest(self) -> float:
        return max(self.values, default=0.0)


@dataclass
class FeatureDraw:
    """Everything drawn for one feature."""

    feature: int
    status: str
    threshold: float
    neighbours: list[int]
    examples: list[Drawn] = field(default_factory=list)
    near_copies: dict[tuple[str, str], int] = field(default_factory=dict)

    def drawn(self, split: str, *strata: str) -> list[Drawn]:
        return [example for example in self.examples if example.split == split and example.stratum in strata]


@dataclass
class Outcome:
    """What came of a pass over a world."""

    collector: Collector
    kept: Kept
    chunks: list[Draws]

    @cached_property
    def draws(self) -> list[FeatureDraw]:
        found: list[FeatureDraw] = []
        for chunk in self.chunks:
            for number, status in enumerate(chunk.status.tolist()):
                threshold, near = float(chunk.threshold[number]), chunk.neighbours[number]
                found.append(FeatureDraw(chunk.start + number, STATUSES[status], threshold, near))
            for features, split, stratum, _, _, copies in chunk.strata:
                for feature, n in zip(features.tolist(), copies.tolist(), strict=True):
                    found[chunk.start + feature].near_copies[split, stratum] = n
            for row in self._rows(chunk):
                found[chunk.start + row["feature"]].examples.append(self._drawn(row))
        return found

    @cached_property
    def tables(self) -> dict[str, pa.Table]:
        return tables_of(self)[0]

    @cached_property
    def tiles(self) -> list[dict[str, Any]]:
        return [tile for _, batch in self.kept.tile_batches() for tile in batch.to_pylist()]

    def _rows(self, chunk: Draws) -> Iterator[dict[str, Any]]:
        names = list(chunk.examples)
        for values in zip(*(chunk.examples[name].tolist() for name in names), strict=True):
            yield dict(zip(names, values, strict=True))

    def _drawn(self, row: dict[str, Any]) -> Drawn:
        context = int(self.kept.n_context_tokens[row["row"]])
        _, positions, values = self.kept.entries_of(np.array([row["pair"]]))
        return Drawn(
            row["row"],
            SPLITS[row["split"]],
            KINDS[row["kind"]],
            None if row["stratum"] < 0 else STRATA[row["stratum"]],
            row["in_exam"],
            row["rank"],
            None if row["quantile"] < 0 else row["quantile"],
            row["weight"],
            [int(position) + context for position in positions],
            values.tolist(),
            tuple(bit + context for bit in range(32) if row["marks"] >> bit & 1),
        )


def tables_of(outcome: Outcome) -> tuple[dict[str, pa.Table], str]:
    """The tables of a world, and their hash."""
    tables = EvidenceTables("set", "sae", outcome.collector.counts, outcome.kept)
    found: dict[str, list[pa.Table]] = {}
    for name, chunk in tables.chunks(outcome.chunks):
        found.setdefault(name, []).append(chunk)
    return {name: pa.concat_tables(chunks) for name, chunks in found.items()}, tables.hash


def collector_of(
    documents: Iterable[Document],
    table: torch.Tensor,
    folder: Path,
    settings: EvidenceSettings = SMALL,
    batch_contexts: int = BATCH_CONTEXTS,
) -> Collector:
    coder = identity_coder(table.shape[1])
    collector = Collector(coder.d_sae, settings, SEED, Spill(folder))
    for one in batches(documents, table, batch_contexts):
        collector.add(encoded(one, coder))
    return collector


def finished(collector: Collector, folder: Path, W_dec: torch.Tensor | None = None) -> Outcome:
    """Sort and draw; without directions of its own, feature i writes direction i."""
    folder.mkdir()
    kept = Kept(collector, folder)
    directions = torch.eye(collector.d_sae) if W_dec is None else W_dec
    return Outcome(collector, kept, list(ExamBuilder(collector, kept, collector.settings, directions).draw()))


def collected(documents: Iterable[Document], table: torch.Tensor, folder: Path, **given: Any) -> Outcome:
    W_dec = given.pop("W_dec", None)
    return finished(collector_of(documents, table, folder / "spill", **given), folder / "sorted", W_dec)
