"""Every place in a text, on sentences in which it can be pointed at."""

from random import Random

import numpy as np
import pytest

from autolabel.truth.bank import places as entries
from autolabel.truth.places import PLACES
from autolabel.truth.predicates import Predicate
from tests.truth.worlds_of_text import at_place, columns_of, words_at

TWO = "Anna saw a big cat. Now it, then, sleeps!"
LINES = "= Old Town =\nIt stands. Few come\nLast line here"
SAID = 'He said "come in" and (as we (all) heard) left [soon] {now}.'
STOPS = "First, bring salt; then: Water, 12 cups in 1999 or so."
DASHES = "A well-known man – Ed — ran"
ASKED = "Who came? Not Ed; never: no! Stop this now, please: go."
NAMES = "We met Anna Maria Lopez and USA Today in Rome."
COMMAS = "a, b, c, d, e. f, g"


def numbered(n: int) -> str:
    """The words w0, w1 and so on."""
    return " ".join(f"w{i}" for i in range(n))


def sentence(n: int) -> str:
    """A sentence of that many words."""
    return numbered(n) + "."


CASES: dict[str, tuple[str, list[str]]] = {
    "sentence_first": (TWO, ["Anna", "Now"]),
    "sentence_second": (TWO, ["saw", "it"]),
    "sentence_third": (TWO, ["a", "then"]),
    "sentence_last": (TWO, ["cat", "sleeps"]),
    "sentence_edges": (TWO, ["Anna", "cat", "Now", "sleeps"]),
    "line_first": ("One two\n(three four\nfive", ["One", "five"]),
    "line_last": ("It ends here.\nSo (it does)", ["here", "does"]),
    "line_edges": ("One two\nthree four.\nfive six", ["One", "two", "three", "four", "five", "six"]),
    "heading": (LINES, ["Old", "Town"]),
    "heading_first": (LINES, ["Old"]),
    "after_heading": (LINES, ["It"]),
    "document_first_5": (numbered(8), ["w0", "w1", "w2", "w3", "w4"]),
    "document_first_20": (numbered(30), [f"w{i}" for i in range(20)]),
    "document_first_60": (numbered(90), [f"w{i}" for i in range(60)]),
    "document_second_20": (numbered(90), [f"w{i}" for i in range(20, 40)]),
    "every_fiftieth": (numbered(101), ["w49", "w99"]),
    "every_hundredth": (numbered(301), ["w99", "w199", "w299"]),
    "every_two_hundredth": (numbered(401), ["w199", "w399"]),
    "in_quotes": (SAID, ["come", "in"]),
    "first_in_quotes": (SAID, ["come"]),
    "in_parentheses": (SAID, ["as", "we", "all", "heard"]),
    "in_brackets": (SAID, ["as", "we", "all", "heard", "soon", "now"]),
    "first_in_parentheses": (SAID, ["as", "all"]),
    "last_in_parentheses": (SAID, ["all", "heard"]),
    "after_comma": (STOPS, ["bring", "12"]),
    "before_comma": (STOPS, ["First", "Water"]),
    "around_comma": (STOPS, ["First", "bring", "Water", "12"]),
    "after_colon": (STOPS, ["Water"]),
    "before_colon": (STOPS, ["then"]),
    "after_semicolon": (STOPS, ["then"]),
    "before_semicolon": (STOPS, ["salt"]),
    "after_stop_marks": (STOPS, ["bring", "then", "Water", "12"]),
    "after_dash": (DASHES, ["known", "Ed", "ran"]),
    "before_dash": (DASHES, ["well", "man", "Ed"]),
    "around_dash": (DASHES, ["well", "known", "man", "Ed", "ran"]),
    "after_number": (STOPS, ["cups", "or"]),
    "before_number": (STOPS, ["in"]),
    "after_year": (STOPS, ["or"]),
    "in_question": (ASKED, ["Who", "came"]),
    "first_in_question": (ASKED, ["Who"]),
    "in_exclamation": (ASKED, ["Not", "Ed", "never", "no"]),
    "first_in_exclamation": (ASKED, ["Not"]),
    "in_question_or_exclamation": (ASKED, ["Who", "came", "Not", "Ed", "never", "no"]),
    "in_sentence_with_semicolon": (ASKED, ["Not", "Ed", "never", "no"]),
    "in_sentence_with_colon": ("So: yes. No.", ["So", "yes"]),
    "very_short_sentence": (f"a, b c. {sentence(4)}", ["a", "b", "c"]),
    "short_sentence": (f"a b c d e. {sentence(6)}", ["a", "b", "c", "d", "e"]),
    "shortish_sentence": (f"a b c d e f g h. {sentence(9)}", ["a", "b", "c", "d", "e", "f", "g", "h"]),
    "middling_sentence": (f"a b c d e. q r s t u v. {sentence(11)}", ["q", "r", "s", "t", "u", "v"]),
    "longish_sentence": (f"{sentence(30)} {sentence(29)}", [f"w{i}" for i in range(30)]),
    "long_sentence": (f"{sentence(40)} {sentence(39)}", [f"w{i}" for i in range(40)]),
    "very_long_sentence": (f"{sentence(60)} {sentence(59)}", [f"w{i}" for i in range(60)]),
    "very_long_sentence_any": (f"{sentence(60)} {sentence(59)}", [*(f"w{i}" for i in range(60)), "."]),
    "repeated_soon": ("water fell, water rose " + numbered(20) + " water", ["water"]),
    "repeated_at_once": ("water a b c d e f g Water again water", ["Water", "water"]),
    "repeated": ("water that " + numbered(40) + " water that fives fifth", ["water"]),
    "first_mention": ("water that Water falls", ["water", "falls"]),
    "capitalised": (NAMES, ["We", "Anna", "Maria", "Lopez", "Today", "Rome"]),
    "name_inside": (NAMES, ["Anna", "Maria", "Lopez", "Today", "Rome"]),
    "second_of_name": (NAMES, ["Maria", "Lopez"]),
    "capitalised_first": (NAMES, ["We"]),
    "after_name": (NAMES, ["and", "in"]),
}


def at(name: str, text: str) -> list[int]:
    """Numbers of the words that stand in a place."""
    columns = columns_of(text)
    return np.flatnonzero(PLACES[name](columns)).tolist()


@pytest.mark.parametrize("name", CASES)
def test_a_place_holds_its_words_and_no_others(name: str) -> None:
    text, expected = CASES[name]
    assert at_place(name, text) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("first_comma", [0]),
        ("second_comma", [1]),
        ("third_comma", [2]),
        ("third_comma_or_later", [2, 3]),
        ("comma", [0, 1, 2, 3, 4]),
    ],
)
def test_commas_are_counted_by_sentence(name: str, expected: list[int]) -> None:
    columns = columns_of(COMMAS)
    commas = np.flatnonzero(columns.by_type(",".__eq__)).tolist()
    again = [4] if name in ("first_comma", "comma") else []
    assert at(name, COMMAS) == [commas[i] for i in dict.fromkeys([*expected, *again])]


def test_there_is_a_case_for_every_place() -> None:
    commas = {"first_comma", "second_comma", "third_comma", "third_comma_or_later", "comma"}
    assert CASES.keys() | commas == PLACES.keys()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sentence_second", "One. Two."),
        ("sentence_last", "no end\nno end"),
        ("line_last", "...\n( )"),
        ("heading", "a = b"),
        ("after_heading", "= Title"),
        ("in_quotes", "said 'so' and"),
        ("in_parentheses", "a) b c"),
        ("in_parentheses", "(one). Two"),
        ("after_comma", "a , , b,"),
        ("after_number", "in 1990s we"),
        ("after_year", "12 cups 10000 men"),
        ("in_question", "Who. came"),
        ("repeated", "that that twice"),
        ("second_of_name", "Anna Maria went"),
        ("after_name", "Anna went to Rome."),
        ("capitalised", "A USA iPhone o'Neil"),
    ],
)
def test_a_place_is_not_what_only_looks_like_it(name: str, text: str) -> None:
    wanted = {"in_parentheses": ["one"] if "one" in text else [], "after_comma": ["b"]}.get(name, [])
    assert at_place(name, text) == wanted


@pytest.mark.parametrize("name", PLACES)
def test_a_place_is_the_same_whatever_document_is_beside_it(name: str) -> None:
    """No place looks beyond the ends of its document: what is found in one text is found in it among others."""
    random = Random(name)
    words = [
        "Anna",
        "saw",
        "water",
        "12",
        "1999",
        ".",
        "!",
        "?",
        ",",
        ";",
        ":",
        "-",
        "(",
        ")",
        '"',
        "“",
        "”",
        "=",
        "\n",
        "again",
        "it",
    ]
    texts = [" ".join(random.choice(words) for _ in range(random.choice((0, 5, 60)))) for _ in range(25)]
    alone = [words_at(columns, PLACES[name](columns)) for columns in map(columns_of, texts)]
    columns = columns_of(*texts)
    marks = PLACES[name](columns)
    together = [words_at(columns, marks & (columns.document == number)) for number in range(len(texts))]
    assert together == alone


def test_nothing_stands_anywhere_in_a_text_without_words() -> None:
    assert [name for name in PLACES if at(name, " \n ")] == []


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.key)
def test_written_features_of_place_name_places_that_there_are(entry: object) -> None:
    columns = columns_of(TWO, LINES, SAID, STOPS, ASKED, NAMES)
    meanings = [entry.meaning, *entry.near.values()]  # type: ignore[attr-defined]
    predicates: list[Predicate] = [meaning.predicate for meaning in meanings]
    assert all(predicate.marks(columns).shape == (len(columns),) for predicate in predicates)


@pytest.mark.parametrize(
    ("text", "quoted"),
    [
        ('He left. "Come back," she said.', ["Come", "back"]),
        ('She said "go." He went.', ["go"]),
        ("“Stay.”) Then he left.", ["Stay"]),
        ('It is 3.14 "or so" they say.', ["or", "so"]),
    ],
)
def test_a_quotation_may_stand_anywhere_in_a_sentence(text: str, quoted: list[str]) -> None:
    assert at_place("in_quotes", text) == quoted


@pytest.mark.parametrize(
    ("text", "inside"),
    [("1) one (two) three", ["two"]), ("an (open one. And (two)", ["two"]), ("((one) two) three", ["one", "two"]), (")one(", [])],
)
def test_brackets_are_matched_within_a_sentence(text: str, inside: list[str]) -> None:
    assert at_place("in_parentheses", text) == inside


def test_a_full_stop_inside_a_number_ends_no_sentence() -> None:
    assert at_place("sentence_last", "It costs 3.14 pounds. No more!") == ["pounds", "more"]
    assert at_place("sentence_first", "Version 1.2.3 is out. So?") == ["Version", "So"]
