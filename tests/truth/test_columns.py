"""Words and tokens of texts: boundaries, shifts, neighbourhoods, sentences and lines, none of them across a document's end."""

from random import Random

import numpy as np
import pytest

from autolabel.truth.columns import PIECE, WHOLE_WORD, Mask, PieceTokenizer, token_ends
from tests.truth.worlds_of_text import columns_of, words_at


def pieces(text: str) -> list[str]:
    """The tokens of a text, as written."""
    ids, bounds = PieceTokenizer().encode(text)
    assert ids.dtype == bounds.dtype == np.int32
    assert len(bounds) == len(ids) + 1
    return [text[start:end] for start, end in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cat sat", ["cat", " sat"]),
        ("  cat\n sat \n", ["  cat", "\n sat \n"]),
        ("ninechars", ["ninechars"]),
        ("tencharact", ["tencha", "ract"]),
        (" responsibility.", [" respon", "sibility", "."]),
        ("don't don’t 'tis rock’n’roll", ["don't", " don’t", " '", "tis", " rock’n", "’roll"]),
        ("a_b", ["a", "_", "b"]),
        ("3.14%", ["3", ".", "14", "%"]),
        ("naïve Übermäßigkeit 東京", ["naïve", " Übermä", "ßigkeit", " 東京"]),
        ("😀ok\u00a0so", ["😀", "ok", "\u00a0so"]),
        ("   \n", ["   \n"]),
        ("", []),
    ],
)
def test_tokens_are_words_with_the_blanks_before_them_and_long_words_are_two(text: str, expected: list[str]) -> None:
    assert pieces(text) == expected


def test_tokens_cover_any_text_without_a_gap() -> None:
    random = Random(5)
    alphabet = "abz É'’_-.,!?\"“()\n\t 0٣😀\u0301\u200b"
    for _ in range(300):
        text = "".join(random.choice(alphabet) for _ in range(random.randrange(40)))
        assert "".join(pieces(text)) == text
        assert all(pieces(text))


def test_a_token_has_the_same_id_wherever_it_stands() -> None:
    ids, _ = PieceTokenizer().encode("the cat, the dog")
    assert ids[3] != ids[0], "the blank before a word belongs to its token"
    assert PieceTokenizer().encode("so the cat")[0][1] == ids[3]
    assert (ids >= 0).all()


def test_ends_of_tokens_at_the_limit() -> None:
    spans = [(0, WHOLE_WORD), (10, 10 + WHOLE_WORD + 1)]
    assert token_ends(spans).tolist() == [WHOLE_WORD, 10 + PIECE, 10 + WHOLE_WORD + 1]
    assert token_ends([]).tolist() == []


def test_columns_are_the_words_of_all_documents_in_order() -> None:
    columns = columns_of("The cat sat.", "", "the Cat")
    assert words_at(columns, np.ones(6, dtype=bool)) == ["The", "cat", "sat", ".", "the", "Cat"]
    assert len(columns) == 6
    assert columns.document.tolist() == [0, 0, 0, 0, 2, 2]
    assert columns.place.tolist() == [0, 1, 2, 3, 0, 1]
    assert columns.first.tolist() == [0, 4, 4, 6]
    assert columns.start.tolist() == [0, 4, 8, 11, 0, 4]
    assert columns.end.tolist() == [3, 7, 11, 12, 3, 7]


def test_words_are_found_whatever_their_case_and_apostrophe() -> None:
    columns = columns_of("Don’t DON'T don t STRASSE Straße")
    assert words_at(columns, columns.among(["don't"])) == ["Don’t", "DON'T"]
    assert words_at(columns, columns.among(["strasse", "nowhere"])) == ["STRASSE", "Straße"]
    assert columns.count(["don't", "t"]) == 3
    assert columns.count(["nowhere"]) == 0


def test_long_words_are_letters_only() -> None:
    columns = columns_of("four fives 12345 it'll abcd1 étage")
    assert words_at(columns, columns.is_long) == ["fives", "étage"]


def test_signs_and_underscores_are_no_words() -> None:
    columns = columns_of("a _ - ( 7 é")
    assert words_at(columns, columns.is_word) == ["a", "7", "é"]


def mask(text: str) -> Mask:
    """A mask written with x and dots."""
    return np.array([one == "x" for one in text])


@pytest.mark.parametrize(
    ("by", "expected"),
    [(0, "x.xxx."), (1, ".x.x.."), (-1, ".x..xx"), (2, "x....."), (-2, "..x..x"), (6, "......"), (-9, "......"), (9, "......")],
)
def test_shifts_stay_within_a_document(by: int, expected: str) -> None:
    found = columns_of("a b c", "d e f").shifted(mask("x.xxx."), by)
    assert "".join("x" if one else "." for one in found) == expected


def test_a_neighbour_is_another_word_within_the_span_on_either_side() -> None:
    columns = columns_of("a b c d e f", "g h")
    near = columns.near(mask("x.....x."), 2, np.ones(8, dtype=bool))
    assert words_at(columns, near) == ["b", "c", "h"]
    assert words_at(columns, columns.near(mask("xx......"), 1, mask("xx......"))) == ["a", "b"]
    assert not columns.near(mask("...x...."), 5, mask("...x....")).any(), "a word is no neighbour of itself"
    assert not columns.near(mask("......x."), 8, mask(".....x..")).any(), "the next document is no neighbourhood"


def test_neighbours_are_those_that_looking_finds() -> None:
    random = Random(3)
    columns = columns_of(*(" ".join("w" * random.randrange(1, 9)) for _ in range(30)))
    marked, at = (np.array([random.random() < share for _ in range(len(columns))]) for share in (0.1, 0.5))
    for span in (1, 3, 8):
        places = [(i, j) for i in np.flatnonzero(at) for j in np.flatnonzero(marked) if 0 < abs(i - j) <= span]
        expected = {int(i) for i, j in places if columns.document[i] == columns.document[j]}
        assert set(np.flatnonzero(columns.near(marked, span, at)).tolist()) == expected


def test_runs_begin_with_documents_and_with_marks() -> None:
    columns = columns_of("a b c", "", "d e")
    assert columns.runs(mask(".x...")).tolist() == [0, 1, 1, 2, 2]
    assert columns.runs(mask(".....")).tolist() == [0, 0, 0, 1, 1]


def test_lines_begin_after_breaks_and_with_documents() -> None:
    columns = columns_of("one two\n\nthree four\nfive\n", "\n six seven", "\n\n", "eight")
    assert words_at(columns, columns.gap_has_line_end) == ["one", "three", "five", "six", "eight"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One two. Three!", ["One two .", "Three !"]),
        ("Really?! Yes.", ["Really ? !", "Yes ."]),
        ("He said “Go.” Then left", ["He said “ Go . ”", "Then left"]),
        ("(He left.) She stayed", ["( He left . )", "She stayed"]),
        ("Wait... now", ["Wait . . .", "now"]),
        ("a title\nIts text. End", ["a title", "Its text .", "End"]),
        ("no end", ["no end"]),
        ("He left. (She stayed)", ["He left .", "( She stayed )"]),
    ],
)
def test_sentences_end_with_their_mark_and_what_closes_after_it_or_with_the_line(text: str, expected: list[str]) -> None:
    columns = columns_of(text)
    found = [" ".join(words_at(columns, columns.sentence == number)) for number in range(int(columns.sentence.max()) + 1)]
    assert found == expected


def test_sentences_end_with_the_document() -> None:
    assert columns_of("one two", "three").sentence.tolist() == [0, 0, 1]


def test_nothing_is_made_of_nothing() -> None:
    columns = columns_of("", " ")
    assert len(columns) == 0
    assert columns.sentence.tolist() == columns.place.tolist() == columns.among(["a"]).tolist() == []
    assert columns.count(["a"]) == 0
