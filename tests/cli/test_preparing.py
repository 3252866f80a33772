"""Parts that a command needs: what is missing is named with its size, fetched on request, and converted where it has to be."""

from pathlib import Path
from typing import Any

import pytest

from autolabel import parts
from autolabel.cli.preparing import prepare
from autolabel.errors import DataError

PARTS = ("smollm2-135m-instruct", "package-docs", "sotu")


class FakeFetch:
    """Stands in for downloads and for the conversion, and keeps what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.fetched: list[str] = []
        self.converted: list[Path] = []
        monkeypatch.setattr(parts, "fetch", self.fetch)
        monkeypatch.setattr("autolabel.local.convert.convert_gguf", self.convert)

    def fetch(self, names: Any, report: Any) -> None:
        for name in names:
            report(f"fetching {name}")
            parts.part_dir(name).mkdir(parents=True)
            self.fetched.append(name)

    def convert(self, source: Path, target: Path) -> None:
        assert source == parts.part_dir("smollm2-135m-instruct-gguf") / "model.gguf"
        target.mkdir(parents=True)
        self.converted.append(target)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeFetch:
    monkeypatch.setenv("AUTOLABEL_CACHE", str(tmp_path / "cache"))
    return FakeFetch(monkeypatch)


def test_missing_parts_are_named_with_the_command_and_the_size(fake: FakeFetch) -> None:
    parts.part_dir("sotu").mkdir(parents=True)
    message = (
        r"the parts smollm2-135m-instruct, package-docs are not there; `autolabel bench truth --fetch` downloads them \(95 MB\)"
    )
    with pytest.raises(DataError, match=message):
        prepare(PARTS, False, "autolabel bench truth")
    assert not fake.fetched


def test_only_what_is_missing_is_fetched_and_said(fake: FakeFetch, capsys: pytest.CaptureFixture[str]) -> None:
    parts.part_dir("sotu").mkdir(parents=True)
    prepare(PARTS, True, "autolabel demo")
    assert fake.fetched == ["smollm2-135m-instruct-gguf", "package-docs"]
    assert fake.converted == [parts.part_dir("smollm2-135m-instruct")]
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "fetching smollm2-135m-instruct-gguf",
        "fetching package-docs",
        "converting smollm2-135m-instruct",
    ]


def test_nothing_is_asked_or_said_when_all_is_there(fake: FakeFetch, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(PARTS, True, "autolabel demo")
    capsys.readouterr()
    prepare(PARTS, False, "autolabel demo")
    assert len(fake.fetched) == 3
    assert len(fake.converted) == 1
    assert capsys.readouterr().err == ""
