"""Killed anywhere, a batch is paid for once: by the server's own log and the database's."""

import asyncio
import signal
from collections import Counter
from pathlib import Path

import pytest
from batch_killed import ENDPOINT, JOB, MOMENTS, killed, run
from batch_world import MODEL

from autolabel.store.connection import Database
from autolabel.store.ledger import open_batches, spent
from autolabel.store.maintenance import check
from tests.servers.llm import LlmServer
from tests.servers.log import summarise
from tests.servers.options import Options

N = 18


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.llm.batch_api.LINES", 4)


@pytest.mark.parametrize("moment", MOMENTS)
async def test_killed_and_resumed_nothing_is_paid_for_twice(tmp_path: Path, moment: str) -> None:
    path = tmp_path / "labels.duckdb"
    async with LlmServer(Options(batch_seconds=0.2, batch_fail=0.2, seed=4)) as server:
        assert await asyncio.to_thread(killed, moment, server.base_url, path, "first", N) == -signal.SIGKILL
        replies = await run(server.base_url, path, "second", N)
        tally = summarise(server.log)
    assert len({reply.request_hash for reply in replies}) == N
    assert (tally.paid_twice, sum(tally.usable.values())) == (0, N)
    database = Database(path)
    with database.read() as connection:
        statuses = Counter(connection.execute("SELECT via, status FROM llm_attempts").fetchall())
        (n_calls,) = connection.execute("SELECT count(*) FROM llm_calls").fetchone() or (0,)
        events = [row[0] for row in connection.execute("SELECT status FROM llm_batch_events ORDER BY created_utc").fetchall()]
    assert statuses["batch", "ok"] + statuses["live", "ok"] == N
    assert statuses["batch", "ok"] > statuses["live", "ok"] > 0
    assert n_calls == N
    assert events[-1] == "collected"
    assert open_batches(database, ENDPOINT, MODEL) == []
    assert check(database) == []
    assert spent(database, JOB).tokens >= tally.charged_tokens
