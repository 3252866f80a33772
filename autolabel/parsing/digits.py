"""Ratings of one digit each, and how probable each digit was.

The invariant is the one of `answers`: ratings are read only where there are as many as were asked for, and probabilities only where each
rating is a token of its own.
"""

import json
import math
import re

from autolabel.errors import ModelResponseError
from autolabel.parsing.choices import parse_choice
from autolabel.parsing.dress import plain, refuse_refusal
from autolabel.records import AnsweredToken, ChatReply

_ARRAY = re.compile(r"\[([^\[\]]*)\]")
_BARE = re.compile(r"\s*(?:[0-9]\s*,\s*)*[0-9]\s*")
_DIGIT = re.compile(r"[0-9]")
_DIGIT_TOKEN = re.compile(r"[^0-9A-Za-z]*([0-9])[^0-9A-Za-z]*")


def parse_digits(reply: ChatReply, n: int) -> list[int]:
    """The `n` ratings of a reply, 0 to 9: a JSON array of digits, alone, in an object or amid other words; or digits with commas between.

    Raises:
        ModelResponseError: `refused` for an apology; `unparsable` when there is no such array, it has another length, or several
            disagree.
    """
    arrays = [digits for digits, _ in _arrays(reply.text)]
    if not arrays:
        refuse_refusal(plain(reply.text))
        raise ModelResponseError("unparsable", f"the reply holds no array of {n} digits: {reply.text[:80]!r}")
    fitting = [array for array in arrays if len(array) == n]
    if not fitting:
        counts = " or ".join(str(len(array)) for array in arrays)
        raise ModelResponseError("unparsable", f"the reply holds {counts} digits where {n} were asked")
    if any(array != fitting[0] for array in fitting):
        raise ModelResponseError("unparsable", f"the reply holds {len(fitting)} different arrays of {n} digits")
    return fitting[0]


def expected_digits(reply: ChatReply, n: int) -> list[float] | None:
    """Σ k·P(k) / Σ P(k) over the digits k at each place that `parse_digits` reads, from the probabilities of the answered tokens.

    None where the endpoint gave no probabilities or its tokens cannot be matched with the ratings one to one.
    """
    if reply.tokens is None:
        return None
    digits, owners = parse_digits(reply, n), _owners(reply.tokens)
    for found, offsets in reversed(_arrays("".join(token.text for token in reply.tokens))):
        chosen = [owners[offset] for offset in offsets]
        if found == digits and len(set(chosen)) == n:
            expected = [_mean(_masses(reply.tokens[index])) for index in chosen]
            return None if None in expected else [value for value in expected if value is not None]
    return None


def choice_probabilities(reply: ChatReply, n: int) -> list[float] | None:
    """P(k) / Σ P(k) of each of `n` options, at most ten, at the place of the number that `parse_choice` reads; they add up to 1.

    None where the endpoint gave no probabilities or the number is not a token of its own.
    """
    if reply.tokens is None:
        return None
    choice = parse_choice(reply.text, n)
    place = _DIGIT.search("".join(token.text for token in reply.tokens))
    if place is None or int(place[0]) != choice:
        return None
    masses = _masses(reply.tokens[_owners(reply.tokens)[place.start()]])
    total = sum(masses.get(option, 0.0) for option in range(n))
    return [masses.get(option, 0.0) / total for option in range(n)] if total > 0 else None


def _owners(tokens: tuple[AnsweredToken, ...]) -> list[int]:
    """The token to which each character of the joined texts belongs."""
    return [index for index, token in enumerate(tokens) for _ in token.text]


def _masses(token: AnsweredToken) -> dict[int, float]:
    """Probability of each digit that the endpoint named; none where it named no alternatives or the token is no single digit."""
    masses: dict[int, float] = {}
    if not token.alternatives or not _DIGIT_TOKEN.fullmatch(token.text):
        return masses
    for text, logprob in {token.text: token.logprob, **token.alternatives}.items():
        digit = _DIGIT_TOKEN.fullmatch(text)
        if digit:
            masses[int(digit[1])] = masses.get(int(digit[1]), 0.0) + math.exp(logprob)
    return masses


def _mean(masses: dict[int, float]) -> float | None:
    total = sum(masses.values())
    return sum(digit * mass for digit, mass in masses.items()) / total if total > 0 else None


def _arrays(text: str) -> list[tuple[list[int], list[int]]]:
    """Every array of digits in `text`: the digits, and the character at which each stands."""
    if _BARE.fullmatch(text):
        return [_located(text, 0)]
    return [_located(array[1], array.start(1)) for array in _ARRAY.finditer(text) if _only_digits(array[1])]


def _located(inside: str, start: int) -> tuple[list[int], list[int]]:
    matches = list(_DIGIT.finditer(inside))
    return [int(match[0]) for match in matches], [start + match.start() for match in matches]


def _only_digits(inside: str) -> bool:
    try:
        items = json.loads(f"[{inside.strip().removesuffix(',')}]")
    except ValueError:
        return False
    return bool(items) and all(
        type(item) in (int, str) and len(str(item)) == 1 and _DIGIT.fullmatch(str(item)) is not None for item in items
    )
