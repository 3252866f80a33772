"""Append-only files for what the collector admits, so that memory holds references only."""

from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autolabel.hashing import UInt64

TILE_SCHEMA = pa.schema(
    {
        "tile": pa.uint64(),
        "document": pa.uint64(),
        "source_document": pa.uint64(),
        "source": pa.string(),
        "split": pa.string(),
        "tile_index": pa.int32(),
        "text": pa.string(),
        "token_starts": pa.list_(pa.int32()),
        "token_ids": pa.list_(pa.int32()),
        "n_context_tokens": pa.int32(),
    }
)
FIRING_SCHEMA = pa.schema(
    {
        "tile": pa.uint64(),
        "feature": pa.int32(),
        "positions": pa.list_(pa.uint8()),
        "values": pa.list_(pa.float32()),
    }
)


class Spill:
    """Two Arrow streams in a folder: admitted tiles, and the activations of (tile, feature) pairs."""

    def __init__(self, folder: Path) -> None:
        self._tiles_path, self._firings_path = folder / "tiles.arrows", folder / "firings.arrows"
        self._tiles = pa.ipc.new_stream(self._tiles_path, TILE_SCHEMA)
        self._firings = pa.ipc.new_stream(self._firings_path, FIRING_SCHEMA)

    def __enter__(self) -> "Spill":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def add_tiles(self, columns: dict[str, list[object]]) -> None:
        """Append tiles, columns as in `TILE_SCHEMA`."""
        self._tiles.write_batch(pa.record_batch(columns, schema=TILE_SCHEMA))

    def add_firings(
        self,
        tiles: NDArray[np.uint64],
        features: NDArray[np.int64],
        lengths: NDArray[np.int64],
        positions: NDArray[np.uint8],
        values: NDArray[np.float32],
    ) -> None:
        """Append (tile, feature) pairs; pair i has the next `lengths[i]` entries of `positions` and `values`."""
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        self._firings.write_batch(
            pa.record_batch(
                [
                    pa.array(tiles),
                    pa.array(features.astype(np.int32)),
                    pa.ListArray.from_arrays(offsets, pa.array(positions)),
                    pa.ListArray.from_arrays(offsets, pa.array(values)),
                ],
                schema=FIRING_SCHEMA,
            )
        )

    def close(self) -> None:
        """End both streams; what was added can then be read."""
        self._tiles.close()
        self._firings.close()

    def read_tiles(self, ids: UInt64) -> pa.Table:
        """The admitted tiles among `ids`, which are sorted."""
        return _read(self._tiles_path, ids)

    def read_firings(self, ids: UInt64) -> pa.Table:
        """The admitted pairs in tiles among `ids`, which are sorted."""
        return _read(self._firings_path, ids)


def _read(path: Path, ids: UInt64) -> pa.Table:
    """Read batch by batch, because most of what was ever admitted has been displaced since."""
    with pa.ipc.open_stream(path) as stream:
        return pa.Table.from_batches([batch.filter(_among(batch["tile"].to_numpy(), ids)) for batch in stream], stream.schema)


def _among(tiles: UInt64, ids: UInt64) -> pa.Array:
    places = np.minimum(np.searchsorted(ids, tiles), max(len(ids) - 1, 0))
    return pa.array(ids[places] == tiles if len(ids) else np.zeros(len(tiles), dtype=bool))
