import logging
import threading
from pathlib import Path

import pytest

from autolabel.errors import StoreError, StoreLocked
from autolabel.store import connection as module
from autolabel.store.connection import Database
from tests.store.builders import rows
from tests.store.processes import holding


def test_a_missing_file_says_how_to_make_one(tmp_path: Path) -> None:
    db = Database(tmp_path / "none.duckdb")
    with pytest.raises(StoreError, match=r"none.duckdb does not exist; `autolabel run CONFIG.toml --db "), db.read():
        pass
    with pytest.raises(StoreError, match="does not exist"), db.write():
        pass


def test_a_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"), Database(tmp_path).read():
        pass


def stop_after(_: object) -> None:
    raise RuntimeError("stop")


def test_a_write_is_all_or_nothing(database: Path) -> None:
    db = Database(database)
    with pytest.raises(RuntimeError, match="stop"), db.write() as connection:
        stop_after(connection.execute("DELETE FROM scores"))
    with pytest.raises(StoreError, match="Catalog Error"), db.write() as connection:
        connection.execute("DELETE FROM scores").execute("FROM nowhere")
    assert rows(database, "SELECT count(*) > 0 AS kept FROM scores") == [{"kept": True}]
    with db.write() as connection:
        connection.execute("DELETE FROM scores")
    assert rows(database, "FROM scores") == []


def test_blocks_nest_for_reading_only(database: Path) -> None:
    db = Database(database)
    with db.read() as outer, Database(database).read() as inner:
        assert inner is outer
        with pytest.raises(RuntimeError, match="write cannot begin"), db.write():
            pass
        with pytest.raises(RuntimeError, match="query of its own"), db.exclusively():
            pass
    with db.write() as outer, db.read() as inner:
        assert inner is outer


def test_threads_of_one_process_take_turns(database: Path) -> None:
    failures: list[BaseException] = []

    def work(write: bool) -> None:
        try:
            for _ in range(3):
                with Database(database).write() if write else Database(database).read() as connection:
                    connection.execute("SELECT count(*) FROM features").fetchone()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number % 2 == 0,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize("read_only", [True, False])
def test_who_holds_the_file_is_named(database: Path, read_only: bool) -> None:
    with holding(database, read_only=read_only) as pid:
        words = f"labels.duckdb is in use by PID {pid} .*Wait for it, or pass --db"
        with pytest.raises(StoreLocked, match=words) as caught, Database(database).write(wait_s=0.1):
            pass
        assert "\n" not in str(caught.value)
        if read_only:
            assert len(rows(database, "FROM features")) == 6
    with Database(database).write(wait_s=5.0):
        pass


def test_a_long_wait_is_logged_once(database: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(module, "NOTICE_S", 0.0)
    caplog.set_level(logging.INFO)
    with holding(database, read_only=True), pytest.raises(StoreLocked), Database(database).write(wait_s=0.3):
        pass
    assert len([record for record in caplog.records if "waiting: " in record.message]) == 1


def test_an_unknown_holder_is_said_to_be_another_process() -> None:
    assert "another process" in module._held(Path("x"), "Could not set lock on file: Resource temporarily unavailable")
