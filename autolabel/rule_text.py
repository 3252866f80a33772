"""Rules said in plain English, for a label's text.

The invariant: words of the corpus are shown as data, escaped and between quotation marks, so that no rule's text breaks out of its line.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from autolabel import patterns
from autolabel.predicates import AnyOf, Beside, Near, Regex, Rule, Tokens, Words, parse_predicate
from autolabel.rendering import escape
from autolabel.words import is_word

NAMED_WORDS = 6
"""Words that are listed; the others are left to the rule."""
NAMED_CONTEXT = 6


def describe(predicate: Mapping[str, Any] | Rule) -> str:
    """A predicate in plain English: `the words "bank", "river" when "money" is within 8 words`.

    Raises:
        DataError: the predicate is malformed.
    """
    rule = parse_predicate(predicate) if isinstance(predicate, Mapping) else predicate
    match rule:
        case Words(weights):
            return _words(weights)
        case Tokens(weights):
            return f"the token{_plural(weights)} {_quoted(_strongest(weights), 'and')}" if weights else "nothing"
        case Regex(pattern, _):
            return escape(patterns.plain(pattern.pattern))
        case Near(trigger, context, absent):
            verb = "is" if len(context) == 1 else "are" if absent else "is"
            shown = _quoted(context[:NAMED_CONTEXT], "or")
            return f"{describe(trigger)}{', unless' if absent else ' when'} {shown} {verb} within 8 words"
        case Beside(side, target):
            return f"the word {side} {describe(target)}"
        case AnyOf(parts):
            return "; or ".join(dict.fromkeys(describe(part) for part in parts))


def _words(weights: Mapping[str, float]) -> str:
    if not weights:
        return "nothing"
    what = "word" if any(is_word(word) for word in weights) else "mark"
    return f"the {what}{_plural(weights)} {_quoted(_strongest(weights), None)}"


def _strongest(weights: Mapping[str, float]) -> list[str]:
    return sorted(weights, key=lambda word: (-weights[word], word))[:NAMED_WORDS]


def _plural(weights: Mapping[str, float]) -> str:
    return "s" if len(weights) > 1 else ""


def _quoted(words: Iterable[str], last: str | None) -> str:
    quoted = [f'"{escape(word)}"' for word in words]
    if last is None or len(quoted) == 1:
        return ", ".join(quoted)
    return f"{', '.join(quoted[:-1])} {last} {quoted[-1]}"
