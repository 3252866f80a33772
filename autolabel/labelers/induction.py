"""Finding the rule that a feature's train windows speak for: which words, forms or neighbours it fires on, and under which condition.

A rule is proposed on half of the source documents and judged on the other half, so that a list of rare words is worth only what it
finds in text it was not read from; what wins is then read from all of them. The invariant: the same occurrences give the same rule.
"""

from collections import Counter
from collections.abc import Callable, Container, Sequence
from dataclasses import replace
from functools import partial
from math import sqrt

from autolabel.labelers.occurrences import Occurrence, Part, Text
from autolabel.labelers.views import VIEWS, InducedRule, Tally, View, f1, f1_of
from autolabel.patterns import named_shapes
from autolabel.predicates import LONGEST_ENTRY

PUREST, LOOSEST = 0.4, 0.08
"""Share of a word's occurrences that must fire for it to be in a rule; in a rule whose condition is not known yet."""
MOST_PATTERNS = 3
PATTERN_COST, PART_COST, LETTER_COST, FREE_LETTERS = 0.02, 0.03, 0.02, 3
"""F1 that a pattern, a further one and each letter spelled out must gain, the first few free: a pattern that spells out a stem is a list
of words."""
LEAST_HITS, LEAST_SHARE = 2, 0.1
"""Firing occurrences of a pattern worth trying, and their share of its occurrences where it is added to others."""
LIFT, SMOOTHING, LEAST_GAIN, MOST_CONTEXT = 2.5, 4, 1.5, 24
"""How many times more often a context word stands near a trigger that fires than elsewhere (where it is seen so many times more than it
was, since few windows say what is usual), for how many more triggers it accounts, and how many such words there are at most."""
CONDITION_COST, ABSENT_COST, GOOD_ENOUGH, LEAST_F1 = 0.05, 0.1, 0.9, 0.1
"""F1 that a condition must gain, on text it was not read from; F1 from which on a rule needs none; F1 below which it is no rule."""
LEAST_LIFT, LEAST_PART = 0.08, 0.45
"""A condition that gains nothing on windows that mostly fire is taken all the same where it holds so much more often near firing
triggers than elsewhere, one standard error taken off, and keeps so large a part of the F1."""
Words = Sequence[Occurrence]
_NAMED = named_shapes()


def induce(text: Text) -> InducedRule | None:
    """The best rule for what fires; None where none predicts anything in text it was not read from."""
    found: list[tuple[InducedRule, float]] = []
    for view in VIEWS:
        rule = _plain_of(text.whole, view)
        if rule.weights:
            found.append((rule, _crossfit(text, partial(_plain_of, view=view))))
    if not found:
        return None
    best, value = max(found, key=_worth)
    if value < GOOD_ENOUGH:
        views = dict.fromkeys([best.view, VIEWS[0]])
        better = [pair for view in views for pair in _conditional(text, view) if pair[1] > value + _condition_cost(pair[0])]
        if better:
            best, value = max(better, key=_worth)
        else:
            best = _by_lift(text, best, value)
    return best if value >= LEAST_F1 else None


def _worth(pair: tuple[InducedRule, float]) -> float:
    """F1 less what a rule so complicated must be better by."""
    rule, value = pair
    is_form = rule.view.patterns_of is not None
    return value - rule.view.cost - (sum(map(_pattern_cost, rule.weights)) if is_form else 0.0)


def _plain_of(part: Part, view: View, loose: bool = False) -> InducedRule:
    """`_plain`, remembered."""
    asked = ("plain", view.name, str(loose))
    if asked not in part.read:
        part.read[asked] = _plain(part.words, view, loose)
    found: InducedRule = part.read[asked]
    return found


def _plain(words: Words, view: View, loose: bool = False) -> InducedRule:
    """A rule without a condition; a loose one names triggers that may lack a condition still."""
    tally = Tally.of(words, view, weighted=not loose)
    if view.patterns_of is None:
        shares = {key: tally.share([key]) for key in tally.fires}
        return InducedRule(view, {key: share for key, share in shares.items() if share >= (LOOSEST if loose else PUREST)})
    return InducedRule(view, _chosen_patterns(tally, view.patterns_of))


def _chosen_patterns(tally: Tally, patterns_of: Callable[[str], tuple[str, ...]]) -> dict[str, float]:
    """A few patterns that together have the best F1, added one by one."""
    matched: dict[str, list[str]] = {}
    for key in dict.fromkeys([*tally.fires, *tally.silent]):
        for pattern in patterns_of(key):
            matched.setdefault(pattern, []).append(key)
    counts = {pattern: tally.counts(keys) for pattern, keys in matched.items()}
    possible = sorted(pattern for pattern, (hits, _) in counts.items() if hits >= LEAST_HITS)
    taken: list[str] = []
    covered: set[str] = set()
    hits = alarms = 0.0
    while possible and len(taken) < MOST_PATTERNS:
        further = {p: tally.counts(k for k in matched[p] if k not in covered) if covered else counts[p] for p in possible}
        gains = {
            p: f1(hits + more, alarms + wrong, tally.n_fires) - _pattern_cost(p) - (PART_COST if taken else 0.0)
            for p, (more, wrong) in further.items()
        }
        top = max(possible, key=lambda pattern: (gains[pattern], _preference(pattern), pattern))
        if taken and gains[top] <= f1(hits, alarms, tally.n_fires):
            break
        taken.append(top)
        covered.update(matched[top])
        hits, alarms = hits + further[top][0], alarms + further[top][1]
        possible = [p for p in possible if p != top and counts[p][0] >= LEAST_SHARE * sum(counts[p])]
    return {pattern: tally.share(matched[pattern]) for pattern in taken}


def _preference(pattern: str) -> int:
    """Among patterns that are worth the same, the more specific; among shapes with a name, the one named first."""
    return -_NAMED.index(pattern) if pattern in _NAMED else len(pattern)


def _pattern_cost(pattern: str) -> float:
    bare = pattern.replace("A-Za-z", "").replace("[a-z]", "")
    n_letters = sum(character.isalpha() for character in bare) - bare.startswith("[")
    return PATTERN_COST + LETTER_COST * max(n_letters - FREE_LETTERS, 0)


def _crossfit(text: Text, learn: Callable[[Part], InducedRule]) -> float:
    """F1 of what is read from one half of the documents on the other, mean of both ways."""
    one, other = text.halves
    return (f1_of(learn(one), other.words) + f1_of(learn(other), one.words)) / 2


def _conditional(text: Text, view: View) -> list[tuple[InducedRule, float]]:
    """The rules with a condition, one that asks for company and one that asks for none, and their F1."""
    found = []
    for absent in (False, True):
        rule = _with_condition(text.whole, view, absent)
        if rule.context and rule.weights:
            found.append((rule, _crossfit(text, partial(_with_condition, view=view, absent=absent))))
    return found


def _condition_cost(rule: InducedRule) -> float:
    return ABSENT_COST if rule.absent else CONDITION_COST


def _by_lift(text: Text, plain: InducedRule, value: float) -> InducedRule:
    """The same rule with a condition, where firing triggers stand in its company so much more often than other words do that windows
    which nearly all fire cannot show what it is good for."""
    rule = _with_condition(text.whole, plain.view, absent=False)
    if not (rule.context and rule.weights) or _lift(text, plain.view) <= LEAST_LIFT:
        return plain
    kept = _crossfit(text, partial(_with_condition, view=plain.view, absent=False))
    return rule if kept > LEAST_PART * value else plain


def _with_condition(part: Part, view: View, absent: bool) -> InducedRule:
    """`_read_with_condition`, remembered."""
    asked = ("condition", view.name, str(absent))
    if asked not in part.read:
        part.read[asked] = _read_with_condition(part, view, absent)
    found: InducedRule = part.read[asked]
    return found


def _read_with_condition(part: Part, view: View, absent: bool) -> InducedRule:
    """Triggers that may fire seldom by themselves, what stands near them when they do (or when they do not), and then the triggers
    that fire in most of their occurrences under this condition. Without a context where none is found."""
    loose = _plain_of(part, view, loose=True)
    fires = [one for one in part.fires if loose.names(one)]
    if absent:
        near_fires = Counter(word for one in fires for word in one.near)
        context = _context([one for one in part.silent if loose.names(one)], near_fires, len(fires), loose.weights)
    else:
        context = _context(fires, part.near_silent, len(part.silent), loose.weights)
    if not context:
        return loose
    meets = [one for one in part.words if one.near.isdisjoint(context) == absent]
    return replace(_plain(meets, view), context=context, absent=absent)


def _context(wanted: Words, usual: Counter[str], n_usual: int, triggers: Container[str]) -> tuple[str, ...]:
    """Words that stand near the wanted occurrences more often than is usual, added while they account for more of them.

    `usual` says near how many of `n_usual` other occurrences each word stands.
    """
    near = Counter(word for one in wanted for word in one.near)
    n = max(n_usual, 1)
    possible = {
        word
        for word, count in near.items()
        if count >= LEAST_HITS
        and len(word) <= LONGEST_ENTRY
        and word not in triggers
        and count * (n + 1) >= LIFT * len(wanted) * (usual[word] + SMOOTHING)
    }
    left, taken = list(wanted), list[str]()
    while len(taken) < MOST_CONTEXT:
        now = Counter(word for one in left for word in one.near & possible)
        gain, word = max(((count - len(left) * usual[word] / n, word) for word, count in now.items()), default=(0.0, ""))
        if gain < LEAST_GAIN:
            break
        taken.append(word)
        possible.discard(word)
        left = [one for one in left if word not in one.near]
    return tuple(taken)


def _lift(text: Text, view: View) -> float:
    """How much more often a condition read from one half holds near firing triggers of the other half than near any word there, less
    one standard error."""
    near: list[bool] = []
    usual: list[bool] = []
    for own, other in (text.halves, text.halves[::-1]):
        context = _with_condition(own, view, absent=False).context
        loose = _plain_of(own, view, loose=True)
        near += [not one.near.isdisjoint(context) for one in other.fires if loose.names(one)]
        usual += [not one.near.isdisjoint(context) for one in other.silent]
    if not near or not usual:
        return 0.0
    share = sum(near) / len(near)
    return share - sum(usual) / len(usual) - sqrt(share * (1 - share) / len(near))
