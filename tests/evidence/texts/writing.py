"""Writes the same texts as every kind of file that is read."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from autolabel.config import TextSource
from autolabel.evidence.texts import RawText, read_texts


def zstd(content: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(content)
    return bytes(out.getvalue())


def packed(name: str, content: bytes) -> bytes:
    if name.endswith(".gz"):
        return gzip.compress(content, mtime=0)
    return zstd(content) if name.endswith(".zst") else content


def json_lines(records: Sequence[Any]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def _write_json_lines(path: Path, texts: Sequence[str]) -> None:
    path.write_bytes(packed(path.name, json_lines([{"number": i, "text": text} for i, text in enumerate(texts)])))


def _write_delimited(path: Path, texts: Sequence[str]) -> None:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter="\t" if ".tsv" in path.name else ",")
    writer.writerow(["number", "text"])
    writer.writerows(enumerate(texts))
    path.write_bytes(packed(path.name, out.getvalue().encode("utf-8-sig")))


def _write_parquet(path: Path, texts: Sequence[str]) -> None:
    pq.write_table(pa.table({"number": list(range(len(texts))), "text": pa.array(texts, pa.string())}), path, row_group_size=3)


def _write_text_files(path: Path, texts: Sequence[str]) -> None:
    path.mkdir()
    for i, text in enumerate(texts):
        name = f"{i:05d}{path.suffix}"
        (path / name).write_bytes(packed(name, text.encode("utf-8-sig")))


WRITERS: dict[str, Callable[[Path, Sequence[str]], None]] = {
    **dict.fromkeys(("a.jsonl", "a.ndjson", "a.json", "A.JSONL", "a.jsonl.gz", "a.jsonl.zst"), _write_json_lines),
    **dict.fromkeys(("a.csv", "a.tsv", "a.csv.gz", "a.tsv.zst"), _write_delimited),
    "a.parquet": _write_parquet,
    **dict.fromkeys(("folder.txt", "folder.md", "folder.gz", "folder.zst"), _write_text_files),
}
"""Name of a file (or of a folder of text files) → what writes it."""


def source(path: Path | str, **settings: Any) -> TextSource:
    return TextSource.model_validate({"path": str(path), **settings})


def read(path: Path | str, **settings: Any) -> list[RawText]:
    return list(read_texts(source(path, **settings)))


def texts(path: Path | str, **settings: Any) -> list[str]:
    return [one.text for one in read(path, **settings)]
