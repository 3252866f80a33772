"""Does the score mean anything? A feature is planted that fires on dogs: the right label must score near 1, another feature's near 0,
and the same check must fail when a scorer is broken on purpose."""

from collections.abc import Callable, Sequence

import pytest

from autolabel.labelers.lexical import LexicalLabeler
from autolabel.records import ChatRequest, Example, FeatureEvidence, Label, Prediction, Purpose
from autolabel.scorers.base import Scorer
from autolabel.scorers.embedding import EmbeddingScorer
from autolabel.scorers.judging import JudgeScorer
from autolabel.scorers.likelihood import LikelihoodScorer
from autolabel.scorers.rule import RuleScorer
from tests import planted
from tests.fakes import FakeEmbedder, FakeLikelihood, FakeLLM

PURPOSE = Purpose("score", 0)
SCORERS: dict[str, Callable[[], Scorer]] = {
    "detection": lambda: JudgeScorer("detection", FakeLLM(planted.honest), "binary", 10, 0),
    "detection, probabilities": lambda: JudgeScorer("detection", FakeLLM(planted.honest_with_probabilities), "probability", 7, 0),
    "detection, one by one": lambda: JudgeScorer("detection", FakeLLM(planted.honest), "binary", 1, 0),
    "fuzzing": lambda: JudgeScorer("fuzzing", FakeLLM(planted.honest), "binary", 10, 0),
    "fuzzing, one by one": lambda: JudgeScorer("fuzzing", FakeLLM(planted.honest), "binary", 1, 0),
    "likelihood": lambda: LikelihoodScorer(FakeLikelihood()),
    "embedding": lambda: EmbeddingScorer(FakeEmbedder(d=4096)),
    "rule": RuleScorer,
}


async def labels() -> tuple[Label, Label]:
    """The right label and another feature's, each with the predicate that the lexical labeler finds for its feature."""
    made = []
    for text, family in planted.FAMILIES.items():
        evidence = planted.evidence(family)
        lexical = LexicalLabeler()
        (found,) = await lexical.fill(lexical.drafts(evidence), evidence)
        made.append(planted.label(text, predicate=found.predicate))
    right, wrong = made
    return right, wrong


async def scores(scorer: Scorer) -> tuple[float, float]:
    """`label_score` of the right and of the wrong label on the planted feature's test exam."""
    evidence = planted.evidence()
    right, wrong = await scorer.predict(await labels(), evidence.exam("test"), PURPOSE)
    return planted.score(evidence, right), planted.score(evidence, wrong)


@pytest.mark.parametrize("name", SCORERS)
async def test_the_right_label_scores_near_one_and_a_wrong_one_near_zero(name: str) -> None:
    right, wrong = await scores(SCORERS[name]())
    assert right > 0.95
    assert abs(wrong) < 0.35


class Broken:
    """A scorer with a fault put in."""

    def __init__(self, scorer: Scorer, fault: Callable[[list[float]], list[float]]) -> None:
        self._scorer = scorer
        self._fault = fault
        self.info = scorer.info

    async def predict(self, labels: Sequence[Label], examples: Sequence[Example], purpose: Purpose) -> list[list[Prediction]]:
        found = await self._scorer.predict(labels, examples, purpose)
        return [self._faulty(predictions) for predictions in found]

    def _faulty(self, predictions: list[Prediction]) -> list[Prediction]:
        values = self._fault([p.value for p in predictions if p.value is not None])
        return [Prediction(p.window_id, value) for p, value in zip(predictions, values, strict=True)]


FAULTS: dict[str, Callable[[list[float]], list[float]]] = {
    "negated": lambda values: [-value for value in values],
    "misaligned by one": lambda values: [*values[1:], values[0]],
    "shuffled": lambda values: [values[(i * 37 + 11) % len(values)] for i in range(len(values))],
    "constant": lambda values: [0.5] * len(values),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", SCORERS)
async def test_the_check_notices_a_broken_scorer(name: str, fault: str) -> None:
    right, _ = await scores(Broken(SCORERS[name](), FAULTS[fault]))
    assert right < 0.5


def _reversed(request: ChatRequest) -> str:
    return planted.answers_text(planted.judged(request)[::-1], request)


def _contrary(request: ChatRequest) -> str:
    return planted.answers_text([not answer for answer in planted.judged(request)], request)


@pytest.mark.parametrize("answer", [_reversed, _contrary])
@pytest.mark.parametrize("kind", ["detection", "fuzzing"])
async def test_the_check_notices_a_judge_that_answers_in_another_order(kind: str, answer: Callable[[ChatRequest], str]) -> None:
    right, _ = await scores(JudgeScorer(kind, FakeLLM(answer), "binary", 10, 0))  # type: ignore[arg-type]
    assert right < 0.5


async def test_the_check_notices_a_rule_that_looks_for_pieces_of_words() -> None:
    """`doghouse` and `dogma` are among the silent tiles; a rule that finds `dog` in them would score well below 1."""
    evidence: FeatureEvidence = planted.evidence()
    silent = [e for e in evidence.exam("test") if e.stratum != "firing"]
    assert any("doghouse" in e.text for e in silent)
    found = [float(any(word in e.text for word in planted.DOGS)) for e in evidence.exam("test")]
    exam = evidence.exam("test")
    assert planted.score(evidence, [Prediction(e.window_id, value) for e, value in zip(exam, found, strict=True)]) < 0.9
