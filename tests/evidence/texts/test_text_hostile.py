"""Files made to break a reader: each is refused in one line that names the file and the place, in little memory."""

import gzip
import json
import tracemalloc
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autolabel.errors import DataError
from autolabel.evidence.texts import MAX_RECORD_BYTES, read_texts
from tests.evidence.texts.writing import read, source, texts, zstd

LINES = b'{"text": "x"}\n' * 500


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"caf\xe9 au lait", r"a\.txt' is not UTF-8 text \(byte 3\)"),
        ("a.txt", b"\xff\xfet\0e\0x\0t\0", r"a\.txt' is not UTF-8 text \(byte 0\)"),
        ("a.jsonl", b'{"text": "ok"}\n{"text": "\xe9"}\n', r"a\.jsonl' line 2 is not UTF-8 \(byte 10 of the line\)"),
        ("a.jsonl", b'{"text": "ok"}\n\n{"text": ok}\n', r"a\.jsonl' line 3 is not JSON: Expecting value at character 9"),
        ("a.jsonl", b'{"text": "ok"}\n{"text": "cut o', r"a\.jsonl' line 2 is not JSON: Unterminated string"),
        ("a.json", b'{\n  "text": "pretty"\n}\n', r"a\.json' line 1 is not JSON: .* expected an object per line"),
        ("a.json", b'[{"text": "x"}]', r"a\.json' line 1 holds list, expected a JSON object; write one object per line"),
        ("a.jsonl", b'"text"', r"a\.jsonl' line 1 holds str, expected a JSON object"),
        ("a.jsonl", b"7" * 5000, r"a\.jsonl' line 1 cannot be read as JSON"),
        ("a.jsonl", b"[" * 200_000, r"a\.jsonl' line 1 is n"),
        ("a.jsonl", b'{"text": ' + b"[" * 200_000, r"a\.jsonl' line 1 is n"),
        ("a.jsonl.gz", b"no gzip", r"a\.jsonl\.gz' is truncated or no gzip file"),
        ("a.jsonl.gz", gzip.compress(LINES)[:-12], r"a\.jsonl\.gz' is truncated"),
        ("a.jsonl.gz", gzip.compress(LINES)[:-5], r"a\.jsonl\.gz' is truncated"),
        ("a.jsonl.gz", gzip.compress(b"")[:10] + b"\xff" * 30, r"a\.jsonl\.gz' is truncated"),
        ("a.jsonl.gz", gzip.compress(LINES) + b"more than gzip", r"a\.jsonl\.gz' is truncated or no gzip"),
        ("a.txt.gz", b"no gzip", r"a\.txt\.gz' is truncated or no gzip file"),
        ("a.jsonl.zst", b"no zstd", r"a\.jsonl\.zst' is truncated or no zstd file"),
        ("a.jsonl.zst", zstd(LINES)[:-3], r"a\.jsonl\.zst' is truncated or no zstd file \(Truncated"),
        ("a.csv.zst", zstd(LINES) + b"more", r"a\.csv\.zst' is truncated or no zstd"),
        ("a.csv", b'text,n\n"cut off,3\n', r"a\.csv' line 2 cannot be read as CSV: unexpected end of data"),
        ("a.csv", b'text,n\n"a" b,3\n', r"a\.csv' line 2 cannot be read as CSV: ',' expected after '\"'"),
        ("a.csv", b"text,n\na,b,3\n", r"a\.csv' row 1 \(line 2\) has 3 fields, the header has 2 \(text, n\); quote fields that"),
        ("a.csv", b"text,n\nx,1\ny\n", r"a\.csv' row 2 \(line 3\) has 1 fields, the header has 2"),
        ("a.csv", b"text,text\nx,y\n", r"a\.csv' has the column text more than once"),
        ("a.csv", b"id;text\n1;x\n", r"a\.csv' has one column, id;text; its fields seem to be separated by ';': set delimiter"),
        ("a.tsv", b"id,text\n1,x\n", r"a\.tsv' has one column, id,text; its fields seem to be separated by ',': set delimiter"),
        ("a.csv", b"text\nx\ny\xe9\n", r"a\.csv' line 3 is not UTF-8 \(byte 1 of the line\)"),
        ("a.csv", b",a,,\n1,2,3,4\n", r"a\.csv' has the column '' more than once; give each column a name of its own"),
        (
            "a.csv",
            b"text\rx\ry",
            r"a\.csv' line 1 cannot be read as CSV: a carriage return stands outside quotes",
        ),
        ("a.csv", b"text,n\na\rb,1\n", r"a\.csv' line 2 cannot be read as CSV: .* convert the line ends, else quote the field"),
        ("a.parquet", b"no parquet", r"a\.parquet' is truncated or no Parquet file"),
        ("a.parquet", b"", r"a\.parquet' is truncated or no Parquet file"),
        ("a.parquet", b"PAR1" + b"\xff" * 40 + b"\x20\0\0\0PAR1", r"a\.parquet' is truncated or no Parquet file"),
        ("a.parquet.gz", gzip.compress(b"PAR1"), r"a\.parquet\.gz' is a compressed Parquet file, .*; decompress it"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_parquet_file_cut_off_or_overwritten_anywhere_is_refused_or_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    written = [f"text number {i}" for i in range(300)]
    pq.write_table(pa.table({"text": written}), path, compression="zstd", write_page_checksum=False)
    whole = path.read_bytes()
    for cut in range(0, len(whole), 97):
        path.write_bytes(whole[:cut])
        with pytest.raises(DataError, match=r"a\.parquet' is truncated or no Parquet file"):
            read(path)
    refused = []
    for at in range(0, len(whole), 41):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            read(path, text_column="text")
        except DataError as error:
            refused.append(str(error))
    assert len(refused) > 10
    assert all("a.parquet'" in message for message in refused)


def test_parquet_texts_that_are_not_utf8_are_named(tmp_path: Path) -> None:
    broken = pa.array([b"fine", b"caf\xe9"], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"text": broken}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet' row 2 is not UTF-8 \(byte 3 of the text\)"):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize("column", ["cafe", "text"])
def test_parquet_columns_whose_name_is_not_utf8_are_named(tmp_path: Path, column: str) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({column: ["x"], "body": ["y"]}), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(column.encode(), column[:3].encode() + b"\xe9"))
    for changes in ({}, {"text_column": "body", "id_column": "body"}):
        with pytest.raises(
            DataError, match=r"a\.parquet' has a column whose name is not UTF-8 \(byte 3 of it\); rename the column"
        ):
            read(path, **changes)


def test_very_many_columns_are_named_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text," * 300_000 + b"n\n")
    with pytest.raises(DataError, match=r"a\.csv' has the column text more than once"):
        read(tmp_path / "a.csv")
    (tmp_path / "b.jsonl").write_text(json.dumps({str(i): i for i in range(300_000)}))
    with pytest.raises(DataError, match=r"b\.jsonl' has no column that holds text \(it holds 0: int, .* and 299988 more\)"):
        read(tmp_path / "b.jsonl")


def endless(unit: bytes, n_bytes: int) -> bytes:
    """`unit` again and again as gzip: some kilobytes that expand without end."""
    piece = gzip.compress(unit * (1024**2 // len(unit)))
    return piece * (n_bytes // 1024**2 + 1)


def peak(path: Path, message: str) -> int:
    """Most bytes of Python objects while `path` is refused with `message`."""
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=message):
            deque(read_texts(source(path)), maxlen=0)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


TOO_LONG = "is longer than 64 MiB, the most that is read as one document; cut it into documents"


@pytest.mark.parametrize(
    ("name", "start", "unit", "message"),
    [
        ("a.jsonl.gz", b'{"text": "x"}\n', b"x", r"a\.jsonl\.gz' line 2 " + TOO_LONG),
        ("a.csv.gz", b"text\n", b"x", r"a\.csv\.gz' line 2 " + TOO_LONG),
        ("a.csv.gz", b'text\n"', (b"x" * 1023 + b"\n") * 4, r"a\.csv\.gz' line \d+ \(a row that began before it\) " + TOO_LONG),
        ("a.txt.gz", b"", b"x", r"a\.txt\.gz' " + TOO_LONG),
    ],
)
def test_a_small_archive_that_expands_without_end_is_refused(
    tmp_path: Path, name: str, start: bytes, unit: bytes, message: str
) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(start) + endless(unit, 8 * MAX_RECORD_BYTES))
    assert path.stat().st_size < 4 * 1024**2
    assert peak(path, message) < 5 * MAX_RECORD_BYTES


def test_a_long_text_that_many_parquet_rows_share_is_in_memory_for_a_few_of_them(tmp_path: Path) -> None:
    long, n_rows = "x" * 1024**2, 1000
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * n_rows, pa.int32()), [long])
    pq.write_table(pa.table({"text": shared}), tmp_path / "a.parquet", store_schema=False)
    assert (tmp_path / "a.parquet").stat().st_size < 2 * len(long)
    assert peak_of_reading(tmp_path, n_rows, every=7) < 60 * len(long)


@pytest.mark.parametrize(("n_characters", "expected"), [(90_000, 8), (110_000, 1)])
def test_rows_of_parquet_come_one_by_one_where_a_text_may_be_above_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, n_characters: int, expected: int
) -> None:
    asked: list[int] = []
    plain = pq.ParquetFile.iter_batches

    def noted(self: Any, **options: Any) -> Any:
        asked.append(options["batch_size"])
        return plain(self, **options)

    for module in ("columns", "parquet"):
        monkeypatch.setattr(f"autolabel.evidence.texts.{module}.MAX_RECORD_BYTES", 100_000)
    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    shared = pa.DictionaryArray.from_arrays(pa.array([0] * 50, pa.int32()), ["x" * n_characters])
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"text": shared, "vector": np.arange(50_000.0).reshape(50, 1000).tolist()}),
        path,
        store_schema=False,
        compression="zstd",
    )
    if expected == 1:
        with pytest.raises(DataError, match=r"a\.parquet' row 1 is longer than"):
            read(path)
    else:
        assert len(read(path)) == 50
    assert set(asked) == {expected}


@pytest.mark.parametrize("changes", [{}, {"text_column": "text"}, {"text_column": "text", "id_column": "id"}])
def test_the_records_that_choose_the_columns_are_not_all_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str]
) -> None:
    n_characters = 2**20
    monkeypatch.setattr("autolabel.evidence.texts.columns.SAMPLE_CHARACTERS", 2 * n_characters)
    records = [{"id": f"d{i}", "text": "x" * n_characters, "more": ["word"] * 10_000} for i in range(30)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    del records
    tracemalloc.start()
    try:
        ids = [one.id for one in read_texts(source(tmp_path, **changes))]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert ids == [f"d{i}" for i in range(30)]
    assert peak < 10 * n_characters


def test_a_table_may_be_longer_than_a_row(tmp_path: Path) -> None:
    rows_of_a_mebibyte = (b"x" * 1023 + b"\n") * 1024
    with gzip.open(tmp_path / "a.csv.gz", "wb", compresslevel=1) as out:
        out.write(b"text\n")
        for _ in range(MAX_RECORD_BYTES // 1024**2 + 1):
            out.write(rows_of_a_mebibyte)
    assert sum(len(one.text) for one in read_texts(source(tmp_path))) > MAX_RECORD_BYTES


def test_a_parquet_text_above_the_limit_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["fine", "x" * (MAX_RECORD_BYTES + 1)]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet' row 2 " + TOO_LONG):
        read(tmp_path / "a.parquet")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet"])
def test_memory_is_flat_in_the_length_of_a_file(tmp_path: Path, name: str) -> None:
    peaks = []
    for number, n_texts in enumerate((2_000, 20_000)):
        written = [f"{i} " + "x" * 500 for i in range(n_texts)]
        path = tmp_path / f"{number}{name}"
        if name == "a.parquet":
            pq.write_table(pa.table({"text": written}), path, row_group_size=n_texts, use_dictionary=False, compression="none")
        elif name == "a.csv":
            path.write_text("text\n" + "\n".join(written))
        else:
            path.write_text("".join(json.dumps({"text": text}) + "\n" for text in written))
        del written
        peaks.append(peak_of_reading(path, n_texts))
    assert peaks[1] < 1.5 * peaks[0] + 1024**2


def peak_of_reading(path: Path, n_texts: int, every: int = 100) -> int:
    """Most bytes held while a file is read, Arrow's included."""
    tracemalloc.start()
    before, arrow = pa.total_allocated_bytes(), 0
    try:
        n_read = 0
        for _ in read_texts(source(path)):
            n_read += 1
            if n_read % every == 0:
                arrow = max(arrow, pa.total_allocated_bytes() - before)
        assert n_read == n_texts
        return tracemalloc.get_traced_memory()[1] + arrow
    finally:
        tracemalloc.stop()


def test_a_file_that_vanishes_while_it_is_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "b.txt").write_text("two")
    found = read_texts(source(tmp_path))
    assert next(found).text == "one"
    (tmp_path / "b.txt").unlink()
    with pytest.raises(DataError, match=r"cannot read '.*b\.txt': No such file or directory"):
        next(found)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl.gz", "a.csv", "a.parquet"])
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(self: Path, mode: str) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / name).write_bytes(b"x")
    monkeypatch.setattr(Path, "open", closed)
    with pytest.raises(DataError, match=f"cannot read '.*{name}': Permission denied"):
        read(tmp_path)


def test_a_pickle_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94\x8c\x06system\x94\x93\x94.")
    with pytest.raises(DataError, match=r"a\.txt' is not UTF-8 text \(byte 0\)"):
        texts(tmp_path)
