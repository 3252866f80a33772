"""An OpenAI-compatible LLM server on loopback whose every answer and fault can be repeated; see `python -m tests.servers.llm --help`.

What it answers depends on nothing but the request; what goes wrong is drawn from hashes; what it did is in its log.
"""

import asyncio
import signal
import sys
from typing import Any

from tests.servers.answers import Answerer, answer
from tests.servers.batch_items import CHAT
from tests.servers.batches import Batches
from tests.servers.chat import Chat
from tests.servers.connection import Connection, Request
from tests.servers.faults import Faults
from tests.servers.files import Files
from tests.servers.keys import Access
from tests.servers.log import Ledger, Tally
from tests.servers.model import Model
from tests.servers.options import Options, parse
from tests.servers.routes import Routes

_BACKLOG = 1024


class LlmServer:
    """The server, for as long as its `async with` block lasts."""

    def __init__(self, options: Options | None = None, answerer: Answerer = answer, *, keep_log: bool = True) -> None:
        self._options = options = options or Options()
        faults = Faults.parse(options.faults, options.seed)
        if options.batch_store is not None:
            options.batch_store.mkdir(parents=True, exist_ok=True)
        files = Files(options.batch_store)
        self._ledger = Ledger(options.log, keep_log)
        self._access = Access(options.key, options.echo_key, options.seed)
        self._chat = Chat(options, Model(options, answerer, faults.refused_parameters), faults, self._access, self._ledger)
        self._batches = Batches(options, files, self._chat.item)
        self._routes = Routes(options, files, self._batches)
        self._connections: set[Connection] = set()
        self._port = options.port
        self._outage: asyncio.Task[None] | None = None

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    @property
    def stats(self) -> Tally:
        """Totals over all chat requests that have ended."""
        return self._ledger.tally

    @property
    def in_flight(self) -> int:
        """Chat requests that have not ended, those that hang included."""
        return self._ledger.in_flight

    @property
    def log(self) -> list[dict[str, Any]]:
        """An entry for each chat request that has ended; empty without `keep_log`."""
        return self._ledger.entries

    async def __aenter__(self) -> "LlmServer":
        await self._listen()
        self._batches.start()
        if self._options.down_between is not None:
            self._outage = asyncio.create_task(self._go_down(*self._options.down_between))
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._outage is not None:
            self._outage.cancel()
        self._batches.close()
        self._stop_listening()
        await asyncio.sleep(0)  # until the tasks are cancelled and the connections closed
        self._ledger.close()

    async def _listen(self) -> None:
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._connection, "127.0.0.1", self._port, backlog=_BACKLOG)
        self._port = self._listener.sockets[0].getsockname()[1]

    def _connection(self) -> Connection:
        return Connection(self._serve, self._connections)

    def _stop_listening(self) -> None:
        self._listener.close()
        for connection in list(self._connections):
            connection.drop()

    async def _go_down(self, start: float, end: float) -> None:
        """Be unreachable between two moments after the start."""
        await asyncio.sleep(start)
        self._stop_listening()
        await asyncio.sleep(end - start)
        await self._listen()

    def _serve(self, request: Request, connection: Connection) -> None:
        if request.method == "POST" and request.path == CHAT:
            self._chat.serve(request, connection)
        else:
            response = self._access.refusal(request) or self._routes.serve(request)
            connection.respond(self._access.echoed(response, request))


async def serve(options: Options) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    async with LlmServer(options, keep_log=False) as server:
        sys.stdout.write(f"listening on {server.base_url}\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(serve(parse()))
