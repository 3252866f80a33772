"""What every source of evidence hands to the collector: stretches of text and which features fire on which of their tokens."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.evidence.corpus import Context


@dataclass(frozen=True, slots=True)
class FiringBatch:
    """Some contexts and every activation > 0 in them, one entry each; entries of a context ascend by position, then feature."""

    contexts: list[Context]
    n_tokens: int
    """Tokens of these contexts that count: outliers are left out."""
    n_outliers: int
    """Tokens left out because their norm is an outlier (validity §3)."""
    rows: NDArray[np.int64]
    """Which of `contexts` each entry belongs to, shape (n_entries,), ascending."""
    positions: NDArray[np.int64]
    """Token of the context, BOS not counted."""
    features: NDArray[np.int64]
    """Feature index, 0 … d_sae − 1."""
    values: NDArray[np.float32]
    """Activation, unnormalised, > 0 and finite."""
    complete_through: int | None = None
    """When set, everything up to this unit of the source (a document of text, a context of a file) has been handed out by now, so
    that a collection may be cut off here and go on from there."""
