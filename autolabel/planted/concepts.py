"""What a planted direction stands for: a function from text to an activation for each token.

The invariant: what a concept does on a document is computed on the whole document, so that every context and tile of it agree.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from autolabel.errors import DataError
from autolabel.evidence.corpus import Document

_KEPT_DOCUMENTS = 4096


class Concept(Protocol):
    """A function of text whose true label is known."""

    @property
    def label(self) -> str:
        """What it fires on, in words."""

    def activations(self, text: str, bounds: NDArray[np.int32]) -> NDArray[np.float32]:
        """How strongly it fires on each token, shape (n_tokens,), 0 where it does not; token i is `text[bounds[i]:bounds[i + 1]]`."""


class Activations:
    """What concepts do on documents; that of the documents asked for last is kept."""

    def __init__(self, concepts: Sequence[Concept]) -> None:
        self._concepts = tuple(concepts)
        self._kept: dict[int, csr_array] = {}

    def of(self, document: Document) -> csr_array:
        """Activations on the tokens of a document, shape (n_tokens, n_concepts).

        Raises:
            DataError: a concept gives something else than a finite number ≥ 0 for each token.
        """
        found = self._kept.get(document.hash)
        if found is None:
            columns = [checked(concept, document.text, document.bounds) for concept in self._concepts]
            found = csr_array(np.stack(columns, axis=1))
            if len(self._kept) == _KEPT_DOCUMENTS:
                del self._kept[next(iter(self._kept))]
            self._kept[document.hash] = found
        return found


def checked(concept: Concept, text: str, bounds: NDArray[np.int32]) -> NDArray[np.float32]:
    """The activations of a concept.

    Raises:
        DataError: they are not a finite number ≥ 0 for each token.
    """
    found = np.asarray(concept.activations(text, bounds), dtype=np.float32)
    n_tokens = len(bounds) - 1
    if found.shape != (n_tokens,):
        raise DataError(
            f"the concept '{concept.label}' gave activations of shape {found.shape} for a text of {n_tokens} tokens; "
            f"({n_tokens},) was expected"
        )
    wrong = found[~(np.isfinite(found) & (found >= 0))]
    if len(wrong):
        raise DataError(f"the concept '{concept.label}' gave the activation {wrong[0]}; a finite number of at least 0 was expected")
    return found
