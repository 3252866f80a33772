"""What replies wear: invisible characters, bold, bullets and quotes; and how they decline."""

import re
import unicodedata

from autolabel.errors import ModelResponseError

_REFUSAL = re.compile(
    r"(i['’]m|i am) sorry\b|sorry, (but )?i\b|as an ai\b|i apologi[sz]e\b|(i['’]m|i am) (not able|unable) to\b|"
    r"i (can['’]t|can ?not|could not|couldn['’]t)(\s+(help|assist|provide|determine|identify|label|answer|fulfil|comply|do|see|access|tell|give|"
    r"generate|create|find|say)\b|$)",
    re.I,
)
_BOLD = re.compile(r"\*\*([^*]+)\*\*")
_PAIRS = ('""', "''", "``", "**", "__", "“”", "‘’", "«»")


def refuse_refusal(line: str) -> None:
    """Let everything pass but a line that declines.

    Raises:
        ModelResponseError: `refused`.
    """
    if _REFUSAL.match(line):
        raise ModelResponseError("refused", f"the reply declines: {line[:80]!r}")


def plain(line: str) -> str:
    """A line without invisible characters, bold and repeated blanks; "" for the edge of a code fence."""
    visible = "".join(map(_printable, line))
    bare = _BOLD.sub(r"\1", " ".join(visible.split()))
    return "" if bare.startswith("```") else bare


def _printable(character: str) -> str:
    category = unicodedata.category(character)
    return " " if category in ("Cc", "Zl", "Zp") else "" if category in ("Cf", "Cs") else character


def unquoted(text: str) -> str:
    """A text without the pair of quotes around the whole of it."""
    inside = text[1:-1]
    for pair in _PAIRS:
        opening, closing = pair[0], pair[1]
        if len(text) > 1 and text[0] == opening and text[-1] == closing and opening not in inside and closing not in inside:
            return inside.strip()
    return text
