"""`fade`: clarity, responsiveness and purity of FADE (2025): what a label lets one write, and what it says of the feature in the corpus.

- `clarity`: do texts written from the label activate the feature more than the corpus does? 2 · AUROC − 1, chance 0.
- `responsiveness`: does it activate more on tiles that an LLM rates as holding the concept (2) than on tiles without it (0)? The same.
- `purity`: is the concept what it activates on? Average precision of the ratings 2 among 2 and 0, tiles ranked by activation; chance is
  the concept's share of the corpus.

Unlike FADE's own code: the sign of 2 · AUROC − 1 is kept, because a label that fits where the feature is silent is wrong, and |·| would
call it clear; the natural texts are the test tiles of the exam (firing and random, the hard ones left out) and the random ones beside
it, about 60 with weights to the population in place of 500 drawn by strength; the rater sees one tile at a time after six solved
examples, in place of several without any, and is tried on the shipped solved examples before its numbers count; numbers have intervals.
Faithfulness is not asked about: steering is another matter.
"""

import asyncio
from collections.abc import Sequence

import numpy as np

from autolabel import prompts
from autolabel.asking import ask, together
from autolabel.errors import ModelResponseError
from autolabel.intervals import Estimate, unscored
from autolabel.metrics import auroc
from autolabel.parsing import parse_choice
from autolabel.records import (
    ChatModel,
    ChatReply,
    ChatRequest,
    Example,
    FeatureEvidence,
    Label,
    Metric,
    Prediction,
    Purpose,
    Subject,
)
from autolabel.rendering import escape, plain_line
from autolabel.scorers.base import Inquired, ScorerInfo, Written
from autolabel.scorers.rated import Rated, average_precision, signed_gini
from autolabel.scorers.writing import TEXTS, Texts, Writer

FIRING_TILES = 20
SILENT_TILES = 40
"""Rated test tiles; fewer where there are not as many."""
_RATINGS = 3
_ANSWER_TOKENS = 8
_DENSE = "a dense feature's activations below its threshold are not stored, so its tiles cannot be ranked"


class FadeScorer:
    """Writes texts from a label and rates tiles of the corpus."""

    def __init__(self, model: ChatModel, subject: Subject, seed: int, n_texts: int = TEXTS) -> None:
        """`model` writes `n_texts` texts and rates; `seed` draws the resamples behind intervals."""
        self._model, self._subject, self._seed = model, subject, seed
        self._writer, self._prompt = Writer(model, n_texts), prompts.load("rate")
        settings = {
            "texts": n_texts,
            "firing": FIRING_TILES,
            "silent": SILENT_TILES,
            "seed": seed,
            "write": self._writer.prompt_hash,
        }
        self.info = ScorerInfo("fade", model.model_id, "rating", self._prompt.prompt_hash, settings)

    async def predict(self, labels: Sequence[Label], examples: Sequence[Example], purpose: Purpose) -> list[list[Prediction]]:
        """Rate each tile under each label: 0, 1 or 2."""
        found = await together(self._rate(label, example, purpose) for example in examples for label in labels)
        return [found[row :: len(labels)] for row in range(len(labels))]

    async def inquire(self, label: Label, evidence: FeatureEvidence, purpose: Purpose) -> Inquired:
        """Write, run and rate; what fails is left out of the numbers and counted."""
        tiles = _tiles(evidence)
        written = await self._written(label, purpose)
        (ratings,) = await self.predict([label], tiles, purpose)
        texts = written.texts if isinstance(written, Texts) else ()
        strengths = await asyncio.to_thread(self._strengths, texts, evidence.feature_index)
        found: dict[Metric, Estimate] = {"clarity": self._clarity(strengths, tiles, evidence, written)}
        found |= self._agreement(tiles, ratings, evidence)
        lacking = written.n_lacking if isinstance(written, Texts) else self._writer.n
        request_hash = written.request_hash if isinstance(written, Texts) else None
        return Inquired(
            found,
            n_failed=lacking + sum(rating.value is None for rating in ratings),
            predictions=tuple(ratings),
            written=tuple(
                Written(number, text, True, strength, None, request_hash)
                for number, (text, strength) in enumerate(zip(texts, strengths, strict=True))
            ),
        )

    async def _written(self, label: Label, purpose: Purpose) -> Texts | ModelResponseError:
        try:
            return await self._writer.write(label, purpose)
        except ModelResponseError as error:
            return error

    async def _rate(self, label: Label, example: Example, purpose: Purpose) -> Prediction:
        request = ChatRequest(
            messages=self._prompt.render(text=plain_line(example), label=escape(label.text or "")),
            max_tokens=_ANSWER_TOKENS,
            prompt_hash=self._prompt.prompt_hash,
        )
        try:
            reply, rating = await ask(self._model, request, purpose, _read)
        except ModelResponseError as error:
            return Prediction(example.window_id, None, error.status, str(error))
        return Prediction(example.window_id, float(rating), request_hash=reply.request_hash)

    def _strengths(self, texts: Sequence[str], feature: int) -> list[float]:
        """The feature's largest activation in each text."""
        found: list[float] = self._subject.feature_activations(texts)[:, feature].tolist() if texts else []
        return found

    def _clarity(
        self, strengths: Sequence[float], tiles: Sequence[Example], evidence: FeatureEvidence, written: Texts | ModelResponseError
    ) -> Estimate:
        """Written texts against the corpus, in which firing tiles are as frequent as they are; interval by Newcombe, as of any AUROC."""
        if isinstance(written, ModelResponseError):
            return unscored(0, 0.0, f"no texts were written: {written}")
        missing = _shortfall(tiles, evidence)
        if missing is not None:
            return unscored(0, 0.0, missing)
        n, activations = len(strengths), [tile.max_activation for tile in tiles]
        documents = [*(f"written {number}" for number in range(n)), *(tile.source_document_id for tile in tiles)]
        natural = _rated(tiles, [0] * len(tiles), evidence).weights(np.ones(len(tiles)))
        weights = np.concatenate([np.ones(n), natural])
        area = auroc([*strengths, *activations], [True] * n + [False] * len(tiles), documents, weights)
        if area.value is None or area.low is None or area.high is None:
            return unscored(area.n, 0.0, str(area.reason))
        return Estimate(2 * area.value - 1, 2 * area.low - 1, 2 * area.high - 1, area.n, 0.0)

    def _agreement(
        self, tiles: Sequence[Example], ratings: Sequence[Prediction], evidence: FeatureEvidence
    ) -> dict[Metric, Estimate]:
        answered = [(tile, int(p.value)) for tile, p in zip(tiles, ratings, strict=True) if p.value is not None]
        kept = [tile for tile, _ in answered]
        missing = _shortfall(kept, evidence)
        if missing is not None:
            return {"responsiveness": unscored(len(kept), 0.0, missing), "purity": unscored(len(kept), None, missing)}
        rated = _rated(kept, [rating for _, rating in answered], evidence)
        return {
            "responsiveness": rated.estimate(signed_gini, -1.0, 0.0, self._seed),
            "purity": rated.estimate(average_precision, 0.0, rated.base_rate(), self._seed),
        }


def _tiles(evidence: FeatureEvidence) -> list[Example]:
    """The rated tiles: the exam's first, then others of the same uniform samples."""
    groups = (("firing", FIRING_TILES), ("random", SILENT_TILES))
    return [tile for stratum, n in groups for tile in _first(evidence, stratum, n)]


def _first(evidence: FeatureEvidence, stratum: str, n: int) -> list[Example]:
    own = [example for example in evidence.of("test") if example.stratum == stratum]
    return sorted(own, key=lambda example: (not example.in_exam, example.sample_rank, example.window_id))[:n]


def _shortfall(tiles: Sequence[Example], evidence: FeatureEvidence) -> str | None:
    """Why these tiles say nothing of the corpus; None when they do."""
    if evidence.evidence_status == "dense":
        return _DENSE
    n_firing = sum(tile.fires for tile in tiles)
    if n_firing and n_firing < len(tiles):
        return None
    return f"{n_firing} firing and {len(tiles) - n_firing} silent test tiles have an answer; some of both are needed"


def _rated(tiles: Sequence[Example], ratings: Sequence[int], evidence: FeatureEvidence) -> Rated:
    return Rated.of(
        [tile.max_activation for tile in tiles],
        [tile.fires for tile in tiles],
        ratings,
        [tile.source_document_id for tile in tiles],
        evidence.firing_rate,
    )


def _read(reply: ChatReply) -> tuple[ChatReply, int]:
    return reply, parse_choice(reply.text, _RATINGS)
