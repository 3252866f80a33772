"""Places in a text that do not depend on which words stand there: in sentences, lines, quotes and documents."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from autolabel.truth.columns import Columns, Mask

_OPENING, _CLOSING = "([{", ")]}"


def _mark(*marks: str) -> Callable[[Columns], Mask]:
    return lambda columns: columns.by_type(lambda word: word in marks)


def _after(find: Callable[[Columns], Mask]) -> Callable[[Columns], Mask]:
    return lambda columns: columns.shifted(find(columns), -1) & columns.is_word


def _before(find: Callable[[Columns], Mask]) -> Callable[[Columns], Mask]:
    return lambda columns: columns.shifted(find(columns), 1) & columns.is_word


def _words_before(columns: Columns, runs: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many words (not marks) of its run precede each."""
    seen: NDArray[np.int64] = np.cumsum(columns.is_word) - columns.is_word
    starts = np.flatnonzero(np.diff(runs, prepend=-1))
    counts: NDArray[np.int64] = seen - np.repeat(seen[starts], np.diff(starts, append=len(runs)))
    return counts


def _nth_of_sentence(n: int) -> Callable[[Columns], Mask]:
    return lambda columns: columns.is_word & (_words_before(columns, columns.sentence) == n)


def _nth_of_document(first: int, last: int) -> Callable[[Columns], Mask]:
    def find(columns: Columns) -> Mask:
        number = _words_before(columns, columns.document.astype(np.int64))
        return columns.is_word & (number >= first) & (number < last)

    return find


def _every(n: int) -> Callable[[Columns], Mask]:
    return lambda columns: columns.is_word & (_words_before(columns, columns.document.astype(np.int64)) % n == n - 1)


def _sentence_with(mark: str) -> Callable[[Columns], Mask]:
    def find(columns: Columns) -> Mask:
        has = np.bincount(columns.sentence, weights=columns.by_type(mark.__eq__), minlength=1) > 0
        return has[columns.sentence] & columns.is_word

    return find


def _sentence_of(least: int, most: int) -> Callable[[Columns], Mask]:
    def find(columns: Columns) -> Mask:
        length = np.bincount(columns.sentence, weights=columns.is_word, minlength=1)
        return ((length >= least) & (length <= most))[columns.sentence] & columns.is_word

    return find


def _long_sentence_any(columns: Columns) -> Mask:
    """Words and marks of sentences of at least sixty words."""
    length = np.bincount(columns.sentence, weights=columns.is_word, minlength=1)
    return (length >= 60)[columns.sentence]


def _first_word_of_sentence_with(mark: str) -> Callable[[Columns], Mask]:
    return lambda columns: _nth_of_sentence(0)(columns) & _sentence_with(mark)(columns)


def _between(opening: str, closing: str) -> Callable[[Columns], Mask]:
    """Words between an opening mark and the closing one that it has in the same sentence."""

    def find(columns: Columns) -> Mask:
        marks = columns.by_type(lambda word: word in opening or word in closing)
        depth = np.zeros(len(columns) + 1, dtype=np.int64)
        open_at: list[int] = []
        sentence = -1
        for place in np.flatnonzero(marks).tolist():
            if columns.sentence[place] != sentence:
                sentence, open_at = columns.sentence[place], []
            if columns.types[columns.kind[place]] in opening:
                open_at.append(place)
            elif open_at:
                depth[open_at.pop()] += 1
                depth[place] -= 1
        inside: Mask = (np.cumsum(depth)[:-1] > 0) & columns.is_word
        return inside

    return find


def _in_quotes(columns: Columns) -> Mask:
    """Words after an odd number of double quotes within their sentence."""
    quotes = columns.by_type(lambda word: word in '"“”')
    seen = np.cumsum(quotes)
    starts = np.flatnonzero(np.diff(columns.sentence, prepend=-1))
    before = np.concatenate([[0], seen])[starts]
    inside: Mask = ((seen - before[columns.sentence]) % 2 == 1) & columns.is_word
    return inside


def _nth_comma(n: int) -> Callable[[Columns], Mask]:
    def find(columns: Columns) -> Mask:
        commas = columns.by_type(",".__eq__)
        seen = np.cumsum(commas)
        starts = np.flatnonzero(np.diff(columns.sentence, prepend=-1))
        before = np.concatenate([[0], seen])[starts]
        nth: Mask = commas & (seen - before[columns.sentence] == n)
        return nth

    return find


def _last_word(columns: Columns, runs: NDArray[np.int64]) -> Mask:
    """The last word, not mark, of each run."""
    words = np.flatnonzero(columns.is_word)
    last = np.append(runs[words][1:] != runs[words][:-1], True) if len(words) else np.empty(0, dtype=bool)
    marks = np.zeros(len(columns), dtype=bool)
    marks[words[last]] = True
    return marks


def _last_of_sentence(columns: Columns) -> Mask:
    """The last word of each sentence that ends with a stop; a line without one, such as a heading, is none."""
    stops = columns.by_type(lambda word: word in ".!?")
    has_stop = np.bincount(columns.sentence, weights=stops, minlength=1) > 0
    return _last_word(columns, columns.sentence) & has_stop[columns.sentence]


def _last_of_line(columns: Columns) -> Mask:
    return _last_word(columns, columns.runs(columns.gap_has_line_end))


def _line_first(columns: Columns) -> Mask:
    return columns.gap_has_line_end & columns.is_word


def _heading(columns: Columns) -> Mask:
    """Words of lines that begin with an equals sign."""
    lines = columns.runs(columns.gap_has_line_end)
    starts = np.flatnonzero(np.diff(lines, prepend=-1))
    is_heading = columns.by_type("=".__eq__)[starts]
    return is_heading[lines] & columns.is_word


def _said_before(columns: Columns, within: int) -> Mask:
    """Words of at least five letters that occurred among the `within` words before, in the same document."""
    folded = {word: number for number, word in enumerate(dict.fromkeys(columns.lower))}
    number = np.array([folded[word] for word in columns.lower], dtype=np.int64)[columns.kind]
    key = columns.document.astype(np.int64) * (len(folded) + 1) + number
    order = np.argsort(key, kind="stable")
    again = np.zeros(len(columns), dtype=bool)
    same = key[order[1:]] == key[order[:-1]]
    again[order[1:]] = same & (order[1:] - order[:-1] <= within)
    return again & columns.is_long


def _capitalised(columns: Columns) -> Mask:
    return columns.by_type(lambda word: len(word) > 1 and word[0].isupper() and word[1:].islower())


def _number(columns: Columns) -> Mask:
    return columns.by_type(str.isdecimal)


PLACES: dict[str, Callable[[Columns], Mask]] = {
    "sentence_first": _nth_of_sentence(0),
    "sentence_second": _nth_of_sentence(1),
    "sentence_third": _nth_of_sentence(2),
    "sentence_last": _last_of_sentence,
    "sentence_edges": lambda c: _nth_of_sentence(0)(c) | _last_of_sentence(c),
    "line_first": _line_first,
    "line_last": _last_of_line,
    "line_edges": lambda c: _line_first(c) | _last_of_line(c),
    "heading": _heading,
    "heading_first": lambda c: _heading(c) & c.shifted(c.by_type("=".__eq__), -1),
    "after_heading": lambda c: _line_first(c) & c.shifted(c.by_type("=".__eq__), -1) & ~_heading(c),
    "document_first_20": _nth_of_document(0, 20),
    "document_first_5": _nth_of_document(0, 5),
    "document_first_60": _nth_of_document(0, 60),
    "document_second_20": _nth_of_document(20, 40),
    "every_fiftieth": _every(50),
    "every_hundredth": _every(100),
    "every_two_hundredth": _every(200),
    "in_quotes": _in_quotes,
    "first_in_quotes": _after(lambda c: c.by_type(lambda w: w in '"“') & ~_in_quotes(c) & c.shifted(_in_quotes(c), 1)),
    "in_parentheses": _between("(", ")"),
    "in_brackets": _between(_OPENING, _CLOSING),
    "first_in_parentheses": _after(_mark("(")),
    "last_in_parentheses": _before(_mark(")")),
    "after_comma": _after(_mark(",")),
    "before_comma": _before(_mark(",")),
    "around_comma": lambda c: _after(_mark(","))(c) | _before(_mark(","))(c),
    "after_colon": _after(_mark(":")),
    "before_colon": _before(_mark(":")),
    "after_semicolon": _after(_mark(";")),
    "before_semicolon": _before(_mark(";")),
    "after_stop_marks": _after(_mark(",", ";", ":")),
    "after_dash": _after(_mark("-", "–", "—")),
    "before_dash": _before(_mark("-", "–", "—")),
    "around_dash": lambda c: _after(_mark("-", "–", "—"))(c) | _before(_mark("-", "–", "—"))(c),
    "after_number": lambda c: c.shifted(_number(c), -1) & c.is_word,
    "before_number": lambda c: c.shifted(_number(c), 1) & c.is_word,
    "after_year": lambda c: c.shifted(c.by_type(lambda w: len(w) == 4 and w.isdecimal()), -1) & c.is_word,
    "in_question": _sentence_with("?"),
    "first_in_question": _first_word_of_sentence_with("?"),
    "in_exclamation": _sentence_with("!"),
    "first_in_exclamation": _first_word_of_sentence_with("!"),
    "in_question_or_exclamation": lambda c: _sentence_with("?")(c) | _sentence_with("!")(c),
    "in_sentence_with_semicolon": _sentence_with(";"),
    "in_sentence_with_colon": _sentence_with(":"),
    "short_sentence": _sentence_of(1, 5),
    "very_short_sentence": _sentence_of(1, 3),
    "shortish_sentence": _sentence_of(1, 8),
    "middling_sentence": _sentence_of(6, 10),
    "long_sentence": _sentence_of(40, 10_000),
    "very_long_sentence": _sentence_of(60, 10_000),
    "very_long_sentence_any": _long_sentence_any,
    "longish_sentence": _sentence_of(30, 10_000),
    "third_comma": _nth_comma(3),
    "second_comma": _nth_comma(2),
    "first_comma": _nth_comma(1),
    "comma": _mark(","),
    "third_comma_or_later": lambda c: _mark(",")(c) & ~_nth_comma(1)(c) & ~_nth_comma(2)(c),
    "repeated_soon": lambda c: _said_before(c, 20),
    "repeated_at_once": lambda c: _said_before(c, 8),
    "repeated": lambda c: _said_before(c, 10**9),
    "first_mention": lambda c: ~_said_before(c, 10**9) & c.is_long,
    "name_inside": lambda c: _capitalised(c) & ~_nth_of_sentence(0)(c),
    "capitalised": _capitalised,
    "second_of_name": lambda c: _capitalised(c) & c.shifted(_capitalised(c) & ~_nth_of_sentence(0)(c), -1),
    "capitalised_first": lambda c: _capitalised(c) & _nth_of_sentence(0)(c),
    "after_name": lambda c: c.shifted(_capitalised(c) & ~_nth_of_sentence(0)(c), -1) & c.is_word & ~_capitalised(c),
}
"""Name of a place → where it is."""
