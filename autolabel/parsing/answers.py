"""Answers of yes or no, and how probable they were."""

import json
import math
import re

from autolabel.errors import ModelResponseError
from autolabel.records import AnsweredToken, ChatReply

_ARRAY = re.compile(r"\[([^\[\]]*)\]")
_BARE = re.compile(r"\s*(?:[01]\s*,\s*)*[01]\s*")
_ANSWER = re.compile(r"true|false|[01]")
_ANSWER_TOKEN = re.compile(r"[^0-9A-Za-z]*(true|false|[01])[^0-9A-Za-z]*")
_YES = frozenset({"1", "true"})


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
