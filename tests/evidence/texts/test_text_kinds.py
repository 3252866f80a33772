"""Every kind of file gives back the texts that were written into it."""

import csv
import gzip
import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autolabel.evidence.texts import RawText, read_texts
from tests.evidence.texts.writing import WRITERS, json_lines, packed, read, source, texts, zstd

_numbers = itertools.count()


@pytest.mark.parametrize("name", WRITERS)
@given(st.lists(st.text(min_size=1, max_size=60), min_size=1, max_size=8))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_comes_back_as_it_was_written(tmp_path: Path, name: str, written: list[str]) -> None:
    folder = tmp_path / str(next(_numbers))
    folder.mkdir()
    WRITERS[name](folder / name, written)
    assert texts(folder / name, text_column="text") == written


ODD = [
    "plain",
    "two\r\nlines\r\n",
    "\rold\r",
    "nul\0and\x1b[31m",
    "\ufeffmark",
    '"quotes" and \t tab, comma',
    " ",
    "🐕\u2028\x85",
    "\n",
]


@pytest.mark.parametrize("name", WRITERS)
def test_line_ends_control_characters_and_quotes_are_data(tmp_path: Path, name: str) -> None:
    WRITERS[name](tmp_path / name, ODD)
    assert texts(tmp_path / name) == ODD


@pytest.mark.parametrize("name", WRITERS)
@given(st.lists(st.sampled_from(["", "dog", "cat\n", "bird"]), max_size=12), st.integers(0, 14), st.integers(1, 9) | st.none())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_skipping_is_leaving_out_the_first(
    tmp_path: Path, name: str, written: list[str], skip: int, max_documents: int | None
) -> None:
    folder = tmp_path / str(next(_numbers))
    folder.mkdir()
    WRITERS[name](folder / name, ["first", *written])
    everything = read(folder / name)
    assert [one.text for one in everything] == ["first", *(text for text in written if text)]
    limited = source(folder / name, max_documents=max_documents)
    assert list(read_texts(limited, skip)) == everything[:max_documents][skip:]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", b'\n{"text": null}\n  \n{"text": ""}\n{"text": "x"}'),
        ("a.csv", b"text,n\n,1\n\n,2\nx,3"),
        ("a.csv", b"text,n\r\n,1\r\n\r\n,2\r\nx,3\r\n"),
    ],
)
def test_empty_texts_and_blank_lines_are_passed_over(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert texts(tmp_path / name) == ["x"]


def test_ids_are_places_where_a_file_gives_none(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.jsonl").write_bytes(b'{"text": "x"}\n\n{"text": null}\n{"text": "y"}\n')
    (tmp_path / "b.csv").write_bytes(b'text,n\n"p\nq",1\nr,2\n')
    pq.write_table(pa.table({"text": ["s", None, "t"]}), tmp_path / "c.parquet")
    (tmp_path / "sub" / "d.txt").write_bytes(b"u")
    assert read(tmp_path) == [
        RawText("x", "a.jsonl:1"),
        RawText("y", "a.jsonl:4"),
        RawText("p\nq", "b.csv:1"),
        RawText("r", "b.csv:2"),
        RawText("s", "c.parquet:1"),
        RawText("t", "c.parquet:3"),
        RawText("u", "sub/d.txt"),
    ]


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", b"\xef\xbb\xbffirst\n\xef\xbb\xbfsecond", ["first\n\ufeffsecond"]),
        ("a.jsonl", b'\xef\xbb\xbf{"text": "first"}\n\xef\xbb\xbf{"text": "second"}', ["first", "second"]),
        ("a.csv", b'\xef\xbb\xbftext,n\n"first\n\xef\xbb\xbfsecond",1\n', ["first\n\ufeffsecond"]),
    ],
)
def test_a_byte_order_mark_is_no_text_at_the_start_of_a_file(
    tmp_path: Path, name: str, content: bytes, expected: list[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    assert texts(tmp_path, text_column="text") == expected


def test_several_compressed_members_are_one_file(tmp_path: Path) -> None:
    first, second = json_lines([{"text": "one"}]), json_lines([{"text": "two"}])
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(first) + gzip.compress(second))
    (tmp_path / "b.jsonl.zst").write_bytes(zstd(first) + zstd(second))
    assert texts(tmp_path) == ["one", "two", "one", "two"]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv.zst", "a.txt.gz", "a.txt", "a.jsonl", "a.tsv"])
def test_an_empty_file_holds_no_documents(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(packed(name, b""))
    (tmp_path / "only-a-mark.txt").write_bytes(b"\xef\xbb\xbf")
    assert texts(tmp_path) == []


def test_lone_surrogates_become_question_marks(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(rb'{"id": "\udc00", "text": "a\ud800b\ud83d\ude00"}')
    assert read(tmp_path) == [RawText("a?b😀", "?")]


def test_a_format_that_is_set_wins_over_the_name(tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b'{"text": "x"}\n')
    (tmp_path / "b.log.gz").write_bytes(gzip.compress(b'{"text": "y"}\n'))
    assert texts(tmp_path, format="jsonl") == ["x", "y"]
    assert texts(tmp_path, format="text") == ['{"text": "x"}\n', '{"text": "y"}\n']
    (tmp_path / "t.csv").write_bytes(b"text\tn\na,b\t3\n")
    assert texts(tmp_path / "t.csv", format="tsv") == ["a,b"]


def test_a_delimiter_that_is_set(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"text;n\na,b;3\n")
    assert texts(tmp_path / "a.csv", delimiter=";") == ["a,b"]


def test_a_field_may_be_longer_than_the_csv_module_allows_by_itself(tmp_path: Path) -> None:
    with (tmp_path / "a.csv").open("w", newline="") as out:
        csv.writer(out).writerows([["text"], ["x" * 300_000]])
    assert [len(text) for text in texts(tmp_path)] == [300_000]


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())], ids=str
)
def test_parquet_texts_of_every_type(tmp_path: Path, kind: pa.DataType) -> None:
    column = pa.array(["dog", None, "", "cat", "dog"]).cast(kind)
    pq.write_table(pa.table({"text": column, "extra": pa.array([[0.5]] * 5)}), tmp_path / "a.parquet")
    assert read(tmp_path) == [RawText("dog", "a.parquet:1"), RawText("cat", "a.parquet:4"), RawText("dog", "a.parquet:5")]


def test_parquet_reads_only_the_columns_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []
    plain = pq.ParquetFile.iter_batches

    def noted(self: Any, **options: Any) -> Any:
        asked.append(options["columns"])
        return plain(self, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    pq.write_table(pa.table({"vector": [[0.5]], "title": ["t"], "id": [9], "text": ["x"]}), tmp_path / "a.parquet")
    assert read(tmp_path) == [RawText("x", "9")]
    assert asked == [["title", "id", "text"], ["text", "id"]]
