"""`generation`: an LLM writes texts from the label, and the subject model says whether the feature fires on them.

No judge comes between label and activations. Two numbers: `hit_rate`, the share of texts on which the feature fires, beside the share
of texts written from other features' labels on which it does; and `reciprocal_rank`, whether the label retrieves its feature among all.
One forward pass gives every feature, so both comparisons are free.

What they do not say: a label that is too narrow passes (its texts fire), and one that is too broad may pass by luck of the topics; read
them beside recall on the exam. A feature that needs a long context (a topic, a position) may stay silent on a sentence that fits.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from autolabel.asking import together
from autolabel.errors import ModelResponseError
from autolabel.intervals import unscored
from autolabel.metrics import wilson
from autolabel.records import ChatModel, FeatureEvidence, Label, Purpose, Subject
from autolabel.scorers.base import Inquired, ScorerInfo, Written
from autolabel.scorers.lifting import Lifts
from autolabel.scorers.writing import TEXTS, Texts, Writer

BACKGROUND_TEXTS = 24
"""Silent windows of the corpus to compare with where there are no other labels."""


@dataclass(frozen=True, slots=True)
class Dictionary:
    """What is known of every feature of an evidence set."""

    alive: NDArray[np.bool_]
    """Which features have evidence enough to be labelled, shape (d_sae,)."""
    thresholds: NDArray[np.float64]
    """The activation above which each one fires, shape (d_sae,): 0, or the 90th percentile of a dense one."""


class GenerationScorer:
    """Runs texts written from a label through the subject model."""

    def __init__(self, model: ChatModel, subject: Subject, dictionary: Dictionary, seed: int, n_texts: int = TEXTS) -> None:
        """`model` writes `n_texts` texts from each label; `seed` draws the resamples behind an interval."""
        self._writer = Writer(model, n_texts)
        self._subject, self._dictionary, self._seed = subject, dictionary, seed
        settings = {"texts": n_texts, "seed": seed}
        self.info = ScorerInfo("generation", model.model_id, "rating", self._writer.prompt_hash, settings, needs_calibration=False)

    async def inquire(self, label: Label, evidence: FeatureEvidence, purpose: Purpose) -> Inquired:
        """Compare with silent windows of the corpus only."""
        return await self.inquire_beside(label, (), evidence, purpose)

    async def inquire_beside(self, label: Label, others: Sequence[Label], evidence: FeatureEvidence, purpose: Purpose) -> Inquired:
        """Write texts from a label, and from labels of other features to compare with, and run them all.

        Without usable texts from the label both numbers are None; texts that are missing are failures, not zeros.
        """
        own, *beside = await together(self._written(one, purpose) for one in (label, *others))
        if isinstance(own, ModelResponseError):
            why = f"no texts were written: {own}"
            found = {"hit_rate": unscored(0, None, why), "reciprocal_rank": unscored(0, None, why)}
            return Inquired(found, n_failed=self._writer.n)  # type: ignore[arg-type]
        base = _unlike(own.texts, [text for texts in beside if isinstance(texts, Texts) for text in texts.texts])
        if not base:
            base = _unlike(own.texts, _background(evidence))
        activations = await asyncio.to_thread(self._subject.feature_activations, [*own.texts, *base])
        return self._inquired(own, base, activations, evidence.feature_index)

    async def _written(self, label: Label, purpose: Purpose) -> Texts | ModelResponseError:
        try:
            return await self._writer.write(label, purpose)
        except ModelResponseError as error:
            return error

    def _inquired(self, own: Texts, base: Sequence[str], activations: NDArray[np.float32], feature: int) -> Inquired:
        n = len(own.texts)
        largest, threshold = activations[:, feature], self._dictionary.thresholds[feature]
        fires = largest > threshold
        chance = float(fires[n:].mean()) if base else None
        lifts = Lifts.of(activations[:n], activations[n:], feature, self._dictionary.alive)
        ranks = lifts.rank_of_each_text() if base else [None] * n
        written = [
            Written(number, text, number < n, float(largest[number]), ranks[number] if number < n else None)
            for number, text in enumerate([*own.texts, *base])
        ]
        return Inquired(
            {
                "hit_rate": replace(wilson(int(fires[:n].sum()), n), chance=chance),
                "reciprocal_rank": lifts.reciprocal_rank(self._seed),
            },
            n_failed=own.n_lacking,
            written=tuple(replace(one, request_hash=own.request_hash) if one.is_meant else one for one in written),
        )


def _unlike(own: Sequence[str], others: Sequence[str]) -> list[str]:
    """Other texts, each once, without those that are the label's own too."""
    return [text for text in dict.fromkeys(others) if text not in own]


def _background(evidence: FeatureEvidence) -> list[str]:
    """Windows of the corpus that the feature is silent in, and that stand for all of it."""
    silent = [example.text for example in evidence.of("test", "background") if example.stratum == "random"]
    return silent[:BACKGROUND_TEXTS]
