"""`rule`: a label's own predicate, run over the tile; no model judges anything."""

from collections.abc import Mapping, Sequence
from typing import Any

from autolabel.records import Example, Label, Prediction, Purpose
from autolabel.scorers.base import ScorerInfo
from autolabel.words import words_of

NO_PREDICATE = "the label carries no predicate"


class RuleScorer:
    """The largest weight of any word or token of the tile; 0 where none is named."""

    info = ScorerInfo("rule", "rule", "rating", needs_calibration=False)

    async def predict(self, labels: Sequence[Label], examples: Sequence[Example], purpose: Purpose) -> list[list[Prediction]]:
        """Apply each label's predicate; a label without one gets predictions that say so."""
        return [[self._predict(label, example) for example in examples] for label in labels]

    def _predict(self, label: Label, example: Example) -> Prediction:
        if label.predicate is None:
            return Prediction(example.window_id, None, "failed", NO_PREDICATE)
        return Prediction(example.window_id, rule_value(label.predicate, example))


def rule_value(predicate: Mapping[str, Any], example: Example) -> float:
    """What `predicate` says of the tile (left context excluded): the largest weight among its words or tokens.

    Raises:
        ValueError: the predicate is of an unknown kind.
    """
    weights: Mapping[str, float] = predicate["weights"]
    if predicate["kind"] not in ("tokens", "words"):
        raise ValueError(f"predicate kind is {predicate['kind']!r}, expected 'words' or 'tokens'")
    pieces = example.tokens if predicate["kind"] == "tokens" else words_of(example)
    return max((weights.get(piece, 0.0) for piece in pieces[example.n_context_tokens :]), default=0.0)
