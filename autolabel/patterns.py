r"""Regular expressions for single words, from anybody, without danger: which are allowed, and what they say in plain English.

The invariant: how long a match can take is bounded by the pattern's size alone, on any machine, with no clock. Characters, classes and
groups of alternatives may follow one another; only a single character or class may repeat, never a group; nothing looks ahead or back.

    [A-Za-z]+ing      [Uu]n[a-z]+      (?:1[5-9]|20)\d{2}      [A-Z]{2,}
"""

import re
from functools import lru_cache

from autolabel.errors import DataError

LONGEST_WORD = 40
"""Characters of a word; a longer one is matched by no pattern."""
LONGEST_PATTERN, MOST_REPEATS, MOST_WAYS = 200, 3, 64
_PIECE = r"(?:[^\\()\[\]{}.*+?|^$\s]|\\[dw]|\\[^\w\s]|\.|\[\^?(?:(?!--)[^\\\[\]&~|\s]|\\[^\w\s]|\\[dw])++\])"
_REPEAT = r"(?:[*+?]|\{\d{1,2}(?:,\d{0,2})?\})"
_RUN = rf"(?:{_PIECE}{_REPEAT}?)*+"
_ALLOWED = re.compile(rf"(?:{_PIECE}{_REPEAT}?|\(\?:{_RUN}(?:\|{_RUN})*+\))++")
_PARTS = re.compile(rf"(?P<piece>{_PIECE})|(?P<repeat>{_REPEAT})|(?P<group>\(\?:)|(?P<bar>\|)|(?P<end>\))")
_FIXED = re.compile(r"\{\d+\}")
_ADVICE = (
    "expected characters, classes such as [a-z], groups of alternatives such as (?:s|es), and repeats of single characters; "
    "write the pattern in these, or list the words"
)


@lru_cache(maxsize=4096)
def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern, ready to use by `matches`.

    Raises:
        DataError: it is too long, could take long, uses what is not allowed, or is no pattern at all.
    """
    shown = repr(pattern[:60])
    if not 0 < len(pattern) <= LONGEST_PATTERN:
        raise DataError(f"pattern {shown} has {len(pattern)} characters, expected 1 to {LONGEST_PATTERN}")
    if not _ALLOWED.fullmatch(pattern):
        raise DataError(f"pattern {shown} uses what is not allowed: {_ADVICE}")
    repeats, ways = _complexity(pattern)
    if repeats > MOST_REPEATS or ways > MOST_WAYS:
        raise DataError(
            f"pattern {shown} has {repeats} repeats of variable length and {ways} ways through its alternatives, "
            f"expected at most {MOST_REPEATS} and {MOST_WAYS}; use several patterns"
        )
    try:
        return re.compile(pattern)
    except re.error as error:
        raise DataError(f"pattern {shown} is no regular expression: {error}") from error


def matches(pattern: re.Pattern[str], word: str) -> bool:
    """Whether the pattern matches the whole word, as written."""
    return len(word) <= LONGEST_WORD and pattern.fullmatch(word) is not None


def _complexity(pattern: str) -> tuple[int, int]:
    """Repeats of variable length, and ways through the groups."""
    repeats, ways, alternatives = 0, 1, 1
    for part in _PARTS.finditer(pattern):
        if part.lastgroup == "repeat":
            repeats += not _FIXED.fullmatch(part.group())
        elif part.lastgroup == "group":
            alternatives = 1
        elif part.lastgroup == "bar":
            alternatives += 1
        elif part.lastgroup == "end":
            ways *= alternatives
    return repeats, ways


_LETTERS = "[A-Za-z]"
_SHAPES = {
    r"\d+": "numbers",
    r"(?:1[5-9]|20)\d{2}": "years",
    r"[A-Z][a-z]+": "capitalised words",
    r"[A-Z]{2,}": "words in capitals",
    r"[A-Z]": "single capital letters",
    r"[A-Za-z]+['’][A-Za-z]+": "words with an apostrophe",
    r"[A-Za-z]*\d[A-Za-z\d]*": "words with a digit",
    r"[A-Za-z]+": "any word",
}
"""Shapes that have a name."""
_CAPITALISED = re.compile(r"\[A-Z\]\[a-z\]\{(\d+)\}")
_NAMED = (
    (re.compile(r"\[A-Za-z\]\{(\d+)\}"), "words of {0} letters"),
    (re.compile(r"\[A-Za-z\]\{(\d+),\}"), "words of at least {0} letters"),
    (re.compile(r"\[A-Za-z\]\{(\d+),(\d+)\}"), "words of {0} to {1} letters"),
    (re.compile(r"\\d\{(\d+)\}"), "numbers of {0} digits"),
    (re.compile(r"\[A-Za-z\][+*]([a-z]+)"), 'words ending in "-{0}"'),
    (re.compile(r"\[A-Za-z\]\+\['’\]([a-z]+)"), 'words ending in "\'{0}"'),
    (re.compile(r"\[A-Za-z\][+*]([a-z]+)\[A-Za-z\][+*]"), 'words with "{0}" inside'),
    (re.compile(r"\[[A-Z]([a-z])\]([a-z]*)\[a-z\]\+"), 'words beginning with "{0}{1}-"'),
)


def suffix(letters: str) -> str:
    """The pattern of words that end in these letters and are longer."""
    return f"{_LETTERS}+{letters}"


def prefix(letters: str) -> str:
    """The pattern of words that begin with these letters, the first one small or capital."""
    return f"[{letters[0].upper()}{letters[0]}]{letters[1:]}[a-z]+"


def plain(pattern: str) -> str:
    """What a pattern matches, in plain English; a pattern without a name is quoted."""
    if pattern in _SHAPES:
        return _SHAPES[pattern]
    capitalised = _CAPITALISED.fullmatch(pattern)
    if capitalised:
        return f"capitalised words of {int(capitalised[1]) + 1} letters"
    for form, said in _NAMED:
        found = form.fullmatch(pattern)
        if found:
            return said.format(*found.groups())
    return f'words of the form "{pattern}"'


def named_shapes() -> tuple[str, ...]:
    """The patterns that have a name of their own."""
    return tuple(_SHAPES)
