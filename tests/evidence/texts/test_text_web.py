"""Files behind web addresses and object stores: queries, pages, and servers that refuse; the server itself is put in by the tests."""

import io
import random
import sys
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, NoReturn

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autolabel.errors import DataError
from autolabel.evidence.texts import RawText
from tests.evidence.texts.writing import json_lines, packed, read

HOST = "https://host/data"


class NoRanges(io.BytesIO):
    """A file of a server that gives the start of it alone."""

    def read(self, size: int | None = -1) -> bytes:
        if self.tell() > 0:
            raise ValueError("The HTTP server doesn't appear to support range requests. Open with block_size=0.")
        return super().read(size)

    def readinto(self, into: object) -> int:
        found = self.read(len(memoryview(into)))  # type: ignore[arg-type]
        memoryview(into)[: len(found)] = found  # type: ignore[arg-type]
        return len(found)


class Web:
    """Stands in for fsspec's file system of web addresses, on which whatever can be read is a file."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.refusal: Exception | None = None
        self.opened: type[io.BytesIO] = io.BytesIO

    def isfile(self, address: str) -> bool:
        return address in self.files

    def isdir(self, address: str) -> bool:
        if self.refusal is not None:
            raise self.refusal
        return False

    def glob(self, address: str, detail: bool) -> dict[str, dict[str, str]]:
        assert detail
        return {name: {"type": "file"} for name in self.files} if "*" in address else {}

    def unstrip_protocol(self, address: str) -> str:
        return address

    def open(self, address: str, mode: str) -> BinaryIO:
        assert mode == "rb"
        if self.refusal is not None:
            raise self.refusal
        return self.opened(self.files[address])


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    found = Web()
    monkeypatch.setattr(fsspec.core, "url_to_fs", lambda path: (found, path))
    return found


class ClientResponseError(Exception):
    """As of the web client: no `OSError`."""


@pytest.fixture
def refused(web: Web, monkeypatch: pytest.MonkeyPatch) -> Exception:
    client = ModuleType("aiohttp")
    vars(client).update(ClientError=ClientResponseError)
    monkeypatch.setitem(sys.modules, "aiohttp", client)
    web.refusal = ClientResponseError("403, message='Forbidden',\nurl='https://host/data/train.jsonl?key=secret'")
    return web.refusal


@pytest.mark.parametrize("query", ["", "?download=true", "?x=a/b.csv&y=1", "?path=/"])
@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("train.jsonl", b'{"text": "x"}\n', RawText("x", "train.jsonl:1")),
        ("train.jsonl.gz", packed("a.gz", b'{"text": "x"}\n'), RawText("x", "train.jsonl.gz:1")),
        ("train.tsv", b"text\tn\na,b\t1\n", RawText("a,b", "train.tsv:1")),
        ("a.txt", b"plain", RawText("plain", "a.txt")),
        ("A.MD.zst", packed("a.zst", b"plain"), RawText("plain", "A.MD.zst")),
    ],
    ids=["jsonl", "gz", "tsv", "txt", "zst"],
)
def test_a_query_is_no_part_of_a_name(web: Web, name: str, content: bytes, query: str, expected: RawText) -> None:
    web.files[f"{HOST}/{name}{query}"] = content
    assert read(f"{HOST}/{name}{query}") == [expected]


def test_parquet_with_a_query(web: Web, tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "a.parquet")
    web.files[f"{HOST}/a.parquet?download=true"] = (tmp_path / "a.parquet").read_bytes()
    assert read(f"{HOST}/a.parquet?download=true") == [RawText("x", "a.parquet:1")]


def test_files_that_a_server_lists(web: Web) -> None:
    web.files = {f"{HOST}/b/a.txt?v=1": b"one", f"{HOST}/a.txt": b"two"}
    assert read(f"{HOST}/**.txt") == [RawText("two", "a.txt"), RawText("one", "b/a.txt")]


@pytest.mark.parametrize(
    "address", [HOST, f"{HOST}/", f"{HOST}/v1.0", f"{HOST}/index.html", f"{HOST}/get?file=a.jsonl", f"{HOST}/a.gz"]
)
def test_a_page_is_not_taken_for_text(web: Web, address: str) -> None:
    web.files = {address: b"<html>", address.rstrip("/"): b"<html>"}
    with pytest.raises(
        DataError, match=r"has a name that does not tell what it holds, .* give the address of each file, or set format"
    ):
        read(address)


def test_a_page_is_read_where_the_settings_say_what_it_is(web: Web) -> None:
    web.files[f"{HOST}/get?file=a.jsonl"] = b'{"text": "x"}\n'
    assert read(f"{HOST}/get?file=a.jsonl", format="jsonl") == [RawText("x", "get:1")]
    web.files[f"{HOST}/README"] = b"plain"
    assert read(f"{HOST}/README", format="text") == [RawText("plain", "README")]


def test_a_server_that_refuses_is_named(web: Web, refused: Exception) -> None:
    expected = r"cannot read 'https://host/data/train\.jsonl\?…': 403, message='Forbidden',"
    with pytest.raises(DataError, match=expected) as listing:
        read(f"{HOST}/train.jsonl?key=secret")
    web.files[f"{HOST}/train.jsonl?key=secret"] = b""
    with pytest.raises(DataError, match=expected) as reading:
        read(f"{HOST}/train.jsonl?key=secret")
    web.files[f"{HOST}/train.parquet?key=secret"] = b""
    with pytest.raises(DataError, match=expected.replace("jsonl", "parquet")) as table:
        read(f"{HOST}/train.parquet?key=secret")
    for caught in (listing, reading, table):
        assert "secret" not in str(caught.value)


def test_an_error_of_no_client_is_a_fault_of_ours(web: Web) -> None:
    web.refusal = LookupError("a fault")
    with pytest.raises(LookupError, match="a fault"):
        read(f"{HOST}/train.jsonl")


def test_a_server_that_gives_no_pieces_is_named(web: Web, tmp_path: Path) -> None:
    web.opened = NoRanges
    expected = r"cannot read 'https://host/data/{}': The HTTP server doesn't appear to support range requests; download the file"
    web.files[f"{HOST}/a.jsonl"] = b'{"text": "x"}\n' * 100_000
    with pytest.raises(DataError, match=expected.format(r"a\.jsonl")):
        read(f"{HOST}/a.jsonl")
    web.files[f"{HOST}/a.jsonl.gz"] = packed("a.gz", json_lines([{"text": random.Random(0).randbytes(2**19).hex()}]))
    with pytest.raises(DataError, match=expected.format(r"a\.jsonl\.gz")):
        read(f"{HOST}/a.jsonl.gz")
    pq.write_table(pa.table({"text": ["x"]}), tmp_path / "a.parquet")
    web.files[f"{HOST}/a.parquet"] = (tmp_path / "a.parquet").read_bytes()
    with pytest.raises(DataError, match=expected.format(r"a\.parquet")):
        read(f"{HOST}/a.parquet")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.parquet"])
def test_a_file_that_is_gone_is_not_called_damaged(web: Web, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(address: str, mode: str) -> NoReturn:
        raise FileNotFoundError(address)

    web.files[f"{HOST}/{name}"] = b""
    monkeypatch.setattr(web, "open", gone)
    with pytest.raises(DataError, match=f"cannot read 'https://host/data/{name}'"):
        read(f"{HOST}/{name}")
