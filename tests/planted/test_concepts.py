from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autolabel.errors import DataError
from autolabel.evidence.corpus import Document
from autolabel.planted.concepts import Activations


class Given:
    """A concept that gives what it is told to, and counts how often it is asked."""

    label = "given"

    def __init__(self, give: Callable[[int], Any]) -> None:
        self._give = give
        self.asked = 0

    def activations(self, text: str, bounds: NDArray[np.int32]) -> NDArray[np.float32]:
        self.asked += 1
        found: NDArray[np.float32] = self._give(len(bounds) - 1)
        return found


def test_activations_are_those_of_the_whole_document_and_asked_for_once(documents: list[Document]) -> None:
    concept, other = Given(lambda n: np.arange(n)), Given(lambda n: np.zeros(n))
    activations = Activations([concept, other])
    found = activations.of(documents[0])
    assert found.shape == (len(documents[0].token_ids), 2)
    assert found.toarray()[:, 0].tolist() == list(range(len(documents[0].token_ids)))
    assert found[:, [1]].nnz == 0
    assert activations.of(documents[0]) is found
    activations.of(documents[1])
    assert concept.asked == 2


@pytest.mark.parametrize(
    ("give", "said"),
    [
        (lambda n: np.zeros(n + 1), r"'given' gave activations of shape \(\d+,\) for a text of \d+ tokens"),
        (lambda n: np.zeros((n, 1)), r"shape \(\d+, 1\)"),
        (lambda n: np.full(n, np.nan), "gave the activation nan; a finite number of at least 0"),
        (lambda n: np.full(n, np.inf), "gave the activation inf"),
        (lambda n: np.full(n, -0.5), r"gave the activation -0\.5"),
    ],
)
def test_what_is_no_activation_is_refused(documents: list[Document], give: Callable[[int], Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        Activations([Given(give)]).of(documents[0])
