"""`RunStore` as a `CallStore`: replies are found from the moment they are recorded, wherever they are just then."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from autolabel.records import CallStore
from autolabel.store import draining, fingerprints
from autolabel.store.connection import Database
from autolabel.store.journal import Journal
from autolabel.store.reply_cache import ReplyCache
from autolabel.store.run_store import RunStore
from tests.fakes import MemoryCallStore
from tests.store.builders import attempt, call, rows
from tests.store.processes import holding


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.duckdb"


@pytest.fixture(autouse=True)
def _no_drain_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "DRAIN_EVERY_S", 3_600.0)


def answered(*names: str) -> list[tuple[dict[str, Any] | None, dict[str, Any]]]:
    return [(call(name, {"text": f"reply to {name}"}), attempt(name)) for name in names]


def replies(*names: str) -> dict[str, Any]:
    return {name: {"text": f"reply to {name}"} for name in names}


def count(path: Path, table: str) -> int:
    return int(rows(path, f"SELECT count(*) AS n FROM {table}")[0]["n"])


def test_both_call_stores_keep_the_protocol(path: Path) -> None:
    with RunStore.open(path, "run-1") as kept:
        stores: list[CallStore] = [kept, MemoryCallStore()]
        for store in stores:
            store.record_many([*answered("q1", "q2"), (None, attempt("q3", status="refused", error="no"))])
            store.record(call("q1", {"text": "later"}), attempt("q1", attempt_id="again"))
            assert [store.holds(name) for name in ("q1", "q2", "q3")] == [True, True, False]
            assert store.get("q1") == {"text": "reply to q1"}
            assert store.get("q3") is None
            assert store.get_many(["q2", "q3", "q1"]) == replies("q1", "q2")
            assert store.unusable("q3") is None
            tickets = [store.sending(attempt(f"q{i}")) for i in (4, 5)]
            assert len(set(tickets)) == 2
            for ticket in tickets:
                store.sent(ticket)


def test_a_reply_is_found_wherever_it_is(path: Path) -> None:
    reply = {"text": "pets", "tokens": ({"text": "日本", "logprob": -0.5},)}
    stored = {"text": "pets", "tokens": [{"text": "日本", "logprob": -0.5}]}
    with RunStore.open(path, "run-1") as store:
        assert not store.holds("r1")
        assert store.get("r1") is None
        store.record(call("r1", reply), attempt("r1"))
        store.record(None, attempt("r2", status="refused", error="no"))
        assert store.holds("r1")
        assert store.get("r1") == stored
        assert store.get("r2") is None
        store.drain()
        assert store.get("r1") == stored
        store.record(call("r1", {"text": "second"}), attempt("r1", attempt_id="again"))
        assert store.get("r1") == stored
        store.drain()
        assert store.get("r1") == stored
    with RunStore.open(path, "run-2") as store:
        assert store.holds("r1")
        assert store.get_many(["r1", "r2"]) == {"r1": stored}
    assert count(path, "llm_calls") == 1
    assert rows(path, "SELECT status FROM llm_attempts ORDER BY attempt_id") == [
        {"status": "ok"},
        {"status": "ok"},
        {"status": "refused"},
    ]


def test_an_attempt_without_an_id_gets_one(path: Path) -> None:
    anonymous = {name: value for name, value in attempt("r").items() if name != "attempt_id"}
    with RunStore.open(path, "run-1") as store:
        store.record_many([(None, anonymous), (None, anonymous)])
        store.record_many([])
    assert count(path, "llm_attempts") == 2


def test_a_request_is_kept_where_its_body_is_given(path: Path) -> None:
    with RunStore.open(path, "run-1") as store:
        store.record_many(
            [
                (call("q1", {}) | {"body": {"messages": ["日本"]}}, attempt("q1")),
                (call("q2", {}) | {"body": '{"messages": []}'}, attempt("q2")),
                (call("q3", {}) | {"body": None}, attempt("q3")),
                (call("q4", {}), attempt("q4")),
            ]
        )
    assert rows(path, "SELECT request_hash, body->>'messages' AS body, run_id FROM llm_requests ORDER BY 1") == [
        {"request_hash": "q1", "body": '["日本"]', "run_id": "run-1"},
        {"request_hash": "q2", "body": "[]", "run_id": "run-1"},
    ]


def test_a_batch_is_one_write_synced_before_it_returns(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    happened: list[str] = []
    write, fsync = os.write, os.fsync

    def noted(what: str) -> None:
        if threading.current_thread() is threading.main_thread():
            happened.append(what)

    with RunStore.open(path, "run-1") as store:
        store.record_many(answered("q0"))
        monkeypatch.setattr(os, "write", lambda descriptor, data: (noted("write"), write(descriptor, data))[1])
        monkeypatch.setattr(os, "fsync", lambda descriptor: (noted("fsync"), fsync(descriptor))[1])
        store.record_many(answered(*(f"q{i}" for i in range(1, 20))))
        assert happened == ["write", "fsync"]
        monkeypatch.undo()


def test_a_batch_with_a_row_that_is_refused_keeps_nothing(path: Path) -> None:
    with RunStore.open(path, "run-1") as store:
        batch = [*answered("q1"), (call("q2", {}), attempt("q2", status="lost")), *answered("q3")]
        with pytest.raises(ValueError, match=r"a row of 'llm_attempts' .attempt_id 'attempt-q2'. cannot be stored: .*CHECK"):
            store.record_many(batch)
        assert store.get_many(["q1", "q2", "q3"]) == {}
        store.record_many(answered("q1", "q3"))
        assert store.get_many(["q1", "q2", "q3"]) == replies("q1", "q3")
    assert count(path, "llm_attempts") == 2


def test_a_reader_delays_no_reply(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "DRAIN_EVERY_S", 0.01)
    monkeypatch.setattr(fingerprints, "RECENT", 8)
    with RunStore.open(path, "run-1") as store:
        store.record_many(answered("before"))
        store.drain()
        with holding(path, read_only=True):
            names = [f"q{i}" for i in range(60)]
            for name in names:
                store.record_many(answered(name))
                assert store.get(name) == {"text": f"reply to {name}"}
            assert count(path, "llm_calls") == 1
            assert store.get_many([*names, "before", "never"]) == replies("before", *names)
        store.drain()
        assert count(path, "llm_calls") == 61
        assert store.get_many([*names, "never"]) == replies(*names)


def test_no_file_is_opened_for_what_is_new(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunStore.open(path, "run-1") as store:
        store.record_many(answered("q1"))
        store.drain()
        store.record_many(answered("q2"))
        monkeypatch.setattr(Database, "read", lambda self: (_ for _ in ()).throw(AssertionError("the database was read")))
        assert [store.holds(name) for name in ("q1", "q2", "q3")] == [True, True, False]
        assert store.get_many(["q2", "q3"]) == replies("q2")
        monkeypatch.undo()


def test_a_fingerprint_that_two_requests_share_confuses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.store.reply_cache.fingerprint", lambda text: int(text[1:]) // 10)
    with RunStore.open(path, "run-1") as store:
        store.record_many(answered("q11"))
        assert store.holds("q12")
        assert store.get("q12") is None
        store.drain()
        assert store.holds("q12")
        assert store.get("q12") is None
        store.record_many(answered("q12", "q13"))
        assert store.get_many(["q11", "q12"]) == replies("q11", "q12")
        store.drain()
        assert store.get_many(["q11", "q12", "q13"]) == replies("q11", "q12", "q13")


def test_a_reply_drained_between_two_looks_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunStore.open(path, "run-1") as store:
        store.record_many(answered("q1"))
        read = Journal.read

        def read_late(self: Journal, place: Any) -> Any:
            store.drain()
            return read(self, place)

        monkeypatch.setattr(Journal, "read", read_late)
        assert store.get("q1") == {"text": "reply to q1"}


def test_a_reply_drained_before_it_is_noted_is_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunStore.open(path, "run-1") as store:
        recorded = ReplyCache.recorded

        def record_late(self: ReplyCache, request_hash: str, place: Any) -> None:
            store.drain()
            recorded(self, request_hash, place)

        monkeypatch.setattr(ReplyCache, "recorded", record_late)
        store.record_many(answered("q1"))
        monkeypatch.undo()
        assert store.holds("q1")
        assert store.get("q1") == {"text": "reply to q1"}


def test_threads_share_a_store(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "DRAIN_EVERY_S", 0.02)
    monkeypatch.setattr(fingerprints, "RECENT", 16)
    problems: list[str] = []

    def work(worker: int) -> None:
        try:
            for number in range(25):
                mine, shared = f"w{worker}-{number}", f"shared-{number}"
                ticket = store.sending(attempt(mine))
                store.record_many(
                    [*answered(mine), (call(shared, {"n": number}), attempt(shared, attempt_id=f"{worker}/{number}"))]
                )
                store.sent(ticket)
                found = store.get_many([mine, shared])
                if not store.holds(mine) or found != replies(mine) | {shared: {"n": number}}:
                    problems.append(f"{worker} {number}: {found}")
        except BaseException as error:
            problems.append(repr(error))

    with RunStore.open(path, "run-1") as store:
        threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert problems == []
    assert (count(path, "llm_calls"), count(path, "llm_attempts")) == (4 * 25 + 25, 2 * 4 * 25)


def test_what_waits_takes_little_memory(path: Path) -> None:
    """A reply is some 2,000 bytes; what is kept of it while it waits is a place in the journal."""
    with RunStore.open(path, "run-1") as store, holding(path, read_only=True):
        for start in range(0, 6_000, 1_000):
            store.record_many([(call(f"q{i}", {"text": "x" * 2_000}), attempt(f"q{i}")) for i in range(start, start + 1_000)])
        (places,) = store._replies._waiting.values()
        packed = sum(column.nbytes for run in places._packed._runs for column in run)
        assert len(places.keys()) == 6_000
        assert packed == 16 * (6_000 - len(places._recent))
        assert len(places._recent) < fingerprints.RECENT
        assert store.get("q5999") == {"text": "x" * 2_000}
