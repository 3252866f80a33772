"""Reading an LLM's replies: tolerant of dress (fences, bullets, quotes), strict about content.

The invariant is that a doubtful reply is an error with a status, never a guessed label, a shifted answer or a zero.
"""

import json
import math
import re
import unicodedata

from autolabel.errors import ModelResponseError
from autolabel.records import AnsweredToken, ChatReply

MAX_LABEL_CHARACTERS = 200
_REFUSAL = re.compile(
    r"(i['’]m|i am) sorry\b|sorry, (but )?i\b|as an ai\b|i apologi[sz]e\b|(i['’]m|i am) (not able|unable) to\b|"
    r"i (can['’]t|can ?not|could not|couldn['’]t)(\s+(help|assist|provide|determine|identify|label|answer|fulfil|comply|do|see|access|tell|give|"
    r"generate|create|find|say)\b|$)",
    re.I,
)
_PREFIX = re.compile(r"(the )?((short|feature|final) )?(label|answer|meaning|explanation)( is)?\s*:\s*", re.I)
_BULLET = re.compile(r"([-*•–]|\d{1,2}[.)])\s+")
_ECHO = re.compile(r"<<[^<>]+>>|^(does not fire|fires, with strength|one short line|at most 12 words)\b", re.I)
_BOLD = re.compile(r"\*\*([^*]+)\*\*")
_PAIRS = ('""', "''", "``", "**", "__", "“”", "‘’", "«»")
_ARRAY = re.compile(r"\[([^\[\]]*)\]")
_BARE = re.compile(r"\s*(?:[01]\s*,\s*)*[01]\s*")
_ANSWER = re.compile(r"true|false|[01]")
_ANSWER_TOKEN = re.compile(r"[^0-9A-Za-z]*(true|false|[01])[^0-9A-Za-z]*")
_YES = frozenset({"1", "true"})


def parse_label(text: str) -> str:
    """The label in a reply: its first line, without bullets, quotes or a `Label:` before it.

    Raises:
        ModelResponseError: `refused` for an apology; `unparsable` for nothing, more than 200 characters or the question echoed.
    """
    lines = [line for line in map(_undressed, text.splitlines()) if line]
    if not lines:
        raise ModelResponseError("unparsable", "the reply holds no label")
    label = lines[0]
    if _REFUSAL.match(label):
        raise ModelResponseError("refused", f"the reply declines: {label[:80]!r}")
    if len(label) > MAX_LABEL_CHARACTERS:
        raise ModelResponseError(
            "unparsable", f"the reply has {len(label)} characters where a label of at most {MAX_LABEL_CHARACTERS} was asked"
        )
    if _ECHO.search(label):
        raise ModelResponseError("unparsable", f"the reply repeats the question instead of a label: {label[:80]!r}")
    return label


def _undressed(line: str) -> str:
    visible = "".join(map(_printable, line))
    bare = _BOLD.sub(r"\1", " ".join(visible.split()))
    if bare.startswith("```"):
        return ""
    bare = _BULLET.sub("", bare, count=1) if _BULLET.match(bare) else bare
    prefix = _PREFIX.match(bare)
    bare = _unquoted(bare[prefix.end() :] if prefix else bare)
    bare = bare[:-1] if bare.endswith(".") and not bare.endswith("..") else bare
    return _unquoted(bare)


def _printable(character: str) -> str:
    category = unicodedata.category(character)
    return " " if category in ("Cc", "Zl", "Zp") else "" if category in ("Cf", "Cs") else character


def _unquoted(text: str) -> str:
    inside = text[1:-1]
    for pair in _PAIRS:
        opening, closing = pair[0], pair[1]
        if len(text) > 1 and text[0] == opening and text[-1] == closing and opening not in inside and closing not in inside:
            return inside.strip()
    return text


def parse_answers(reply: ChatReply, n: int) -> list[bool]:
    """The `n` yes-or-no answers of a reply: a JSON array of 0, 1, true or false, alone, in an object or amid other words.

    Raises:
        ModelResponseError: `unparsable` when there is no such array, it has another length, or several disagree.
    """
    arrays = [[_is_yes(answer) for answer in answers] for answers, _ in _arrays(reply.text)]
    if not arrays:
        raise ModelResponseError("unparsable", f"the reply holds no array of {n} answers 0 or 1: {reply.text[:80]!r}")
    fitting = [array for array in arrays if len(array) == n]
    if not fitting:
        counts = " or ".join(str(len(array)) for array in arrays)
        raise ModelResponseError("unparsable", f"the reply holds {counts} answers where {n} were asked")
    if any(array != fitting[0] for array in fitting):
        raise ModelResponseError("unparsable", f"the reply holds {len(fitting)} different arrays of {n} answers")
    return fitting[0]


def answer_probabilities(reply: ChatReply, n: int) -> list[float] | None:
    """P(1) / (P(0) + P(1)) of each answer that `parse_answers` reads, from the probabilities of the answered tokens.

    None where the endpoint gave no probabilities or its tokens cannot be matched with the answers one to one.
    """
    if reply.tokens is None:
        return None
    answers = parse_answers(reply, n)
    owners = [index for index, token in enumerate(reply.tokens) for _ in token.text]
    for texts, offsets in reversed(_arrays("".join(token.text for token in reply.tokens))):
        if [_is_yes(text) for text in texts] != answers:
            continue
        chosen = [owners[offset] for offset in offsets]
        if len(set(chosen)) == n:
            probabilities = [_probability(reply.tokens[index]) for index in chosen]
            return None if None in probabilities else [p for p in probabilities if p is not None]
    return None


def _probability(token: AnsweredToken) -> float | None:
    mass = {True: 0.0, False: 0.0}
    for text, logprob in {token.text: token.logprob, **token.alternatives}.items():
        answer = _ANSWER_TOKEN.fullmatch(text.casefold())
        if answer:
            mass[_is_yes(answer[1])] += math.exp(logprob)
    total = mass[True] + mass[False]
    return mass[True] / total if token.alternatives and total > 0 else None


def _arrays(text: str) -> list[tuple[list[str], list[int]]]:
    """Every array of answers in `text`: the answers as written, and the character at which each stands."""
    if _BARE.fullmatch(text):
        return [_located(text, 0)]
    return [_located(array[1], array.start(1)) for array in _ARRAY.finditer(text) if _only_answers(array[1])]


def _located(inside: str, start: int) -> tuple[list[str], list[int]]:
    matches = list(_ANSWER.finditer(inside.casefold()))
    return [match[0] for match in matches], [start + match.start() for match in matches]


def _only_answers(inside: str) -> bool:
    try:
        items = json.loads(f"[{inside.strip().removesuffix(',').casefold()}]")
    except ValueError:
        return False
    return bool(items) and all(
        type(item) in (bool, int, str) and str(item).casefold() in ("0", "1", "true", "false") for item in items
    )


def _is_yes(answer: str) -> bool:
    return answer in _YES
