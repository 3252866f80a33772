"""The background sample: tiles drawn from all text by chance, kept with every feature that is active in them.

The invariant: memory grows with the tiles and what is active in them, not with the number of features.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.records import Example, Split
from autolabel.store.connection import Database

_TILES = """
SELECT window_id, document_id, source_document_id, tile_index, text, token_starts, n_context_tokens
FROM windows WHERE evidence_set_id = $evidence_set_id AND split = $split AND fired_features IS NOT NULL
ORDER BY window_id
"""
_FIRED = """
WITH tiles AS (
    SELECT row_number() OVER (ORDER BY window_id) - 1 AS tile, fired_features, fired_max FROM windows
    WHERE evidence_set_id = $evidence_set_id AND split = $split AND fired_features IS NOT NULL
),
active AS (SELECT tile, unnest(fired_features) AS feature, unnest(fired_max) AS strength FROM tiles)
SELECT a.tile::INTEGER AS tile, a.feature::INTEGER AS feature
FROM active a JOIN features f ON f.evidence_set_id = $evidence_set_id AND f.feature_index = a.feature
WHERE a.strength > f.firing_threshold ORDER BY feature, tile
"""
_DENSE = "SELECT feature_index FROM features WHERE evidence_set_id = $evidence_set_id AND firing_threshold > 0"


@dataclass(frozen=True, slots=True)
class BackgroundSample:
    """A uniform sample of the tiles of a split, and which features fire in each."""

    tiles: tuple[Example, ...]
    """By window id; they are evidence about no feature in particular."""
    features: NDArray[np.int32]
    """Feature of each firing, ascending; shape (n_firings,), as of the next."""
    places: NDArray[np.int32]
    """Number of the tile."""
    thresholded: frozenset[int]
    """Features that fire above a threshold of their own (dense ones)."""

    def fires(self, feature: int) -> NDArray[np.bool_]:
        """In which tiles a feature fires, above its threshold if it has one; shape (n_tiles,)."""
        low, high = np.searchsorted(self.features, [feature, feature + 1])
        fires = np.zeros(len(self.tiles), dtype=bool)
        fires[self.places[low:high]] = True
        return fires


def load_background(db: Database, evidence_set_id: str, split: Split) -> BackgroundSample:
    """The background sample of one split; empty where there is none."""
    parameters = {"evidence_set_id": evidence_set_id, "split": split}
    with db.read() as connection:
        rows = connection.execute(_TILES, parameters).fetchall()
        fired = connection.execute(_FIRED, parameters).fetchnumpy()
        dense = connection.execute(_DENSE, {"evidence_set_id": evidence_set_id}).fetchall()
    tiles = (
        Example(window_id, document_id, source, tile, split, "background", None, text, tuple(starts), n_context)
        for window_id, document_id, source, tile, text, starts, n_context in rows
    )
    features, places = (np.asarray(fired[name], dtype=np.int32) for name in ("feature", "tile"))
    return BackgroundSample(tuple(tiles), features, places, frozenset(index for (index,) in dense))
