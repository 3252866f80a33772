import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from autolabel.errors import StoreError
from autolabel.store import journal as module
from autolabel.store.journal import Journal, Place


def wait_for(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.01)


def test_rows_are_read_back_from_where_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_BYTES", 7)
    journal = Journal(tmp_path / "x.duckdb")
    assert journal.append([]) == []
    first, second = journal.append([("labels", {"a": 1}), ("labels", {"a": "日本" * 50})])
    (third,) = journal.append([("labels", {"a": 3})])
    assert [journal.read(place) for place in (third, second, first)] == [{"a": 3}, {"a": "日本" * 50}, {"a": 1}]
    assert journal.set_aside()
    (fourth,) = journal.append([("labels", {"a": 4})], sync=True)
    assert (first.file_number, fourth.file_number) == (third.file_number, first.file_number + 1)
    assert [journal.read(place) for place in (fourth, first)] == [{"a": 4}, {"a": 1}]
    piece = journal.next_piece()
    assert [row["a"] for _, row in piece.entries] == [1, "日本" * 50, 3]
    assert journal.drained(piece) == first.file_number
    assert [journal.read(place) for place in (fourth, first)] == [{"a": 4}, None]
    assert journal.read(Place(9, 0)) is None
    journal.close()


def test_a_file_is_drained_a_piece_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_BYTES", 40)
    journal = Journal(tmp_path / "x.duckdb")
    journal.append([("labels", {"a": i}) for i in range(3)])
    journal.set_aside()
    seen = []
    for number in (None, 1):
        assert journal.next_piece() == journal.next_piece()
        piece = journal.next_piece()
        seen += [row["a"] for _, row in piece.entries]
        assert journal.drained(piece) == number
    assert seen == [0, 1, 2]
    assert not journal.set_aside()
    journal.close()


def test_what_is_asked_to_be_synced_is_synced_before_it_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "x.duckdb")
    synced: list[int] = []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        fsync(descriptor)
        if threading.current_thread() is threading.main_thread():
            synced.append(os.fstat(descriptor).st_size)

    monkeypatch.setattr(os, "fsync", noting)
    journal.append([("labels", {"a": 1})], sync=True)
    assert synced[-1] == journal.path.stat().st_size
    journal.append([("labels", {"a": 2})])
    assert synced[-1] < journal.path.stat().st_size
    journal.close()


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "x.duckdb")
    journal.append([("labels", {"a": 1})])
    whole = journal.path.read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
    with pytest.raises(StoreError, match="make room"):
        journal.append([("labels", {"a": 2})])
    monkeypatch.undo()
    assert journal.path.read_bytes() == whole
    assert journal.append([("labels", {"a": 3})]) == [Place(1, len(whole))]
    journal.close()


def test_a_disk_that_is_full_from_the_start_leaves_no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "x.duckdb")
    monkeypatch.setattr(os, "write", lambda descriptor, data: 0)
    with pytest.raises(StoreError, match="make room"):
        journal.append([("labels", {"a": 1})])
    monkeypatch.undo()
    journal.close()
    assert list(tmp_path.iterdir()) == []


def test_a_sync_that_fails_stops_the_next_append(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "x.duckdb")
    journal.append([("labels", {"a": 1})])

    def broken(descriptor: int) -> None:
        raise OSError("input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    journal._unsynced.set()
    wait_for(lambda: journal._failure is not None)
    monkeypatch.undo()
    with pytest.raises(StoreError, match="input/output error"):
        journal.append([("labels", {"a": 2})])
    journal.close()


def test_a_sync_that_was_asked_for_and_fails_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "x.duckdb")
    journal.append([("labels", {"a": 1})])

    def broken(descriptor: int) -> None:
        raise OSError("input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(StoreError, match=r"cannot be written .input/output error"):
        journal.append([("labels", {"a": 2})], sync=True)
    monkeypatch.undo()
    journal.close()
