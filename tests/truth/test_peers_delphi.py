"""delphi's protocol: what is shown, what is asked, what a reply comes to, and what is lost."""

import asyncio
import re

import numpy as np
import pytest

from autolabel.errors import EndpointError
from autolabel.records import ChatRequest, Purpose
from autolabel.truth.nuisances import Firing
from autolabel.truth.peers.base import PeerScore
from autolabel.truth.peers.delphi import ALWAYS_MARKED, Delphi, wrong_marks
from autolabel.truth.peers.excerpts import Excerpt
from tests.fakes import Answer, FakeLLM
from tests.truth.peers_world import OFTEN, SELDOM, firings, world

PURPOSE = Purpose("score", OFTEN)


def delphi(llm: FakeLLM, **named: object) -> Delphi:
    return Delphi(world(), firings(), llm, "evidence", "sae", 0, **named)  # type: ignore[arg-type]


def score(peer: Delphi, feature: int = OFTEN) -> PeerScore:
    return asyncio.run(peer.score(feature, "dogs", PURPOSE))


def lines(request: ChatRequest) -> list[str]:
    return re.findall(r"^Example \d+: (.*)$", request.messages[-1].content, re.M)


def oracle(request: ChatRequest) -> Answer:
    return str([int("dog" in line) for line in lines(request)])


def by_marks(request: ChatRequest) -> Answer:
    return str([int("<<dog>>" in line) for line in lines(request)])


def test_the_labeler_is_shown_forty_marked_examples_with_strengths() -> None:
    llm = FakeLLM(["They are dogs.\n[EXPLANATION]: dogs."])
    label = asyncio.run(delphi(llm).label(OFTEN))
    assert (label.status, label.text, label.method, label.origin) == ("ok", "dogs", "delphi", "baseline")
    assert label.request_hash == "request-1"
    (request,) = llm.requests
    shown = lines(request)
    assert len(shown) == 40
    assert all("<<dog>>" in line for line in shown)
    strengths = [int(found) for found in re.findall(r'^Activations: \(" dog" : (\d+)\)', request.messages[-1].content, re.M)]
    assert len(strengths) == 40
    assert strengths == sorted(strengths, reverse=True)
    assert (strengths[0], strengths[-1]) == (10, 1)


@pytest.mark.parametrize(("reply", "status"), [("dogs", "unparsable"), ("I'm sorry, but I can't help with that.", "refused")])
def test_a_reply_without_explanation_leaves_no_label_and_is_not_asked_again(reply: str, status: str) -> None:
    llm = FakeLLM([reply])
    label = asyncio.run(delphi(llm).label(OFTEN))
    assert (label.status, label.text) == (status, None)
    assert label.error


def test_a_feature_that_fires_seldom_is_left_out() -> None:
    peer = delphi(FakeLLM([]))
    label = asyncio.run(peer.label(SELDOM))
    assert label.status == "failed"
    assert "fires in 5 tiles, and delphi leaves out features with fewer than 200" in str(label.error)
    found = score(peer, SELDOM)
    assert (found.value, found.n_calls) == (None, 0)
    assert peer.cost(SELDOM, "fox", len).score_calls == 0


@pytest.mark.parametrize(("scorer", "judge"), [("detection", oracle), ("fuzz", by_marks)])
def test_a_judge_who_knows_scores_one_in_twenty_calls(scorer: str, judge: object) -> None:
    llm = FakeLLM(judge)  # type: ignore[arg-type]
    found = score(delphi(llm, scorer=scorer))
    assert (found.value, found.chance, found.n_examples, found.n_failed, found.n_calls) == (1.0, 0.5, 100, 0, 20)
    assert all(len(lines(request)) == 5 for request in llm.requests)
    assert ("<<" in llm.requests[0].messages[-1].content) == (scorer == "fuzz")
    assert {purpose for _, purpose in llm.history} == {PURPOSE}


def test_a_judge_who_always_agrees_scores_chance() -> None:
    found = score(delphi(FakeLLM(lambda request: "[1,1,1,1,1]")))
    assert found.value == found.chance
    assert (found.details["recall"], found.details["specificity"]) == (1.0, 0.0)


def test_the_test_repeats_shown_tiles_unless_told_not_to() -> None:
    leaky, disjoint = (score(delphi(FakeLLM(oracle), leaky=leaky)) for leaky in (True, False))
    assert 10 <= leaky.shared <= 20
    assert disjoint.shared == 0


def test_a_pack_is_lost_whose_reply_is_not_five_answers() -> None:
    replies = iter(["[1,0]", "no", "[1,1,1,1,1,1]"])
    found = score(delphi(FakeLLM(lambda request: next(replies, None) or oracle(request))))
    assert (found.value, found.n_failed, found.n_calls) == (1.0, 15, 20)


def test_nothing_answered_is_no_score() -> None:
    found = score(delphi(FakeLLM(lambda request: "yes")))
    assert (found.value, found.n_failed) == (None, 100)


def test_an_incomplete_last_pack_is_lost_as_in_delphi() -> None:
    tokens = world().tile_first[:-47]
    dense = Firing(tokens, np.arange(1, len(tokens) + 1, dtype=np.float32))
    llm = FakeLLM(lambda request: "[1,1,1,1,1]")
    found = asyncio.run(Delphi(world(), [dense], llm, "evidence", "sae", 0).score(0, "all", PURPOSE))
    assert [len(lines(request)) for request in llm.requests] == [5] * 19 + [2]
    assert (found.n_examples, found.n_failed) == (97, 2)


def test_a_feature_without_tenths_has_nothing_to_be_scored_on() -> None:
    found = score(delphi(FakeLLM(oracle), min_examples=5), SELDOM)
    assert (found.value, found.n_examples) == (None, 50)


def test_firing_and_silent_examples_are_mixed() -> None:
    llm = FakeLLM(oracle)
    score(delphi(llm))
    firing = [sum("dog" in line for line in lines(request)) for request in llm.requests]
    assert sum(firing) == 50
    assert sum(0 < n < 5 for n in firing) > 12


def test_an_endpoint_that_fails_ends_the_run() -> None:
    with pytest.raises(EndpointError):
        score(delphi(FakeLLM(lambda request: EndpointError("gone"))))


def test_all_negatives_are_marked_at_the_same_places() -> None:
    llm = FakeLLM(by_marks)
    score(delphi(llm, scorer="fuzz"))
    negatives = [line for request in llm.requests for line in lines(request) if "dog" not in line]
    assert len(negatives) == 50
    assert all(line.count("<<") == 1 for line in negatives)
    twice = Excerpt(0, ("a",) * 32, (1.0,) * 2 + (0.0,) * 30)
    assert len(set(wrong_marks([twice, twice]))) == 2
    assert wrong_marks([twice])[0] == ALWAYS_MARKED == 24
    assert wrong_marks([twice]) == wrong_marks([twice, twice])


def test_what_is_asked_follows_from_the_seed() -> None:
    def asked(seed: int) -> list[ChatRequest]:
        llm = FakeLLM(oracle)
        asyncio.run(Delphi(world(), firings(), llm, "evidence", "sae", seed).score(OFTEN, "dogs", PURPOSE))
        return llm.requests

    assert asked(0) == asked(0)
    assert asked(0) != asked(1)


def test_label_ids_follow_from_what_determines_a_label() -> None:
    def label_id(reply: str, model: str = "fake", evidence: str = "evidence") -> str:
        llm = FakeLLM([reply], model)
        return asyncio.run(Delphi(world(), firings(), llm, evidence, "sae", 0).label(OFTEN)).label_id

    assert label_id("[EXPLANATION]: a") == label_id("no label")
    assert len({label_id("a"), label_id("a", model="other"), label_id("a", evidence="other")}) == 3


def test_the_cost_is_what_is_sent() -> None:
    llm = FakeLLM(lambda request: "[EXPLANATION]: dogs" if len(lines(request)) == 40 else oracle(request))
    peer = delphi(llm)
    cost = peer.cost(OFTEN, "dogs", len)
    assert llm.history == []
    asyncio.run(peer.label(OFTEN))
    score(peer)
    sent = [sum(len(message.content) for message in request.messages) for request in llm.requests]
    assert (cost.label_calls, cost.label_tokens) == (1, sent[0])
    assert (cost.score_calls, cost.score_tokens) == (20, sum(sent[1:]))
