"""Scorers one by one: packs, failures of a pack, answer modes, marks, and that a label's numbers do not depend on its company."""

import asyncio
import json
import re
from collections import Counter
from dataclasses import replace

import pytest

from autolabel.errors import BudgetExceeded, DataError, EndpointError, ModelResponseError
from autolabel.records import ChatReply, ChatRequest, Purpose
from autolabel.rendering import marked_line, plain_line, unmark
from autolabel.scorers.base import Scorer
from autolabel.scorers.embedding import EmbeddingScorer
from autolabel.scorers.judging import JudgeScorer
from autolabel.scorers.likelihood import PANELS, LikelihoodScorer, panel_of
from autolabel.scorers.rule import NO_PREDICATE, RuleScorer, rule_value
from tests import planted
from tests.fakes import FakeEmbedder, FakeLikelihood, FakeLLM

PURPOSE = Purpose("score", 0)
EVIDENCE = planted.evidence()
EXAM = EVIDENCE.exam("test")
DOG, BOAT = planted.label(planted.DOG_LABEL), planted.label(planted.BOAT_LABEL)


def texts_of(request: ChatRequest) -> list[str]:
    return re.findall(r"^\d+\. (.*)$", request.messages[-1].content, re.MULTILINE)


async def test_packs_hold_every_tile_once_in_an_order_that_tells_nothing() -> None:
    llm = FakeLLM(planted.honest)
    await JudgeScorer("detection", llm, "binary", 7, 0).predict([DOG], EXAM, PURPOSE)
    packs = [texts_of(request) for request in llm.requests]
    assert Counter(map(len, packs[:9])) == {7: 6, 6: 3}
    assert sorted(text for pack in packs[:9] for text in pack) == sorted(map(plain_line, EXAM))
    assert len(packs) == 10
    assert len(packs[9]) == 3, "one in twenty is asked again"
    assert all(set(packs[9]) != set(pack) for pack in packs[:9])
    by_text = {plain_line(e): e.stratum for e in EXAM}
    assert sum(len({by_text[text] for text in pack}) > 1 for pack in packs) >= 8


async def test_packs_follow_the_seed_and_nothing_else() -> None:
    async def packs(seed: int, exam: tuple[planted.Example, ...]) -> list[str]:
        llm = FakeLLM(planted.honest)
        await JudgeScorer("detection", llm, "binary", 7, seed).predict([DOG], exam, PURPOSE)
        return [request.messages[-1].content for request in llm.requests]

    assert await packs(0, EXAM) == await packs(0, EXAM[::-1])
    assert await packs(0, EXAM) != await packs(1, EXAM)


async def test_no_prompt_says_how_many_fire_or_what_fires() -> None:
    llm = FakeLLM(planted.honest)
    await JudgeScorer("detection", llm, "binary", 10, 0).predict([DOG], EXAM, PURPOSE)
    assert all("<<" not in request.messages[-1].content for request in llm.requests)
    assert all(request.messages[-1].content.endswith("texts?") for request in llm.requests)


async def test_fuzzing_marks_the_stored_positions() -> None:
    llm = FakeLLM(planted.honest)
    await JudgeScorer("fuzzing", llm, "binary", 10, 0).predict([DOG], EXAM, PURPOSE)
    shown = {text for request in llm.requests for text in texts_of(request)}
    assert shown == {marked_line(e, e.mark_positions) for e in EXAM}
    assert all(unmark(text)[1] for text in shown)


@pytest.mark.parametrize("kind", ["detection", "fuzzing"])
async def test_one_tile_at_a_time_uses_the_prompts_for_one(kind: str) -> None:
    llm = FakeLLM(planted.honest)
    one, many = (JudgeScorer(kind, llm, "binary", n, 0) for n in (1, 2))  # type: ignore[arg-type]
    assert one.info.prompt_hash != many.info.prompt_hash
    assert one.info.config_hash != many.info.config_hash
    (found,) = await one.predict([DOG], EXAM[:5], PURPOSE)
    assert [request.messages[-1].content.startswith("Text: ") for request in llm.requests] == [True] * 5
    assert all(p.asked_again is None for p in found)


@pytest.mark.parametrize(
    ("bad", "status"),
    [
        ("[1,0]", "unparsable"),
        ("I'd rather not say.", "unparsable"),
        (ModelResponseError("refused", "the endpoint's filter refused the prompt"), "refused"),
        (ModelResponseError("truncated", "cut off"), "truncated"),
        (ModelResponseError("failed", "no answer"), "failed"),
    ],
)
async def test_a_pack_without_a_usable_reply_fails_alone(bad: str | Exception, status: str) -> None:
    target = plain_line(EXAM[0])

    def answer(request: ChatRequest) -> str | Exception:
        return bad if target in texts_of(request) and "1. " in request.messages[-1].content else planted.honest(request)

    llm = FakeLLM(answer)
    (found,) = await JudgeScorer("detection", llm, "binary", 10, 0).predict([DOG], EXAM, PURPOSE)
    failed = [p for p in found if p.value is None]
    (pack,) = {tuple(texts_of(r)) for r in llm.requests if target in texts_of(r) and len(texts_of(r)) == 10}
    by_id = {e.window_id: plain_line(e) for e in EXAM}
    assert sorted(by_id[p.window_id] for p in failed) == sorted(pack)
    assert {(p.status, bool(p.error), p.request_hash) for p in failed} == {(status, True, None)}
    right = {e.window_id: float(e.stratum == "firing") for e in EXAM}
    assert all(p.value == right[p.window_id] and p.request_hash for p in found if p.value is not None)


async def test_asked_again_is_the_answer_in_another_pack() -> None:
    def answer(request: ChatRequest) -> str:
        answers = planted.judged(request)
        return json.dumps([int(a) for a in answers] if len(answers) > 3 else [int(not a) for a in answers])

    (found,) = await JudgeScorer("detection", FakeLLM(answer), "binary", 10, 0).predict([DOG], EXAM, PURPOSE)
    again = [p for p in found if p.asked_again is not None]
    assert len(again) == 3
    assert all(p.asked_again == 1 - (p.value or 0.0) for p in again)


async def test_modes_are_never_mixed() -> None:
    probability = JudgeScorer("detection", FakeLLM(planted.honest_with_probabilities), "probability", 10, 0)
    binary = JudgeScorer("detection", FakeLLM(planted.honest_with_probabilities), "binary", 10, 0)
    assert probability.info.config_hash != binary.info.config_hash
    (found,) = await probability.predict([DOG], EXAM, PURPOSE)
    assert {p.value for p in found} == {0.9, 0.1}
    (found,) = await binary.predict([DOG], EXAM, PURPOSE)
    assert {p.value for p in found} == {1.0, 0.0}

    def sometimes(request: ChatRequest) -> ChatReply:
        reply = planted.honest_with_probabilities(request)
        return reply if plain_line(EXAM[0]) in texts_of(request) else replace(reply, tokens=None)

    mixed = JudgeScorer("detection", FakeLLM(sometimes), "probability", 10, 0)
    (found,) = await mixed.predict([DOG], EXAM, PURPOSE)
    assert {p.value for p in found} == {0.9, 0.1, None}
    assert {p.status for p in found if p.value is None} == {"unparsable"}


@pytest.mark.parametrize(
    "scorer",
    [
        JudgeScorer("detection", FakeLLM(planted.honest), "binary", 10, 0),
        JudgeScorer("fuzzing", FakeLLM(planted.honest_with_probabilities), "probability", 4, 0),
        LikelihoodScorer(FakeLikelihood()),
        EmbeddingScorer(FakeEmbedder()),
        RuleScorer(),
    ],
    ids=lambda scorer: scorer.info.name,
)
async def test_a_labels_numbers_do_not_depend_on_its_company(scorer: Scorer) -> None:
    ruled = replace(DOG, predicate={"kind": "words", "weights": {"dog": 1.0}})
    (alone,) = await scorer.predict([ruled], EXAM, PURPOSE)
    first, _, last = await scorer.predict([ruled, BOAT, ruled], EXAM, PURPOSE)
    assert [p.value for p in alone] == [p.value for p in first] == [p.value for p in last]
    assert [p.window_id for p in alone] == [e.window_id for e in EXAM]
    assert await scorer.predict([ruled], [], PURPOSE) == [[]]


class Slots:
    """An honest judge that takes so many requests at once; `most` is how many there were."""

    model_id = "fake"

    def __init__(self, n: int, error: Exception | None = None) -> None:
        self._slots = asyncio.Semaphore(n)
        self._error = error
        self._busy = 0
        self.most = 0
        self.asked: list[str] = []

    async def chat(self, request: ChatRequest, purpose: Purpose) -> ChatReply:
        async with self._slots:
            self.asked.append(request.messages[-1].content)
            self._busy += 1
            self.most = max(self.most, self._busy)
            await asyncio.sleep(0)
            self._busy -= 1
            if self._error is not None:
                raise self._error
            return ChatReply(planted.honest(request), "stop", "fake", request_hash="r")


async def test_labels_are_judged_pack_by_pack_where_one_request_fits_and_all_at_once_where_many_do() -> None:
    one, many = Slots(1), Slots(100)
    labels = [DOG, BOAT, planted.label("rain")]
    found = [await JudgeScorer("detection", llm, "binary", 10, 0).predict(labels, EXAM, PURPOSE) for llm in (one, many)]
    assert found[0] == found[1]
    assert (one.most, many.most) == (1, 21)
    assert one.asked == many.asked
    packs = [content.rsplit("Label: ", 1) for content in one.asked]
    assert [label.splitlines()[0] for _, label in packs] == [label.text for label in labels] * 7
    assert [texts for texts, _ in packs] == [texts for texts, _ in packs[::3] for _ in labels]


@pytest.mark.parametrize("error", [BudgetExceeded("over"), EndpointError("dead")])
async def test_what_ends_a_run_is_raised_as_it_is_and_nothing_more_is_asked(error: Exception) -> None:
    llm = Slots(2, error)
    with pytest.raises(type(error)) as caught:
        await JudgeScorer("detection", llm, "binary", 10, 0).predict([DOG, BOAT], EXAM, PURPOSE)
    assert caught.value is error
    assert len(llm.asked) <= 3


async def test_a_pack_carries_the_shape_of_its_answer_and_a_single_tile_none() -> None:
    llm = FakeLLM(planted.honest)
    await JudgeScorer("detection", llm, "binary", 7, 0).predict([DOG], EXAM, PURPOSE)
    for request in llm.requests:
        n = len(texts_of(request))
        assert request.json_schema == {"type": "array", "items": {"type": "integer", "enum": [0, 1]}, "minItems": n, "maxItems": n}
    alone = FakeLLM(planted.honest)
    await JudgeScorer("fuzzing", alone, "binary", 1, 0).predict([DOG], EXAM[:3], PURPOSE)
    await JudgeScorer("fuzzing", alone, "binary", 2, 0).predict([DOG], EXAM[:1], PURPOSE)
    assert [request.json_schema for request in alone.requests] == [None] * 4


@pytest.mark.parametrize("label", ["dogs", "a label of exactly seven words here", "w " * 200])
def test_every_label_has_a_panel_of_eight_others(label: str) -> None:
    assert len(set(panel_of(label))) >= 8
    assert all(len(set(panel)) == len(panel) for panel in PANELS.values())


async def test_likelihood_takes_away_what_the_panel_gets() -> None:
    model = FakeLikelihood()
    ((prediction,),) = await LikelihoodScorer(model).predict([DOG], EXAM[:1], PURPOSE)
    ((prefix, asked),) = model.history
    assert prefix.startswith(f"Text: {plain_line(EXAM[0])}\n")
    assert asked == (f" {DOG.text}", *(f" {other}" for other in panel_of(DOG.text or "")))
    of_label, *of_panel = [c.logprob / c.n_tokens for c in model.log_probabilities(prefix, asked, PURPOSE)]
    assert prediction.value == pytest.approx(of_label - sum(of_panel) / 8, abs=1e-6)


async def test_a_label_without_a_predicate_has_no_rule() -> None:
    ((prediction,),) = await RuleScorer().predict([DOG], EXAM[:1], PURPOSE)
    assert (prediction.value, prediction.status, prediction.error) == (None, "failed", NO_PREDICATE)
    with pytest.raises(DataError, match="predicate kind is 'magic'"):
        rule_value({"kind": "magic"}, EXAM[0])


async def test_a_predicate_that_cannot_run_fails_its_own_predictions_only() -> None:
    broken = replace(DOG, predicate={"kind": "regex", "pattern": "(a+)+"})
    sound = replace(DOG, predicate={"kind": "words", "weights": {"dog": 1.0}})
    failed, said = await RuleScorer().predict([broken, sound], EXAM, PURPOSE)
    assert {(p.value, p.status) for p in failed} == {(None, "failed")}
    assert "'(a+)+' uses what is not allowed" in (failed[0].error or "")
    assert {p.value for p in said} == {0.0, 1.0}


def test_a_rule_reads_whole_words_of_the_tile() -> None:
    words = {"kind": "words", "weights": {"cat": 0.5, "dog's": 1.0, ";": 0.25}}

    def value(tokens: list[str], n_context: int) -> float:
        starts = tuple(sum(map(len, tokens[:i])) for i in range(len(tokens)))
        window = replace(EXAM[0], text="".join(tokens), token_starts=starts, n_context_tokens=n_context)
        return rule_value(words, window)

    assert value(["A", " Cat", " sat"], 0) == 0.5
    assert value(["A", " Cat", " sat"], 2) == 0.0, "left context is not judged"
    assert value(["A", " cat", "egory"], 0) == 0.0, "a piece of a word is not the word"
    assert value(["the", " dog", "'s", " bone"], 2) == 1.0, "a word that began in the context goes on in the tile"
    assert value(["end", ";", " cat"], 0) == 0.5
    assert value(["end", ";", "\n"], 0) == 0.25
