"""`rule`: a label's own predicate, run over the tile; no model judges anything."""

from collections.abc import Mapping, Sequence
from typing import Any

from autolabel.errors import DataError
from autolabel.predicates import Rule, Window, evaluate, parse_predicate
from autolabel.records import Example, Label, Prediction, Purpose
from autolabel.scorers.base import ScorerInfo

NO_PREDICATE = "the label carries no predicate"


class RuleScorer:
    """The largest weight that a label's predicate has in the tile; 0 where it fires nowhere."""

    info = ScorerInfo("rule", "rule", "rating", needs_calibration=False)

    async def predict(self, labels: Sequence[Label], examples: Sequence[Example], purpose: Purpose) -> list[list[Prediction]]:
        """Apply each label's predicate; a label without one, or with one that cannot be run, gets predictions that say so."""
        windows = [Window(example) for example in examples]
        return [self._predict(label, examples, windows) for label in labels]

    def _predict(self, label: Label, examples: Sequence[Example], windows: Sequence[Window]) -> list[Prediction]:
        try:
            rule = None if label.predicate is None else parse_predicate(label.predicate)
        except DataError as error:
            return [Prediction(example.window_id, None, "failed", str(error)) for example in examples]
        if rule is None:
            return [Prediction(example.window_id, None, "failed", NO_PREDICATE) for example in examples]
        return [
            Prediction(example.window_id, evaluate(rule, window).value) for example, window in zip(examples, windows, strict=True)
        ]


def rule_value(predicate: Mapping[str, Any] | Rule, example: Example) -> float:
    """The largest weight of `predicate` in the tile of one window; left context decides with it, but does not fire.

    Raises:
        DataError: the predicate is malformed.
    """
    rule = parse_predicate(predicate) if isinstance(predicate, Mapping) else predicate
    return evaluate(rule, example).value
