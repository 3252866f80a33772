"""What both kinds of collections on disk share: the manifest that is written last, and how damage and a full disk are told apart."""

import errno
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from autolabel.errors import DataError
from autolabel.evidence.collector import Collector, restore
from autolabel.evidence.corpus import CorpusCounts
from autolabel.evidence.sae.files import one_line
from autolabel.records import SPLITS

FORMAT = 1
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""A disk that is full says nothing of the files on it."""
MANIFEST = "manifest.json"


def manifest_scalars(collector: Collector, identity: str) -> dict[str, Any]:
    """What a manifest says of a collection beside its tables."""
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


def restore_from(collector: Collector, tables: dict[str, pa.Table], manifest: dict[str, Any], where: str) -> None:
    """Put tables and manifest into an empty collector.

    Raises:
        DataError: they are of another number of features.
    """
    if tables["features"].num_rows != collector.d_sae or manifest["d_sae"] != collector.d_sae:
        raise DataError(f"'{where}' holds {tables['features'].num_rows} features, expected {collector.d_sae}; delete its folder")
    restore(collector, tables)
    counts = collector.counts
    counts.all_tokens, counts.all_contexts = manifest["all_tokens"], manifest["all_contexts"]
    counts.outliers = manifest["outliers"]
    counts.all_tiles = {split: manifest["all_tiles"][split] for split in SPLITS}
    collector.corpus = CorpusCounts.from_dict(manifest["documents"])


def read_manifest(path: Path, identity: str) -> dict[str, Any]:
    """The manifest in a file, of the collection `identity`.

    Raises:
        DataError: it cannot be read, is damaged, or belongs to another collection.
    """
    with damage_named(str(path)):
        content = path.read_bytes()
    return parsed_manifest(content, str(path), identity)


def parsed_manifest(text: bytes, where: str, identity: str) -> dict[str, Any]:
    """The manifest that was found at `where`, of the collection `identity`.

    Raises:
        DataError: it is damaged, or belongs to another collection.
    """
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
def damage_named(where: str) -> Iterator[None]:
    """Inside, what cannot be read is said to be damaged; a full disk is not.

    Raises:
        DataError: with the place.
    """
    try:
        yield
    except (pa.ArrowException, OSError, KeyError) as error:
        if isinstance(error, OSError) and error.errno in NO_ROOM:
            raise
        raise DataError(f"'{where}' is missing or damaged ({one_line(error)}); delete its folder and collect anew") from None


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
            f"there is no room in '{folder}' ({one_line(error)}); free some space, and the same command goes on from the last checkpoint"
        ) from None
