"""Labels that carry a rule, run over the whole text: what such a label predicts is known exactly, without a judge."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.truth.world import Exact, Tiles, World


@dataclass(frozen=True, slots=True)
class RuleReading:
    """A rule of words or tokens with weights, as predictions for every tile."""

    values: NDArray[np.float64]
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
        ValueError: the predicate is of an unknown kind.
    """
    if predicate["kind"] not in ("words", "tokens"):
        raise ValueError(f"predicate kind is {predicate['kind']!r}, expected 'words' or 'tokens'")
    weights: Mapping[str, float] = predicate["weights"]
    values = np.zeros(world.n_tiles)
    if predicate["kind"] == "words":
        columns = world.columns
        by_type = np.array([weights.get(word.casefold(), 0.0) for word in columns.types])
        words = np.flatnonzero(by_type[columns.kind])
        _raise_to(values, world.tile_of_token[world.places.first[words]], by_type[columns.kind[words]])
    else:
        by_kind = np.array([weights.get(text, 0.0) for text in world.token_types])
        tokens = np.flatnonzero(by_kind[world.token_kind])
        _raise_to(values, world.tile_of_token[tokens], by_kind[world.token_kind[tokens]])
    return RuleReading(values, _best_threshold(values, world, fired))


def rule_exact(world: World, predicate: Mapping[str, Any], fired: Tiles) -> Exact:
    """How well a label's own rule predicts the test tiles in which a feature fires."""
    return world.exact(read_rule(world, predicate, fired).named, fired)


def _raise_to(values: NDArray[np.float64], tiles: NDArray[np.int32], weights: NDArray[np.float64]) -> None:
    inside = tiles >= 0
    np.maximum.at(values, tiles[inside], weights[inside])


def _best_threshold(values: NDArray[np.float64], world: World, fired: Tiles) -> float:
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
