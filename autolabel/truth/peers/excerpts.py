"""Stretches of a benchmark's text with one feature's activations on them, as the protocols of others cut them."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.sampling import TILE_TOKENS
from autolabel.truth.nuisances import Firing
from autolabel.truth.world import Tiles, World


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Some tokens in a row."""

    first: int
    """Number of the first token among all tokens of the text."""
    tokens: tuple[str, ...]
    activations: tuple[float, ...]
    """One for each token, 0 where the feature is silent."""

    @property
    def text(self) -> str:
        """The tokens as one text."""
        return "".join(self.tokens)

    @property
    def fires(self) -> bool:
        """Whether the feature fires anywhere in it."""
        return self.max_activation > 0

    @property
    def max_activation(self) -> float:
        """The largest activation, 0 where none fires."""
        return max(self.activations, default=0.0)

    @property
    def peak(self) -> int:
        """Place of the largest activation, the first of equals."""
        return self.activations.index(self.max_activation)

    def above(self, least: float) -> list[int]:
        """Places at which the activation is above `least`."""
        return [place for place, value in enumerate(self.activations) if value > least]

    def overlaps(self, other: "Excerpt") -> bool:
        """Whether the two share a token."""
        return self.first < other.first + len(other.tokens) and other.first < self.first + len(self.tokens)


def n_shared(tested: Iterable[Excerpt], shown: Iterable[Excerpt]) -> int:
    """How many of the tested excerpts share a token with one that was shown."""
    seen = list(shown)
    return sum(any(one.overlaps(other) for other in seen) for one in tested)


class Reader:
    """Cuts excerpts around what one feature fires on."""

    def __init__(self, world: World, firing: Firing) -> None:
        self._world = world
        self.firing = firing

    def span(self, first: int, stop: int) -> Excerpt:
        """The tokens from `first` to before `stop`."""
        types, kinds = self._world.token_types, self._world.token_kind[first:stop]
        activations = np.zeros(stop - first)
        low, high = np.searchsorted(self.firing.tokens, [first, stop])
        activations[self.firing.tokens[low:high] - first] = self.firing.values[low:high]
        return Excerpt(first, tuple(types[kind] for kind in kinds.tolist()), tuple(activations.tolist()))

    def tile(self, number: int) -> Excerpt:
        """One tile."""
        first = int(self._world.tile_first[number])
        return self.span(first, first + TILE_TOKENS)

    def around(self, token: int, reach: int) -> Excerpt:
        """A token with up to `reach` tokens of its document to either side."""
        begin, end = self._document_of(token)
        return self.span(max(begin, token - reach), min(end, token + reach + 1))

    def tiles_by_strength(self) -> Tiles:
        """The tiles that fire, those with the largest activation first, in the order of the text among equals."""
        tiles = self._world.tile_of_token[self.firing.tokens]
        inside = tiles >= 0
        strongest = np.zeros(self._world.n_tiles, dtype=np.float32)
        np.maximum.at(strongest, tiles[inside], self.firing.values[inside])
        fired = np.unique(tiles[inside])
        ordered: Tiles = fired[np.argsort(-strongest[fired], kind="stable")].astype(np.int32)
        return ordered

    def silent_tiles(self) -> Tiles:
        """The tiles that do not fire."""
        silent = np.ones(self._world.n_tiles, dtype=bool)
        silent[self._world.tiles_fired(self.firing)] = False
        tiles: Tiles = np.flatnonzero(silent).astype(np.int32)
        return tiles

    def peaks(self, n: int, apart: int, reach: int = 0) -> list[int]:
        """The `n` strongest tokens of which none is within `apart` tokens of a stronger one; fewer where there are not so many.

        Only tokens with at least `reach` tokens of their document to either side count.
        """
        taken: list[int] = []
        for place in np.argsort(-self.firing.values, kind="stable").tolist():
            token = int(self.firing.tokens[place])
            if self.has_room(token, reach) and all(abs(token - other) > apart for other in taken):
                taken.append(token)
                if len(taken) == n:
                    break
        return taken

    def has_room(self, token: int, reach: int) -> bool:
        """Whether a token's document has `reach` tokens to either side of it."""
        begin, end = self._document_of(token)
        return begin + reach <= token < end - reach

    def rooms(self, tokens: NDArray[np.int64], reach: int) -> NDArray[np.bool_]:
        """`has_room` of many tokens at once."""
        first = self._world.first_token
        document = np.searchsorted(first, tokens, side="right") - 1
        room: NDArray[np.bool_] = (first[document] + reach <= tokens) & (tokens < first[document + 1] - reach)
        return room

    def _document_of(self, token: int) -> tuple[int, int]:
        """Where the document of a token begins and ends."""
        first = self._world.first_token
        document = int(np.searchsorted(first, token, side="right")) - 1
        return int(first[document]), int(first[document + 1])
