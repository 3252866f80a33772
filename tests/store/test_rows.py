import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from autolabel.store.rows import TableTypes, json_text, plain
from autolabel.store.schema import create_tables
from autolabel.store.stamping import Stamps
from tests.store.builders import T0, label


@pytest.fixture(scope="module")
def types() -> TableTypes:
    with duckdb.connect(":memory:") as connection:
        create_tables(connection)
        return TableTypes(connection)


@pytest.mark.parametrize(
    ("value", "stored"),
    [
        (None, None),
        (True, True),
        (3, 3),
        (math.nan, None),
        (-math.inf, None),
        (np.float64("nan"), None),
        (np.int32(4), 4),
        (np.array([1.5, math.inf]), [1.5, None]),
        ("naïve 日本", "naïve 日本"),
        ("\ud800", "\ufffd"),
        (datetime(2026, 1, 2, 5, tzinfo=timezone(timedelta(hours=2))), "2026-01-02T03:00:00"),
        (T0, "2026-01-02T03:04:05"),
        ({1: (math.nan, {"a"})}, {"1": [None, ["a"]]}),
    ],
)
def test_values_as_json_can_hold_them(value: Any, stored: Any) -> None:
    assert plain(value) == stored


def test_what_is_no_json_is_left_to_whoever_writes_it() -> None:
    odd = object()
    assert plain(odd) is odd
    with pytest.raises(TypeError, match="not JSON serializable"):
        json_text([odd])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ({"a": (1, 0.5)}, '{"a":[1,0.5]}'),
        ({"a": math.nan}, '{"a":null}'),
        ({"a": np.float32(0.5), "b": datetime(2026, 1, 2, tzinfo=UTC)}, '{"a":0.5,"b":"2026-01-02T00:00:00"}'),
        ({"a\ud800": "日本\ud800"}, '{"a\ufffd":"日本\ufffd"}'),
        ('{"a": 1}', '{"a": 1}'),
    ],
)
def test_the_text_of_a_json_column(value: Any, text: str | None) -> None:
    assert json_text(value) == text


def test_what_a_row_lacks(types: TableTypes) -> None:
    row = {"request_hash": "q", "body": None}
    assert types.lacking("llm_requests", row) == ["body", "created_utc", "run_id"]
    assert types.lacking("llm_requests", {"request_hash": "q", "body": "{}", "run_id": "r", "created_utc": T0}) == []


def test_stamps_leave_what_a_row_says_itself(types: TableTypes) -> None:
    stamps = Stamps("r", types)
    assert stamps.row("labels", {"run_id": "other"})["run_id"] == "other"
    assert stamps.row("llm_batch_items", {}) == {}
    data = pa.Table.from_pylist([label(1) | {"run_id": "other"}])
    stamped = stamps.table("labels", data)
    assert (stamped["run_id"].to_pylist(), stamped["created_utc"].to_pylist()) == (["other"], [label(1)["created_utc"]])
