"""Finished shards as Parquet files, anywhere fsspec reaches.

The invariant: a shard counts as finished once its manifest is there, which is written last.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import pyarrow.parquet as pq

from autolabel.errors import DataError
from autolabel.evidence.collector import Collector, collector_tables
from autolabel.evidence.manifest import MANIFEST, NO_ROOM, damage_named, manifest_scalars, parsed_manifest, restore_from
from autolabel.evidence.sae.files import one_line
from autolabel.evidence.spill import PAIR_SCHEMA, TILE_SCHEMA, Spill, pair_batch, pairs_in
from autolabel.evidence.texts.addresses import client_errors, shown


def shard_is_finished(url: str, identity: str) -> bool:
    """Whether the shard at `url` is there, whole.

    Raises:
        DataError: it belongs to another collection.
    """
    with _reached(url) as (filesystem, path):
        if not filesystem.exists(f"{path}/{MANIFEST}"):
            return False
        content = filesystem.cat_file(f"{path}/{MANIFEST}")
    parsed_manifest(content, url, identity)
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
        filesystem.pipe_file(f"{path}/{MANIFEST}", json.dumps(manifest_scalars(collector, identity)).encode())


def merge_shard(url: str, collector: Collector, identity: str, folder: Path) -> None:
    """Take over a finished shard; `folder` is for files in between.

    Raises:
        DataError: a file is missing or damaged, or the shard belongs to another collection.
    """
    with _reached(url) as (filesystem, path), damage_named(url):
        manifest = parsed_manifest(filesystem.cat_file(f"{path}/{MANIFEST}"), url, identity)
        tables = {}
        for name in ("features", "background"):
            with filesystem.open(f"{path}/{name}.parquet", "rb") as file:
                tables[name] = pq.read_table(file)
        with Spill(folder) as spill:
            shard = Collector(collector.d_sae, collector.settings, collector.seed, spill)
            restore_from(shard, tables, manifest, url)
            with filesystem.open(f"{path}/tiles.parquet", "rb") as file:
                for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(8192):
                    spill.add_tiles(batch.cast(TILE_SCHEMA))
            with filesystem.open(f"{path}/pairs.parquet", "rb") as file:
                for batch in pq.ParquetFile(file, pre_buffer=False).iter_batches(1 << 16):
                    spill.add_pairs(pairs_in(batch))
            collector.merge(shard)


@contextmanager
def _reached(url: str) -> Iterator[tuple[Any, str]]:
    """The filesystem of a URL, and the path in it."""
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError, OSError) as error:
        raise DataError(
            f"engine.shard_url: '{shown(url)}' cannot be used ({one_line(error)}); expected a folder or a URL that fsspec knows"
        ) from None
    try:
        yield filesystem, path
    except client_errors(OSError) as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        raise DataError(
            f"engine.shard_url: '{shown(url)}' cannot be used ({one_line(error)}); name a folder or URL that can be written to"
        ) from None
