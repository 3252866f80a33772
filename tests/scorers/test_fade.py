"""FADE's three numbers over a subject that fires on words and a rater that reads them."""

import re
from dataclasses import replace

import pytest

from autolabel.errors import ModelResponseError
from autolabel.pipeline.judges import calibrate
from autolabel.records import ChatRequest, FeatureEvidence, Purpose
from autolabel.rendering import plain_line
from autolabel.scorers.base import Scorer
from autolabel.scorers.fade import FadeScorer
from tests import planted
from tests.fakes import Answer, FakeLLM
from tests.pipeline import world
from tests.scorers.subjects import WordSubject

PURPOSE = Purpose("score", 0)
EVIDENCE = planted.evidence()
DOG, BOAT = planted.label(planted.DOG_LABEL), planted.label(planted.BOAT_LABEL)
SUBJECT = WordSubject({0: planted.DOGS})


def answers(request: ChatRequest) -> str:
    content = request.messages[-1].content
    (label,) = re.findall(r"^Label: (.*)$", content, re.MULTILINE)
    if content.startswith("Text:"):
        return str(2 * planted.judged(request)[0])
    return "\n".join(f"{i + 1}. A {label.split()[i % 3]} came by at {i}." for i in range(6))


def scorer(llm: FakeLLM) -> FadeScorer:
    return FadeScorer(llm, SUBJECT, seed=0)


async def test_the_right_label_is_clear_responsive_and_pure() -> None:
    llm = FakeLLM(answers)
    found = await scorer(llm).inquire(DOG, EVIDENCE, PURPOSE)
    for metric in ("clarity", "responsiveness", "purity"):
        estimate = found.found[metric]  # type: ignore[index]
        assert estimate.value is not None
        assert estimate.value > 0.85, metric
        assert estimate.low is not None
        assert estimate.low < estimate.value
    assert (found.n_failed, len(found.predictions), len(found.written)) == (0, 40, 6)
    assert {p.value for p in found.predictions} == {0.0, 2.0}
    assert {one.max_activation for one in found.written} == {2.0}
    assert len(llm.requests) == 41, "one text at a time, and one request for the written ones"


async def test_a_wrong_label_keeps_the_sign() -> None:
    found = await scorer(FakeLLM(answers)).inquire(BOAT, EVIDENCE, PURPOSE)
    clarity, responsiveness = found.found["clarity"].value, found.found["responsiveness"].value
    assert clarity is not None
    assert clarity < 0, "its texts activate less than the corpus, in which some tiles fire"
    assert responsiveness is not None
    assert abs(responsiveness) < 0.1, "boats are as frequent where it fires"


async def test_hard_tiles_are_not_rated() -> None:
    llm = FakeLLM(answers)
    await scorer(llm).inquire(DOG, EVIDENCE, PURPOSE)
    rated = {r.messages[-1].content.splitlines()[0].removeprefix("Text: ") for r in llm.requests}
    assert not rated & {plain_line(e) for e in EVIDENCE.exam("test") if e.stratum == "hard"}
    assert rated >= {plain_line(e) for e in EVIDENCE.exam("test") if e.stratum != "hard"}


async def test_what_fails_is_left_out_and_counted() -> None:
    bad = plain_line(next(e for e in EVIDENCE.exam("test") if e.stratum == "firing"))

    def some_fail(request: ChatRequest) -> Answer:
        content = request.messages[-1].content
        if content.startswith("Label:"):
            return ModelResponseError("refused", "it will not write")
        return "3" if content.startswith(f"Text: {bad}\n") else answers(request)

    found = await scorer(FakeLLM(some_fail)).inquire(DOG, EVIDENCE, PURPOSE)
    assert found.found["clarity"].reason == "no texts were written: it will not write"
    assert found.found["purity"].value == 1.0
    assert found.found["purity"].n == 39
    assert found.n_failed == 6 + 1
    assert [(p.status, p.value) for p in found.predictions if p.status != "ok"] == [("unparsable", None)]


@pytest.mark.parametrize(
    ("evidence", "why"),
    [
        (replace(EVIDENCE, evidence_status="dense"), "dense"),
        (replace(EVIDENCE, examples=()), "0 firing and 0 silent"),
    ],
)
async def test_evidence_that_says_nothing_of_the_corpus_gives_no_value(evidence: FeatureEvidence, why: str) -> None:
    found = await scorer(FakeLLM(answers)).inquire(DOG, evidence, PURPOSE)
    assert [estimate.value for estimate in found.found.values()] == [None] * 3
    assert all(why in str(estimate.reason) for estimate in found.found.values())


async def test_its_rater_is_tried_like_any_judge() -> None:
    solved = world.solved()

    def knows(request: ChatRequest) -> str:
        text, label = re.findall(r"^(?:Text|Label): (.*)$", request.messages[-1].content, re.MULTILINE)
        return str(2 * solved[label, text])

    fade = scorer(FakeLLM(knows))
    assert isinstance(fade, Scorer)
    row = await calibrate(fade)
    assert (row["verdict"], row["n_failed"], row["true_positive_rate"]) == ("admitted", 0, None)
    assert (await calibrate(scorer(FakeLLM(lambda _: "1"))))["verdict"] == "judge_unfit"
