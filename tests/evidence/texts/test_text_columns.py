"""Which column is the text, which the id, and what is said when neither can be told."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from autolabel.errors import DataError
from tests.evidence.texts.writing import json_lines, read, texts


def write(folder: Path, *records: Any, name: str = "a.jsonl") -> Path:
    (folder / name).write_bytes(json_lines(records))
    return folder / name


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"content": "c", "text": "t", "title": "a long title that is longer"}, "t"),
        ({"sentence": "s", "passage": "p"}, "p"),
        ({"Body": "b", "title": "much longer than the body"}, "b"),
        ({"number": 3, "review": "only"}, "only"),
        ({"text": ["no", "text"], "body": "b"}, "b"),
        ({"url": "short", "review": "at least twice as long"}, "at least twice as long"),
    ],
)
def test_the_text_column_is_found(tmp_path: Path, record: dict[str, Any], expected: str) -> None:
    assert texts(write(tmp_path, record)) == [expected]


def test_a_column_of_that_name_is_the_text_even_where_it_begins_empty(tmp_path: Path) -> None:
    records = [{"text": None, "title": "a title"}] * 30 + [{"text": "late", "title": "a title"}]
    assert texts(write(tmp_path, *records)) == ["late"]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "b.parquet")
    assert texts(tmp_path / "b.parquet") == ["late"]


def test_length_is_a_mean_over_the_first_records(tmp_path: Path) -> None:
    records = [{"a": "x" * 30, "b": "long " * 10 if i else ""} for i in range(20)]
    with pytest.raises(DataError, match=r"a\.jsonl' has several columns that could be the text \(b, a\); set text_column"):
        read(write(tmp_path, *records))
    records[0]["b"] = "y" * 500
    assert texts(write(tmp_path, *records))[0] == "y" * 500


def test_later_records_do_not_change_the_choice(tmp_path: Path) -> None:
    records = [{"a": "x", "b": "longer"}] * 20 + [{"a": "x" * 1000, "b": "y", "text": "new"}]
    assert texts(write(tmp_path, *records))[-1] == "y"


def test_fewer_records_choose_where_they_hold_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.evidence.texts.columns.SAMPLE_CHARACTERS", 100)
    records = [{"a": "x" * 30, "b": "y"}] * 4 + [{"a": "x", "b": "y" * 500}] * 16
    assert texts(write(tmp_path, *records))[0] == "x" * 30
    monkeypatch.undo()
    assert texts(write(tmp_path, *records))[0] == "y"


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([{"n": 1, "m": [2]}], r"a\.jsonl' has no column that holds text \(it holds n: int, m: list\); set text_column"),
        ([{"a": "xx", "b": "yyy"}], r"several columns that could be the text \(b, a\); set text_column to one of them"),
        ([{"text": "x"}, {"body": "y", "n": 1}], r"a\.jsonl' line 2 has no column 'text' \(it holds body, n\); set text_column"),
        ([{"text": "x"}, {"text": 7}], r"a\.jsonl' has no column that holds text \(it holds text: int/str\)"),
        ([{"text": "x"}] * 20 + [{"text": {"a": 1}}], r"line 21 holds dict in 'text', expected text; set text_column"),
        ([{}], r"no column that holds text \(it holds nothing\)"),
    ],
)
def test_a_text_that_cannot_be_told_is_refused_with_the_columns(tmp_path: Path, records: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(write(tmp_path, *records))


def test_the_choice_holds_for_all_files_of_a_source(tmp_path: Path) -> None:
    write(tmp_path, {"text": "one", "n": 1}, name="a.jsonl")
    write(tmp_path, {"content": "two"}, name="b.jsonl")
    with pytest.raises(DataError, match=r"b\.jsonl' line 1 has no column 'text' \(it holds content\); set text_column"):
        read(tmp_path)


def test_files_without_records_choose_nothing(tmp_path: Path) -> None:
    write(tmp_path, name="a.jsonl")
    (tmp_path / "b.csv").write_text("n,title\n")
    write(tmp_path, {"content": "two"}, name="c.jsonl")
    assert texts(tmp_path) == ["two"]


def test_a_text_column_that_is_set(tmp_path: Path) -> None:
    path = write(tmp_path, {"text": "t", "title": "x"})
    assert texts(path, text_column="title") == ["x"]
    with pytest.raises(DataError, match=r"line 1 has no column 'body' \(it holds text, title\); set text_column"):
        read(path, text_column="body")


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([{"id": 7}, {"id": 8}], ["7", "8"]),
        ([{"ID": "x"}, {"ID": "y"}], ["x", "y"]),
        ([{"doc_id": "d", "uuid": "u"}], ["d"]),
        ([{"id": 1, "doc_id": "a"}, {"id": 1, "doc_id": "b"}], ["a", "b"]),
        ([{"id": None}, {"id": 2}], ["a.jsonl:1", "a.jsonl:2"]),
        ([{"id": True}], ["a.jsonl:1"]),
        ([{"id": 1.5}], ["a.jsonl:1"]),
        ([{"id": "x" * 501}], ["a.jsonl:1"]),
        ([{"id": i} for i in range(20)] + [{"id": [1]}, {"id": "last"}], [*map(str, range(20)), "a.jsonl:21", "last"]),
        ([{"id": i} for i in range(20)] + [{}], [*map(str, range(20)), "a.jsonl:21"]),
    ],
)
def test_ids_are_the_files_own_where_they_tell_documents_apart(tmp_path: Path, records: list[Any], expected: list[str]) -> None:
    path = write(tmp_path, *({"text": "x"} | record for record in records))
    assert [one.id for one in read(path)] == expected


def test_an_id_column_that_is_set(tmp_path: Path) -> None:
    path = write(tmp_path, {"text": "x", "url": "https://a", "id": 1}, {"text": "y", "url": None, "id": 2})
    assert [one.id for one in read(path, id_column="url")] == ["https://a", "a.jsonl:2"]
    with pytest.raises(DataError, match=r"line 1 has no column 'key' \(it holds text, url, id\); set id_column"):
        read(path, id_column="key")
    with pytest.raises(DataError, match=r"line 1 holds no id in 'text_list', expected an integer or a text of at most 500"):
        read(write(tmp_path, {"text": "x", "text_list": []}), id_column="text_list")


def test_no_record_is_looked_at_beforehand_where_both_columns_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def looking(*_: object) -> None:
        raise AssertionError("a record was sampled")

    monkeypatch.setattr("autolabel.evidence.texts.reading.first_records", looking)
    path = write(tmp_path, {"body": "x", "url": "u"}, {"body": "y", "url": None})
    assert [(one.text, one.id) for one in read(path, text_column="body", id_column="url")] == [("x", "u"), ("y", "a.jsonl:2")]
    with pytest.raises(AssertionError, match="sampled"):
        read(path, text_column="body")


def parquet(folder: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), folder / "a.parquet")
    return folder / "a.parquet"


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        ({"n": [1], "v": [0.5]}, {}, r"a\.parquet' has no column that holds text \(it holds n: int64, v: double\)"),
        ({"n": [1], "text": ["x"]}, {"text_column": "n"}, r"a\.parquet' column 'n' holds int64, expected text; set text_column"),
        ({"n": [1], "text": ["x"]}, {"text_column": "body"}, r"a\.parquet' has no column 'body' \(it holds n, text\)"),
        ({"n": [1], "text": ["x"]}, {"id_column": "key"}, r"a\.parquet' has no column 'key' \(it holds n, text\); set id_column"),
        ({"text": [{"a": "x"}]}, {"text_column": "text"}, r"column 'text' holds struct<a: string>, expected text"),
        ({"text": [{"a": "x"}]}, {}, r"no column that holds text \(it holds text: struct<a: string>\)"),
    ],
)
def test_parquet_columns_that_are_no_text(tmp_path: Path, columns: Any, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(parquet(tmp_path, **columns), **changes)


def test_parquet_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    twice = pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], names=["text", "text"])
    pq.write_table(twice, tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet' has the column 'text' more than once; rename one"):
        read(tmp_path / "a.parquet", text_column="text")


def test_a_later_parquet_file_may_lack_an_id_that_was_only_found(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["x"], "id": ["own"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["y"]}), tmp_path / "b.parquet")
    assert [one.id for one in read(tmp_path)] == ["own", "b.parquet:1"]


def test_the_names_in_an_error_are_few_short_and_on_one_line(tmp_path: Path) -> None:
    record = {f"column {i}\n\x1b[31m" + "x" * 500: i for i in range(1000)}
    with pytest.raises(DataError, match=r"and 988 more") as caught:
        read(write(tmp_path, record))
    assert len(str(caught.value)) < 1500
    assert str(caught.value).isprintable()
