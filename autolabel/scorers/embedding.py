"""`embedding`: how near any stretch of the tile lies to the label in a sentence-embedding space; no LLM, milliseconds a tile.

A feature mostly fires on a few tokens of a tile, so the label is compared with overlapping stretches of eight tokens and the nearest
one counts; compared with the whole window, true labels drown in the rest of the text.
"""

from collections.abc import Sequence

import numpy as np

from autolabel.records import Embedder, Example, Label, Prediction, Purpose
from autolabel.scorers.base import ScorerInfo

STRETCH_TOKENS = 8
STEP_TOKENS = 4
_DECIMALS = 6


class EmbeddingScorer:
    """Ranks tiles by the largest cosine between the label and a stretch of the tile."""

    def __init__(self, model: Embedder) -> None:
        self._model = model
        settings = {"stretch_tokens": STRETCH_TOKENS, "step_tokens": STEP_TOKENS}
        self.info = ScorerInfo("embedding", model.model_id, "rating", settings=settings)

    async def predict(self, labels: Sequence[Label], examples: Sequence[Example], purpose: Purpose) -> list[list[Prediction]]:
        """Embed the stretches once; each label is embedded alone, so that its numbers do not depend on its company."""
        cut = [stretches(example) for example in examples]
        vectors = self._model.embed([text for texts in cut for text in texts])
        bounds = np.cumsum([0, *(len(texts) for texts in cut)])
        found = []
        for label in labels:
            near = vectors @ self._model.embed([label.text or ""])[0]
            largest = np.maximum.reduceat(near, bounds[:-1])
            found.append(
                [Prediction(e.window_id, round(float(value), _DECIMALS)) for e, value in zip(examples, largest, strict=True)]
            )
        return found


def stretches(example: Example) -> list[str]:
    """The text of every eight tokens of the tile, four apart; the whole tile where it is shorter."""
    tile = example.tokens[example.n_context_tokens :]
    starts = range(0, max(len(tile) - STRETCH_TOKENS, 0) + 1, STEP_TOKENS)
    return ["".join(tile[start : start + STRETCH_TOKENS]) for start in starts]
