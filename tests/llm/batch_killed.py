"""A run that asks through batches with a real store, in a process of its own that is killed where a test wants it."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
from batch_world import CREATE, LOOK, MODEL, UPLOAD, Wire, purpose, request

from autolabel.config import LlmSettings
from autolabel.llm import batch_api
from autolabel.llm.capabilities import Capabilities
from autolabel.llm.connecting import connect
from autolabel.records import ChatReply
from autolabel.store.ledger import OpenBatch, open_batches
from autolabel.store.run_store import RunStore

ENDPOINT, JOB = "llm", "job"
MOMENTS = ("uploaded", "written down", "handed over", "watched", "half collected", "all but noted")
"""When a run is killed; it may be right before or right after that is so."""
_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["autolabel.llm.connecting", "autolabel.store.run_store", "tests.servers.llm"])


@dataclass(frozen=True)
class StoreBatchLog:
    """The `BatchLog` of a database."""

    store: RunStore
    die: Callable[[str], None]

    def open(self) -> Sequence[OpenBatch]:
        return open_batches(self.store.database, ENDPOINT, MODEL)

    def keep(self, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        if rows[-1][1].get("status") == "collected":
            self.die("all but noted")
        self.store.keep(rows)
        if rows[-1][0] == "llm_batches":
            self.die("written down")


def killed(moment: str, base_url: str, path: Path, run_id: str, n: int) -> int | None:
    """Run until that moment; how the process ended."""
    process = _PROCESSES.Process(target=_run, args=(moment, base_url, path, run_id, n))
    process.start()
    process.join(60)
    try:
        return process.exitcode
    finally:
        process.kill()
        process.join()
        process.close()


def _run(moment: str, base_url: str, path: Path, run_id: str, n: int) -> None:
    asyncio.run(run(base_url, path, run_id, n, moment))


async def run(base_url: str, path: Path, run_id: str, n: int, moment: str | None = None) -> list[ChatReply]:
    """Ask for `n` replies at once, which must all come, and resume what was begun before."""

    def die(reached: str) -> None:
        if reached == moment:
            os.kill(os.getpid(), signal.SIGKILL)

    with RunStore.open(path, run_id) as store:
        store.start_run("score", {}, "config", 0, JOB)
        wire, log = Wire(), StoreBatchLog(store, die)
        _die_on_the_wire(wire, die)
        _die_in_the_middle(store, die)
        endpoint = connect(
            LlmSettings(base_url=base_url, model=MODEL, name=ENDPOINT, batch=True),
            store,
            can=Capabilities(),
            batch_log=log,
            http_client=httpx2.AsyncClient(transport=wire),
            sleep=lambda seconds: asyncio.sleep(seconds / 100),
        )
        await endpoint.resume()
        replies = await asyncio.gather(*[endpoint.chat(request(i), purpose(i)) for i in range(n)])
        await endpoint.close()
        store.finish_run("done")
    return replies


def _die_on_the_wire(wire: Wire, die: Callable[[str], None]) -> None:
    def dying(reached: str) -> Any:
        async def trouble(asked: httpx2.Request, inner: httpx2.AsyncBaseTransport) -> httpx2.Response:
            response = await inner.handle_async_request(asked)
            await response.aread()
            die(reached)
            return response

        return trouble

    wire.make(UPLOAD, dying("uploaded"))
    wire.make(CREATE, dying("handed over"))
    wire.make(LOOK, dying("watched"))


def _die_in_the_middle(store: RunStore, die: Callable[[str], None]) -> None:
    """Results are recorded a few at a time, and the process dies when some are recorded and others are not."""
    batch_api.LINES = 4
    record_many, n_writes = store.record_many, 0

    def counting(answered: Sequence[tuple[Mapping[str, Any] | None, Mapping[str, Any]]]) -> None:
        nonlocal n_writes
        n_writes += 1
        if n_writes == 2:
            die("half collected")
        record_many(answered)

    store.record_many = counting  # type: ignore[method-assign]
