"""The scorers of a benchmark, by name, on labels of which the worth is known.

A new scorer is one line in `SCORERS`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from autolabel.asking import together
from autolabel.hashing import content_id
from autolabel.intervals import Estimate, unscored
from autolabel.pipeline import rows
from autolabel.ranking import MINIMUM_TILES
from autolabel.records import Example, Prediction, Purpose
from autolabel.scorers.base import Scorer, ScorerInfo
from autolabel.scorers.embedding import EmbeddingScorer
from autolabel.scorers.judging import JudgeScorer
from autolabel.scorers.likelihood import LikelihoodScorer
from autolabel.truth.built import TRUTH, Built, Shipped, certain_row, predicted, smaller
from autolabel.truth.labeling import Share
from autolabel.truth.models import TruthModels
from autolabel.truth.opening import open_peer
from autolabel.truth.peers.base import PeerScore
from autolabel.truth.replies import NOT_RECORDED
from autolabel.truth.score_table import Pair, ScorerRow, can_be_told, judge_against_truth, pair_of, scored_labels, scorer_row

_FEATURES_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class ScorerSpec:
    """One scorer of the table."""

    make: Callable[[TruthModels], Scorer] | None
    """None for a protocol of others, which brings its own texts."""
    share: Share = "all"
    needs: Literal["chat", "likelihood", "embedder"] | None = None
    tiles: int | None = None
    """Tiles of each stratum; the whole exam when None. LLMs are asked about the fewest that can be scored."""
    near: int = 4
    """Near-misses of each feature that are scored, of the four kinds in turn."""
    wrong: int = 2
    """Wrong labels of each feature that has any scored."""
    one_in: int = 1
    """Of one feature in so many wrong labels are scored."""
    paraphrases: int = 1

    def labels(self, built: Built, index: int) -> list[Shipped]:
        """The labels of a feature that it scores."""
        wrong = self.wrong if built.number(index) % self.one_in == self.one_in - 1 else 0
        return scored_labels(built, index, self.near, wrong, self.paraphrases)

    def can_run(self, models: TruthModels) -> bool:
        """Whether the model it needs is there."""
        return self.needs is None or getattr(models, self.needs) is not None


@dataclass(frozen=True, slots=True)
class Scored:
    """A scorer's line, the same with its answers shuffled, and what it said."""

    row: ScorerRow
    broken: ScorerRow | None
    pairs: list[Pair]


def _judge(name: Literal["detection", "fuzzing"]) -> Callable[[TruthModels], Scorer]:
    def make(models: TruthModels) -> Scorer:
        assert models.chat is not None
        return JudgeScorer(name, models.chat, models.answer_mode, models.tiles_per_prompt, 0)

    return make


def _likelihood(models: TruthModels) -> Scorer:
    assert models.likelihood is not None
    return LikelihoodScorer(models.likelihood)


def _embedding(models: TruthModels) -> Scorer:
    assert models.embedder is not None
    return EmbeddingScorer(models.embedder)


def _frugal(make: Callable[[TruthModels], Scorer] | None, share: Share) -> ScorerSpec:
    """A scorer that asks a chat model dozens of times about each label: it scores fewer labels on fewer tiles."""
    return ScorerSpec(make, share, "chat", MINIMUM_TILES, near=2, wrong=1, one_in=2, paraphrases=0)


SCORERS: dict[str, ScorerSpec] = {
    "truth": ScorerSpec(None),
    "embedding": ScorerSpec(_embedding, needs="embedder", tiles=MINIMUM_TILES),
    "likelihood": ScorerSpec(_likelihood, "llm", "likelihood", MINIMUM_TILES),
    "detection": _frugal(_judge("detection"), "judge"),
    "fuzzing": _frugal(_judge("fuzzing"), "expensive"),
    "saebench": _frugal(None, "expensive"),
    "neuronpedia": _frugal(None, "expensive"),
    "delphi": _frugal(None, "expensive"),
    "delphi_fuzz": _frugal(None, "expensive"),
}
"""Scorer → how it is run. `truth` runs a label's own function: the most that a scorer can know."""


async def measure_scorer(built: Built, models: TruthModels, name: str, features: Sequence[int]) -> Scored:
    """Score the shipped labels of features that have an exam, keep what was said, and compare it with what is true."""
    spec = SCORERS[name]
    able = [index for index in features if built.exam(index) and built.feature(index).family != "null"]
    if name != "truth" and spec.make is None:
        return await _measure_peer(built, models, name, spec, able)
    scorer = None if spec.make is None else spec.make(models)
    info = TRUTH if scorer is None else scorer.info
    judged: list[tuple[Shipped, Sequence[Example], Sequence[Prediction]]] = []
    for start in range(0, len(able), _FEATURES_AT_ONCE):
        chunk = able[start : start + _FEATURES_AT_ONCE]
        for found in await together(_judged(built, scorer, spec, index) for index in chunk):
            judged += [one for one in found if can_be_told(built, one[0])]
    pairs = [pair_of(built, shipped, exam, said) for shipped, exam, said in judged]
    row = scorer_row(name, info.judge, pairs)
    row.n_failed = sum(p.value is None for _, _, said in judged for p in said)
    row.judgement, row.calibration_error = judge_against_truth(built, judged, info.answer_mode == "probability")
    _keep(built, info, judged, pairs)
    shuffled = [pair_of(built, shipped, exam, _shuffled(shipped, said)) for shipped, exam, said in judged]
    return Scored(row, scorer_row(f"{name}, answers shuffled", info.judge, shuffled), pairs)


async def _judged(
    built: Built, scorer: Scorer | None, spec: ScorerSpec, index: int
) -> list[tuple[Shipped, Sequence[Example], Sequence[Prediction]]]:
    exam = smaller(built.exam(index), spec.tiles)
    shipped = spec.labels(built, index)
    if scorer is None:
        return [(one, exam, _known(built, one, exam)) for one in shipped]
    found = await predicted(scorer, [one.label for one in shipped], exam, Purpose("score", index))
    return [(one, exam, said) for one, said in zip(shipped, found, strict=True)]


def _known(built: Built, shipped: Shipped, exam: Sequence[Example]) -> list[Prediction]:
    """Whether the label's function holds in each tile."""
    tiles = () if shipped.shipped.predicate is None else built.world.tiles_of(shipped.shipped.predicate).tolist()
    named = set(tiles)
    return [Prediction(e.window_id, float(built.tile_of_window[e.document_id, e.tile_index] in named)) for e in exam]


def _shuffled(shipped: Shipped, said: Sequence[Prediction]) -> list[Prediction]:
    """The same answers, each given to another tile by hash."""
    order = sorted(range(len(said)), key=lambda i: content_id("broken", [shipped.label.label_id, said[i].window_id]))
    return [replace(said[i], window_id=mine.window_id) for i, mine in zip(order, said, strict=True)]


def _keep(
    built: Built, info: ScorerInfo, judged: Sequence[tuple[Shipped, Sequence[Example], Sequence[Prediction]]], pairs: Sequence[Pair]
) -> None:
    """Store predictions and headline scores, as a run does; a reply that was not recorded may be had another time, so it leaves no row."""
    predictions: list[rows.Row] = []
    scores: list[rows.Row] = []
    status = "admitted" if info.needs_calibration else "not_needed"
    for (shipped, _, said), pair in zip(judged, pairs, strict=True):
        if any(p.error == NOT_RECORDED for p in said):
            continue
        evidence = built.evidence[pair.index]
        predictions += rows.prediction_rows(shipped.label, evidence, info, "test", said)
        failed = sum(p.value is None for p in said)
        n = len(said) - failed
        estimate = (
            unscored(n, 0.0, "too few tiles answered") if pair.value is None else Estimate(pair.value, pair.low, pair.high, n, 0.0)
        )
        scores.append(rows.score_row(shipped.label, evidence, info, "test", "label_score", estimate, failed, status))
    built.store.insert_many({"predictions": predictions, "scores": scores})


async def _measure_peer(built: Built, models: TruthModels, name: str, spec: ScorerSpec, features: Sequence[int]) -> Scored:
    """A protocol's own number for each label; it has no answers on our exam to shuffle."""
    assert models.chat is not None
    peer = open_peer(name, built, models.chat)
    pairs, scores, failed = [], [], 0
    info = ScorerInfo(name, models.chat.model_id, "binary", settings={"protocol": name})  # type: ignore[arg-type]
    for index in features:
        shipped = [one for one in spec.labels(built, index) if can_be_told(built, one)]
        found: list[PeerScore] = []
        for one in shipped:
            found.append(await peer.score(index, one.shipped.text, Purpose("score", index)))
        for one, score in zip(shipped, found, strict=True):
            feature = built.feature(index)
            failed += score.value is None
            pairs.append(Pair(index, feature.family, one.shipped.relation, score.value, None, None, one.exact.f1))
            if score.value is not None:
                scores.append(certain_row(one.label, built.evidence[index], info, "protocol", score.value, score.n_examples))
    built.store.insert_many({"scores": scores})
    row = scorer_row(name, models.chat.model_id, pairs)
    row.n_failed = failed
    return Scored(row, None, pairs)
