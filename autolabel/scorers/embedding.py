"""`embedding`: cosine between the label and the tile in a sentence-embedding space; no LLM, a few milliseconds a tile."""

from collections.abc import Sequence

from autolabel.records import Embedder, Example, Label, Prediction, Purpose
from autolabel.scorers.base import ScorerInfo

_DECIMALS = 6


class EmbeddingScorer:
    """Ranks tiles by how near their text lies to the label's."""

    def __init__(self, model: Embedder) -> None:
        self._model = model
        self.info = ScorerInfo("embedding", model.model_id, "rating", settings={"text": "window"})

    async def predict(self, labels: Sequence[Label], examples: Sequence[Example], purpose: Purpose) -> list[list[Prediction]]:
        """Embed labels and windows, each alone with its kind so that a label's numbers do not depend on its company."""
        windows = self._model.embed([example.text for example in examples])
        texts = [self._model.embed([label.text or ""])[0] for label in labels]
        return [
            [Prediction(e.window_id, round(float(window @ text), _DECIMALS)) for e, window in zip(examples, windows, strict=True)]
            for text in texts
        ]
