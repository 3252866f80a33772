"""What stands in for an LLM in a dry run: made-up replies that are accepted, and a count of what would have been sent."""

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.calls import chat_request_hash, reply_to_json
from autolabel.errors import ModelResponseError
from autolabel.hashing import content_id
from autolabel.llm.capabilities import Capabilities
from autolabel.local.tokenizing import TokenizerCounter
from autolabel.parsing import answer_probabilities, parse_answers, parse_label
from autolabel.pipeline import dry_run
from autolabel.pipeline.counting import InputCounter
from autolabel.pipeline.dry_run import DryChat, Group
from autolabel.pipeline.models import Remote
from autolabel.records import ChatReply, ChatRequest, Message, Purpose
from autolabel.scorers.judging import answer_schema
from tests.fakes import MemoryCallStore

SCORE = Purpose("score", 3)


def request(text: str = "hello", n: int | None = None, **changes: Any) -> ChatRequest:
    schema = None if n is None else answer_schema(n)
    return ChatRequest((Message("user", text),), max_tokens=20, json_schema=schema, prompt_hash="p", **changes)


def chat(store: MemoryCallStore | None = None) -> DryChat:
    return DryChat("http://llm.test/v1", "m", store or MemoryCallStore(), Capabilities())


@given(st.text(max_size=20))
def test_a_made_up_label_is_a_label(text: str) -> None:
    made_up = dry_run._label(content_id("test", text))
    assert parse_label(made_up) == made_up
    assert 20 <= len(made_up) <= 45


def test_made_up_labels_are_distinct() -> None:
    assert len({dry_run._label(content_id("test", i)) for i in range(400)}) > 398


async def test_every_kind_of_question_gets_a_reply_that_fits_it() -> None:
    model = chat()
    label = await model.chat_checked(request("label it"), Purpose("label", 3), lambda reply: parse_label(reply.text))
    assert parse_label(label.text)
    for n, schema in ((1, None), (1, 1), (7, 7)):
        asked = request(f"judge {n} {schema}", schema, top_logprobs=5)
        reply = await model.chat_checked(asked, SCORE, lambda reply, n=n: _judged(reply, n))
        assert parse_answers(reply, n) == [False] * n
    with pytest.raises(ValueError, match="no made-up reply fits a request that begins 'sing'"):
        await model.chat_checked(request("sing"), SCORE, _refuse)


def _judged(reply: ChatReply, n: int) -> None:
    if answer_probabilities(reply, n) is None:
        raise ModelResponseError("unparsable", "no probabilities")


def _refuse(reply: ChatReply) -> None:
    raise ModelResponseError("unparsable", "no")


async def test_what_was_answered_costs_nothing_and_what_was_not_is_counted_once() -> None:
    store, known = MemoryCallStore(), request("known")
    key = chat_request_hash("http://llm.test/v1", "m", known)
    store.replies[key] = reply_to_json(ChatReply("the answer", "stop", "served"))
    model = chat(store)
    assert (await model.chat(known, SCORE)).text == "the answer"
    assert model.groups == {}
    first, again = [await model.chat(request("new"), SCORE) for _ in range(2)]
    assert first == again
    await model.chat(request("new", sample_number=1), Purpose("score", 4))
    (group,) = model.groups.values()
    assert (group.n, group.worst_output, dict(group.by_feature)) == (2, 40, {3: 1, 4: 1})


async def test_what_a_batch_still_owes_is_not_paid_for_again() -> None:
    owed = request("owed")
    model = DryChat("e", "m", MemoryCallStore(), Capabilities(), [chat_request_hash("e", "m", owed)])
    assert (await model.chat(owed, SCORE)).text
    assert model.groups == {}


async def test_an_unknown_endpoint_is_probed_once() -> None:
    model = DryChat("e", "m", MemoryCallStore(), None)
    for _ in range(2):
        await model.probe()
    assert model.groups["probe", None].n == 1
    known = chat()
    await known.probe()
    assert known.groups == {}
    assert isinstance(known, Remote), "it is probed as a run's models are"


def test_the_requests_kept_do_not_depend_on_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dry_run, "KEPT", 5)
    asked = [(number, request(f"text {number}")) for number in range(50)]
    kept = []
    for seed in range(3):
        random.Random(seed).shuffle(asked)
        group = Group()
        for number, one in asked:
            group.add(number, one, SCORE, 2)
        kept.append(sorted(group.kept))
    assert kept[0] == kept[1] == kept[2]
    assert [-number for number, _, _ in kept[0]] == [4, 3, 2, 1, 0]


async def test_more_requests_than_are_kept_are_counted_from_a_sample(monkeypatch: pytest.MonkeyPatch, built: Any) -> None:
    counter = TokenizerCounter.load(str(built / "tiny-model"))
    words = random.Random(0)
    whole, some = Group(), Group()
    for number in range(300):
        asked = request(json.dumps(words.choices(["dog", "harbour", "the", "rain"], k=words.randint(40, 60))))
        whole.add(number, asked, SCORE, 2)
        with monkeypatch.context() as few:
            few.setattr(dry_run, "KEPT", 60)
            some.add(number, asked, SCORE, 2)
    exact = await InputCounter(counter, None, {}).count("label", whole)
    sampled = await InputCounter(counter, None, {}).count("label", some)
    assert (exact.error, exact.source) == (0, "counted by the tokenizer")
    assert sampled.source == "counted by the tokenizer on 60 of 300"
    assert 0 < abs(sampled.tokens - exact.tokens) <= sampled.error < 0.1 * exact.tokens
