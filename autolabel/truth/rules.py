"""Labels that carry a rule, run over the whole text: what such a label predicts is known exactly, without a judge.

`autolabel.predicates` runs a rule over a window; this runs it over columns, where nothing is cut off at a window's edge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel import patterns
from autolabel.predicates import SPAN, AnyOf, Beside, Near, Regex, Rule, Tokens, Words, parse_predicate
from autolabel.truth.columns import Columns, Mask
from autolabel.truth.world import Exact, Tiles, World

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class RuleReading:
    """A rule, as predictions for every tile."""

    values: Floats
    """Largest weight in each tile, shape (n_tiles,); what `scorers.rule` says of it."""
    threshold: float
    """The weight from which on a tile counts as named: the one with the best F1 on train tiles."""

    @property
    def named(self) -> Tiles:
        """The tiles it names."""
        named: Tiles = np.flatnonzero(self.values >= self.threshold).astype(np.int32)
        return named


def read_rule(world: World, predicate: Mapping[str, Any], fired: Tiles) -> RuleReading:
    """Run a label's predicate over all tiles; its threshold is chosen on the train tiles that the feature fires in.

    Raises:
        DataError: the predicate is malformed or of an unknown kind.
    """
    values = _tile_values(world, parse_predicate(predicate))
    return RuleReading(values, _best_threshold(values, world, fired))


def rule_exact(world: World, predicate: Mapping[str, Any], fired: Tiles) -> Exact:
    """How well a label's own rule predicts the test tiles in which a feature fires."""
    return world.exact(read_rule(world, predicate, fired).named, fired)


def _tile_values(world: World, rule: Rule) -> Floats:
    """The largest weight in each tile; a word counts for the tile that its first token lies in."""
    if isinstance(rule, AnyOf):
        return _largest([_tile_values(world, part) for part in rule.parts])
    values = np.zeros(world.n_tiles)
    if isinstance(rule, Tokens):
        weights, where = _token_weights(world, rule), np.arange(world.n_tokens)
    else:
        weights, where = _word_values(world, rule), world.places.first
    fires = np.flatnonzero(weights)
    tiles = world.tile_of_token[where[fires]]
    inside = tiles >= 0
    np.maximum.at(values, tiles[inside], weights[fires][inside])
    return values


def _word_values(world: World, rule: Rule) -> Floats:
    """The rule's weight at every word, shape (n_words,)."""
    columns = world.columns
    match rule:
        case Words(weights):
            of_type = np.array([weights.get(word.casefold(), 0.0) for word in columns.types])
            return np.asarray(of_type[columns.kind])
        case Tokens():
            return _largest_of_words(world, _token_weights(world, rule))
        case Regex(pattern, weight):
            return np.where(columns.by_type(lambda word: patterns.matches(pattern, word)), weight, 0.0)
        case Near(trigger, context, absent):
            values = _word_values(world, trigger)
            has_context = columns.near(_folded_among(columns, frozenset(context)), SPAN, values > 0)
            return np.where(has_context != absent, values, 0.0)
        case Beside(side, target):
            return _shifted(columns, _word_values(world, target), 1 if side == "before" else -1)
        case AnyOf(parts):
            return _largest([_word_values(world, part) for part in parts])


def _largest(values: Sequence[Floats]) -> Floats:
    largest: Floats = np.stack(values).max(axis=0)
    return largest


def _folded_among(columns: Columns, words: frozenset[str]) -> Mask:
    """Words that are one of these, case-folded only: an apostrophe is the one that labelers saw."""
    return columns.by_type(lambda word: word.casefold() in words)


def _shifted(columns: Columns, values: Floats, by: int) -> Floats:
    """The value of the word `by` places further on in the same document, 0 where there is none."""
    fires = np.flatnonzero(values) - by
    fires = fires[(fires >= 0) & (fires < len(values))]
    fires = fires[columns.document[fires] == columns.document[fires + by]]
    shifted = np.zeros(len(values))
    shifted[fires] = values[fires + by]
    return shifted


def _token_weights(world: World, rule: Tokens) -> Floats:
    by_kind = np.array([rule.weights.get(text, 0.0) for text in world.token_types])
    return np.asarray(by_kind[world.token_kind])


def _largest_of_words(world: World, weights: Floats) -> Floats:
    """By word, the largest weight among its tokens."""
    if len(world.columns) == 0:
        return np.zeros(0)
    ends = np.stack([world.places.first, world.places.last + 1], axis=1).reshape(-1)
    return np.asarray(np.maximum.reduceat(np.append(weights, 0.0), ends)[::2])


def _best_threshold(values: Floats, world: World, fired: Tiles) -> float:
    """The lowest value above 0 from which naming tiles has the best F1 on train."""
    train = world.split_tiles(np.flatnonzero(values > 0).astype(np.int32), "train")
    own = world.split_tiles(fired, "train")
    if len(train) == 0:
        return np.inf
    order = train[np.argsort(-values[train], kind="stable")]
    hits = np.cumsum(np.isin(order, own))
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + max(len(own), 1))
    last_of_value = np.append(values[order][1:] != values[order][:-1], True)
    best = int(np.argmax(np.where(last_of_value, f1, -1.0)))
    return float(values[order[best]])
