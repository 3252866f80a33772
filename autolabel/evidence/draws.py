"""What is drawn for a chunk of features, as columns, and the small rules of drawing: order, quantiles, marks."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.evidence.kept import Kept, Rows
from autolabel.records import SPLITS, STRATA, ExampleKind, Split, Stratum

N_QUANTILES = 10
MARK_FRACTION = 0.5
KINDS: tuple[ExampleKind, ...] = ("strongest", "firing", "background", "lookalike", "neighbour", "same_document")
STATUSES = ("alive", "silent", "too_few", "dense")
ALIVE, SILENT, TOO_FEW, DENSE = range(4)

_COLUMNS: dict[str, Any] = {
    "feature": np.int64,
    "row": np.int64,
    "split": np.uint8,
    "kind": np.uint8,
    "stratum": np.int8,
    "in_exam": np.bool_,
    "rank": np.int64,
    "quantile": np.int8,
    "weight": np.float64,
    "pair": np.int64,
    "marks": np.uint32,
}


@dataclass
class Draws:
    """Everything drawn for the features `start` … `start + len(status) − 1`; arrays by feature count from `start`.

    `examples` has a column for each example's feature (counted from `start`), tile row, split, kind and stratum (indices into
    `SPLITS`, `KINDS` and `STRATA`, −1 for no stratum), place in its sample, quantile (−1 for none), inclusion weight, the number of
    the pair that holds its activations (−1 for none), and the tokens of the tile to mark, as bits.
    """

    start: int
    status: NDArray[np.int64]
    """Index into `STATUSES`."""
    threshold: NDArray[np.float64]
    neighbours: list[list[int]] = field(default_factory=list)
    strata: list[tuple[NDArray[np.int64], Split, Stratum, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = field(
        default_factory=list
    )
    """Features, split, stratum; then for each feature the tiles in the population, drawn, and passed over as near-copies."""
    _parts: list[dict[str, NDArray[Any]]] = field(default_factory=list)

    @property
    def n_features(self) -> int:
        """Features of the chunk."""
        return len(self.status)

    def add(self, kept: Kept, features: NDArray[np.int64], rows: Rows, split: Split, kind: ExampleKind, **given: Any) -> None:
        """Append examples: `rows`, shape (n, k), of `features`, shape (n,), best first; −1 where there are no more.

        Given may be `stratum`, `population` (tiles that each feature's examples stand for together), `exam` (how many of the
        first are in the exam), and for negatives `marks` (as bits, shape (n, k)).
        """
        there = rows >= 0
        owners = np.broadcast_to(features[:, None], rows.shape)[there]
        n = len(owners)
        pairs = kept.pairs_at(owners + self.start, rows[there])
        strength = np.where(there, -np.inf, np.nan)
        strength[there] = kept.strengths_of(pairs)
        stratum: Stratum | None = given.get("stratum")
        population = given.get("population")
        rank = np.broadcast_to(np.arange(rows.shape[1]), rows.shape)
        weights = np.ones(rows.shape)
        if population is not None:
            weights = np.broadcast_to((population / np.maximum(there.sum(axis=1), 1))[:, None], rows.shape)
        own_marks = marks(kept, pairs) if stratum in (None, "firing") else given["marks"][there]
        self._parts.append(
            {
                "feature": owners,
                "row": rows[there],
                "split": np.full(n, SPLITS.index(split)),
                "kind": np.full(n, KINDS.index(kind)),
                "stratum": np.full(n, -1 if stratum is None else STRATA.index(stratum)),
                "in_exam": rank[there] < given.get("exam", 0),
                "rank": rank[there],
                "quantile": quantiles(strength)[there] if kind == "firing" else np.full(n, 0 if kind == "strongest" else -1),
                "weight": weights[there],
                "pair": pairs,
                "marks": own_marks,
            }
        )

    @property
    def examples(self) -> dict[str, NDArray[Any]]:
        """The examples in the order of their features, those of a feature in the order they were added."""
        if len(self._parts) != 1:
            empty = {name: np.empty(0, dtype=kind) for name, kind in _COLUMNS.items()}
            parts = [empty, *self._parts]
            self._parts = [{name: np.concatenate([part[name] for part in parts]).astype(_COLUMNS[name]) for name in _COLUMNS}]
            order = np.argsort(self._parts[0]["feature"], kind="stable")
            self._parts = [{name: column[order] for name, column in self._parts[0].items()}]
        return self._parts[0]

    def rows_of(self, features: NDArray[np.int64], *splits: Split) -> tuple[Rows, NDArray[np.int64]]:
        """The tile rows drawn for `features` (ascending) in the given splits, and the place in `features` of each one's owner."""
        examples = self.examples
        place = np.searchsorted(features, examples["feature"])
        place[place == len(features)] = 0
        wanted = np.isin(examples["split"], [SPLITS.index(split) for split in splits])
        wanted &= features[place] == examples["feature"] if len(features) else False
        return examples["row"][wanted], place[wanted]


def marks(kept: Kept, pairs: NDArray[np.int64]) -> NDArray[np.uint32]:
    """The tokens of the tile on which each numbered pair reaches at least half of its largest activation, as bits."""
    lengths, positions, values = kept.entries_of(pairs)
    owner = np.repeat(np.arange(len(pairs)), lengths)
    high = values >= MARK_FRACTION * kept.strengths_of(pairs)[owner]
    found = np.zeros(len(pairs), dtype=np.uint32)
    np.bitwise_or.at(found, owner[high], np.uint32(1) << positions[high].astype(np.uint32))
    return found


def quantiles(strengths: NDArray[np.float64]) -> NDArray[np.int64]:
    """The tenth each value falls into among those of its line, 0 = largest; NaN stands for no value."""
    there = ~np.isnan(strengths)
    order = np.argsort(np.where(there, -strengths, np.inf), axis=1, kind="stable")
    place = np.empty_like(order)
    np.put_along_axis(place, order, np.broadcast_to(np.arange(strengths.shape[1]), order.shape), axis=1)
    tenths: NDArray[np.int64] = place * N_QUANTILES // np.maximum(there.sum(axis=1), 1)[:, None]
    return tenths


def first_of(allowed: NDArray[np.bool_], n: int) -> NDArray[np.int64]:
    """The columns of the first `n` true entries of each line, −1 where there are fewer; shape (n_lines, n)."""
    rank = np.cumsum(allowed, axis=1) - 1
    lines, columns = np.nonzero(allowed & (rank < n))
    found = np.full((len(allowed), n), -1, dtype=np.int64)
    found[lines, rank[lines, columns]] = columns
    return found


def best_of(scores: NDArray[np.float32], n: int) -> NDArray[np.int64]:
    """The columns of the `n` highest finite scores of each line, the earlier of equal ones first, −1 where there are fewer."""
    n_columns = scores.shape[1]
    if n == 0 or n_columns == 0:
        return np.full((len(scores), n), -1, dtype=np.int64)
    top = min(n, n_columns)
    edge = -np.partition(-scores, top - 1, axis=1)[:, top - 1]
    candidates = (scores >= edge[:, None]) & np.isfinite(scores)
    lines, columns = np.nonzero(candidates)
    order = np.lexsort((columns, -scores[lines, columns], lines))
    lines, columns = lines[order], columns[order]
    rank = np.arange(len(lines)) - np.searchsorted(lines, np.arange(len(scores)))[lines]
    found = np.full((len(scores), n), -1, dtype=np.int64)
    within = rank < n
    found[lines[within], rank[within]] = columns[within]
    return found


def packed(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each line's entries that are not −1, moved to the front in their order."""
    order = np.argsort(rows < 0, axis=1, kind="stable")
    return np.take_along_axis(rows, order, axis=1)


def at_places(rows: Rows, places: NDArray[np.int64]) -> Rows:
    """`rows` at the given places, −1 where the place is −1."""
    if len(rows) == 0:
        return np.full(places.shape, -1, dtype=np.int64)
    return np.where(places >= 0, rows[places], -1)
