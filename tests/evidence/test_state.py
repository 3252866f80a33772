"""Collections on disk: merging, cutting off and going on, compacting and sharding change nothing of what is found."""

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autolabel.errors import DataError
from autolabel.evidence.collector import Collector, collector_tables
from autolabel.evidence.corpus import Document
from autolabel.evidence.encoding import encoded
from autolabel.evidence.manifest import full_disk_named
from autolabel.evidence.shard_files import merge_shard, shard_is_finished, write_shard
from autolabel.evidence.spill import Spill
from autolabel.evidence.state import Checkpoint, Progress
from tests.evidence.test_collector import D, documents_of, sparse_table
from tests.evidence.worlds import SEED, SMALL, batches, collector_of, finished, identity_coder, tables_of

TIGHT = SMALL.model_copy(
    update={"strongest": 3, "firing_train": 4, "firing_validation": 4, "firing_test": 4}
    | {"background_train": 5, "background_validation": 5, "background_test": 8, "exam_validation": 2, "exam_test": 3}
)
"""Samples much smaller than what is offered, so that most of what is spilled is displaced."""


@pytest.fixture(scope="module")
def documents() -> list[Document]:
    return documents_of(150, seed=4)


@pytest.fixture(scope="module")
def table() -> torch.Tensor:
    return sparse_table(4)


@pytest.fixture(scope="module")
def whole(documents: list[Document], table: torch.Tensor, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("whole")
    return found(collector_of(documents, table, folder / "spill", TIGHT), folder / "sorted")


def found(collector: Collector, folder: Path) -> str:
    """The hash of everything found, state included."""
    evidence = tables_of(finished(collector, folder))[1]
    state = {name: table.to_pylist() for name, table in collector_tables(collector).items()}
    return json.dumps([evidence, state, collector.corpus.as_dict(), collector.counts.all_tiles], sort_keys=True)


@pytest.mark.parametrize("n_parts", [1, 2, 5])
def test_merging_parts_equals_one_pass(
    documents: list[Document], table: torch.Tensor, whole: str, tmp_path: Path, n_parts: int
) -> None:
    merged = Collector(D, TIGHT, SEED, Spill(tmp_path / "merged"))
    for number in reversed(range(n_parts)):
        merged.merge(collector_of(documents[number::n_parts], table, tmp_path / f"part-{number}", TIGHT))
    assert found(merged, tmp_path / "sorted") == whole


@pytest.mark.parametrize("waiting", [1, 40])
def test_how_soon_the_worst_of_the_best_is_known_changes_nothing(
    documents: list[Document], table: torch.Tensor, whole: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, waiting: int
) -> None:
    monkeypatch.setattr("autolabel.evidence.keep.WAITING_KEYS", waiting)
    collector = collector_of(documents, table, tmp_path / "spill", TIGHT)
    n_tiles = sum(batch.num_rows for batch in collector.spill.tiles())
    assert found(collector, tmp_path / "sorted") == whole
    assert n_tiles < 0.9 * collector.counts.n_tiles, "every tile was admitted"


def test_compacting_changes_nothing_and_frees_most(
    documents: list[Document], table: torch.Tensor, whole: str, tmp_path: Path
) -> None:
    collector = collector_of(documents, table, tmp_path / "spill", TIGHT)
    collector.spill.cut()
    before = (collector.spill.n_pairs, sum(batch.num_rows for batch in collector.spill.tiles()))
    collector.compact(factor=0)
    collector.spill.remove_unnamed()
    after = (collector.spill.n_pairs, sum(batch.num_rows for batch in collector.spill.tiles()))
    assert all(b < 0.5 * a for a, b in zip(before, after, strict=True))
    assert len(list((tmp_path / "spill").glob("segment-*"))) == 2
    assert found(collector, tmp_path / "sorted") == whole


@pytest.mark.parametrize("every", [1, 3, 50])
def test_a_collection_cut_off_anywhere_goes_on(
    documents: list[Document], table: torch.Tensor, whole: str, tmp_path: Path, every: int
) -> None:
    """Each round saves, then spills more that is lost, as when a process is killed."""
    checkpoint = Checkpoint(tmp_path / "set", "identity")
    for start in range(0, len(documents), every):
        collector, progress = checkpoint.load(D, TIGHT, SEED)
        assert progress.complete_through == start
        for batch in batches(documents[start : start + every], table):
            collector.add(encoded(batch, identity_coder(D)))
        checkpoint.save(collector, Progress(complete_through=min(start + every, len(documents))), compact_factor=1.5)
        lost, _ = checkpoint.load(D, TIGHT, SEED)
        for batch in batches(documents[:2], table):
            lost.add(encoded(batch, identity_coder(D)))
        lost.spill.cut()
    collector, progress = checkpoint.load(D, TIGHT, SEED)
    assert progress.complete_through == len(documents)
    assert found(collector, tmp_path / "sorted") == whole


def test_sorting_in_slices_changes_nothing(
    documents: list[Document], table: torch.Tensor, whole: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autolabel.evidence.sorting.SLICE_TILES", 32)
    collector = collector_of(documents, table, tmp_path / "spill", TIGHT)
    assert found(collector, tmp_path / "sorted") == whole
    assert not list((tmp_path / "sorted").glob("slice-*"))


@pytest.mark.parametrize("place", ["{folder}/shards", "memory://shards"])
def test_shards_anywhere_merge_into_the_whole(
    documents: list[Document], table: torch.Tensor, whole: str, tmp_path: Path, place: str
) -> None:
    url = place.format(folder=tmp_path)
    for number in range(3):
        assert not shard_is_finished(f"{url}/{number}", "identity")
        write_shard(f"{url}/{number}", collector_of(documents[number::3], table, tmp_path / f"spill-{number}", TIGHT), "identity")
        assert shard_is_finished(f"{url}/{number}", "identity")
    merged = Collector(D, TIGHT, SEED, Spill(tmp_path / "merged"))
    for number in (2, 0, 1):
        merge_shard(f"{url}/{number}", merged, "identity", tmp_path / f"between-{number}")
    assert found(merged, tmp_path / "sorted") == whole


def test_what_belongs_to_another_collection_or_is_damaged_is_refused(
    documents: list[Document], table: torch.Tensor, tmp_path: Path
) -> None:
    collector = collector_of(documents[:20], table, tmp_path / "set", TIGHT)
    checkpoint = Checkpoint(tmp_path / "set", "identity")
    checkpoint.save(collector, Progress(finished=True))
    with pytest.raises(DataError, match="belongs to collection identity, not to other"):
        Checkpoint(tmp_path / "set", "other").load(D, TIGHT, SEED)
    with pytest.raises(DataError, match=f"holds {D} features, expected {D + 1}"):
        checkpoint.load(D + 1, TIGHT, SEED)
    (segment,) = (tmp_path / "set").glob("segment-*.pairs")
    kept = segment.read_bytes()
    segment.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(DataError, match=r"\.pairs' is damaged .*collect anew"):
        checkpoint.load(D, TIGHT, SEED)
    segment.unlink()
    with pytest.raises(DataError, match=r"\.pairs' is missing"):
        checkpoint.load(D, TIGHT, SEED)
    segment.write_bytes(kept)
    (state,) = (tmp_path / "set").glob("state-*.features.parquet")
    state.write_bytes(state.read_bytes()[:100])
    with pytest.raises(DataError, match="missing or damaged"):
        checkpoint.load(D, TIGHT, SEED)
    manifest = tmp_path / "set" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 9'))
    with pytest.raises(DataError, match="has format 9, this version of autolabel reads 1"):
        checkpoint.load(D, TIGHT, SEED)
    manifest.write_text(manifest.read_text()[:50])
    with pytest.raises(DataError, match=r"manifest\.json' is damaged"):
        checkpoint.load(D, TIGHT, SEED)


def test_what_a_checkpoint_names_outlives_compacting_until_the_next_one(
    documents: list[Document], table: torch.Tensor, tmp_path: Path
) -> None:
    collector = collector_of(documents, table, tmp_path / "set", TIGHT)
    checkpoint = Checkpoint(tmp_path / "set", "identity")
    checkpoint.save(collector, Progress(complete_through=3), compact_factor=1e9)
    before = collector.spill.cut()
    collector.compact(factor=1.0)
    assert collector.spill.cut() != before
    collector.spill.remove_unnamed()
    shutil.copytree(tmp_path / "set", tmp_path / "killed")
    kept, progress = Checkpoint(tmp_path / "killed", "identity").load(D, TIGHT, SEED)
    assert progress.complete_through == 3
    assert kept.spill.cut() == before
    checkpoint.save(collector, Progress(complete_through=4))
    assert {path.stem for path in (tmp_path / "set").glob("segment-*")} == set(collector.spill.cut())


def test_a_full_disk_is_not_called_a_damaged_file(
    documents: list[Document], table: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = str(tmp_path / "shard")
    write_shard(url, collector_of(documents[:20], table, tmp_path / "spill", TIGHT), "identity")

    def full(*given: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Spill, "add_pairs", full)
    merged = Collector(D, TIGHT, SEED, Spill(tmp_path / "merged"))
    with (
        pytest.raises(DataError, match=r"no room in '.*merged' \(.*No space left.*free some space"),
        full_disk_named(tmp_path / "merged"),
    ):
        merge_shard(url, merged, "identity", tmp_path / "between")
    with pytest.raises(PermissionError), full_disk_named(tmp_path):
        raise PermissionError(errno.EACCES, "not a matter of room")


@pytest.mark.parametrize("url", ["s3nowhere://bucket/shards", "/proc/version/shards"])
def test_a_place_for_shards_that_cannot_be_used_is_named(
    documents: list[Document], table: torch.Tensor, tmp_path: Path, url: str
) -> None:
    collector = collector_of(documents[:5], table, tmp_path / "spill", TIGHT)
    with pytest.raises(DataError, match=rf"engine\.shard_url: '{url}' cannot be used"):
        write_shard(url, collector, "identity")


def test_a_manifest_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "manifest.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(DataError, match=r"manifest\.json' is damaged"):
        Checkpoint(tmp_path / "set", "identity").load(D, TIGHT, SEED)


def test_only_a_finished_collection_can_be_extended(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "set", "identity")
    with pytest.raises(DataError, match="is gone, so nothing can be added"):
        checkpoint.corpus()
    collector = Collector(D, TIGHT, SEED, Spill(tmp_path / "set"))
    checkpoint.save(collector, Progress(complete_through=3))
    with pytest.raises(DataError, match="is not finished"):
        checkpoint.corpus()
    checkpoint.save(collector, replace(Progress(), finished=True, corpus={"content": 1}, gate={"norm_limit": 5.0}))
    assert checkpoint.corpus() == {"content": 1}
    assert checkpoint.norm_limit() == 5.0
    hashes = np.array([2**64 - 1, 3], dtype=np.uint64)
    checkpoint.save_documents(hashes)
    assert checkpoint.documents().tolist() == sorted(hashes.tolist())
