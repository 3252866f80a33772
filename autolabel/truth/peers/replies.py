"""Reading replies as the protocols of others ask for them: tolerant of dress, and never a guess.

Where a protocol makes a label or an answer out of a reply that it cannot read, ours says that it cannot be read.
"""

import json
import re

from autolabel.errors import ModelResponseError
from autolabel.parsing.dress import plain, refuse_refusal, unquoted

MAX_CHARACTERS = 600
"""None of the protocols limits the length of a label; a longer text is no label but a reply gone astray."""

_EXPLANATION = re.compile(r"\[?\bexplanation\b\]?\**\s*:\s*\**", re.I)
_METHOD = re.compile(r"\bmethod \d", re.I)
_ACTIVATES = re.compile(r"\b(?:activates?|fires?) on\b:?", re.I)
_MATCH = re.compile(r"""["']?match["']?\s*:\s*["']?(true|false)\b""", re.I)
_ARRAY = re.compile(r"\[.*?\]", re.DOTALL)


def explanation(text: str) -> str:
    """The label after the last `[EXPLANATION]:` or `Explanation:` of a reply.

    Raises:
        ModelResponseError: `unparsable` where there is none, or a method is named instead of a label; `refused`.
    """
    markers = list(_EXPLANATION.finditer(text))
    if not markers:
        refuse_refusal(plain(text))
        raise ModelResponseError("unparsable", f"the reply has no line with an explanation: {text[:80]!r}")
    label = _label(text[markers[-1].end() :])
    if _METHOD.search(label):
        raise ModelResponseError("unparsable", f"the reply explains how, not what: {label[:80]!r}")
    return label


def activates_on(text: str) -> str:
    """The label after the last "activates on" of a reply's first line; the whole line where it does not say so.

    The protocol cuts replies after 30 tokens, which leaves of one that goes on and on little but its first line.

    Raises:
        ModelResponseError: `unparsable` for nothing, `refused`.
    """
    line = text.strip().partition("\n")[0]
    found = list(_ACTIVATES.finditer(line))
    return _label(line[found[-1].end() :] if found else line)


def first_array(text: str, n: int) -> list[bool]:
    """The answers in the first brackets of a reply, which must be `n` times 0, 1, true or false.

    Raises:
        ModelResponseError: `unparsable`.
    """
    found = _ARRAY.search(text)
    try:
        answers = json.loads(found[0].lower()) if found else None
    except ValueError:
        answers = None
    if answers is None or len(answers) != n or any(answer not in (0, 1) for answer in answers):
        raise ModelResponseError("unparsable", f"the reply holds no list of {n} answers 0 or 1: {text[:80]!r}")
    return [bool(answer) for answer in answers]


def match(text: str) -> bool:
    """What a reply says of `match`, its first value.

    Raises:
        ModelResponseError: `unparsable` where it says nothing of it.
    """
    found = _MATCH.search(text)
    if found is None:
        raise ModelResponseError("unparsable", f"the reply says of no match whether it is true: {text[:80]!r}")
    return found[1].lower() == "true"


def _label(text: str) -> str:
    """The first line that says anything, without quotes around it and a full stop after it."""
    lines = [line for line in map(plain, text.splitlines()) if line]
    label = unquoted(unquoted(lines[0]).removesuffix(".")) if lines else ""
    if not 0 < len(label) <= MAX_CHARACTERS:
        raise ModelResponseError(
            "unparsable", f"the reply holds a label of {len(label)} characters, expected 1 to {MAX_CHARACTERS}"
        )
    refuse_refusal(label)
    return label
