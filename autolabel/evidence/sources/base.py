"""What every kind of activation files offers to the collector."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from autolabel.evidence.firings import FiringBatch
from autolabel.records import Split

SourceKind = Literal["activations", "imported"]
"""As in `saes.kind`: files of one's own, or what another program has made."""
MAX_CONTEXT_TOKENS = 8192
MAX_FEATURES = 1 << 24
"""Larger feature indices are refused: what is kept per feature would fill the memory, and no dictionary is that wide."""
MAX_UNASKED_FEATURES = 1 << 20
"""More features must be asked for by `d_sae`."""
MAX_TOKEN_BYTES = 4096
"""Longer tokens and names of documents are refused, in UTF-8."""
MAX_CONTEXT_BYTES = 1 << 20
"""Longer texts of a context are refused: 128 bytes for each of 8,192 tokens."""


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """What a source hands out, and how its documents fall into splits."""

    n_source_documents: int
    """Documents: contexts that share a `Document.source_hash`."""
    n_contexts: int
    n_duplicates: int
    """Contexts left out, or handed out again, because their document has the same text already."""
    n_tokens: int
    source_documents_by_split: Mapping[Split, int]
    tiles_by_split: Mapping[Split, int]


class ActivationFiles(Protocol):
    """Contexts and the features that fire in them, read from files instead of computed by a model and an SAE."""

    @property
    def name(self) -> str:
        """What the source is called in reports."""

    @property
    def kind(self) -> SourceKind:
        """Whose files they are."""

    @property
    def format(self) -> str:
        """`autolabel-activations`, `delphi` or `neuronpedia`."""

    @property
    def d_sae(self) -> int:
        """Number of features."""

    @property
    def config(self) -> dict[str, Any]:
        """What the files say about themselves and how they were read, for `saes.config`."""

    @property
    def content_hash(self) -> str:
        """Hash of the files' names and bytes."""

    @property
    def subject_model(self) -> str | None:
        """The model the activations come from, if known."""

    @property
    def directions(self) -> NDArray[np.float32] | None:
        """Decoder directions, shape (d_sae, d_model), if there are any."""

    @property
    def complete(self) -> bool:
        """Whether a feature that is not listed in a context is silent there. If not, no negatives and no exam can be drawn."""

    @property
    def n_contexts(self) -> int:
        """Contexts that `read` hands out."""

    @property
    def n_tokens(self) -> int:
        """Tokens of these contexts."""

    def counts(self, seed: int, shares: Mapping[Split, float]) -> SourceCounts:
        """What is handed out, by split; no file is read for it."""

    def read(self, seed: int, shares: Mapping[Split, float], batch_contexts: int, skip: int = 0) -> Iterator[FiringBatch]:
        """Hand out the contexts in the order of the files, at most `batch_contexts` at a time.

        `complete_through` of a batch counts the contexts of the files that are done; given as `skip`, reading goes on from there.

        Raises:
            DataError: a file is malformed; the message names the file, the context and the value.
        """
