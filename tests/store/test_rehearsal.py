import threading
from collections.abc import Iterator
from typing import Any

import duckdb
import pytest

from autolabel.store.rehearsal import WORDS, Rehearsal
from autolabel.store.schema import create_tables
from tests.store.builders import attempt, call, label

Row = dict[str, Any]


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[Rehearsal]:
    made = Rehearsal()
    yield made
    made.close()


def entry(rehearsal: Rehearsal, table: str, row: Row) -> tuple[str, Row]:
    return table, rehearsal.types.storable(table, row | {"run_id": "r"})


def test_tables_tried_by_kind_have_no_other_constraints() -> None:
    """One row stands for all of its kind only while nothing but NULLs, listed words and NaN can be refused."""
    with duckdb.connect(":memory:") as connection:
        create_tables(connection)
        found = connection.execute(
            "SELECT table_name, constraint_column_names[1], constraint_text FROM duckdb_constraints() "
            "WHERE constraint_type = 'CHECK' AND list_contains($tables, table_name)",
            {"tables": list(WORDS)},
        ).fetchall()
    words = {(table, name) for table, name, text in found if " IN (" in text}
    assert words == {(table, name) for table, names in WORDS.items() for name in names}
    assert all("isnan(" in text for table, name, text in found if (table, name) not in words)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"status": "lost"}, "CHECK constraint"),
        ({"via": "post"}, "CHECK constraint"),
        ({"stage": None}, "NOT NULL constraint"),
        ({"charged_tokens": None}, "NOT NULL constraint"),
        ({"feature_index": 2**31}, "2147483648"),
        ({"prompt_tokens": 2**70}, "too large"),
        ({"prompt_tokens": "many"}, "many"),
        ({"started_utc": "yesterday"}, "yesterday"),
    ],
)
def test_the_row_that_is_refused_is_named(rehearsal: Rehearsal, wrong: Row, words: str) -> None:
    good = [entry(rehearsal, "llm_attempts", attempt(f"q{i}")) for i in range(3)]
    rehearsal.check(good)
    bad = entry(rehearsal, "llm_attempts", attempt("bad") | wrong)
    for _ in range(2):
        with pytest.raises(ValueError, match=rf"a row of 'llm_attempts' .attempt_id 'attempt-bad'. cannot be stored: .*{words}"):
            rehearsal.check([*good, bad, *good])
    rehearsal.check(good)


def test_rows_that_are_refused_only_together_are_counted(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    def insert(self: Rehearsal, tables: dict[str, Any]) -> None:
        if tables["labels"].num_rows > 1:
            raise duckdb.OutOfMemoryException("no room for all of them")

    monkeypatch.setattr(Rehearsal, "_insert", insert)
    with pytest.raises(ValueError, match="2 rows cannot be stored together: no room for all of them"):
        rehearsal.check([entry(rehearsal, "labels", label(number)) for number in range(2)])


def test_a_kind_is_tried_once(rehearsal: Rehearsal, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[set[str]] = []
    insert = Rehearsal._insert
    monkeypatch.setattr(Rehearsal, "_insert", lambda self, tables: (tried.append(set(tables)), insert(self, tables))[1])
    rehearsal.check([entry(rehearsal, "llm_calls", call("q1", {"text": "a"}, kind="likelihood"))])
    rehearsal.check([entry(rehearsal, "llm_calls", call("q2", {"text": "b"}, kind="likelihood", prompt_tokens=7))])
    assert tried == [{"llm_calls"}]
    rehearsal.check([entry(rehearsal, "llm_calls", call("q2", {"text": "b"}, kind="likelihood", prompt_hash="sha256:p"))])
    rehearsal.check([entry(rehearsal, "llm_calls", call("q2", {"text": "b"}, kind="completion"))])
    for _ in range(2):
        rehearsal.check([entry(rehearsal, "labels", label(1))])
    assert tried[1:] == [{"llm_calls"}, {"llm_calls"}, {"labels"}, {"labels"}]


def test_rows_with_one_key_are_one_row(rehearsal: Rehearsal) -> None:
    rehearsal.check([entry(rehearsal, "llm_calls", call("q1", {"n": n}, endpoint_id="new kind")) for n in range(2)])
    with pytest.raises(ValueError, match="cannot be stored"):
        rehearsal.check([entry(rehearsal, "labels", label(1, text=None)), entry(rehearsal, "labels", label(1))])


def test_threads_share_a_rehearsal(rehearsal: Rehearsal) -> None:
    refused: list[tuple[int, int]] = []

    def work(worker: int) -> None:
        for number in range(9):
            text = None if number % 3 == worker else "words"
            try:
                rehearsal.check(
                    [entry(rehearsal, "labels", label(number)), entry(rehearsal, "labels", label(number, "b", text=text))]
                )
            except ValueError:
                refused.append((worker, number))

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(refused) == [(worker, number) for worker in range(3) for number in range(9) if number % 3 == worker]
