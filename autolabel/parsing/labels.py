"""A label: one line of a reply."""

import re

from autolabel.errors import ModelResponseError
from autolabel.parsing.dress import plain, refuse_refusal, unquoted

MAX_LABEL_CHARACTERS = 200
_PREFIX = re.compile(r"(the )?((short|feature|final) )?(label|answer|meaning|explanation)( is)?\s*:\s*", re.I)
_BULLET = re.compile(r"([-*•–]|\d{1,2}[.)])\s+")
_ECHO = re.compile(r"<<[^<>]+>>|^(does not fire|fires, with strength|one short line|at most 12 words)\b", re.I)


def parse_label(text: str) -> str:
    """The label in a reply: its first line, without bullets, quotes or a `Label:` before it.

    Raises:
        ModelResponseError: `refused` for an apology; `unparsable` for nothing, more than 200 characters or the question echoed.
    """
    lines = [line for line in map(_undressed, text.splitlines()) if line]
    if not lines:
        raise ModelResponseError("unparsable", "the reply holds no label")
    label = lines[0]
    refuse_refusal(label)
    if len(label) > MAX_LABEL_CHARACTERS:
        raise ModelResponseError(
            "unparsable", f"the reply has {len(label)} characters where a label of at most {MAX_LABEL_CHARACTERS} was asked"
        )
    if _ECHO.search(label):
        raise ModelResponseError("unparsable", f"the reply repeats the question instead of a label: {label[:80]!r}")
    return label


def _undressed(line: str) -> str:
    bare = plain(line)
    bullet = _BULLET.match(bare)
    bare = bare[bullet.end() :] if bullet else bare
    prefix = _PREFIX.match(bare)
    bare = unquoted(bare[prefix.end() :] if prefix else bare)
    bare = bare[:-1] if bare.endswith(".") and not bare.endswith("..") else bare
    return unquoted(bare)
