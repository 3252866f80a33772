"""Append-only files for what the collector admits, so that memory holds keys only.

The invariant: a segment that has been named to a checkpoint is never changed, and files are removed only once no checkpoint names
them, so that a collection killed at any moment goes on from its last checkpoint.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from autolabel.errors import DataError
from autolabel.evidence.tiling import Pairs
from autolabel.hashing import UInt64

TILE_SCHEMA = pa.schema(
    {
        "tile": pa.uint64(),
        "document": pa.uint64(),
        "source_document": pa.uint64(),
        "source": pa.string(),
        "document_name": pa.string(),
        "split": pa.uint8(),
        "tile_index": pa.int32(),
        "text": pa.string(),
        "token_starts": pa.list_(pa.int32()),
        "token_ids": pa.list_(pa.int32()),
        "n_context_tokens": pa.int32(),
    }
)
PAIR_SCHEMA = pa.schema(
    {
        "tile": pa.uint64(),
        "feature": pa.int32(),
        "split": pa.uint8(),
        "largest": pa.float32(),
        "positions": pa.list_(pa.uint8()),
        "values": pa.list_(pa.float32()),
    }
)
_WAITING_TILES = 1024
_WAITING_PAIRS = 1 << 17
_KINDS = ("tiles", "pairs")


def pair_batch(pairs: Pairs) -> pa.RecordBatch:
    """Pairs as Arrow."""
    offsets = pa.array(np.concatenate([[0], np.cumsum(pairs.length)]).astype(np.int32))
    lists = [pa.ListArray.from_arrays(offsets, pa.array(flat)) for flat in (pairs.positions, pairs.values)]
    plain = [pa.array(column) for column in (pairs.tile, pairs.feature, pairs.split, pairs.largest)]
    return pa.record_batch([*plain, *lists], schema=PAIR_SCHEMA)


def pairs_in(batch: pa.RecordBatch) -> Pairs:
    """What `pair_batch` made."""
    tile, feature, split, largest = (batch[name].to_numpy() for name in ("tile", "feature", "split", "largest"))
    positions = batch["positions"]
    lengths = np.diff(positions.offsets.to_numpy()).astype(np.int64)
    return Pairs(tile, feature, split, largest, lengths, positions.flatten().to_numpy(), batch["values"].flatten().to_numpy())


def joined(parts: Sequence[Pairs]) -> Pairs:
    """Pairs one after the other; there is at least one part."""
    columns = ("tile", "feature", "split", "largest", "length", "positions", "values")
    return Pairs(*(np.concatenate([getattr(part, name) for part in parts]) for name in columns))


class Spill:
    """Admitted tiles and the activations of admitted (tile, feature) pairs, in the segments of a folder."""

    def __init__(self, folder: Path, segments: Iterable[str] = ()) -> None:
        """Go on with the named segments; other files of the folder that look like segments are leftovers and are removed.

        Raises:
            DataError: a named segment is missing.
        """
        self._folder = folder
        self._segments = list(segments)
        self._saved = list(segments)
        folder.mkdir(parents=True, exist_ok=True)
        for name in self._segments:
            for kind in _KINDS:
                if not self._path(name, kind).is_file():
                    raise DataError(f"'{self._path(name, kind)}' is missing; delete the folder '{folder}' and collect anew")
        self.remove_unnamed()
        self._number = max((int(name.split("-")[1]) for name in self._segments), default=-1)
        self._writers: dict[str, pa.ipc.RecordBatchStreamWriter] = {}
        self._tiles: list[dict[str, Any]] = []
        self._pairs: list[Pairs] = []
        self._n_pairs_waiting = 0
        self.n_pairs = sum(len(pairs) for pairs in self.pairs())
        """Pairs in the files, displaced ones included."""

    def __enter__(self) -> "Spill":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.cut()

    @property
    def n_bytes(self) -> int:
        """Size of all files."""
        return sum(path.stat().st_size for path in self._folder.glob("segment-*"))

    def add_tile(self, row: dict[str, Any]) -> None:
        """Append a tile, fields as in `TILE_SCHEMA`."""
        self._tiles.append(row)
        if len(self._tiles) >= _WAITING_TILES:
            self._write_tiles()

    def add_tiles(self, batch: pa.RecordBatch) -> None:
        """Append tiles that are Arrow already."""
        self._write("tiles", batch)

    def add_pairs(self, pairs: Pairs) -> None:
        """Append pairs."""
        self._pairs.append(pairs)
        self._n_pairs_waiting += len(pairs)
        self.n_pairs += len(pairs)
        if self._n_pairs_waiting >= _WAITING_PAIRS:
            self._write_pairs()

    def cut(self) -> list[str]:
        """End the segment that is being written; the names of all segments, which now hold everything."""
        self._write_tiles()
        self._write_pairs()
        if self._writers:
            for kind in _KINDS:
                self._writer(kind).close()
                synced(self._path(self._name, kind))
            self._writers = {}
            self._segments.append(self._name)
        return list(self._segments)

    def compact(
        self, is_live: Callable[[Pairs], NDArray[np.bool_]], is_drawn: Callable[[UInt64, NDArray[np.uint8]], NDArray[np.bool_]]
    ) -> None:
        """Write what is still wanted into one new segment: live pairs, their tiles, and the tiles of the background sample."""
        before = self.cut()
        tiles_wanted = [np.empty(0, dtype=np.uint64)]
        self.n_pairs = 0
        for pairs in self.pairs():
            live = pairs.select(is_live(pairs))
            tiles_wanted.append(np.unique(live.tile))
            if len(live):
                self.add_pairs(live)
        self._write_pairs()
        wanted = np.unique(np.concatenate(tiles_wanted))
        for batch in self._batches("tiles", before):
            ids = batch["tile"].to_numpy()
            self.add_tiles(batch.filter(pa.array(among(ids, wanted) | is_drawn(ids, batch["split"].to_numpy()))))
        self._segments = []
        self.cut()

    def saved(self, segments: Sequence[str]) -> None:
        """The checkpoint on the disk now names these segments, and no others."""
        self._saved = list(segments)
        self.remove_unnamed()

    def remove_unnamed(self) -> None:
        """Remove the files of segments that were compacted away or never finished, unless the last checkpoint names them."""
        for path in self._folder.glob("segment-*"):
            if path.stem not in self._segments and path.stem not in self._saved:
                path.unlink()

    def tiles(self) -> Iterator[pa.RecordBatch]:
        """All tiles of finished segments."""
        return self._batches("tiles", self._segments)

    def pairs(self) -> Iterator[Pairs]:
        """All pairs of finished segments."""
        return (pairs_in(batch) for batch in self._batches("pairs", list(self._segments)))

    def _batches(self, kind: str, segments: Iterable[str]) -> Iterator[pa.RecordBatch]:
        for name in segments:
            path = self._path(name, kind)
            try:
                with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
                    yield from stream
            except (pa.ArrowInvalid, OSError) as error:
                raise DataError(f"'{path}' is damaged ({error}); delete the folder '{self._folder}' and collect anew") from None

    def _write_tiles(self) -> None:
        if self._tiles:
            columns = {name: [row[name] for row in self._tiles] for name in TILE_SCHEMA.names}
            self._tiles = []
            self._write("tiles", pa.record_batch(columns, schema=TILE_SCHEMA))

    def _write_pairs(self) -> None:
        if self._pairs:
            pairs, self._pairs, self._n_pairs_waiting = joined(self._pairs), [], 0
            self._write("pairs", pair_batch(pairs))

    def _write(self, kind: str, batch: pa.RecordBatch) -> None:
        self._writer(kind).write_batch(batch)

    def _writer(self, kind: str) -> pa.ipc.RecordBatchStreamWriter:
        if not self._writers:
            self._number += 1
            self._name = f"segment-{self._number:06d}"
        if kind not in self._writers:
            schema = TILE_SCHEMA if kind == "tiles" else PAIR_SCHEMA
            self._writers[kind] = pa.ipc.new_stream(self._path(self._name, kind), schema)
        return self._writers[kind]

    def _path(self, name: str, kind: str) -> Path:
        return self._folder / f"{name}.{kind}"


def synced(path: Path) -> None:
    """Have a file or folder on the disk, not only in the system's memory, when this returns."""
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def among(ids: UInt64, wanted: UInt64) -> NDArray[np.bool_]:
    """Which of `ids` are in `wanted`, which is sorted."""
    if len(wanted) == 0:
        return np.zeros(len(ids), dtype=bool)
    found: NDArray[np.bool_] = wanted[np.minimum(np.searchsorted(wanted, ids), len(wanted) - 1)] == ids
    return found
