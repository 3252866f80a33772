"""`rule`: a label's own predicate, run over the tile; no model judges anything."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from autolabel.records import Example, Label, Prediction, Purpose
from autolabel.scorers.base import ScorerInfo

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
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
    tile = example.tokens[example.n_context_tokens :]
    if predicate["kind"] == "tokens":
        return max((weights.get(token, 0.0) for token in tile), default=0.0)
    if predicate["kind"] == "words":
        text = "".join(tile)
        words = {match.group().casefold() for match in _WORD.finditer(text)}
        others = {token.strip() or token for token in tile} - words
        return max((weights.get(word, 0.0) for word in words | others), default=0.0)
    raise ValueError(f"predicate kind is {predicate['kind']!r}, expected 'words' or 'tokens'")
