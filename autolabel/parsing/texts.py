"""Texts that were asked for, one to a line."""

import re

from autolabel.errors import ModelResponseError
from autolabel.parsing.dress import plain, refuse_refusal, unquoted

MAX_TEXT_CHARACTERS = 400
_MARKER = re.compile(r"(\d{1,3}[.):]|[-*•–])\s+")


def parse_texts(text: str, n: int) -> list[str]:
    """At most `n` different texts of a reply: its numbered or bulleted lines, without number and quotes; other lines where there are none.

    Lines that end in a colon, that hold no words or more than 400 characters are not used, nor is a text that was there before.

    Raises:
        ModelResponseError: `refused` for an apology; `unparsable` where not one line can be used.
    """
    lines = [line for line in map(plain, text.splitlines()) if line]
    marked = [line[marker.end() :] for line in lines if (marker := _MARKER.match(line))]
    if lines and not marked:
        refuse_refusal(lines[0])
    usable = list(dict.fromkeys(found for found in map(unquoted, marked or lines) if _is_usable(found)))
    if not usable:
        raise ModelResponseError("unparsable", f"the reply holds no text on a line of its own: {text[:80]!r}")
    return usable[:n]


def _is_usable(text: str) -> bool:
    return len(text) <= MAX_TEXT_CHARACTERS and not text.endswith(":") and any(map(str.isalnum, text))
