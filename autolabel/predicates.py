"""Rules that run: what a label says as data, checked, read over a window, and said in plain English.

A rule comes as a JSON mapping, perhaps from a stranger, and `parse_predicate` lets through only what can be evaluated quickly:

    {"kind": "words", "weights": {"river": 1, "bank": .5}}       one of these words, whatever its case
    {"kind": "tokens", "weights": {" river": 1}}                 one of these tokens, blanks included
    {"kind": "regex", "pattern": "[A-Za-z]+ing", "weight": 1}    a whole word as written
    {"kind": "near", "trigger": …, "context": ["money"], "absent": false}    the trigger with such a word within eight; or without one
    {"kind": "before", "target": …}   {"kind": "after", "target": …}         the word before, or after, the target
    {"kind": "any", "parts": [ … ]}                              the largest weight among several

The invariant: a rule fires on tokens of the tile only, and what it may look at beside them is the window, never more.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from autolabel import patterns
from autolabel.errors import DataError
from autolabel.records import Example
from autolabel.words import words_of

SPAN = 8
"""Words to either side within which a context must be."""
DEEPEST, MOST_PARTS, MOST_ENTRIES, LONGEST_ENTRY = 3, 64, 20_000, 1_000
"""How many predicates may hold one another, parts of `any`, words and tokens of a predicate, and characters of each."""
_BLANK = -1
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@dataclass(frozen=True, slots=True)
class Words:
    """One of these words, case-folded."""

    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Tokens:
    """One of these tokens, exactly."""

    weights: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Regex:
    """A word, as written, that a pattern matches whole."""

    pattern: re.Pattern[str]
    weight: float


@dataclass(frozen=True, slots=True)
class Near:
    """A trigger with a word of the context within `SPAN` words to either side, or (`absent`) without one."""

    trigger: "Rule"
    context: tuple[str, ...]
    """Case-folded."""
    absent: bool


@dataclass(frozen=True, slots=True)
class Beside:
    """The word before a target, or after it."""

    side: Literal["before", "after"]
    target: "Rule"


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Whatever fires among several rules."""

    parts: tuple["Rule", ...]


Rule = Words | Tokens | Regex | Near | Beside | AnyOf
"""A checked predicate."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a rule says of one window."""

    value: float
    """The largest weight in the tile; 0 where it fires nowhere."""
    positions: tuple[int, ...]
    """Tokens of the window, all in the tile, on which it fires."""


def parse_predicate(found: Any) -> Rule:
    """Check a predicate from anywhere and make it ready to run.

    Raises:
        DataError: it is of an unknown kind, malformed, too large or too deep; the message says where.
    """
    rule, n_entries = _parsed(found, "predicate", 0)
    if n_entries > MOST_ENTRIES:
        raise DataError(
            f"the predicate holds {n_entries:,} words or tokens, expected at most {MOST_ENTRIES:,}; leave out the rare ones"
        )
    return rule


def _parsed(found: Any, where: str, depth: int) -> tuple[Rule, int]:
    if not isinstance(found, Mapping):
        raise DataError(f"{where} is {_shown(found)}, expected a mapping with a kind")
    if depth > DEEPEST:
        raise DataError(f"{where} lies more than {DEEPEST} deep; say it with fewer predicates inside one another")
    kind = found.get("kind")
    if kind in ("words", "tokens"):
        _only(found, where, "weights")
        weights = _weights(found.get("weights"), f"{where}.weights")
        return (Words(weights) if kind == "words" else Tokens(weights)), len(weights)
    if kind == "regex":
        _only(found, where, "pattern", "weight")
        pattern = found.get("pattern")
        if not isinstance(pattern, str):
            raise DataError(f"{where}.pattern is {_shown(pattern)}, expected text")
        return Regex(patterns.compiled(pattern), _number(found.get("weight", 1.0), f"{where}.weight")), 1
    if kind in ("before", "after"):
        _only(found, where, "target")
        target, n = _parsed(found.get("target"), f"{where}.target", depth + 1)
        return Beside(kind, target), n
    if kind == "near":
        return _parsed_near(found, where, depth)
    if kind == "any":
        return _parsed_any(found, where, depth)
    kinds = "'words', 'tokens', 'regex', 'near', 'before', 'after' or 'any'"
    raise DataError(f"{where}: predicate kind is {_shown(kind)}, expected {kinds}")


def _parsed_near(found: Mapping[str, Any], where: str, depth: int) -> tuple[Near, int]:
    _only(found, where, "trigger", "context", "absent")
    trigger, n = _parsed(found.get("trigger"), f"{where}.trigger", depth + 1)
    context, absent = found.get("context"), found.get("absent", False)
    if not isinstance(context, Sequence) or isinstance(context, str) or not 0 < len(context) <= MOST_ENTRIES:
        raise DataError(f"{where}.context is {_shown(context)}, expected a list of 1 to {MOST_ENTRIES:,} words")
    if not isinstance(absent, bool):
        raise DataError(f"{where}.absent is {_shown(absent)}, expected true or false")
    words = dict.fromkeys(_entry(word, f"{where}.context").casefold() for word in context)
    return Near(trigger, tuple(words), absent), n + len(words)


def _parsed_any(found: Mapping[str, Any], where: str, depth: int) -> tuple[AnyOf, int]:
    _only(found, where, "parts")
    parts = found.get("parts")
    if not isinstance(parts, Sequence) or isinstance(parts, str) or not 0 < len(parts) <= MOST_PARTS:
        raise DataError(f"{where}.parts is {_shown(parts)}, expected a list of 1 to {MOST_PARTS} predicates")
    made = [_parsed(part, f"{where}.parts[{number}]", depth + 1) for number, part in enumerate(parts)]
    return AnyOf(tuple(rule for rule, _ in made)), sum(n for _, n in made)


def _only(found: Mapping[str, Any], where: str, *known: str) -> None:
    unknown = [key for key in found if key not in ("kind", *known)]
    if unknown:
        raise DataError(f"{where} has {_shown(unknown[0])}, expected nothing but kind, {', '.join(known)}")


def _weights(found: Any, where: str) -> dict[str, float]:
    if not isinstance(found, Mapping) or len(found) > MOST_ENTRIES:
        raise DataError(f"{where} is {_shown(found)}, expected at most {MOST_ENTRIES:,} weights by word or token")
    return {_entry(key, where): _number(weight, where) for key, weight in found.items()}


def _entry(found: Any, where: str) -> str:
    if not isinstance(found, str) or not 0 < len(found) <= LONGEST_ENTRY:
        raise DataError(f"{where} holds {_shown(found)}, expected text of 1 to {LONGEST_ENTRY:,} characters")
    return found


def _number(found: Any, where: str) -> float:
    is_number = isinstance(found, (int, float)) and not isinstance(found, bool)
    if not is_number or not 0 <= found <= 1e9 or not math.isfinite(found):
        raise DataError(f"{where} holds {_shown(found)}, expected a number from 0 to 1e9")
    return float(found)


def _shown(found: Any) -> str:
    """A value from a stranger, cut short; what is large is not written out first."""
    if found is None:
        return "missing"
    if isinstance(found, str):
        return repr(found[:60])
    if isinstance(found, (Mapping, Sequence)):
        return f"a {type(found).__name__} of {len(found)}"
    if isinstance(found, int) and abs(found) > 1e9:
        return "a whole number beyond 1e9"
    return f"{type(found).__name__} {str(found)[:60]}"


class Window:
    """A window cut into words, once for any number of rules."""

    def __init__(self, example: Example) -> None:
        self.tokens = example.tokens
        self.first = example.n_context_tokens
        """First token of the tile."""
        self.pieces = words_of(example)
        """By token, as `words` rules see it."""
        self.word, self.written = _numbered(example)
        """By token: the number of its word, `_BLANK` for white space; by word: how it is written."""
        self.folded = [word.casefold() for word in self.written]
        """By word, case-folded."""

    def near(self, number: int, context: frozenset[str]) -> bool:
        """Whether another word of `context` is within `SPAN` words of the word with this number."""
        start, stop = max(number - SPAN, 0), number + SPAN + 1
        around = self.folded[start:number] + self.folded[number + 1 : stop]
        return not context.isdisjoint(around)


def _numbered(example: Example) -> tuple[list[int], list[str]]:
    """The words of a window in order. A run of tokens that begin in one word is that word; any other token with text stands alone."""
    owner = [(-1, -1)] * len(example.text)
    for match in _WORD.finditer(example.text):
        owner[match.start() : match.end()] = [match.span()] * (match.end() - match.start())
    numbers: list[int] = []
    written: list[str] = []
    last = (-1, -1)
    for start, token in zip(example.token_starts, example.tokens, strict=True):
        bare = token.lstrip()
        if not bare:
            numbers.append(_BLANK)
            continue
        span = owner[start + len(token) - len(bare)]
        if span == (-1, -1) or span != last:
            written.append(example.text[slice(*span)] if span != (-1, -1) else bare.rstrip())
        last = span
        numbers.append(len(written) - 1)
    return numbers, written


def evaluate(rule: Rule, window: Window | Example) -> Reading:
    """Run a rule over a window: only tokens of the tile fire, whatever the left context helps to decide."""
    read = window if isinstance(window, Window) else Window(window)
    values = _values(rule, read)
    fires = tuple(position for position in range(read.first, len(values)) if values[position] > 0)
    return Reading(max((values[position] for position in fires), default=0.0), fires)


def _values(rule: Rule, window: Window) -> list[float]:
    """The rule's weight at every token, left context included."""
    match rule:
        case Words(weights):
            return [weights.get(piece, 0.0) for piece in window.pieces]
        case Tokens(weights):
            return [weights.get(token, 0.0) for token in window.tokens]
        case Regex(pattern, weight):
            by_word = [weight if patterns.matches(pattern, word) else 0.0 for word in window.written]
            return _by_token(window, by_word)
        case Near(trigger, context, absent):
            values, wanted = _values(trigger, window), frozenset(context)
            keeps = [
                value > 0 and number != _BLANK and window.near(number, wanted) != absent
                for value, number in zip(values, window.word, strict=True)
            ]
            return [value if kept else 0.0 for value, kept in zip(values, keeps, strict=True)]
        case Beside(side, target):
            of_target = [0.0] * len(window.written)
            for value, number in zip(_values(target, window), window.word, strict=True):
                if number != _BLANK:
                    of_target[number] = max(of_target[number], value)
            return _by_token(window, [*of_target[1:], 0.0] if side == "before" else [0.0, *of_target[:-1]])
        case AnyOf(parts):
            return [max(values) for values in zip(*(_values(part, window) for part in parts), strict=True)]


def _by_token(window: Window, by_word: Sequence[float]) -> list[float]:
    return [0.0 if number == _BLANK else by_word[number] for number in window.word]
