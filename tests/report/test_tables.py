import csv
import io
import json
from datetime import datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import pytest

from autolabel.errors import ConfigError
from autolabel.report import tables

TEXTS = ["plain", 'a"b,c\nd', "", None, "<script>\u202e"]
TABLE = pa.table(
    {
        "text": TEXTS,
        "number": [0.1, 1e-300, -0.0, None, 1 / 3],
        "whole": pa.array([2**62, 1, 2, 3, None], pa.int64()),
        "list": [[1, 2], [], None, [3], [4]],
        "when": [datetime(2026, 1, 2, 3, 4, 5, 6)] * 5,
        "yes": [True, False, None, True, True],
    }
)


def test_json_is_exact() -> None:
    found = json.loads(tables.to_json(TABLE))
    assert [row["text"] for row in found] == TEXTS
    assert [row["number"] for row in found] == TABLE["number"].to_pylist()
    assert found[0] | {"number": None} == {
        "text": "plain",
        "number": None,
        "whole": 2**62,
        "list": [1, 2],
        "when": "2026-01-02T03:04:05.000006",
        "yes": True,
    }


def test_json_lines_hold_a_row_each() -> None:
    lines = tables.to_jsonl(TABLE).decode().splitlines()
    assert [json.loads(line) for line in lines] == json.loads(tables.to_json(TABLE))


def test_csv_tells_null_from_an_empty_text_and_keeps_every_digit() -> None:
    options = pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""])
    parsing = pyarrow.csv.ParseOptions(newlines_in_values=True)
    found = pyarrow.csv.read_csv(io.BytesIO(tables.to_csv(TABLE)), convert_options=options, parse_options=parsing)
    assert found["text"].to_pylist() == TEXTS
    assert found["number"].to_pylist() == TABLE["number"].to_pylist()
    assert found["whole"].to_pylist() == TABLE["whole"].to_pylist()
    assert found["list"].to_pylist() == ["[1, 2]", "[]", None, "[3]", "[4]"]
    assert len(list(csv.reader(io.StringIO(tables.to_csv(TABLE).decode())))) == 6


def test_parquet_is_the_table() -> None:
    assert pyarrow.parquet.read_table(io.BytesIO(tables.to_parquet(TABLE))).equals(TABLE)


def test_a_number_that_json_would_round_is_text() -> None:
    odd = pa.table({"x": pa.array([Decimal("0.12345678901234567890"), Decimal("1.50000000000000000000")])})
    assert json.loads(tables.to_json(odd)) == [{"x": "0.12345678901234567890"}, {"x": 1.5}]
    assert json.loads(tables.to_json(pa.table({"x": [float("nan")]}))) == [{"x": "nan"}]


@pytest.mark.parametrize("write", [tables.to_json, tables.to_jsonl, tables.to_parquet])
def test_two_columns_of_one_name_are_refused(write: object) -> None:
    twice = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    with pytest.raises(ConfigError, match="more than one column named 'x'"):
        write(twice)  # type: ignore[operator]


def test_no_rows() -> None:
    none = TABLE.slice(0, 0)
    assert json.loads(tables.to_json(none)) == []
    assert tables.to_csv(none).decode().count("\n") == 1


def test_a_column_of_nulls_and_bytes() -> None:
    odd = pa.table({"nothing": pa.nulls(1), "bytes": [b"\x00\xff"]})
    assert tables.to_csv(odd).decode().splitlines()[1] == ',"AP8="'
    assert json.loads(tables.to_json(odd)) == [{"nothing": None, "bytes": "AP8="}]
