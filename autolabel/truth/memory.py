"""An embedder that remembers: the same stretches of text are compared with many labels."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from autolabel.records import Embedder


class RememberingEmbedder:
    """Embeds each text once."""

    def __init__(self, model: Embedder) -> None:
        self._model = model
        self._known: dict[str, NDArray[np.float32]] = {}

    @property
    def model_id(self) -> str:
        """Names the model in stored rows."""
        return self._model.model_id

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, shape (n_texts, d)."""
        new = sorted({text for text in texts if text not in self._known}, key=lambda text: (len(text), text))
        if new:
            self._known.update(zip(new, self._model.embed(new), strict=True))
        return np.stack([self._known[text] for text in texts]) if texts else self._model.embed([])
