import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from autolabel.errors import StoreError, StoreLocked
from autolabel.store import draining as module
from autolabel.store import journal
from autolabel.store.connection import Database
from autolabel.store.journal import Journal
from autolabel.store.maintenance import diff
from autolabel.store.run_store import RunStore
from tests.store.builders import attempt, feature, label, make_database, prediction, rows, window
from tests.store.processes import holding

CHILD = """
import sys
from pathlib import Path
from autolabel.store.run_store import RunStore
from tests.store.builders import prediction
store = RunStore.open(Path(sys.argv[1]), "run-child")
store.start_run("run", {}, "c", 0)
number = 0
while True:
    store.append("predictions", [prediction(number, "label", f"w{k}", 0.5) for k in range(3)])
    number += 1
    print(number, flush=True)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "labels.duckdb"


def journal_of(path: Path) -> Path:
    return path.with_name(path.name + ".journal")


def draining_of(path: Path) -> Path:
    return path.with_name(path.name + ".journal.draining")


def count(path: Path, table: str) -> int:
    return int(rows(path, f"SELECT count(*) AS n FROM {table}")[0]["n"])


def test_a_run_killed_while_writing_loses_and_repeats_nothing(path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", CHILD, str(path)], stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        said = 0
        while said < 150:
            said = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
    said = int(rest[-1]) if rest else said
    with RunStore.open(path, "run-next"):
        pass
    kept = count(path, "predictions")
    assert kept in (3 * said, 3 * said + 1, 3 * said + 2, 3 * said + 3)  # the append that was being made may be there too
    assert rows(path, "SELECT feature_index FROM predictions GROUP BY ALL HAVING count(*) <> count(DISTINCT window_id)") == []
    assert rows(path, "SELECT status FROM runs") == [{"status": "interrupted"}]
    assert not journal_of(path).exists()
    assert not draining_of(path).exists()


def test_a_reader_delays_the_drain_and_not_the_run(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "DRAIN_EVERY_S", 0.05)
    with RunStore.open(path, "run-1") as store:
        with holding(path, read_only=True) as pid:
            for number in range(20):
                store.append("labels", [label(number)])
                time.sleep(0.02)
            assert count(path, "labels") == 0
            with pytest.raises(StoreLocked, match=f"PID {pid}"):
                store.drain(wait_s=0.0)
            warnings = [record.message for record in caplog.records if record.levelno == logging.WARNING]
            assert len(warnings) == 1
            assert f"PID {pid}" in warnings[0]
            assert "labels.duckdb.journal" in warnings[0]
        deadline = time.monotonic() + 10
        while count(path, "labels") < 20 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert count(path, "labels") == 20
    assert not journal_of(path).exists()


def test_what_cannot_be_drained_at_the_end_waits_for_the_next_run(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = RunStore.open(path, "run-1")
    store.start_run("run", {}, "c", 0)
    with holding(path, read_only=True):
        store.append("labels", [label(1)])
        store.finish_run("done")
        store.close(wait_s=0.0)
    assert "waits in" in caplog.text
    assert count(path, "labels") == 0
    with RunStore.open(path, "run-2"):
        assert count(path, "labels") == 1
    assert rows(path, "SELECT run_id, status FROM runs") == [{"run_id": "run-1", "status": "done"}]


def test_a_run_begins_beside_a_reader(path: Path) -> None:
    with RunStore.open(path, "run-1") as store:
        store.start_run("run", {}, "c", 0, "job")
        store.finish_run("failed", "the key is wrong")
    with holding(path, read_only=True):
        store = RunStore.open(path, "run-2", wait_s=0.0)
        store.start_run("run", {}, "c", 0, "job")
        store.append("labels", [label(1)])
        store.close(wait_s=0.0)
        assert [row["run_id"] for row in rows(path, "FROM runs")] == ["run-1"]
        with pytest.raises(StoreLocked):
            RunStore.open(path, "run-3", wait_s=0.0)
    with RunStore.open(path, "run-3"):
        assert rows(path, "SELECT run_id, job_hash, status FROM runs ORDER BY run_id") == [
            {"run_id": "run-1", "job_hash": "job", "status": "failed"},
            {"run_id": "run-2", "job_hash": "job", "status": "interrupted"},
        ]
        assert count(path, "labels") == 1


def test_a_write_that_waits_for_a_reader_does_not_keep_others_from_reading(path: Path) -> None:
    with RunStore.open(path, "run-1") as store:
        with holding(path, read_only=True):
            waiting = threading.Thread(target=store.insert_many, args=({"labels": [label(1)]},))
            waiting.start()
            assert all(count(path, "labels") == 0 for _ in range(5))
            assert waiting.is_alive()
        waiting.join()
        assert count(path, "labels") == 1


def test_rows_of_several_tables_are_kept_with_one_write(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    fsync = os.fsync
    with RunStore.open(path, "run-1") as store:
        store.append("labels", [label(0)])
        monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(descriptor), fsync(descriptor))[1])
        store.keep([("labels", label(1)), ("llm_attempts", attempt("q"))])
        assert synced
        with pytest.raises(ValueError, match="start_run"):
            store.keep([("labels", label(2)), ("runs", {})])
    assert (count(path, "labels"), count(path, "llm_attempts")) == (2, 1)


def test_a_second_run_is_refused_by_name(path: Path) -> None:
    with RunStore.open(path, "run-1"), pytest.raises(StoreLocked, match=f"labels.duckdb is in use by a run, PID {os.getpid()};"):
        RunStore.open(path, "run-2")
    RunStore.open(path, "run-3").close()


def test_a_run_without_a_number_is_refused_too(path: Path) -> None:
    with RunStore.open(path, "run-1"):
        path.with_name(path.name + ".lock.pid").write_text("?")
        with pytest.raises(StoreLocked, match="PID unknown"):
            RunStore.open(path, "run-2")


def test_a_file_that_cannot_be_used_leaves_no_lock(path: Path) -> None:
    path.write_text("no database")
    for _ in range(2):
        with pytest.raises(StoreError, match="not a DuckDB database"):
            RunStore.open(path, "run-1")


def test_rows_are_kept_once(path: Path) -> None:
    with RunStore.open(path, "run-1") as store:
        store.append("labels", [label(1), label(1, text="later"), label(2)])
        store.drain()
        store.append("labels", [label(1, text="much later"), label(3)])
    assert rows(path, "SELECT label_id, text, run_id FROM labels ORDER BY 1") == [
        {"label_id": f"label-{i}-a", "text": f"words about pets, {i}a", "run_id": "run-1"} for i in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("table", "row", "words"),
    [
        ("nowhere", {}, "no table 'nowhere'; expected one of runs"),
        ("runs", {}, "start_run"),
        ("labels", label(1) | {"colour": "red"}, "no column 'colour'"),
        ("labels", label(1, text=None), "CHECK constraint"),
        ("labels", {"label_id": "x"}, "NOT NULL constraint"),
        ("labels", label(1, concepts="{not json"), "a row of 'labels': column 'concepts' is not JSON"),
        ("labels", label(1, concepts='{"a": NaN}'), "NaN is no JSON value"),
        ("predictions", prediction(0, "l", "w", None), "CHECK constraint"),
        ("features", feature(-1), "CHECK constraint"),
        ("features", feature(1, n_tiles_fired="many"), "cannot be stored"),
    ],
)
def test_a_row_that_could_never_be_stored_is_refused_where_it_is_made(
    path: Path, table: str, row: dict[str, Any], words: str
) -> None:
    with RunStore.open(path, "run-1") as store:
        with pytest.raises(ValueError, match=words) as caught:
            store.append(table, [row])
        assert "\n" not in str(caught.value)
        store.append("labels", [label(5)])
    assert count(path, "labels") == 1


def test_values_arrive_as_they_were(path: Path) -> None:
    hostile = "<<x>> <script> \x00 \x1b[31m ' ; DROP TABLE labels; -- 日本 \ud800"
    with RunStore.open(path, "run-1") as store:
        store.append("windows", [window("w", "train", (hostile,))])
        store.append(
            "features",
            [
                feature(
                    0,
                    max_activation=float("nan"),
                    mean_activation=np.float32(0.5),
                    histogram=np.arange(3),
                    top_tokens=[{"token": hostile, "share": float("nan")}],
                )
            ],
        )
        store.append("labels", [label(0, concepts='{"a":1}')])
    (stored,) = rows(path, "SELECT text FROM windows")
    assert stored["text"] == hostile.replace("\ud800", "\ufffd")
    (kept,) = rows(path, "SELECT max_activation, mean_activation, histogram, top_tokens->>'$[0].share' AS share FROM features")
    assert kept == {"max_activation": None, "mean_activation": 0.5, "histogram": [0, 1, 2], "share": None}
    assert rows(path, "SELECT concepts->>'a' AS a FROM labels") == [{"a": "1"}]


def test_bulk_rows_from_arrow(path: Path) -> None:
    data = pa.Table.from_pylist([{**feature(i), "top_tokens": "[]", "token_entropy": float("nan")} for i in range(3)])
    with RunStore.open(path, "run-1") as store:
        store.insert_arrow("features", data)
        store.insert_arrow("features", data)
        with pytest.raises(StoreError, match="CHECK constraint"):
            store.insert_many(
                {
                    "windows": pa.Table.from_pylist([window("w", "train")]),
                    "features": pa.Table.from_pylist([{**feature(9), "top_tokens": "[]", "firing_rate": 2.0}]),
                }
            )
        with pytest.raises(ValueError, match="no column 'colour'"):
            store.insert_arrow("features", pa.table({"colour": ["red"]}))
        with pytest.raises(ValueError, match="lack evidence_set_id, which tell them apart"):
            store.insert_arrow("features", pa.table({"feature_index": [7]}))
    assert rows(path, "SELECT DISTINCT token_entropy, run_id FROM features") == [{"token_entropy": None, "run_id": "run-1"}]
    assert (count(path, "features"), count(path, "windows")) == (3, 0)


def test_how_a_run_ended(path: Path) -> None:
    with RunStore.open(path, "run-1") as store:
        store.start_run("run", {"a": 1}, "c", 7)
        store.finish_run("failed", "the key is wrong")
    with RunStore.open(path, "run-2") as store:
        store.start_run("score", {}, "c", 7)
    with RunStore.open(path, "run-3"):
        pass
    found = rows(path, "SELECT run_id, status, message, finished_utc IS NOT NULL AS ended FROM runs ORDER BY run_id")
    assert found == [
        {"run_id": "run-1", "status": "failed", "message": "the key is wrong", "ended": True},
        {"run_id": "run-2", "status": "interrupted", "message": "the process ended without saying why", "ended": False},
    ]


LINE = b'{"table": "labels", "row": %s}\n'


def lines_of(path: Path, folder: Path) -> list[bytes]:
    """Journal lines of three labels, as a run that could not drain leaves them."""
    store = RunStore.open(path, "run-0")
    with holding(path, read_only=True):
        store.append("labels", [label(i) for i in range(3)])
        store.close(wait_s=0.0)
    lines = journal_or_draining(path).read_bytes().splitlines(keepends=True)
    journal_or_draining(path).unlink()
    return lines


def journal_or_draining(path: Path) -> Path:
    return draining_of(path) if draining_of(path).exists() else journal_of(path)


def test_leftovers_of_both_kinds_come_in_in_order(path: Path, tmp_path: Path) -> None:
    first, second, third = lines_of(path, tmp_path)
    draining_of(path).write_bytes(first + second.replace(b"words", b"older"))
    journal_of(path).write_bytes(second + third)
    with RunStore.open(path, "run-1"):
        found = rows(path, "SELECT text FROM labels ORDER BY label_id")
    assert [row["text"].split()[0] for row in found] == ["words", "older", "words"]


def test_a_torn_last_line_is_dropped_with_a_warning(path: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second, third = lines_of(path, tmp_path)
    caplog.clear()
    journal_of(path).write_bytes(first + second + third[:-10])
    with RunStore.open(path, "run-1"):
        assert count(path, "labels") == 2
    assert "cut off" in caplog.text


@pytest.mark.parametrize("damage", [b"\x00\x01\n", b"[]\n", b'{"table": "labels"}\n'])
def test_a_damaged_line_is_named(path: Path, tmp_path: Path, damage: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _, third = lines_of(path, tmp_path)
    monkeypatch.setattr("autolabel.store.journal.PIECE_BYTES", 10)
    journal_of(path).write_bytes(first + damage + third)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"labels.duckdb.journal.draining: line 2 is damaged"):
            RunStore.open(path, "run-1")
    draining_of(path).write_bytes(first + third)
    with RunStore.open(path, "run-1"):
        assert count(path, "labels") == 2


def test_a_line_that_fits_no_table_is_named(path: Path, tmp_path: Path) -> None:
    lines_of(path, tmp_path)
    journal_of(path).write_bytes(b'{"table": "labels", "row": {"colour": "red"}}\n')
    with pytest.raises(StoreError, match=r"draining: a row does not fit its table: .*'colour'"):
        RunStore.open(path, "run-1")


def test_a_drain_that_fails_in_the_background_is_told_later(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DRAIN_EVERY_S", 0.02)
    store = RunStore.open(path, "run-1")
    monkeypatch.setattr(Journal, "next_piece", lambda self: (_ for _ in ()).throw(StoreError("the disk is gone")))
    store.append("labels", [label(1)])
    store._drain._thread.join(timeout=5)
    with pytest.raises(StoreError, match="the disk is gone"):
        store.drain()
    with pytest.raises(StoreError, match="the disk is gone"):
        store.close()
    monkeypatch.undo()
    with RunStore.open(path, "run-2"):
        assert count(path, "labels") == 1


def test_a_drain_goes_on_where_it_was_stopped(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "PIECE_BYTES", 10)
    opened: list[str] = []
    write = Database.write

    def write_five_times(self: Database, wait_s: float) -> Any:
        opened.append("file")
        if len(opened) == 6:
            raise StoreLocked("somebody reads")
        return write(self, wait_s)

    with RunStore.open(path, "run-1") as store:
        store.append("labels", [label(number) for number in range(8)])
        monkeypatch.setattr(Database, "write", write_five_times)
        with pytest.raises(StoreLocked, match="somebody reads"):
            store.drain(wait_s=0.0)
        assert count(path, "labels") == 5
        store.append("labels", [label(8)])
        store.drain(wait_s=0.0)
        assert len(opened) == 6 + 3 + 1
        monkeypatch.undo()
    assert rows(path, "SELECT feature_index FROM labels ORDER BY 1") == [{"feature_index": number} for number in range(9)]


def test_a_larger_database_is_written_less_often() -> None:
    assert [module.pause_after(work_s) for work_s in (0.0, 0.05, 1.0, 100.0)] == [2.0, 2.0, 20.0, 60.0]


def test_the_same_work_makes_the_same_file(tmp_path: Path) -> None:
    first, second = make_database(tmp_path, name="a.duckdb"), make_database(tmp_path, name="b.duckdb")
    assert diff(first, second) == []
    assert Database(first).path == first
