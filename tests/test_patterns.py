"""Patterns from strangers: what is let through is quick, and says what it says."""

import re

import pytest

from autolabel.errors import DataError
from autolabel.patterns import LONGEST_WORD, compiled, matches, named_shapes, plain, prefix, suffix

HOSTILE = [
    r"(a+)+",
    r"(?:a+)+",
    r"(?:a|a)*",
    r"(?:a|aa)+b",
    r"(.*)(.*)x",
    r"(?=a)a",
    r"(?!a)b",
    r"(?<=a)b",
    r"(?i)a",
    r"(?P<x>a)",
    r"(a)\1",
    r"\1",
    r"a|b",
    r"a{1000}",
    r"a{2}{3}",
    r"a++",
    r"(?:a(?:b|c))",
    r"[a-z",
    r"[]",
    r"[[a]]",
    r"[a--b]",
    r"[a&&b]",
    r"^a$",
    r"\bword\b",
    r"two words",
    "a\n",
    "(?:" * 50,
]


@pytest.mark.parametrize("pattern", HOSTILE)
def test_what_could_take_long_or_look_around_is_refused(pattern: str) -> None:
    with pytest.raises(DataError, match="uses what is not allowed: expected characters, classes"):
        compiled(pattern)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("", "has 0 characters, expected 1 to 200"),
        ("a" * 201, "has 201 characters"),
        ("[a-z]+" * 4, "has 4 repeats of variable length"),
        ("a?" * 30, "has 30 repeats of variable length"),
        ("(?:a|b|c|d|e)" * 3, "125 ways"),
        ("[z-a]", "is no regular expression: bad character range"),
        ("a{5,2}", "is no regular expression: min repeat greater than max"),
    ],
)
def test_what_is_too_much_is_refused_with_its_number(pattern: str, message: str) -> None:
    with pytest.raises(DataError, match=re.escape(message)):
        compiled(pattern)


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        (r"[A-Za-z]+ing", ["going", "Sing"], ["ing", "goings", "GOING"]),
        (r"(?:1[5-9]|20)\d{2}", ["1999", "2020"], ["1499", "20200", "x1999"]),
        (r"[A-Za-z]+(?:ment|ness)", ["payment", "illness"], ["ment", "payments"]),
        (r"\$", ["$"], ["$$", "a"]),
        (r"[A-Z]{2,}", ["USA"], ["U", "Usa"]),
        (r"[^\[\]]", ["a"], ["[", "]"]),
    ],
)
def test_an_allowed_pattern_matches_whole_words(pattern: str, yes: list[str], no: list[str]) -> None:
    found = compiled(pattern)
    assert all(matches(found, word) for word in yes)
    assert not any(matches(found, word) for word in no)


def test_a_word_longer_than_any_matches_nothing() -> None:
    found = compiled("[a-z]+")
    assert matches(found, "a" * LONGEST_WORD)
    assert not matches(found, "a" * (LONGEST_WORD + 1))


def test_the_worst_pattern_that_is_allowed_takes_a_bounded_number_of_steps() -> None:
    """Three repeats of one letter and every alternative alike: still done at once, where nested repeats would outlast the universe."""
    assert not matches(compiled("a*a*a*(?:a|a|a|a)(?:a|a|a|a)b"), "a" * LONGEST_WORD)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        (suffix("ing"), 'words ending in "-ing"'),
        (prefix("un"), 'words beginning with "un-"'),
        (r"\d{3}", "numbers of 3 digits"),
        (r"[A-Za-z]{12,}", "words of at least 12 letters"),
        (r"[A-Za-z]{3}", "words of 3 letters"),
        (r"[A-Z][a-z]{2}", "capitalised words of 3 letters"),
        (r"[A-Za-z]+['’]s", 'words ending in "\'s"'),
        (r"[A-Z]{2,}", "words in capitals"),
        (r"x[yz]", 'words of the form "x[yz]"'),
    ],
)
def test_patterns_are_said_in_plain_english(pattern: str, said: str) -> None:
    assert plain(pattern) == said
    compiled(pattern)


def test_every_shape_with_a_name_is_allowed() -> None:
    assert all(plain(compiled(shape).pattern) != f'words of the form "{shape}"' for shape in named_shapes())
