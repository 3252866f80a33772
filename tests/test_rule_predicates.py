"""Rules: what is let in, on which tokens each kind fires, and how it is said."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import DataError
from autolabel.predicates import DEEPEST, MOST_ENTRIES, Near, Reading, Window, evaluate, parse_predicate
from autolabel.records import Example
from autolabel.rule_text import describe
from autolabel.words import words_of

RIVER = {"kind": "words", "weights": {"river": 1.0, "bank": 0.5}}


def window(tokens: Sequence[str], n_context: int = 0) -> Example:
    """A test window of these tokens."""
    starts = tuple(sum(map(len, tokens[:i])) for i in range(len(tokens)))
    return Example("w", "d", "d", 0, "test", "background", "random", "".join(tokens), starts, n_context)


def read(predicate: dict[str, Any], text: str, n_context: int = 0) -> Reading:
    """What a rule says of a text whose tokens are its words, each with the blank before it."""
    words = text.split(" ")
    return evaluate(parse_predicate(predicate), window([words[0], *(f" {word}" for word in words[1:])], n_context))


@pytest.mark.parametrize(
    ("predicate", "text", "value", "positions"),
    [
        (RIVER, "the River bank", 1.0, (1, 2)),
        (RIVER, "the bank", 0.5, (1,)),
        (RIVER, "rivers", 0.0, ()),
        ({"kind": "tokens", "weights": {" bank": 0.4}}, "bank bank", 0.4, (1,)),
        ({"kind": "regex", "pattern": "[A-Z][a-z]+"}, "Anna met tom", 1.0, (0,)),
        ({"kind": "regex", "pattern": r"\d{2}", "weight": 0.25}, "12 of 123", 0.25, (0,)),
        ({"kind": "before", "target": RIVER}, "a bank a river", 1.0, (0, 2)),
        ({"kind": "after", "target": RIVER}, "a bank a river", 0.5, (2,)),
        ({"kind": "any", "parts": [RIVER, {"kind": "regex", "pattern": "x", "weight": 3}]}, "x bank", 3.0, (0, 1)),
    ],
)
def test_each_kind_fires_where_it_says(predicate: dict[str, Any], text: str, value: float, positions: tuple[int, ...]) -> None:
    assert read(predicate, text) == Reading(value, positions)


@pytest.mark.parametrize(("gap", "fires"), [(0, True), (7, True), (8, False)])
@pytest.mark.parametrize("context_first", [True, False])
@pytest.mark.parametrize("absent", [True, False])
def test_a_context_is_within_eight_words_to_either_side(gap: int, fires: bool, context_first: bool, absent: bool) -> None:
    ends = ("money", "bank") if context_first else ("bank", "money")
    text = " ".join([ends[0], *["of"] * gap, ends[1]])
    said = read({"kind": "near", "trigger": RIVER, "context": ["Money"], "absent": absent}, text)
    assert (said.value == 0.5) == (fires != absent)


def test_a_trigger_is_not_its_own_context() -> None:
    near = {"kind": "near", "trigger": RIVER, "context": ["bank"]}
    assert read(near, "the bank was shut") == Reading(0.0, ())
    assert read(near, "the bank of the bank") == Reading(0.5, (1, 4))


def test_left_context_decides_and_does_not_fire() -> None:
    near = {"kind": "near", "trigger": RIVER, "context": ["money"]}
    assert read(near, "bank money in the bank", n_context=2) == Reading(0.5, (4,))
    assert read({"kind": "after", "target": RIVER}, "bank x bank y", n_context=1) == Reading(0.5, (1, 3))
    assert read({"kind": "before", "target": RIVER}, "x bank", n_context=1) == Reading(0.0, ())


def test_pieces_of_a_word_are_the_word_and_white_space_is_none() -> None:
    pieces = window(["the", " ri", "ver", "\n\n", " bank"])
    assert evaluate(parse_predicate(RIVER), pieces).positions == (1, 2, 4)
    assert evaluate(parse_predicate({"kind": "regex", "pattern": "river"}), pieces).positions == (1, 2)
    assert evaluate(parse_predicate({"kind": "before", "target": RIVER}), pieces) == Reading(1.0, (0, 1, 2))
    assert Window(pieces).written == ["the", "river", "bank"]


@given(
    st.lists(
        st.sampled_from([" the", "the", " cat", "egory", "'s", ";", "...", "\n", " ", "’t", " 12", "", "_", " ö"]),
        min_size=1,
        max_size=12,
    )
)
def test_words_are_those_that_labelers_see(tokens: list[str]) -> None:
    example = window(tokens)
    read_window = Window(example)
    for piece, number in zip(words_of(example), read_window.word, strict=True):
        assert number == -1 or read_window.folded[number] == piece
    fires = evaluate(parse_predicate({"kind": "words", "weights": {"the": 1}}), example).positions
    assert fires == tuple(i for i, piece in enumerate(words_of(example)) if piece == "the")


def nested(depth: int) -> dict[str, Any]:
    """A predicate with so many others inside one another."""
    predicate: dict[str, Any] = RIVER
    for _ in range(depth):
        predicate = {"kind": "before", "target": predicate}
    return predicate


@pytest.mark.parametrize(
    ("predicate", "message"),
    [
        (None, "predicate is missing, expected a mapping"),
        ([RIVER], "predicate is a list of 1, expected a mapping"),
        ({"weights": {}}, "predicate kind is missing, expected 'words', 'tokens'"),
        ({"kind": "magic"}, "predicate kind is 'magic'"),
        ({"kind": ["words"]}, "predicate kind is a list of 1"),
        ({"kind": "words"}, "predicate.weights is missing"),
        ({"kind": "words", "weights": ["a"]}, "predicate.weights is a list of 1"),
        ({"kind": "words", "weights": {"a": float("nan")}}, "predicate.weights holds float nan, expected a number from 0"),
        ({"kind": "words", "weights": {"a": float("inf")}}, "holds float inf"),
        ({"kind": "words", "weights": {"a": -1}}, "holds int -1"),
        ({"kind": "words", "weights": {"a": True}}, "holds bool True"),
        ({"kind": "words", "weights": {"a": 10**5000}}, "holds a whole number beyond 1e9"),
        ({"kind": "words", "weights": {"a": "1"}}, "holds '1'"),
        ({"kind": "words", "weights": {"": 1}}, "holds '', expected text of 1 to 1,000"),
        ({"kind": "words", "weights": {"a" * 1001: 1}}, "expected text of 1 to 1,000"),
        ({"kind": "words", "weights": {1: 1}}, "holds int 1, expected text"),
        ({"kind": "words", "weights": {}, "code": "x"}, "has 'code', expected nothing but kind, weights"),
        ({"kind": "words", "weights": {str(i): 1 for i in range(MOST_ENTRIES + 1)}}, "expected at most 20,000 weights"),
        ({"kind": "regex", "pattern": None}, "predicate.pattern is missing"),
        ({"kind": "regex", "pattern": "(a+)+"}, "uses what is not allowed"),
        ({"kind": "near", "trigger": RIVER, "context": "money"}, "predicate.context is 'money', expected a list"),
        ({"kind": "near", "trigger": RIVER, "context": []}, "predicate.context is a list of 0"),
        ({"kind": "near", "trigger": RIVER, "context": ["a"], "absent": 1}, "predicate.absent is int 1, expected true or false"),
        ({"kind": "near", "context": ["a"]}, "predicate.trigger is missing"),
        ({"kind": "any", "parts": []}, "predicate.parts is a list of 0, expected a list of 1 to 64"),
        ({"kind": "any", "parts": [RIVER] * 65}, "predicate.parts is a list of 65"),
        ({"kind": "any", "parts": [RIVER, {"kind": "x"}]}, r"predicate.parts\[1\]: predicate kind is 'x'"),
        (nested(DEEPEST + 1), "lies more than 3 deep"),
        (nested(100_000), "lies more than 3 deep"),
    ],
)
def test_what_is_malformed_is_refused_with_its_place(predicate: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_predicate(predicate)


def test_many_parts_may_not_hold_more_than_one() -> None:
    words = {"kind": "words", "weights": {str(i): 1 for i in range(MOST_ENTRIES // 2)}}
    with pytest.raises(DataError, match="holds 30,000 words or tokens, expected at most 20,000"):
        parse_predicate({"kind": "any", "parts": [words] * 3})


def test_what_is_as_deep_as_can_be_is_let_in() -> None:
    assert evaluate(parse_predicate(nested(DEEPEST)), window(["a", " b", " c", " river"])) == Reading(1.0, (0,))


def test_a_context_is_kept_in_order_and_once() -> None:
    rule = parse_predicate({"kind": "near", "trigger": RIVER, "context": ["Money", "money", "loan"]})
    assert isinstance(rule, Near)
    assert (rule.context, rule.absent) == (("money", "loan"), False)


@pytest.mark.parametrize(
    ("predicate", "said"),
    [
        (RIVER, 'the words "river", "bank"'),
        ({"kind": "words", "weights": {";": 1}}, 'the mark ";"'),
        ({"kind": "words", "weights": {}}, "nothing"),
        ({"kind": "words", "weights": {f"w{i}": 1 / (i + 1) for i in range(9)}}, 'the words "w0", "w1", "w2", "w3", "w4", "w5"'),
        ({"kind": "tokens", "weights": {" a": 1, "b": 0.5}}, 'the tokens " a" and "b"'),
        ({"kind": "before", "target": {"kind": "words", "weights": {"river": 1}}}, 'the word before the word "river"'),
        ({"kind": "after", "target": {"kind": "regex", "pattern": r"\d+"}}, "the word after numbers"),
        (
            {"kind": "near", "trigger": RIVER, "context": ["money", "loan"]},
            'the words "river", "bank" when "money" or "loan" is within 8 words',
        ),
        (
            {"kind": "near", "trigger": RIVER, "context": ["money"], "absent": True},
            'the words "river", "bank", unless "money" is within 8 words',
        ),
        (
            {"kind": "any", "parts": [{"kind": "regex", "pattern": "[A-Za-z]+ing"}, {"kind": "regex", "pattern": "[A-Za-z]+ed"}]},
            'words ending in "-ing"; or words ending in "-ed"',
        ),
        ({"kind": "words", "weights": {"<<\n": 1}}, r'the mark "\<\<\n"'),
    ],
)
def test_rules_are_said_in_plain_english(predicate: dict[str, Any], said: str) -> None:
    assert describe(predicate) == said
    assert describe(parse_predicate(predicate)) == said


def test_what_cannot_run_cannot_be_said() -> None:
    with pytest.raises(DataError, match="predicate kind is 'magic'"):
        describe({"kind": "magic"})


def test_the_page_about_rules_shows_every_kind() -> None:
    page = (Path(__file__).parents[1] / "docs" / "rules.md").read_text(encoding="utf-8")
    with pytest.raises(DataError) as refused:
        parse_predicate({"kind": "magic"})
    kinds = re.findall(r"'(\w+)'", str(refused.value).split("expected", 1)[1])
    assert len(kinds) == 7
    assert all(f'{{"kind": "{kind}", ' in page for kind in kinds)
