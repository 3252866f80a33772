"""`rule`: the predicate that a feature's train windows speak for, and its text in plain English; no LLM.

Unlike `lexical`, which names the words that carry the activation, it asks whether a form, a neighbour or a condition predicts the
firing of text it has not seen better than a list of words does.
"""

from collections.abc import Sequence

from autolabel.errors import ModelResponseError
from autolabel.labelers.base import NOTHING_TO_SHOW, draft, with_text, without_text
from autolabel.labelers.induction import induce
from autolabel.labelers.occurrences import Text, read_windows
from autolabel.records import FeatureEvidence, Label
from autolabel.rule_text import describe

_NO_RULE = ModelResponseError(
    "failed", "no word, form or neighbour of a word predicts its firing in train text that the rule was not read from"
)


class RuleLabeler:
    """Induces a predicate from train windows."""

    method = "rule"

    def drafts(self, evidence: FeatureEvidence) -> list[Label]:
        """One draft, from the whole train sample."""
        return [draft(evidence, self.method, "rule.v1", read_windows(evidence))]

    async def fill(self, drafts: Sequence[Label], evidence: FeatureEvidence) -> list[Label]:
        """Find the rule; this fails where no train window fires, or no rule holds beyond the text it was read from."""
        text = Text(evidence)
        if not text.n_firing:
            return [without_text(label, NOTHING_TO_SHOW) for label in drafts]
        rule = induce(text)
        if rule is None:
            return [without_text(label, _NO_RULE) for label in drafts]
        predicate = rule.as_json()
        return [with_text(label, describe(predicate), predicate=predicate) for label in drafts]
