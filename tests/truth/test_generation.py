"""Texts written from labels, run through the feature's function."""

import pytest

from autolabel.errors import ModelResponseError
from autolabel.records import ChatRequest
from autolabel.truth.built import Built
from autolabel.truth.features import Family
from autolabel.truth.generation import TEXTS, WRITABLE, Writer, holds
from tests.fakes import FakeLLM


def first(built: Built, family: Family) -> int:
    return next(feature.index for feature in built.features if feature.family == family)


def numbered(texts: list[str]) -> str:
    return "\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1))


def word_of(built: Built, index: int) -> str:
    return built.feature(index).candidate.absorbable[0]


def test_a_function_holds_in_a_text_or_not(built: Built) -> None:
    words = first(built, "words")
    word = word_of(built, words)
    assert holds(built, words, f"They spoke of {word.upper()}.")
    assert not holds(built, words, "They spoke of nothing.")
    assert not holds(built, words, "")
    assert not holds(built, words, " \n")
    before = first(built, "next_token")
    target = built.feature(before).candidate.meaning.predicate.target.words[0]  # type: ignore[attr-defined]
    assert holds(built, before, f"It was {target}.")
    assert not holds(built, before, f"{target} it was."), "nothing stands before it"


def test_nuisances_play_no_part(built: Built) -> None:
    for feature in built.features:
        if feature.nuisances.absorbed:
            assert holds(built, feature.index, f"the {feature.nuisances.absorbed}")
    missing = next(feature for feature in built.features if feature.nuisances.miss and feature.family == "words")
    assert all(holds(built, missing.index, f"{n} {word_of(built, missing.index)}") for n in range(30))


async def test_precision_is_the_share_of_texts_in_which_the_function_holds(built: Built) -> None:
    words = first(built, "words")
    word = word_of(built, words)
    texts = [f"One {word} stood there.", "None of it.", f"Two {word} again.", f"All about {word}.", "Nothing at all here."]
    model = FakeLLM([numbered(texts)])
    found = await Writer(model, frozenset({words})).precision(built, {words: "a label with $signs"})
    assert found == {words: 3 / 5}
    ((request, purpose),) = model.history
    assert "Label: a label with $signs" in request.messages[-1].content
    assert f"Write {TEXTS} different texts." in request.messages[-1].content
    assert (purpose.stage, purpose.feature_index) == ("score", words)


async def test_nothing_is_asked_of_features_left_out_or_that_no_sentence_can_show(built: Built) -> None:
    model = FakeLLM([])
    topic, null, words = first(built, "topic"), first(built, "null"), first(built, "words")
    writer = Writer(model, frozenset({topic, null}))
    assert await writer.precision(built, {topic: "a", null: "b", words: "c"}) == {}
    assert {"topic", "null"}.isdisjoint(WRITABLE)
    assert await writer.precision(built, {}) == {}


async def test_a_label_from_which_nothing_was_written_has_no_precision(built: Built) -> None:
    one, other = [feature.index for feature in built.features if feature.family == "words"][:2]

    def answer(request: ChatRequest) -> str | Exception:
        if "Label: lost" in request.messages[-1].content:
            return ModelResponseError("failed", "lost")
        return numbered([f"A sentence with {word_of(built, other)} number {n}." for n in range(TEXTS)])

    found = await Writer(FakeLLM(answer), frozenset({one, other})).precision(built, {one: "lost", other: "kept"})
    assert found == {other: 1.0}


@pytest.mark.parametrize("reply", ["", "I'm sorry, I can't help with that."])
async def test_an_unusable_reply_is_asked_again(built: Built, reply: str) -> None:
    words = first(built, "words")
    good = numbered([f"Sentence {n} about {word_of(built, words)} today." for n in range(TEXTS)])
    model = FakeLLM([reply, good])
    assert await Writer(model, frozenset({words})).precision(built, {words: "a label"}) == {words: 1.0}
    assert len(model.history) == 2
    assert await Writer(FakeLLM([reply] * 3), frozenset({words})).precision(built, {words: "a label"}) == {}
