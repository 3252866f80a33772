"""Datasets of the Hub: read once into a spool, then from there; the library itself is put in by the tests."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pydantic import ValidationError

from autolabel.errors import DataError
from autolabel.evidence.texts import RawText, read_texts
from tests.evidence.texts.writing import read, source

RECORDS = [{"id": f"d{i}", "text": f"text {i}"} for i in range(50)]
HUB = "autolabel.evidence.texts.hub"


class DatasetsError(Exception):
    """The base of the library's own errors."""


class FakeHub:
    """Stands in for the library `datasets`: gives records and notes what it was asked for."""

    def __init__(self) -> None:
        self.records: Callable[[], Iterable[dict[str, Any]]] = lambda: RECORDS
        self.asked: list[tuple[Any, ...]] = []

    def load_dataset(
        self, path: str, name: str | None = None, *, split: str, revision: str | None, streaming: bool
    ) -> Iterable[dict[str, Any]]:
        self.asked.append((path, name, split, revision, streaming))
        return self.records()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AUTOLABEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "cache" / "texts"


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake, module, exceptions = FakeHub(), ModuleType("datasets"), ModuleType("datasets.exceptions")
    vars(module).update(load_dataset=fake.load_dataset, exceptions=exceptions)
    vars(exceptions).update(DatasetsError=DatasetsError)
    monkeypatch.setitem(sys.modules, "datasets", module)
    monkeypatch.delitem(sys.modules, HUB, raising=False)
    return fake


def spools(cache: Path) -> list[Path]:
    return [path for path in cache.iterdir() if path.is_dir()]


def test_a_dataset_is_downloaded_once(hub: FakeHub, cache: Path) -> None:
    expected = [RawText(f"text {i}", f"d{i}") for i in range(50)]
    assert read("hf:owner/name") == read("hf:owner/name") == expected
    assert list(read_texts(source("hf:owner/name"), skip=48)) == expected[48:]
    assert hub.asked == [("owner/name", None, "train", None, True)]
    assert len(spools(cache)) == 1


def test_what_is_asked_for_decides_the_spool(hub: FakeHub, cache: Path) -> None:
    read("hf:owner/name", config="en", split="validation", revision="abc", streaming=False)
    read("hf:owner/name", config="en", split="validation", revision="def")
    read("hf:owner/name", config="de", split="validation", revision="def")
    read("hf:owner/name", config="de", split="test", revision="def")
    read("hf:owner/name", config="de", split="test", revision="def", share=0.5, name="mine")
    assert hub.asked[0] == ("owner/name", "en", "validation", "abc", False)
    assert len(hub.asked) == len(spools(cache)) == 4


def test_an_endless_dataset_is_read_up_to_the_limit(hub: FakeHub) -> None:
    taken = []

    def endless() -> Iterator[dict[str, Any]]:
        number = 0
        while True:
            taken.append(number)
            yield {"text": f"{number}", "n": None}
            number += 1

    hub.records = endless
    assert [one.id for one in read("hf:owner/name", max_documents=30)] == [f"owner/name:{i + 1}" for i in range(30)]
    assert len(taken) == 30


def corrupt(spool: Path) -> None:
    content = (spool / "texts.jsonl.zst").read_bytes()
    (spool / "texts.jsonl.zst").write_bytes(content[: len(content) // 2])


def empty(spool: Path) -> None:
    for path in spool.iterdir():
        path.unlink()


def other_text(spool: Path) -> None:
    (spool / "sha256").write_text("0" * 64)


def test_what_a_killed_download_left_is_in_nobodys_way(hub: FakeHub, cache: Path) -> None:
    read("hf:owner/name")
    spools(cache)[0].rename(spools(cache)[0].with_suffix(".filling"))
    assert len(read("hf:owner/name")) == 50
    assert [path.suffix for path in spools(cache)] == [""]


def test_a_file_on_the_hub_is_an_address_like_any_other() -> None:
    assert source("hf:owner/name").is_on_the_hub
    assert not source("hf://datasets/owner/name/a.jsonl").is_on_the_hub


@pytest.mark.parametrize("key", ["config", "split", "revision", "streaming"])
def test_settings_of_datasets_are_refused_for_files(key: str) -> None:
    value: Any = False if key == "streaming" else "en"
    with pytest.raises(ValidationError, match=f"{key} is for datasets of the Hub only; path = 'a.jsonl' is none"):
        source("a.jsonl", **{key: value})


@pytest.mark.parametrize("breaking", [corrupt, empty, other_text])
def test_a_broken_spool_is_thrown_away(hub: FakeHub, cache: Path, breaking: Callable[[Path], None]) -> None:
    expected = read("hf:owner/name")
    breaking(spools(cache)[0])
    assert read("hf:owner/name") == expected
    assert read("hf:owner/name") == expected
    assert len(hub.asked) == 2


def test_a_download_that_breaks_off_leaves_no_spool(hub: FakeHub, cache: Path) -> None:
    def breaking() -> Iterator[dict[str, Any]]:
        yield from RECORDS[:30]
        raise ConnectionError("the line went\ndead")

    hub.records = breaking
    with pytest.raises(DataError, match=r"cannot read 'hf:owner/name' \(config None, split train\): the line went dead"):
        read("hf:owner/name")
    hub.records = lambda: RECORDS
    assert spools(cache) == []
    assert len(read("hf:owner/name")) == 50
    assert len(spools(cache)) == 1


@pytest.mark.parametrize("error", [DatasetsError("no such split"), ValueError("no such split"), FileNotFoundError("no such split")])
def test_errors_of_the_library_are_ours(hub: FakeHub, error: Exception) -> None:
    def failing() -> Iterator[dict[str, Any]]:
        raise error

    hub.records = failing
    with pytest.raises(DataError, match=r"cannot read 'hf:owner/name' .*no such split"):
        read("hf:owner/name", split="nowhere")


def test_records_are_checked_like_those_of_a_file(hub: FakeHub) -> None:
    hub.records = lambda: [{"text": "x"}] * 25 + [{"text": 7}]
    with pytest.raises(DataError, match=r"'hf:owner/name' row 26 holds int in 'text', expected text"):
        read("hf:owner/name")
    hub.records = lambda: [{"image": b"x"}]
    with pytest.raises(DataError, match=r"'hf:owner/name' has no column that holds text \(it holds image: bytes\)"):
        read("hf:owner/name")


@pytest.mark.parametrize(("long", "place"), [("\0" * 200, "'owner/name:4' as JSON"), ("x" * 1001, "'hf:owner/name' row 4")])
def test_a_record_above_the_limit_is_refused_with_what_can_be_done(
    hub: FakeHub, monkeypatch: pytest.MonkeyPatch, long: str, place: str
) -> None:
    for module in ("columns", "spool"):
        monkeypatch.setattr(f"autolabel.evidence.texts.{module}.MAX_RECORD_BYTES", 1000)
    hub.records = lambda: [{"text": "one"}, {"text": ""}, {"text": "two"}, {"text": long}, {"text": "after"}]
    with pytest.raises(DataError, match=f"{place} is longer .* take it out and give their path, or set max_documents = 2 to read"):
        read("hf:owner/name")
    assert [one.text for one in read("hf:owner/name", max_documents=2)] == ["one", "two"]
    hub.records = lambda: [{"text": long}, {"text": "after"}]
    with pytest.raises(DataError, match=r"is longer .* download the files of the dataset, take it out and give their path$"):
        read("hf:owner/name")


def test_a_dataset_that_needs_code_of_its_own_is_refused(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def needs_code(*_: object, **__: object) -> None:
        raise RuntimeError("Dataset scripts are no longer supported, but found name.py")

    monkeypatch.setattr(sys.modules["datasets"], "load_dataset", needs_code)
    expected = r"cannot read 'hf:owner/name' .*found name\.py; no code of a dataset is run: set revision = \"refs/convert/parquet\""
    with pytest.raises(DataError, match=expected):
        read("hf:owner/name")


def test_no_record_is_looked_at_beforehand_where_both_columns_are_named(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    def looking(*_: object) -> None:
        raise AssertionError("a record was sampled")

    monkeypatch.setattr("autolabel.evidence.texts.reading.first_records", looking)
    assert len(read("hf:owner/name", text_column="text", id_column="id")) == 50


def test_a_dataset_without_records_is_empty(hub: FakeHub) -> None:
    hub.records = list
    assert read("hf:owner/name") == []


def test_a_folder_of_that_name_is_not_read_in_its_place(hub: FakeHub, tmp_path: Path) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    with pytest.raises(DataError, match="'hf:owner/name' is a folder here"):
        read("hf:owner/name")
    assert hub.asked == []


def test_without_the_library_the_error_says_how_to_install_it(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.delitem(sys.modules, HUB, raising=False)
    with pytest.raises(DataError, match=r'needs the library datasets, which is not installed; pip install "autolabel\[datasets\]"'):
        read("hf:owner/name")


def test_a_cache_that_cannot_be_written_is_named(hub: FakeHub, cache: Path) -> None:
    cache.parent.write_text("a file where the folder should be")
    with pytest.raises(DataError, match=r"cannot keep the text in .*; make room there, or set AUTOLABEL_CACHE"):
        read("hf:owner/name")


@pytest.mark.parametrize("streaming", [True, False])
def test_the_real_library_reads_what_was_written(cache: Path, monkeypatch: pytest.MonkeyPatch, streaming: bool) -> None:
    """Where `datasets` is installed: its own JSON builder over a local file takes the place of a download."""
    monkeypatch.setenv("HF_HOME", str(cache.parent / "hf"))
    datasets = pytest.importorskip("datasets")
    monkeypatch.delitem(sys.modules, HUB, raising=False)
    lines = cache.parent.parent / "local.jsonl"
    lines.write_text("".join(json.dumps(record) + "\n" for record in RECORDS), encoding="utf-8")
    load = datasets.load_dataset

    def local(path: str, name: str | None, *, split: str, revision: str | None, streaming: bool) -> Any:
        folder = str(cache.parent / "hf" / "datasets")
        return load("json", name, data_files=str(lines), split=split, revision=revision, streaming=streaming, cache_dir=folder)

    monkeypatch.setattr(datasets, "load_dataset", local)
    assert read("hf:owner/name", streaming=streaming) == [RawText(f"text {i}", f"d{i}") for i in range(50)]
    with pytest.raises(DataError, match=r"cannot read 'hf:owner/name' \(config None, split nowhere\)"):
        read("hf:owner/name", streaming=streaming, split="nowhere")
