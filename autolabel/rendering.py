r"""How corpus text is shown to an LLM: each example on one line, firing tokens between `<<` and `>>`.

The invariant is that text is data. Backslash, angle brackets, line ends and invisible characters are escaped, so no corpus text can end
its line, open or close a mark, or spell a chat model's special token; and `unmark` gives the exact text and marks back.

    \  ->  \\      <  ->  \<      >  ->  \>      line feed  ->  \n      tab  ->  \t      other invisible characters  ->  \u{XXXX}
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence

from autolabel.records import Example

_SHORT = {"\\": "\\\\", "<": "\\<", ">": "\\>", "\n": "\\n", "\t": "\\t"}
_LONG = {short: character for character, short in _SHORT.items()}
_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode categories shown by code: controls, format (bidirectional, zero-width), lone surrogates, line and paragraph separators."""
_WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]+")
_TAG = re.compile(
    r"\|.*|.*\||/?(s|unk|pad|bos|eos|cls|sep|mask|think|image|tool_call|tool_response|(start|end)_of_(turn|image))", re.I
)
"""What spells a special token of some chat model when it stands between angle brackets, as marked text does."""
_PIECE = re.compile(r"\\u\{([0-9A-F]{4,6})\}|(\\[\\<>nt])|(<<)|(>>)|([^\\<>])", re.DOTALL)


def escape(text: str) -> str:
    """`text` on one line; `unmark` reverses it."""
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character in _SHORT:
        return _SHORT[character]
    if unicodedata.category(character) in _INVISIBLE:
        return f"\\u{{{ord(character):04X}}}"
    return character


def mark(tokens: Sequence[str], positions: Iterable[int]) -> str:
    """The tokens as one escaped line with the tokens at `positions` marked; neighbouring marked tokens share one mark, and blanks
    at its ends stay outside.

    A token without text of its own (a character may be spread over several tokens) marks the next token that has some.
    """
    text = "".join(tokens)
    pieces, shown = [], 0
    for start, end in _spans(text, tokens, positions):
        pieces += [escape(text[shown:start]), "<<", _marked(text[start:end]), ">>"]
        shown = end
    return "".join([*pieces, escape(text[shown:])])


def _marked(text: str) -> str:
    """Marked text; where the marks would make a special token of it, its first character is shown by code."""
    if not _TAG.fullmatch(text):
        return escape(text)
    return f"\\u{{{ord(text[0]):04X}}}{escape(text[1:])}"


def _spans(text: str, tokens: Sequence[str], positions: Iterable[int]) -> list[tuple[int, int]]:
    starts = [0]
    for token in tokens:
        starts.append(starts[-1] + len(token))
    spans: list[tuple[int, int]] = []
    for position in sorted({_token_with_text(tokens, position) for position in positions}):
        start, end = starts[position], starts[position + 1]
        if spans and spans[-1][1] == start:
            spans[-1] = (spans[-1][0], end)
        elif end > start:
            spans.append((start, end))
    return [_trimmed(text, start, end) for start, end in spans]


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    inside = text[start:end].strip(" ")
    first = start + text[start:end].find(inside)
    return (first, first + len(inside)) if inside else (start, end)


def _token_with_text(tokens: Sequence[str], position: int) -> int:
    if not 0 <= position < len(tokens):
        raise ValueError(f"position {position} is outside a window of {len(tokens)} tokens")
    return next((i for i in range(position, len(tokens)) if tokens[i]), position)


def unmark(line: str) -> tuple[str, tuple[tuple[int, int], ...]]:
    """The text of a line made by `mark` or `escape`, and its marks as (start, end) characters of that text.

    Raises:
        ValueError: the line was not made by them.
    """
    characters: list[str] = []
    spans: list[tuple[int, int]] = []
    opened: int | None = None
    at = 0
    while at < len(line):
        piece = _PIECE.match(line, at)
        if piece is None or (piece[3] and opened is not None) or (piece[4] and opened is None):
            raise ValueError(f"character {at} of {line!r} is not part of a rendered example")
        if piece[3]:
            opened = len(characters)
        elif piece[4] and opened is not None:
            spans.append((opened, len(characters)))
            opened = None
        else:
            characters.append(chr(int(piece[1], 16)) if piece[1] else _LONG[piece[2]] if piece[2] else piece[5])
        at = piece.end()
    if opened is not None:
        raise ValueError(f"{line!r} opens a mark that it does not close")
    return "".join(characters), tuple(spans)


def plain_line(example: Example) -> str:
    """The whole window on one line, without marks."""
    return escape(example.text)


def marked_line(example: Example, positions: Iterable[int]) -> str:
    """The whole window on one line, with the tokens at `positions` marked."""
    return mark(example.tokens, positions)


def peak_word(example: Example) -> str | None:
    """The whole word (or the punctuation) around the strongest activation, on one line; for models that follow no longer text.

    None where the window does not fire or its peak is white space.
    """
    peak = peak_position(example)
    if peak is None:
        return None
    peak = _token_with_text(example.tokens, peak)
    start = example.token_starts[peak]
    end = start + len(example.tokens[peak])
    words = (word for word in _WORD.finditer(example.text) if word.start() < end and start < word.end())
    return next((escape(word[0]) for word in words), None)


def peak_position(example: Example) -> int | None:
    """The token with the largest activation, the first of equals; None where the window does not fire."""
    if not example.positions:
        return None
    return max(zip(example.activations, example.positions, strict=True), key=lambda pair: (pair[0], -pair[1]))[1]


def strength(activation: float, max_activation: float) -> int:
    """Activation as a whole number from 1 to 10 in tenths of the feature's largest; 10 = strongest, larger values count as 10."""
    if not max_activation > 0:
        raise ValueError(f"max_activation is {max_activation}; expected the feature's largest activation, which is above 0")
    return min(10, max(1, math.ceil(10 * activation / max_activation)))


def graded_line(example: Example, max_activation: float) -> str:
    """A firing window with its strength, as the labeler is shown it: `7: some <<text>>`."""
    return f"{strength(example.max_activation, max_activation)}: {marked_line(example, example.positions)}"


def numbered(lines: Iterable[str]) -> str:
    """The lines with their numbers, from 1, as judges are shown them."""
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, start=1))
