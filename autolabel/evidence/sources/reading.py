"""From what a file says, context by context, to the batches that the collector takes: checked, sorted, positive.

A format is one module that opens its files as a `Source`; all it has to do is to yield blocks in the order of the files.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import DataError
from autolabel.evidence.firings import FiringBatch
from autolabel.evidence.sources.base import MAX_CONTEXT_TOKENS, MAX_FEATURES, SourceCounts, SourceKind
from autolabel.evidence.sources.contexts import Survey
from autolabel.evidence.sources.tokens import Text
from autolabel.records import Split

Negative = Literal["refuse", "drop"]


@dataclass(frozen=True, slots=True)
class Entries:
    """Activations of some contexts, in any order; four arrays of shape (n_entries,)."""

    rows: NDArray[np.int64]
    """Context of the block."""
    positions: NDArray[np.int64]
    features: NDArray[np.int64]
    values: NDArray[np.float32]

    @classmethod
    def joined(cls, parts: Sequence["Entries"]) -> "Entries":
        """The entries of all parts, one part after the other."""
        rows, positions, features = (
            np.concatenate([np.empty(0, dtype=np.int64), *(getattr(part, name) for part in parts)])
            for name in ("rows", "positions", "features")
        )
        return cls(rows, positions, features, np.concatenate([np.empty(0, dtype=np.float32), *(part.values for part in parts)]))

    def __getitem__(self, chosen: slice | NDArray[np.int64] | NDArray[np.bool_]) -> "Entries":
        return Entries(self.rows[chosen], self.positions[chosen], self.features[chosen], self.values[chosen])

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, slots=True)
class Block:
    """Consecutive contexts of a source and all that is known to fire in them."""

    first: int
    """Contexts of the files before this block."""
    names: Sequence[str]
    """What the files call each context's document, for `Document.name`."""
    texts: Sequence[Text]
    entries: Entries
    where: Callable[[int], str]
    """How a context of the block is called in messages: file and context."""


@dataclass(frozen=True, slots=True)
class Source:
    """Activation files of any format, as `ActivationFiles` describes them."""

    name: str
    kind: SourceKind
    format: str
    d_sae: int
    config: dict[str, Any]
    content_hash: str
    subject_model: str | None
    directions: NDArray[np.float32] | None
    complete: bool
    survey: Survey
    negative: Negative
    blocks: Callable[[int, int], Iterator[Block]]
    """Yields the contexts from a number on, at most so many at a time."""

    @property
    def n_contexts(self) -> int:
        """Contexts that are handed out."""
        return int(self.survey.handed_out.sum())

    @property
    def n_tokens(self) -> int:
        """Tokens of these contexts."""
        return int(self.survey.lengths[self.survey.handed_out].sum(dtype=np.int64))

    def counts(self, seed: int, shares: Mapping[Split, float]) -> SourceCounts:
        """What is handed out, by split."""
        return self.survey.counts(seed, shares)

    def read(self, seed: int, shares: Mapping[Split, float], batch_contexts: int, skip: int = 0) -> Iterator[FiringBatch]:
        """See `ActivationFiles.read`."""
        if batch_contexts < 1 or skip < 0:
            raise ValueError(f"batch_contexts = {batch_contexts} must be at least 1, skip = {skip} at least 0")
        for block in self.blocks(skip, batch_contexts):
            entries = checked(block, self.d_sae, self.negative)
            rows = range(block.first, block.first + len(block.texts))
            chosen = self.survey.handed_out[rows.start : rows.stop]
            if not chosen.any():
                continue
            contexts = [
                self.survey.context(row, text, name, self.name, seed, shares)
                for row, text, name, is_chosen in zip(rows, block.texts, block.names, chosen, strict=True)
                if is_chosen
            ]
            entries = entries[chosen[entries.rows]]
            new_rows = (np.cumsum(chosen) - 1)[entries.rows]
            n_tokens = sum(context.n_tokens for context in contexts)
            yield FiringBatch(contexts, n_tokens, 0, new_rows, entries.positions, entries.features, entries.values, rows.stop)


def checked(block: Block, d_sae: int, negative: Negative) -> Entries:
    """The activations > 0 of a block by context, position and feature.

    Raises:
        DataError: a position or feature is out of range or there twice, or a value is not finite or negative.
    """
    entries = block.entries
    lengths = np.array([len(text.token_ids) for text in block.texts], dtype=np.int64)
    _refuse(block, (entries.positions < 0) | (entries.positions >= lengths[entries.rows]), _outside, lengths)
    _refuse(block, (entries.features < 0) | (entries.features >= d_sae), _unknown, d_sae)
    _refuse(block, ~np.isfinite(entries.values), _infinite, None)
    if negative == "refuse":
        _refuse(block, entries.values < 0, _below_zero, None)
    keys = (entries.rows * MAX_CONTEXT_TOKENS + entries.positions) * MAX_FEATURES + entries.features
    order = np.argsort(keys, kind="stable")
    repeated = np.zeros(len(keys), dtype=bool)
    repeated[order[1:]] = keys[order[1:]] == keys[order[:-1]]
    _refuse(block, repeated, _repeated, None)
    return entries[order[entries.values[order] > 0]]


def _refuse(block: Block, wrong: NDArray[np.bool_], say: Callable[[Entries, int, Any], str], expected: Any) -> None:
    if wrong.any():
        entry = int(np.argmax(wrong))
        raise DataError(f"{block.where(int(block.entries.rows[entry]))}, {say(block.entries, entry, expected)}")


def _outside(entries: Entries, entry: int, lengths: NDArray[np.int64]) -> str:
    n_tokens = lengths[entries.rows[entry]]
    return (
        f"feature_index {entries.features[entry]}: position {entries.positions[entry]} is outside the context, whose {n_tokens} tokens "
        f"have positions 0 to {n_tokens - 1}; count positions from the start of the context's tokens"
    )


def _unknown(entries: Entries, entry: int, d_sae: int) -> str:
    return (
        f"feature_index {entries.features[entry]} is not within 0 to {d_sae - 1}; number the features from 0, or correct "
        f"[source] d_sae = {d_sae}"
    )


def _infinite(entries: Entries, entry: int, _: None) -> str:
    return (
        f"feature_index {entries.features[entry]}, position {entries.positions[entry]}: the value is {entries.values[entry]} in "
        "32-bit floating point, expected a finite number; leave such activations out or compute them again"
    )


def _below_zero(entries: Entries, entry: int, _: None) -> str:
    return (
        f"feature_index {entries.features[entry]}, position {entries.positions[entry]}: the value {entries.values[entry]} is negative; "
        'write the two signs of a neuron as two features, or set [source] negative = "drop" to leave what is below zero out'
    )


def _repeated(entries: Entries, entry: int, _: None) -> str:
    return (
        f"feature_index {entries.features[entry]}: position {entries.positions[entry]} is listed twice; "
        "a feature has one value at a token"
    )
