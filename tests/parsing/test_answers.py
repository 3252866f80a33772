"""Answers of yes or no as LLMs dress them, and their probabilities, or an error with a status."""

import math

import pytest

from autolabel.errors import ModelResponseError
from autolabel.parsing import answer_probabilities, parse_answers
from autolabel.records import AnsweredToken, ChatReply


def reply(text: str, tokens: list[AnsweredToken] | None = None) -> ChatReply:
    return ChatReply(text, "stop", "m", None if tokens is None else tuple(tokens))


@pytest.mark.parametrize(
    "text",
    [
        "[1,0,1]",
        "1, 0, 1",
        "```json\n[1, 0, 1]\n```",
        '{"answers": [true, false, true]}',
        '["1","0","1"]',
        "Sure: [1,0,1,]",
        "[a] is [1,0,1] so [1, 0, 1]",
    ],
)
def test_answers_in_any_dress(text: str) -> None:
    assert parse_answers(reply(text), 3) == [True, False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1,0]", "holds 2 answers where 3 were asked"),
        ("[1,0,1,1]", "holds 4 answers where 3"),
        ("[1,0,2]", "no array of 3"),
        ("[1,0,null]", "no array of 3"),
        ("[1,0,0.5]", "no array of 3"),
        ("", "no array"),
        ("yes, no, yes", "no array"),
        ("[1,0,1] or [0,0,1]", "2 different arrays"),
    ],
)
def test_doubtful_answers_are_unparsable(text: str, message: str) -> None:
    with pytest.raises(ModelResponseError, match=message) as caught:
        parse_answers(reply(text), 3)
    assert caught.value.status == "unparsable"


def token(text: str, **alternatives: float) -> AnsweredToken:
    """A token with the probabilities of alternatives: `_` for a blank, `c` for a comma before the digit."""
    named = {name.replace("_", " ").replace("c", ",").replace("p", ""): math.log(p) for name, p in alternatives.items()}
    return AnsweredToken(text, named.get(text, math.log(0.9)), named)


def test_probabilities_are_aligned_with_the_answers() -> None:
    tokens = [token("["), token("1", p1=0.6, p0=0.2), token(","), token(" 0", _0=0.5, _1=0.25), token("]"), token("")]
    assert answer_probabilities(reply("[1, 0]", tokens), 2) == pytest.approx([0.75, 1 / 3])


def test_probabilities_survive_merged_tokens_and_fences_that_the_text_lost() -> None:
    tokens = [token("```json\n"), token("[1", p0=0.5), token(",0", c0=0.75, c1=0.25), token("]\n```")]
    assert answer_probabilities(reply("[1,0]", tokens), 2) == pytest.approx([math.exp(math.log(0.9)) / 1.4, 0.25])


def test_a_bare_answer_has_a_probability() -> None:
    assert answer_probabilities(reply("1", [token("1", p1=0.6, p0=0.2)]), 1) == pytest.approx([0.75])


def test_probabilities_of_thoughts_do_not_count() -> None:
    thought = [token("<think>"), token("["), token("0", p0=0.9, p1=0.1), token("]"), token("</think>")]
    answer = [token("["), token("1", p1=0.8, p0=0.2), token("]")]
    assert answer_probabilities(reply("[1]", thought + answer), 1) == pytest.approx([0.8])


@pytest.mark.parametrize(
    "tokens",
    [
        None,
        [],
        [token("[10]")],
        [token("["), token("1,0", p1=0.5), token("]")],
        [token("["), token("1", p1=0.6, p0=0.2), token("]")],
        [
            AnsweredToken("[", 0.0),
            AnsweredToken("1", -0.1),
            AnsweredToken(",", 0.0),
            AnsweredToken("0", -0.1),
            AnsweredToken("]", 0.0),
        ],
    ],
    ids=["none asked", "none given", "one token", "two in one token", "too few", "no alternatives"],
)
def test_no_probabilities_rather_than_misaligned_ones(tokens: list[AnsweredToken] | None) -> None:
    assert answer_probabilities(reply("[1,0]", tokens), 2) is None
