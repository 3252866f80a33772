"""A collection on disk, beside the database.

The invariant: a manifest is written last and at once, so what it names is whole; a collection killed at any moment goes on from the
last manifest.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from autolabel.config import EvidenceSettings
from autolabel.errors import DataError
from autolabel.evidence.collector import Collector, collector_tables
from autolabel.evidence.manifest import MANIFEST, damage_named, manifest_scalars, read_manifest, restore_from
from autolabel.evidence.spill import Spill, synced
from autolabel.hashing import UInt64


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
        manifest = read_manifest(path, self.identity)
        collector = Collector(d_sae, settings, seed, Spill(self.folder, manifest["segments"]))
        tables = {}
        for name in ("features", "background", *(["rare"] if manifest.get("has_rare") else [])):
            file = self.folder / f"state-{manifest['number']}.{name}.parquet"
            with damage_named(str(file)):
                tables[name] = pq.read_table(file)
        restore_from(collector, tables, manifest, str(path))
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
        _write_synced(path, json.dumps(manifest | manifest_scalars(collector, self.identity)))
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
        progress: dict[str, Any] = read_manifest(path, self.identity)["progress"]
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
        with damage_named(str(path)):
            return np.sort(pq.read_table(path)["hash"].to_numpy())


def _write_table(path: Path, table: pa.Table) -> None:
    pq.write_table(table, path, compression="none", use_dictionary=False)
    synced(path)


def _write_synced(path: Path, text: str) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(text, encoding="utf-8")
    synced(beside)
    beside.replace(path)
    synced(path.parent)
