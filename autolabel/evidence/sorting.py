"""Brings the spill into the order of tile ids with memory for one slice of it at a time, whatever its size."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autolabel.evidence.collector import Collector
from autolabel.evidence.spill import PAIR_SCHEMA, TILE_SCHEMA, among, joined, pair_batch, pairs_in
from autolabel.evidence.tiling import Pairs
from autolabel.hashing import UInt64

SLICE_TILES, SLICE_PAIRS = 1 << 15, 1 << 20
"""About how many tiles and pairs a slice holds."""
MOST_SLICES = 256


def sorted_slices(collector: Collector, folder: Path) -> Iterator[tuple[pa.Table, Pairs | None]]:
    """The live tiles of the spill in the order of their ids, slice by slice, each with the live pairs of its tiles (in no order).

    What has been displaced is left out, so that what comes out does not depend on what was ever admitted.
    """
    spill = collector.spill
    n_tiles = sum(batch.num_rows for batch in spill.tiles())
    n_slices = min(max(n_tiles / SLICE_TILES, spill.n_pairs / SLICE_PAIRS, 1), MOST_SLICES)
    bits = (math.ceil(n_slices) - 1).bit_length()
    wanted = [np.empty(0, dtype=np.uint64)]
    with _SliceFiles(folder, "pairs", bits, PAIR_SCHEMA) as files:
        for pairs in spill.pairs():
            live = pairs.select(collector.is_live(pairs))
            wanted.append(np.unique(live.tile))
            for number, which in files.divided(live.tile):
                files.write(number, pair_batch(live.select(which)))
    of_pairs = np.unique(np.concatenate(wanted))
    with _SliceFiles(folder, "tiles", bits, TILE_SCHEMA) as files:
        for batch in spill.tiles():
            ids = batch["tile"].to_numpy()
            live_tiles = among(ids, of_pairs) | collector.is_drawn(ids, batch["split"].to_numpy())
            for number, which in files.divided(ids):
                files.write(number, batch.filter(pa.array(which & live_tiles)))
    for number in range(1 << bits):
        tiles, parts = _read(folder / f"slice-{number}.tiles"), _read(folder / f"slice-{number}.pairs")
        yield _in_order(tiles), _together([pairs_in(batch) for batch in parts])


class _SliceFiles:
    """Arrow streams, one per slice of the tile ids."""

    def __init__(self, folder: Path, kind: str, bits: int, schema: pa.Schema) -> None:
        self._shift = np.uint64(64 - bits) if bits else None
        paths = (folder / f"slice-{number}.{kind}" for number in range(1 << bits))
        self._writers = [pa.ipc.new_stream(path, schema) for path in paths]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for writer in self._writers:
            writer.close()

    def divided(self, ids: UInt64) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """The slices that some of these tiles belong to, and which."""
        slices = (ids >> self._shift).astype(np.int64) if self._shift is not None else np.zeros(len(ids), dtype=np.int64)
        for number in np.unique(slices).tolist():
            yield number, slices == number

    def write(self, number: int, batch: pa.RecordBatch) -> None:
        """Append to a slice."""
        self._writers[number].write_batch(batch)


def _in_order(batches: list[pa.RecordBatch]) -> pa.Table:
    return pa.Table.from_batches(batches, TILE_SCHEMA).sort_by("tile").combine_chunks()


def _together(parts: list[Pairs]) -> Pairs | None:
    return joined(parts) if parts else None


def _read(path: Path) -> list[pa.RecordBatch]:
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
        batches = list(stream)
    path.unlink()
    return batches
