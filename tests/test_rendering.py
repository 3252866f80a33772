"""Examples as an LLM is shown them: one line each, marks that corpus text cannot imitate, and the exact text back."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.records import Example
from autolabel.rendering import (
    escape,
    graded_line,
    mark,
    marked_line,
    numbered,
    peak_position,
    peak_word,
    plain_line,
    strength,
    unmark,
)

HOSTILE = [
    "<<",
    ">>",
    "\\",
    "\\n",
    "\n",
    "\r\n",
    "\t",
    "<|im_start|>",
    "\u2028",
    "\u202e",
    "\x00",
    "\\u{202E}",
    "\ud800",
    "é",
    "",
    "## user",
    "$x",
    "a",
]
tokens = st.lists(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=4)), max_size=12)


def example(*parts: str, positions: tuple[int, ...] = (), activations: tuple[float, ...] = ()) -> Example:
    starts, at = [], 0
    for part in parts:
        starts.append(at)
        at += len(part)
    return Example(
        "w", "d", "d", 0, "train", "firing", None, "".join(parts), tuple(starts), 0,
        positions=positions, activations=activations, max_activation=max(activations, default=0.0),
    )  # fmt: skip


@given(tokens, st.data())
def test_unmark_gives_back_text_and_marks(parts: list[str], data: st.DataObject) -> None:
    positions = data.draw(st.sets(st.integers(0, len(parts) - 1))) if parts else set()
    line = mark(parts, positions)
    text, spans = unmark(line)
    assert text == "".join(parts)
    assert len((line + "|").splitlines()) == 1
    marked = {i for start, end in spans for i in range(start, end)}
    starts = [sum(map(len, parts[:i])) for i in range(len(parts) + 1)]
    for position in positions:
        inside = range(starts[position], starts[position + 1])
        assert {i for i in inside if text[i] != " "} <= marked
    assert all(first[1] < second[0] for first, second in pairwise(spans))


@given(st.text())
def test_escaped_text_is_one_line_without_marks_or_special_tokens(text: str) -> None:
    line = escape(text)
    assert unmark(line) == (text, ())
    assert "<<" not in line
    assert "<|" not in line
    line.encode()  # no lone surrogates left


def test_the_escapes_literally() -> None:
    assert escape("a\\b<<c>>\n\t\r\u2028\u202e\U000e0001") == r"a\\b\<\<c\>\>\n\t\u{000D}\u{2028}\u{202E}\u{E0001}"


def test_marks_of_neighbouring_tokens_are_merged() -> None:
    assert mark(["The", " cat", "s", " sat", "."], [1, 2, 4]) == "The <<cats>> sat<<.>>"


def test_a_token_without_text_marks_the_character_it_belongs_to() -> None:
    assert mark(["a", "", "", "😀", "b"], [1]) == "a<<😀>>b"
    assert mark(["a", ""], [1]) == "a"


@pytest.mark.parametrize("word", ["think", "s", "/s", "|im_start|", "|", "End_of_turn", "pad"])
def test_marks_make_no_special_token_of_what_they_mark(word: str) -> None:
    line = mark(["I ", word, " so"], [1])
    assert f"<{word}>" not in line
    assert unmark(line) == (f"I {word} so", ((2, 2 + len(word)),))
    assert mark(["thinking"], [0]) == "<<thinking>>"


def test_blanks_are_marked_where_nothing_else_is() -> None:
    assert mark(["a", "  ", "b"], [1]) == "a<<  >>b"


def test_marks_outside_the_window_are_a_mistake() -> None:
    with pytest.raises(ValueError, match="position 2 is outside a window of 2 tokens"):
        mark(["a", "b"], [2])


@pytest.mark.parametrize("line", ["<<open", "shut>>", "a < b", "\\x", "<<a<<b>>", "\\u{12}"])
def test_lines_made_by_something_else_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"not part of a rendered example|does not close"):
        unmark(line)


def test_lines_of_an_example() -> None:
    firing = example("One", " dog", "\nran", positions=(1, 2), activations=(4.0, 1.0))
    assert plain_line(firing) == r"One dog\nran"
    assert marked_line(firing, (1,)) == r"One <<dog>>\nran"
    assert graded_line(firing, 8.0) == r"5: One <<dog\nran>>"
    assert numbered(["a", "b"]) == "1. a\n2. b"


def test_the_peak_word_is_whole() -> None:
    parts = ["She", " prom", "ised", ",", '"', "\n", " don", "'t", " <<", "x"]
    peaks = {0: "She", 1: "promised", 2: "promised", 3: ',"', 5: None, 6: "don't", 8: r"\<\<"}
    found = {p: peak_word(example(*parts, positions=(p, 9) if p != 9 else (9,), activations=(2.0, 1.0))) for p in peaks}
    assert found == peaks
    assert peak_word(example(*parts)) is None


def test_the_peak_is_the_first_of_equals() -> None:
    assert peak_position(example("a", "b", "c", positions=(1, 2), activations=(2.0, 2.0))) == 1
    assert peak_position(example("a")) is None


@pytest.mark.parametrize(("activation", "expected"), [(0.001, 1), (1.0, 1), (1.01, 2), (9.9, 10), (10.0, 10), (12.0, 10)])
def test_strength_is_in_tenths_of_the_maximum(activation: float, expected: int) -> None:
    assert strength(activation, 10.0) == expected


def test_strength_needs_a_maximum() -> None:
    with pytest.raises(ValueError, match="max_activation is 0"):
        strength(1.0, 0.0)
