import json
import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from autolabel.errors import StoreError
from autolabel.store.in_flight import SLOT_BYTES, InFlight, in_flight_path, left_in_flight
from autolabel.store.ledger import Spent, spent
from autolabel.store.run_store import RunStore
from tests.store.builders import attempt, call, rows

API = {"endpoint_id": "api", "via": "live", "prompt_tokens": None, "completion_tokens": None, "cached_tokens": None}
LOST = "the process ended while this request was in flight"

CHILD = """
import sys, threading
from pathlib import Path
from autolabel.store.run_store import RunStore
from tests.store.builders import attempt, call
store = RunStore.open(Path(sys.argv[1]), "run-child")
store.start_run("run", {}, "c", 0, "job")
say = threading.Lock()
def told(text):
    with say:
        print(text, flush=True)
def work(worker):
    for number in range(10**6):
        name = f"q{worker}-{number}"
        row = attempt(name, endpoint_id="api", via="live", charged_tokens=100, cost_usd=0.5)
        told(f"sending {name}")
        ticket = store.sending(row)
        told(f"noted {name}")
        store.record(call(name, {"text": name}), row | {"charged_tokens": 10, "cost_usd": 0.125})
        told(f"recorded {name}")
        store.sent(ticket)
        told(f"sent {name}")
for worker in range(6):
    threading.Thread(target=work, args=(worker,), daemon=True).start()
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.duckdb"


def ledger(path: Path, columns: str = "*") -> list[dict[str, Any]]:
    return rows(path, f"SELECT attempt_id, {columns} FROM llm_attempts ORDER BY attempt_id")


def test_every_request_of_a_killed_process_is_in_the_ledger_once(path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    arguments = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(800)]
        process.send_signal(signal.SIGKILL)
        lines += process.stdout.read().splitlines()
    said: dict[str, set[str]] = {word: set() for word in ("sending", "noted", "recorded", "sent")}
    for line in lines:
        word, _, name = line.strip().partition(" ")
        if name:
            said.setdefault(word, set()).add(f"attempt-{name}")
    with RunStore.open(path, "run-next") as store:
        found = {row["attempt_id"]: row for row in ledger(path, "request_hash, run_id, status, error, charged_tokens")}
        assert count(path) == len(found)
        assert said["noted"] <= found.keys() <= said["sending"]
        assert all(found[name]["status"] == "ok" for name in said["recorded"])
        lost = [row for row in found.values() if row["status"] == "failed"]
        assert len(lost) <= 6
        assert all((row["error"], row["run_id"], row["charged_tokens"]) == (LOST, "run-child", 100) for row in lost)
        n_ok = len(found) - len(lost)
        assert spent(store.database, "job") == Spent(len(found), 10 * n_ok + 100 * len(lost), 0.125 * n_ok + 0.5 * len(lost))
        answered = store.get_many([row["request_hash"] for row in found.values()])
        assert answered.keys() == {row["request_hash"] for row in found.values() if row["status"] == "ok"}
    assert not in_flight_path(path).exists()


def count(path: Path) -> int:
    return int(rows(path, "SELECT count(*) AS n FROM llm_attempts")[0]["n"])


def killed(path: Path, *attempts: dict[str, Any]) -> bytes:
    """The notes that a run leaves which is killed while these attempts are in flight."""
    with RunStore.open(path, "run-1") as store:
        store.start_run("run", {}, "c", 0, "job")
        for row in attempts:
            store.sending(row)
    return in_flight_path(path).read_bytes()


def test_a_request_lost_in_flight_is_charged_as_reserved(path: Path) -> None:
    killed(
        path,
        attempt(
            "q1", **API, charged_tokens=700, cost_usd=0.25, http_status=200, latency_ms=5.0, reasoning_tokens=3, feature_index=9
        ),
        attempt("q2", **API, charged_tokens=300, cost_usd=None),
    )
    with RunStore.open(path, "run-2") as store:
        store.start_run("run", {}, "c", 0, "job")
        assert spent(store.database, "job") == Spent(2, 1_000, None)
    columns = "run_id, status, error, feature_index, http_status, latency_ms, prompt_tokens, reasoning_tokens, cost_usd"
    nothing = {"http_status": None, "latency_ms": None, "prompt_tokens": None, "reasoning_tokens": None}
    assert ledger(path, columns) == [
        {"attempt_id": "attempt-q1", "feature_index": 9, "cost_usd": 0.25, "run_id": "run-1", "status": "failed", "error": LOST}
        | nothing,
        {"attempt_id": "attempt-q2", "feature_index": None, "cost_usd": None, "run_id": "run-1", "status": "failed", "error": LOST}
        | nothing,
    ]


def test_an_outcome_that_was_recorded_wins_over_the_note(path: Path) -> None:
    store = RunStore.open(path, "run-1")
    ticket = store.sending(attempt("q1", **API))
    assert ticket == store.sending(attempt("q2", **API)) - 1
    store.record(call("q1", {"text": "a"}), attempt("q1", endpoint_id="api", via="live"))
    store.close()
    with RunStore.open(path, "run-2"):
        assert ledger(path, "status") == [
            {"attempt_id": "attempt-q1", "status": "ok"},
            {"attempt_id": "attempt-q2", "status": "failed"},
        ]


def test_notes_that_cannot_be_read_are_passed_over(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notes = bytearray(killed(path, *(attempt(f"q{i}", **API) for i in range(4))))
    notes[SLOT_BYTES + 300] ^= 1
    notes[2 * SLOT_BYTES : 2 * SLOT_BYTES + 4] = b"\xff\xff\xff\xff"
    in_flight_path(path).write_bytes(bytes(notes[:-50]))
    with RunStore.open(path, "run-2"):
        assert ledger(path, "status") == [{"attempt_id": "attempt-q0", "status": "failed"}]
    assert [record.message.split(": ")[1].split(";")[0] for record in caplog.records if record.levelno == logging.WARNING] == [
        "slot 2 is damaged",
        "slot 3 is damaged",
        "slot 4 is damaged",
    ]
    assert not in_flight_path(path).exists()


def test_a_note_cut_off_at_its_head_is_passed_over(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notes = killed(path, *(attempt(f"q{i}", **API) for i in range(2)))
    in_flight_path(path).write_bytes(notes[: SLOT_BYTES + 3])
    assert [row["request_hash"] for row in left_in_flight(path)] == ["q0"]
    assert "slot 2 is damaged" in caplog.text


def test_a_note_that_fits_no_table_is_passed_over(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    notes = InFlight(path)
    notes.sending({"attempt_id": "odd", "colour": "red"})
    notes.sending({"attempt_id": "short"})
    notes.sending(json.loads("[1]"))
    notes.close()
    with RunStore.open(path, "run-1"):
        assert count(path) == 0
    assert caplog.text.count("is missing from the ledger") == 3


def test_slots_are_used_again(path: Path) -> None:
    notes = InFlight(path)
    tickets = [notes.sending({"number": number}) for number in range(3)]
    assert tickets == [0, 1, 2]
    notes.sent(1)
    assert notes.sending({"number": 3}) == 1
    notes.sent(0)
    assert [row["number"] for row in left_in_flight(path)] == [3, 2]
    for wrong in (0, 7):
        with pytest.raises(ValueError, match=f"no request in flight has the ticket {wrong}"):
            notes.sent(wrong)
    notes.close()
    assert in_flight_path(path).stat().st_size < 3 * SLOT_BYTES
    notes = InFlight(path)
    notes.sent(notes.sending({"number": 4}))
    assert list(left_in_flight(path)) == []
    notes.close()
    assert not in_flight_path(path).exists()
    notes.close()


def test_threads_never_share_a_slot(path: Path) -> None:
    notes = InFlight(path)

    def work(worker: int) -> None:
        for number in range(200):
            ticket = notes.sending({"worker": worker, "number": number})
            if number < 199:
                notes.sent(ticket)

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {(row["worker"], row["number"]) for row in left_in_flight(path)} == {(worker, 199) for worker in range(8)}
    assert in_flight_path(path).stat().st_size <= 8 * SLOT_BYTES
    notes.close()


def test_what_cannot_be_noted_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with RunStore.open(path, "run-1") as store:
        with pytest.raises(ValueError, match="an attempt being sent lacks attempt_id, charged_tokens"):
            store.sending(attempt("q", **API) | {"attempt_id": None, "charged_tokens": None})
        with pytest.raises(ValueError, match="no column 'colour'"):
            store.sending(attempt("q", colour="red"))
        with pytest.raises(ValueError, match=r"has 5\d\d\d bytes; expected at most 4088"):
            store.sending(attempt("q", base_url="x" * 5_000))

        def full(descriptor: int, data: bytes, offset: int) -> int:
            raise OSError("no space left on device")

        monkeypatch.setattr(os, "pwrite", full)
        with pytest.raises(StoreError, match=r"inflight cannot be written .no space left on device.; make room"):
            store.sending(attempt("q", **API))
        monkeypatch.undo()
