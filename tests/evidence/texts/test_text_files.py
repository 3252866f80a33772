"""Which files a path means, and in which order."""

import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from autolabel.errors import DataError
from autolabel.evidence.texts import RawText
from tests.evidence.texts.writing import WRITERS, json_lines, read, texts


@pytest.fixture
def memory() -> Iterator[fsspec.AbstractFileSystem]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def names(path: Path | str) -> list[str]:
    return [one.id for one in read(path)]


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def test_a_folder_is_read_in_the_order_of_names_without_hidden_files(tmp_path: Path) -> None:
    write(tmp_path, "b.txt", "a/z.txt", "a.txt", "B.txt", "a/.hidden", ".git/object", "c/d/e.md")
    assert names(tmp_path) == ["B.txt", "a.txt", "a/z.txt", "b.txt", "c/d/e.md"]


def test_a_folder_that_mixes_kinds_reads_each_by_its_own(tmp_path: Path) -> None:
    for name, writer in WRITERS.items():
        writer(tmp_path / name, [f"from {name}", "x"])
    assert sorted(set(texts(tmp_path)) - {"x"}) == sorted(f"from {name}" for name in WRITERS)
    assert len(texts(tmp_path)) == 2 * len(WRITERS)


def test_globs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.txt", "b.md", ".c.txt", "x/d.txt", "x/y/e.txt", "x/.git/f.txt")
    assert names(tmp_path / "*.txt") == ["a.txt"]
    assert names(tmp_path / "**" / "*.txt") == ["a.txt", "x/d.txt", "x/y/e.txt"]
    assert names(tmp_path / "x" / "[a-z]" / "?.txt") == ["y/e.txt"]
    monkeypatch.chdir(tmp_path)
    assert names("*.md") == ["b.md"]
    assert names("x/*.txt") == ["d.txt"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**", ["a.txt", "b/a.txt", "b/c/d.txt", "b/c/e/f.md"]),
        ("**/*", ["a.txt", "b/a.txt", "b/c/d.txt", "b/c/e/f.md"]),
        ("**/**/a.txt", ["a.txt", "b/a.txt"]),
        ("*/**/*.txt", ["b/a.txt", "b/c/d.txt"]),
        ("**/c/**/*.md", ["b/c/e/f.md"]),
        ("**/c/*", ["b/c/d.txt"]),
        ("*", ["a.txt"]),
        ("*/[!a].*", []),
        ("[ab]/c/?.txt", ["b/c/d.txt"]),
        ("*/A.TXT", []),
    ],
)
def test_patterns(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    write(tmp_path, "a.txt", "b/a.txt", "b/c/d.txt", "b/c/e/f.md", "b/.c/d.txt", ".b/a.txt")
    if expected:
        assert names(tmp_path / pattern) == expected
        return
    with pytest.raises(DataError, match="no text at"):
        read(tmp_path / pattern)


def test_a_pattern_does_not_follow_links_to_folders_found_on_the_way(tmp_path: Path) -> None:
    write(tmp_path, "dumps/2024/part-1.txt", "elsewhere/part-2.txt")
    (tmp_path / "dumps" / "latest").symlink_to("2024", target_is_directory=True)
    (tmp_path / "dumps" / "2024" / "part-3.txt").symlink_to(tmp_path / "elsewhere" / "part-2.txt")
    (tmp_path / "link").symlink_to("dumps", target_is_directory=True)
    for pattern in ("dumps/*/part-*.txt", "link/*/part-*.txt", "dumps/**/*.txt", "dumps/[l2]*/part-?.txt"):
        assert names(tmp_path / pattern) == ["2024/part-1.txt", "2024/part-3.txt"]
    assert names(tmp_path / "dumps/latest/part-*.txt") == ["part-1.txt", "part-3.txt"]


def test_a_name_that_looks_like_a_pattern_is_a_name_first(tmp_path: Path) -> None:
    write(tmp_path, "a[1].txt", "a1.txt")
    assert texts(tmp_path / "a[1].txt") == ["a[1].txt"]


def test_home_and_file_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.txt")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert names("~/a.txt") == names(f"file://{tmp_path}/a.txt") == ["a.txt"]


def test_links_to_files_are_followed_and_loops_of_folders_end(tmp_path: Path) -> None:
    write(tmp_path, "a.txt", "sub/b.txt")
    (tmp_path / "link.txt").symlink_to(tmp_path / "a.txt")
    (tmp_path / "dangling.txt").symlink_to(tmp_path / "nothing")
    for name in ("loop", "sub/loop", "sub/again"):
        (tmp_path / name).symlink_to(tmp_path, target_is_directory=True)
    assert names(tmp_path) == ["a.txt", "link.txt", "sub/b.txt"]
    assert names(tmp_path / "**" / "*.txt") == ["a.txt", "link.txt", "sub/b.txt"]
    assert names(f"file://{tmp_path}") == ["a.txt", "link.txt", "sub/b.txt"]
    linked = tmp_path / "sub" / "loop"
    assert names(linked) == ["a.txt", "link.txt", "sub/b.txt"]


def test_pipes_are_no_text(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(DataError, match="no text at"):
        read(tmp_path)
    with pytest.raises(DataError, match="no text at"):
        read(tmp_path / "pipe.txt")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing.txt", r"no text at 'nothing\.txt'; expected a file, a folder with files, or a glob that matches some"),
        ("*.none", "no text at"),
        (".", "no text at"),
        ("a\0b", "no text at"),
        ("**x/*.txt", "cannot be read as a path"),
        ("~nobody-of-this-name/a.txt", "cannot be read as a path"),
        ("memory://nothing", "no text at 'memory://nothing'"),
        ("memory://nothing/*.txt", "no text at"),
        ("nosuch://bucket/a.txt", "cannot read 'nosuch://bucket/a.txt': .*nosuch"),
        ("nosuch://me:secret@bucket/a.txt", "cannot read 'nosuch://…@bucket/a.txt'"),
    ],
)
def test_a_source_without_text_is_named(tmp_path: Path, path: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        read(path)


def test_an_address_whose_package_is_missing_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(DataError, match=r"'s3://bucket/a\.txt' needs a package that is not installed: Install s3fs"):
        read("s3://bucket/a.txt")


def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "a.txt", "closed/b.txt")
    scandir = os.scandir

    def closed(path: str) -> object:
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    for path in (tmp_path, tmp_path / "**" / "*.txt", tmp_path / "*" / "b.txt", tmp_path / "*d" / "**"):
        with pytest.raises(DataError, match=r"cannot read '.*closed': Permission denied"):
            read(path)
    assert names(tmp_path / "*.txt") == ["a.txt"]


def test_parts_must_be_known_and_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOLABEL_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"there is no part 'novels'; the parts are .*sotu"):
        read("part:novels")
    with pytest.raises(DataError, match=r"the part 'sotu' has not been fetched; `autolabel demo --fetch` does that"):
        read("part:sotu")
    write(tmp_path, "parts/sotu/a.txt")
    assert names("part:sotu") == ["a.txt"]


def test_other_file_systems_give_what_this_one_gives(tmp_path: Path, memory: fsspec.AbstractFileSystem) -> None:
    for name, writer in WRITERS.items():
        writer(tmp_path / name, [f"from {name}", "x\r\n"])
    memory.put(f"{tmp_path}/", "/corpus/", recursive=True)
    memory.pipe("/corpus/.hidden/a.txt", b"hidden")
    for here, there in ((tmp_path, "memory://corpus"), (tmp_path / "a.*", "memory://corpus/a.*"), (tmp_path / "a.csv",) * 2):
        remote = str(there).replace(str(tmp_path), "memory://corpus")
        assert read(remote) == read(here) != []


def test_a_broken_file_elsewhere_is_named(memory: fsspec.AbstractFileSystem) -> None:
    memory.pipe("/corpus/a.jsonl.gz", b"no gzip at all")
    with pytest.raises(DataError, match=r"'memory:///corpus/a\.jsonl\.gz' is truncated or no gzip file"):
        read("memory://corpus/a.jsonl.gz")


def test_names_that_are_no_text_are_still_names(tmp_path: Path) -> None:
    try:
        (tmp_path / os.fsdecode(b"caf\xe9.jsonl")).write_bytes(json_lines([{"text": "x"}]))
    except OSError:
        pytest.skip("this file system takes only names in UTF-8")
    assert read(tmp_path) == [RawText("x", "caf?.jsonl:1")]
