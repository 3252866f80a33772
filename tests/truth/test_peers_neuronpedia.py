"""Neuronpedia's protocol: the lists a label is made from, and a score that sees what it should predict."""

import asyncio
import json

import pytest

from autolabel.records import ChatRequest, Purpose
from autolabel.truth.nuisances import Firing
from autolabel.truth.peers.base import PeerScore
from autolabel.truth.peers.neuronpedia import DECOYS, Neuronpedia
from tests.fakes import Answer, FakeLLM
from tests.truth.peers_world import OFTEN, SELDOM, firings, world


def peer(llm: FakeLLM, *found: Firing) -> Neuronpedia:
    return Neuronpedia(world(), found or firings(), llm, "evidence", "sae", 0)


def score(llm: FakeLLM, feature: int = OFTEN) -> PeerScore:
    return asyncio.run(peer(llm).score(feature, "dogs", Purpose("score", feature)))


def fired(request: ChatRequest) -> list[str]:
    record = json.loads(request.messages[-1].content)
    return [pair["token"] for pair in record["activations"] if pair["activation"] > 0]


def oracle(request: ChatRequest) -> Answer:
    return json.dumps({"match": " dog" in fired(request), "reason": "because"})


def test_the_label_comes_from_three_lists() -> None:
    llm = FakeLLM(["Method 1 succeeds: all are dogs.\nExplanation: dog"])
    label = asyncio.run(peer(llm).label(OFTEN))
    assert (label.status, label.text, label.method) == ("ok", "dog", "neuronpedia")
    after, rest = llm.requests[0].messages[-1].content.removeprefix("TOKENS AFTER\n").split("\n\nTOP TOKENS\n")
    top, texts = rest.split("\n\nTOP TEXTS\n")
    assert top.splitlines() == ["dog"] * 10
    assert len(after.splitlines()) == 10
    assert all(f"dog {token}" in text for token, text in zip(after.splitlines(), texts.splitlines(), strict=True))
    assert len(set(texts.splitlines())) == 10


def test_the_last_token_of_a_document_has_none_after_it() -> None:
    text = world()
    firing = Firing(text.first_token[1:3] - 1, firings()[OFTEN].values[:2])
    llm = FakeLLM(["Explanation: ends"])
    asyncio.run(peer(llm, firing).label(0))
    assert llm.requests[0].messages[-1].content.startswith("TOKENS AFTER\n\n\n\nTOP TOKENS\n")
    before = Firing(text.first_token[1:2] - 2, firings()[OFTEN].values[:1])
    llm = FakeLLM(["Explanation: almost ends"])
    asyncio.run(peer(llm, before).label(0))
    last = text.documents[0].text.split()[-1]
    assert llm.requests[0].messages[-1].content.startswith(f"TOKENS AFTER\n{last}\n")


def test_a_judge_who_knows_scores_one_in_thirty_calls() -> None:
    llm = FakeLLM(oracle)
    found = score(llm)
    assert (found.value, found.n_examples, found.n_failed, found.n_calls) == (1.0, 30, 0, 30)
    assert found.shared == 10
    assert found.details["n_silent"] == 5
    assert sum(fired(request) == [] for request in llm.requests) == 5
    assert all(
        max(pair["activation"] for pair in json.loads(request.messages[-1].content)["activations"]) == 10
        for request in llm.requests
        if fired(request)
    )


def test_a_judge_who_always_agrees_scores_chance() -> None:
    found = score(FakeLLM(lambda request: '{"match": true, "reason": ""}'))
    assert found.value == pytest.approx(found.chance) == pytest.approx(2 / 3)
    assert found.details["balanced_accuracy"] == 0.5


def test_a_reply_that_cannot_be_read_counts_as_disagreement() -> None:
    found = score(FakeLLM(lambda request: "hm" if " dog" not in fired(request) else oracle(request)))
    assert (found.value, found.n_failed) == (1.0, 10)
    found = score(FakeLLM(lambda request: "hm" if " dog" in fired(request) else oracle(request)))
    assert (found.value, found.n_failed) == (pytest.approx(1 / 3), 20)
    assert score(FakeLLM(lambda request: "hm")).value is None


def test_few_peaks_are_fewer_examples() -> None:
    found = score(FakeLLM(oracle), SELDOM)
    assert found.n_examples == 5 + 5 + len(DECOYS)
    assert found.shared == 5


def test_a_feature_that_never_fires_is_left_out() -> None:
    silent = peer(FakeLLM([]), Firing(firings()[OFTEN].tokens[:0], firings()[OFTEN].values[:0]))
    assert asyncio.run(silent.label(0)).status == "failed"
    assert silent.cost(0, "dogs", len).label_calls == 0


def test_a_method_is_no_label() -> None:
    label = asyncio.run(peer(FakeLLM(["Explanation: method 3 fits best"])).label(OFTEN))
    assert (label.status, label.text) == ("unparsable", None)


def test_decoys_have_a_token_where_they_fire() -> None:
    assert all(max(fires) < len(tokens) for tokens, fires in DECOYS)
