"""SAEBench's protocol: its windows, its one question for fourteen, and its floor."""

import asyncio
import re

import numpy as np
import pytest

from autolabel.records import ChatRequest, Purpose
from autolabel.truth.nuisances import Firing
from autolabel.truth.peers.base import PeerScore
from autolabel.truth.peers.saebench import SaeBench
from tests.fakes import Answer, FakeLLM
from tests.truth.peers_world import OFTEN, SELDOM, firings, world


def peer(llm: FakeLLM, *found: Firing, seed: int = 0) -> SaeBench:
    return SaeBench(world(), found or firings(), llm, "evidence", "sae", seed)


def score(llm: FakeLLM, feature: int = OFTEN) -> PeerScore:
    return asyncio.run(peer(llm).score(feature, "dogs", Purpose("score", feature)))


def lines(request: ChatRequest) -> list[str]:
    return re.findall(r"^\d+\. (.*)$", request.messages[-1].content, re.M)


def oracle(request: ChatRequest) -> Answer:
    return ", ".join(str(number) for number, line in enumerate(lines(request), start=1) if "dog" in line)


def test_the_labeler_is_shown_fifteen_windows_strongest_first() -> None:
    llm = FakeLLM(["This neuron activates on dogs."])
    label = asyncio.run(peer(llm).label(OFTEN))
    assert (label.status, label.text, label.method) == ("ok", "dogs", "saebench")
    (request,) = llm.requests
    assert request.temperature == 1.0
    assert len(lines(request)) == 15
    assert all("<<dog>>" in line for line in lines(request))
    assert all(len(line.split()) == 21 for line in lines(request))


def test_fourteen_windows_are_judged_in_one_call() -> None:
    llm = FakeLLM(oracle)
    found = score(llm)
    assert (found.n_examples, found.n_calls, found.n_failed) == (14, 1, 0)
    assert len(lines(llm.requests[0])) == 14
    right = 14 - int(found.details["n_random_active"])
    assert found.value == right / 14
    assert found.details["recall"] == 1.0
    assert llm.requests[0].messages[-1].content.startswith("An answer looks like this: ")
    assert len(llm.requests[0].messages[-1].content.splitlines()[0].split(",")) == 4


def test_none_comes_at_the_floor() -> None:
    found = score(FakeLLM(["None"]))
    assert found.value == found.chance == pytest.approx(10 / 14)
    assert found.details["balanced_accuracy"] == 0.5


def test_a_reply_that_is_no_list_is_dropped() -> None:
    found = score(FakeLLM(["Examples 3 and 5 do."]))
    assert (found.value, found.n_failed) == (None, 14)


def test_a_feature_with_too_few_peaks_is_left_out() -> None:
    found = score(FakeLLM([]), SELDOM)
    assert (found.value, found.n_calls) == (None, 0)
    assert "5 peaks" in found.details["left_out"]
    equal = Firing(firings()[OFTEN].tokens, np.ones_like(firings()[OFTEN].values))
    label = asyncio.run(peer(FakeLLM([]), equal).label(0))
    assert "0 weaker activations" in str(label.error)


def test_weaker_windows_are_drawn_by_squared_activation() -> None:
    firing = firings()[OFTEN]
    strong = np.argsort(-firing.values)[:60]
    values = np.full_like(firing.values, 0.02)
    values[strong] = np.arange(60, 0, -1)
    windows = peer(FakeLLM([]), Firing(firing.tokens, values))._windows(0)
    firing_windows = [*windows.shown, *(one for one, active in windows.tested if active)]
    assert len(firing_windows) == 19
    assert all(one.max_activation >= 1 for one in firing_windows)
    assert windows.least == pytest.approx(0.6)


def test_the_strongest_windows_keep_their_distance() -> None:
    firing = firings()[OFTEN]
    tokens = np.sort(np.concatenate([firing.tokens, firing.tokens + 4]))
    values = np.arange(len(tokens), 0, -1).astype(np.float32)
    windows = peer(FakeLLM([]), Firing(tokens, values))._windows(0)
    every = [*windows.shown, *(one for one, active in windows.tested if active)]
    centres = sorted(one.first + 10 for one in every if one.activations[10] > values[24])
    assert len(centres) == 12
    assert min(np.diff(centres)) > 10


def test_what_is_asked_follows_from_the_seed() -> None:
    def asked(seed: int) -> list[ChatRequest]:
        llm = FakeLLM(["None", "activates on dogs"])
        asyncio.run(peer(llm, seed=seed).score(OFTEN, "dogs", Purpose("score", OFTEN)))
        asyncio.run(peer(llm, seed=seed).label(OFTEN))
        return llm.requests

    assert asked(0) == asked(0)
    assert asked(0)[0] != asked(1)[0]
    assert asked(0)[1] != asked(1)[1]
