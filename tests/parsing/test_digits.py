"""Ratings of one digit and what was expected of each, or an error with a status."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import ModelResponseError
from autolabel.parsing.digits import choice_probabilities, expected_digits, parse_digits
from autolabel.records import AnsweredToken, ChatReply


def reply(text: str, tokens: list[AnsweredToken] | None = None) -> ChatReply:
    return ChatReply(text, "stop", "m", None if tokens is None else tuple(tokens))


def token(text: str, alternatives: dict[str, float] | None = None) -> AnsweredToken:
    """A token with the probabilities of its alternatives."""
    named = {other: math.log(p) for other, p in (alternatives or {text: 0.9}).items()}
    return AnsweredToken(text, named.get(text, math.log(0.9)), named)


@pytest.mark.parametrize(
    "text",
    ["[1,0,9]", "1, 0, 9", "```json\n[1, 0, 9]\n```", '{"ratings": [1, 0, 9]}', '["1","0","9"]', "Sure: [1,0,9,]", "[a]: [1,0,9]"],
)
def test_digits_in_any_dress(text: str) -> None:
    assert parse_digits(reply(text), 3) == [1, 0, 9]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_what_is_written_is_read(digits: list[int]) -> None:
    assert parse_digits(reply(f"{digits}"), len(digits)) == digits


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1,0]", "holds 2 digits where 3 were asked"),
        ("[1,0,9,9]", "holds 4 digits where 3"),
        ("[1,0,10]", "no array of 3"),
        ("[1,0,-1]", "no array of 3"),
        ("[1,0,null]", "no array of 3"),
        ("[1,0,true]", "no array of 3"),
        ("[1,0,0.5]", "no array of 3"),
        ("[1,0,NaN]", "no array of 3"),
        ('[1,0,"²"]', "no array of 3"),
        ("109", "no array"),
        ("1 0 9", "no array"),
        ("", "no array"),
        ("[]", "no array"),
        ("[1,0,9] or [0,0,9]", "2 different arrays"),
    ],
)
def test_doubtful_ratings_are_unparsable(text: str, message: str) -> None:
    with pytest.raises(ModelResponseError, match=message) as caught:
        parse_digits(reply(text), 3)
    assert caught.value.status == "unparsable"


def test_an_apology_is_a_refusal() -> None:
    with pytest.raises(ModelResponseError) as caught:
        parse_digits(reply("I'm sorry, but I can't rate this text."), 3)
    assert caught.value.status == "refused"


def test_the_expectation_is_over_the_digits_alone() -> None:
    tokens = [token("["), token("9", {"9": 0.6, "0": 0.2, "x": 0.2}), token(","), token(" 0", {" 0": 0.3, " 8": 0.1, "0": 0.1})]
    assert expected_digits(reply("[9, 0]", [*tokens, token("]")]), 2) == pytest.approx([0.75 * 9, 0.2 * 8])


def test_the_answered_digit_counts_even_where_it_is_not_among_the_alternatives() -> None:
    answered = AnsweredToken("3", math.log(0.5), {"5": math.log(0.5)})
    assert expected_digits(reply("3", [answered]), 1) == pytest.approx([4.0])


@pytest.mark.parametrize(
    "tokens",
    [
        None,
        [token("[9,0]")],
        [token("["), token("9", {"9": 0.9}), token(",0", {})],
        [token("["), AnsweredToken("9", -0.1), token(","), AnsweredToken("0", -0.1), token("]")],
        [token("[1,0]")],
    ],
)
def test_no_expectation_without_a_token_for_each_digit(tokens: list[AnsweredToken] | None) -> None:
    assert expected_digits(reply("[9,0]", tokens), 2) is None


def test_words_before_the_array_do_not_shift_it() -> None:
    tokens = [token("[1,2] "), token("of "), token("["), token("9", {"9": 1.0}), token(","), token("0", {"0": 1.0}), token("]")]
    assert expected_digits(reply("of [9,0]", tokens), 2) == pytest.approx([9.0, 0.0])


def test_a_choice_shares_its_probability_with_the_other_options() -> None:
    tokens = [token("Text "), token("2", {"2": 0.5, "0": 0.25, "9": 0.25})]
    assert choice_probabilities(reply("Text 2", tokens), 5) == pytest.approx([1 / 3, 0.0, 2 / 3, 0.0, 0.0])


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("2", None), ("2", [AnsweredToken("2", -0.1)]), ("2", [token("2nd")]), ("2", [token("a")]), ("2", [token("3"), token("2")])],
)
def test_no_probabilities_of_a_choice_that_is_no_token(text: str, tokens: list[AnsweredToken] | None) -> None:
    assert choice_probabilities(reply(text, tokens), 5) is None
