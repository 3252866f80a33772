"""A collection on disk: checkpoints beside the database, and finished shards anywhere fsspec reaches.

The invariant: a manifest is written last and at once, so what it names is whole; a collection killed at any moment goes on from the
last manifest, and a shard counts as finished once its manifest is there.
"""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from autolabel.config import EvidenceSettings
from autolabel.errors import DataError
from autolabel.evidence.collector import Collector, collector_tables, restore
from autolabel.evidence.corpus import CorpusCounts
from autolabel.evidence.spill import PAIR_SCHEMA, TILE_SCHEMA, Spill, pair_batch, pairs_in, synced
from autolabel.hashing import UInt64
from autolabel.records import SPLITS

FORMAT = 1
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A disk that is full says nothing of the files on it."""
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a collection has come."""

    shard: int = 0
    """Shards before this one are done."""
    complete_through: int = 0
    """Units of the source (texts of a corpus, contexts of a file) of this shard that are done."""
    finished: bool = False
    gate: dict[str, Any] | None = None
    """What the load gate measured."""
    corpus: dict[str, Any] | None = None
    """What the text of a finished collection holds."""
    order: str | None = None
    """The order of the text, which `complete_through` counts in."""
    described: dict[str, Any] | None = None
    """What decides what is collected from a text: features, model, sizes, splits."""


class Checkpoint:
    """The folder of one collection."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder
        self.identity = identity

    def load(self, d_sae: int, settings: EvidenceSettings, seed: int) -> tuple[Collector, Progress]:
        """The collection as it was last saved; a new one, when there is none.

        Raises:
            DataError: a file is damaged, or the folder holds another collection.
        """
        path = self.folder / MANIFEST
        if not path.is_file():
            return Collector(d_sae, settings, seed, Spill(self.folder)), Progress()
        manifest = _manifest_of(path, self.identity)
        collector = Collector(d_sae, settings, seed, Spill(self.folder, manifest["segments"]))
        tables = {}
        for name in ("features", "background", *(["rare"] if manifest.get("has_rare") else [])):
            file = self.folder / f"state-{manifest['number']}.{name}.parquet"
            with _damage_named(str(file)):
                tables[name] = pq.read_table(file)
        _restore(collector, tables, manifest, str(path))
        return collector, Progress(**manifest["progress"])

    def save(self, collector: Collector, progress: Progress, compact_factor: float = 2.0) -> None:
        """Save a collection; rids its spill of what was displaced when that is most of it."""
        path = self.folder / MANIFEST
        before = json.loads(path.read_text(encoding="utf-8"))["number"] if path.is_file() else -1
        collector.compact(compact_factor)
        for name, table in collector_tables(collector).items():
            _write_table(self.folder / f"state-{before + 1}.{name}.parquet", table)
        segments = collector.spill.cut()
        manifest = {"number": before + 1, "segments": segments, "progress": asdict(progress)}
        manifest["has_rare"] = collector.rare is not None
        _write_synced(path, json.dumps(manifest | _scalars(collector, self.identity)))
        collector.spill.saved(segments)
        for old in self.folder.glob("state-*.parquet"):
            if not old.name.startswith(f"state-{before + 1}."):
                old.unlink()

    def save_documents(self, hashes: UInt64) -> None:
        """Note which texts were read, so that more can be added later without reading any twice."""
        _write_table(self.folder / "documents.parquet", pa.table({"hash": hashes}))

    def corpus(self) -> dict[str, Any]:
        """What the text of a finished collection holds, as it was saved.

        Raises:
            DataError: there is no finished collection here.
        """
        corpus: dict[str, Any] = self._finished()["corpus"]
        return corpus

    def norm_limit(self) -> float:
        """The norm above which tokens were outliers in a finished collection.

        Raises:
            DataError: there is no finished collection here.
        """
        return float(self._finished()["gate"]["norm_limit"])

    def _finished(self) -> dict[str, Any]:
        path = self.folder / MANIFEST
        if not path.is_file():
            raise DataError(
                f"'{self.folder}' is gone, so nothing can be added to evidence set {self.identity[:12]}; collect all text anew"
            )
        progress: dict[str, Any] = _manifest_of(path, self.identity)["progress"]
        if not progress["finished"]:
            raise DataError(f"the collection in '{self.folder}' is not finished; run it to its end before text is added")
        return progress

    def require_alike(self, described: dict[str, Any]) -> None:
        """Refuse to add text to a collection that was made in another way than it would be now.

        Raises:
            DataError: with what differs, or there is no finished collection here.
        """
        before = self._finished()["described"] or {}
        now = json.loads(json.dumps(described))
        differing = [
            f"{name} was {before.get(name)} and is {now.get(name)}"
            for name in {**before, **now}
            if before.get(name) != now.get(name)
        ]
        if differing:
            raise DataError(
                f"text cannot be added to evidence set {self.identity[:12]}: {'; '.join(differing)[:600]}; use its settings, or collect all text anew"
            )

    def documents(self) -> UInt64:
        """The hashes of the texts read, sorted.

        Raises:
            DataError: the file is missing or damaged.
        """
        path = self.folder / "documents.parquet"
        with _damage_named(str(path)):
            return np.sort(pq.read_table(path)["hash"].to_numpy())


def shard_is_finished(url: str, identity: str) -> bool:
    """Whether the shard at `url` is there, whole.

    Raises:
        DataError: it belongs to another collection.
    """
    with _reached(url) as (filesystem, path):
        if not filesystem.exists(f"{path}/{MANIFEST}"):
            return False
        content = filesystem.cat_file(f"{path}/{MANIFEST}")
    _manifest(content, url, identity)
    return True


def remove_shards(url: str) -> None:
    """Remove a folder of shards, if it is there.

    Raises:
        DataError: it cannot be reached or removed.
    """
    with _reached(url) as (filesystem, path):
        if filesystem.exists(path):
            filesystem.rm(path, recursive=True)


def write_shard(url: str, collector: Collector, identity: str) -> None:
    """Write what a collector holds as Parquet files under `url`, its manifest last.

    Raises:
        DataError: the place cannot be written to.
    """
    collector.compact()
    with _reached(url) as (filesystem, path):
        filesystem.makedirs(path, exist_ok=True)
        for name, table in collector_tables(collector).items():
            with filesystem.open(f"{path}/{name}.parquet", "wb") as file:
                pq.write_table(table, file)
        with (
            filesystem.open(f"{path}/tiles.parquet", "wb") as file,
            pq.ParquetWriter(file, TILE_SCHEMA, compression="zstd") as writer,
        ):
            for batch in collector.spill.tiles():
                writer.write_batch(batch)
        with (
            filesystem.open(f"{path}/pairs.parquet", "wb") as file,
            pq.ParquetWriter(file, PAIR_SCHEMA, compression="zstd") as writer,
        ):
            for pairs in collector.spill.pairs():
                writer.write_batch(pair_batch(pairs))
        filesystem.pipe_file(f"{path}/{MANIFEST}", json.dumps(_scalars(collector, identity)).encode())


def merge_shard(url: str, collector: Collector, identity: str, folder: Path) -> None:
    """Take over a finished shard; `folder` is for files in between.

    Raises:
        DataError: a file is missing or damaged, or the shard belongs to another collection.
    """
    with _reached(url) as (filesystem, path), _damage_named(url):
        manifest = _manifest(filesystem.cat_file(f"{path}/{MANIFEST}"), url, identity)
        tables = {}
        for name in ("features", "background"):
            with filesystem.open(f"{path}/{name}.parquet", "rb") as file:
                tables[name] = pq.read_table(file)
        with Spill(folder) as spill:
            shard = Collector(collector.d_sae, collector.settings, collector.seed, spill)
            _restore(shard, tables, manifest, url)
            with filesystem.open(f"{path}/tiles.parquet", "rb") as file:
                for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(8192):
                    spill.add_tiles(batch.cast(TILE_SCHEMA))
            with filesystem.open(f"{path}/pairs.parquet", "rb") as file:
                for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(1 << 16):
                    spill.add_pairs(pairs_in(batch))
            collector.merge(shard)


def _scalars(collector: Collector, identity: str) -> dict[str, Any]:
    counts = collector.counts
    return {
        "format": FORMAT,
        "identity": identity,
        "d_sae": collector.d_sae,
        "all_tokens": counts.all_tokens,
        "all_contexts": counts.all_contexts,
        "outliers": counts.outliers,
        "all_tiles": counts.all_tiles,
        "documents": collector.corpus.as_dict(),
    }


def _restore(collector: Collector, tables: dict[str, pa.Table], manifest: dict[str, Any], where: str) -> None:
    if tables["features"].num_rows != collector.d_sae or manifest["d_sae"] != collector.d_sae:
        raise DataError(f"'{where}' holds {tables['features'].num_rows} features, expected {collector.d_sae}; delete its folder")
    restore(collector, tables)
    counts = collector.counts
    counts.all_tokens, counts.all_contexts = manifest["all_tokens"], manifest["all_contexts"]
    counts.outliers = manifest["outliers"]
    counts.all_tiles = {split: manifest["all_tiles"][split] for split in SPLITS}
    collector.corpus = CorpusCounts.from_dict(manifest["documents"])


def _manifest_of(path: Path, identity: str) -> dict[str, Any]:
    with _damage_named(str(path)):
        content = path.read_bytes()
    return _manifest(content, str(path), identity)


def _manifest(text: bytes, where: str, identity: str) -> dict[str, Any]:
    try:
        manifest: dict[str, Any] = json.loads(text)
        found, version = manifest["identity"], manifest["format"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"'{where}' is damaged ({error}); delete its folder and collect anew") from None
    if version != FORMAT:
        raise DataError(
            f"'{where}' has format {version}, this version of autolabel reads {FORMAT}; delete its folder and collect anew"
        )
    if found != identity:
        raise DataError(f"'{where}' belongs to collection {found[:12]}, not to {identity[:12]}; name another folder")
    return manifest


@contextmanager
def _damage_named(where: str) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, KeyError) as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        raise DataError(f"'{where}' is missing or damaged ({_why(error)}); delete its folder and collect anew") from None


@contextmanager
def full_disk_named(folder: Path) -> Iterator[None]:
    """Inside, a full disk is said to be one.

    Raises:
        DataError: there is no room for what is written into `folder`.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        raise DataError(
            f"there is no room in '{folder}' ({_why(error)}); free some space, and the same command goes on from the last checkpoint"
        ) from None


@contextmanager
def _reached(url: str) -> Iterator[tuple[Any, str]]:
    """The filesystem of a URL, and the path in it."""
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError, OSError) as error:
        raise DataError(
            f"engine.shard_url: '{url}' cannot be used ({_why(error)}); expected a folder or a URL that fsspec knows"
        ) from None
    try:
        yield filesystem, path
    except OSError as error:
        if error.errno in NO_ROOM:
            raise
        raise DataError(
            f"engine.shard_url: '{url}' cannot be used ({_why(error)}); name a folder or URL that can be written to"
        ) from None


def _why(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _write_table(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, compression="none", use_dictionary=False)
    synced(path)


def _write_synced(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    synced(beside)
    beside.replace(path)
    synced(path.parent)
