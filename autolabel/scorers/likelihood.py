"""`likelihood`: how much likelier a small model finds the label after the tile than it finds other labels there.

s(x, label) = log p(label | x) per token − the mean of the same over a fixed panel of eight labels of about the same length (validity
§15). The panel takes away how surprising any label would be after x. Weak models that fail at yes-or-no questions rank well this way.
"""

from collections.abc import Sequence

from autolabel import prompts
from autolabel.records import Continuation, Example, Label, LikelihoodModel, Prediction, Purpose
from autolabel.rendering import plain_line
from autolabel.scorers.base import ScorerInfo

PANELS: dict[int, tuple[str, ...]] = {
    3: ("cooking", "numbers", "place names", "medical terms", "music", "past-tense verbs", "feelings", "the word under"),
    99: (
        "words about the weather",
        "the words river and bridge",
        "people in the news",
        "verbs of moving around",
        "closing brackets in lists",
        "animals kept on farms",
        "sentences about buying things",
        "the end of a question",
    ),
}
"""Longest label in words → the eight labels it is compared with."""
_DECIMALS = 6


class LikelihoodScorer:
    """Ranks tiles by the likelihood of the label, less that of the panel."""

    def __init__(self, model: LikelihoodModel) -> None:
        self._model = model
        self._prompt = prompts.load("likelihood")
        panels = [list(panel) for panel in PANELS.values()]
        self.info = ScorerInfo("likelihood", model.model_id, "rating", self._prompt.prompt_hash, {"panels": panels})

    async def predict(self, labels: Sequence[Label], examples: Sequence[Example], purpose: Purpose) -> list[list[Prediction]]:
        """Run each tile once, followed by every label and every panel label that is needed."""
        texts = [label.text or "" for label in labels]
        panels = {text: panel_of(text) for text in texts}
        asked = list(dict.fromkeys([*texts, *(other for panel in panels.values() for other in panel)]))
        columns = [self._values(texts, panels, asked, example, purpose) for example in examples]
        return [
            [Prediction(e.window_id, column[row]) for e, column in zip(examples, columns, strict=True)]
            for row in range(len(labels))
        ]

    def _values(
        self, texts: list[str], panels: dict[str, tuple[str, ...]], asked: list[str], example: Example, purpose: Purpose
    ) -> list[float]:
        prefix = self._prompt.render(text=plain_line(example))[-1].content.rstrip()
        found = self._model.log_probabilities(prefix, [f" {text}" for text in asked], purpose)
        per_token = {text: _per_token(continuation) for text, continuation in zip(asked, found, strict=True)}
        return [round(per_token[text] - sum(per_token[p] for p in panels[text]) / len(panels[text]), _DECIMALS) for text in texts]


def panel_of(label: str) -> tuple[str, ...]:
    """The panel for a label of this length."""
    return next(panel for longest, panel in PANELS.items() if len(label.split()) <= longest or longest == max(PANELS))


def _per_token(continuation: Continuation) -> float:
    return continuation.logprob / max(continuation.n_tokens, 1)
