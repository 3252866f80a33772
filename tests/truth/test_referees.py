"""The forced choice among ten: what is offered, in which order, and what becomes of an answer that is none."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from autolabel.errors import EndpointError, ModelResponseError
from autolabel.records import ChatReply, ChatRequest
from autolabel.truth.bank import Meaning
from autolabel.truth.built import Built
from autolabel.truth.features import Candidate, Nuisances, TruthFeature
from autolabel.truth.predicates import Words
from autolabel.truth.referees import ChoosingReferee, EmbeddingReferee, options_of
from autolabel.truth.selection import OPTIONS
from tests.fakes import FakeEmbedder, FakeLLM

OPTIONS_SHOWN = [f"option {number}" for number in range(10)]


def feature_with(near: int, wrong: int, key: str = "key") -> TruthFeature:
    kinds = ("broader", "narrower", "sibling", "context_dropped")
    nearby = {kind: Meaning(f"{kind} label", Words((kind,))) for kind in kinds[:near]}
    others = tuple(Meaning(f"wrong {number}", Words((f"w{number}",))) for number in range(wrong))
    candidate = Candidate("words", key, Meaning("right", Words(("right",))), ("said otherwise",), nearby)  # type: ignore[arg-type]
    return TruthFeature(0, candidate, Nuisances(), others)


def test_ten_options_hold_the_right_one_once(built: Built) -> None:
    for feature in built.features:
        if feature.family != "null":
            options = options_of(feature)
            assert len(options) == len(set(options)) <= OPTIONS
            assert options.count(feature.label) == 1
            assert not set(options) & set(feature.candidate.paraphrases)
            assert {meaning.label for meaning in feature.candidate.near.values()} <= set(options)
    full = [feature for feature in built.features if feature.family != "null" and len(options_of(feature)) == OPTIONS]
    assert len(full) >= 10


@pytest.mark.parametrize("near", range(5))
def test_near_misses_are_always_offered_and_wrong_labels_fill_up(near: int) -> None:
    options = options_of(feature_with(near, 12))
    assert len(options) == len(set(options)) == OPTIONS
    assert sum(option.endswith(" label") for option in options) == near
    assert sum(option.startswith("wrong") for option in options) == OPTIONS - 1 - near
    assert len(options_of(feature_with(2, 3))) == 6


def test_the_order_is_by_hash_and_gives_the_right_one_any_place() -> None:
    places = Counter(options_of(feature_with(3, 9, key=f"key {n}")).index("right") for n in range(600))
    assert set(places) == set(range(OPTIONS))
    assert max(abs(n - 60) for n in places.values()) < 4 * (600 * 0.1 * 0.9) ** 0.5
    one = feature_with(3, 6)
    assert options_of(one) == options_of(replace(one, wrong=one.wrong[::-1], index=77))


async def test_an_embedding_chooses_the_nearest_option() -> None:
    referee = EmbeddingReferee(FakeEmbedder(d=512))
    options = ["words about dogs", "colours of the sky", "months of the year"]
    asked = [(0, "dogs", options), (1, "the sky in colours", options), (2, "year months", options[::-1])]
    assert await referee.choose(asked) == [0, 1, 0]
    assert await referee.choose([]) == []
    assert referee.model_id == "fake-embedder"


async def test_a_chat_model_is_shown_label_and_numbered_options() -> None:
    model = FakeLLM(["3", "Option 7."])
    referee = ChoosingReferee(model)
    assert await referee.choose([(5, "a label of $5", OPTIONS_SHOWN), (6, "another", OPTIONS_SHOWN)]) == [3, 7]
    (request, purpose), _ = model.history
    last = request.messages[-1].content
    assert "Description: a label of $5" in last
    assert all(f"{number}. {option}\n" in last for number, option in enumerate(OPTIONS_SHOWN))
    assert (purpose.stage, purpose.feature_index) == ("score", 5)
    assert request.temperature == 0.0
    assert request.prompt_hash is not None
    assert referee.model_id == "fake"


@pytest.mark.parametrize("reply", ["10", "-1", "none of them", "", "I'm sorry, I can't help with that.", "3.5"])
async def test_an_answer_that_is_none_is_asked_again_and_then_nothing(reply: str) -> None:
    model = FakeLLM([reply] * 3)
    assert await ChoosingReferee(model).choose([(0, "label", OPTIONS_SHOWN)]) == [None]
    assert len(model.history) == 3
    mended = FakeLLM([reply, "4"])
    assert await ChoosingReferee(mended).choose([(0, "label", OPTIONS_SHOWN)]) == [4]


async def test_a_reply_that_is_lost_is_none_and_an_endpoint_that_is_lost_ends_the_run() -> None:
    lost = ModelResponseError("failed", "lost")
    assert await ChoosingReferee(FakeLLM([lost, "2"])).choose([(0, "a", OPTIONS_SHOWN), (1, "b", OPTIONS_SHOWN)]) == [None, 2]
    with pytest.raises(EndpointError, match="gone"):
        await ChoosingReferee(FakeLLM([EndpointError("gone")])).choose([(0, "a", OPTIONS_SHOWN)])


async def test_broken_answers_fall_to_chance() -> None:
    """A referee that knows recovers everything; the same answers given to other questions recover one in ten."""
    features = [feature_with(3, 9, key=f"key {n}") for n in range(400)]
    options = [options_of(feature) for feature in features]

    def knows(request: ChatRequest) -> ChatReply:
        lines = request.messages[-1].content.splitlines()
        return ChatReply(next(line.split(".")[0] for line in lines if line.endswith(". right")), "stop", "fake")

    answers = await ChoosingReferee(FakeLLM(knows)).choose([(n, "right", shown) for n, shown in enumerate(options)])
    right = np.array([one.index("right") for one in options])
    assert answers == right.tolist()
    shuffled = np.random.default_rng(0).permutation(np.array(answers))
    assert abs((shuffled == right).mean() - 0.1) < 4 * (0.1 * 0.9 / 400) ** 0.5
