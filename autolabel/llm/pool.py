"""The servers behind one endpoint: which of them the next request goes to, and when it may go.

The invariants: requests go out in the order in which they asked; a server that does not answer gets one request at a time, ever more
seldom, while the others take its share; when none has answered for as long as patience lasts, everybody waiting is told so.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import cycle

from openai import AsyncOpenAI

from autolabel.errors import EndpointError
from autolabel.llm.limits import Pass, Throttle

DOWN_AFTER = 3
"""Requests in a row without an answer before a server is spared."""
_FIRST_REST_S, _LONGEST_REST_S = 0.5, 8.0


class Server:
    """One address, its limits and its health."""

    def __init__(self, base_url: str, clients: Sequence[AsyncOpenAI], throttle: Throttle, clock: Callable[[], float]) -> None:
        self.base_url = base_url
        """Without secrets, as it may be stored and shown."""
        self.clients = clients
        """They take turns; each looks through all of its connections for every request, so that many connections want several clients."""
        self._turns = cycle(clients)
        self.throttle = throttle
        self.n_answered = 0
        """Requests answered so far, with whatever status."""
        self._clock = clock
        self._unanswered = 0
        self._silent_since: float | None = None
        self._rest_s = _FIRST_REST_S
        self._rests_until = float("-inf")

    @property
    def client(self) -> AsyncOpenAI:
        """The client whose turn it is."""
        return next(self._turns)

    @property
    def is_down(self) -> bool:
        """Whether it left several requests in a row unanswered."""
        return self._unanswered >= DOWN_AFTER

    def silent_s(self) -> float:
        """Seconds since the first of the requests it left unanswered; 0 when it answered the last one."""
        return 0.0 if self._silent_since is None else self._clock() - self._silent_since

    def wait_s(self, tokens: int) -> float | None:
        """Seconds until it may take a request; None when that depends on one in flight."""
        if self.is_down:
            return None if self.throttle.in_flight else max(0.0, self._rests_until - self._clock())
        return self.throttle.wait_s(tokens) if self.throttle.free > 0 else None

    def answered(self) -> None:
        """It is alive."""
        self.n_answered += 1
        self._unanswered = 0
        self._silent_since = None
        self._rest_s = _FIRST_REST_S

    def left_unanswered(self) -> None:
        """A request got no answer: no connection, a time-out, or a connection lost on the way."""
        if self._silent_since is None:
            self._silent_since = self._clock()
        self._unanswered += 1
        if (
            self.is_down and self._clock() >= self._rests_until
        ):  # what was in flight beside the request that made it rest adds nothing
            self._rests_until = self._clock() + self._rest_s
            self._rest_s = min(2 * self._rest_s, _LONGEST_REST_S)


class Pool:
    """The servers of one endpoint."""

    def __init__(self, servers: Sequence[Server], patience_s: float) -> None:
        self.servers = list(servers)
        self._patience_s = patience_s
        self._turn = asyncio.Lock()
        self._changed = asyncio.Event()
        self._closed = False

    async def enter(self, tokens: int) -> tuple[Server, Pass]:
        """Wait for a server that may take a request of about so many tokens.

        Raises:
            EndpointError: none has answered for too long, or the pool was closed meanwhile.
        """
        async with self._turn:
            while True:
                self.refuse_if_closed()
                patience_s = self._patience_left_s()
                waits = {server: server.wait_s(tokens) for server in self.servers}
                ready = [server for server, wait_s in waits.items() if wait_s is not None and wait_s <= 0]
                if ready:
                    server = min(ready, key=lambda server: (server.is_down, server.throttle.in_flight / server.throttle.limit))
                    return server, server.throttle.enter(tokens)
                known = [wait_s for wait_s in (patience_s, *waits.values()) if wait_s is not None]
                await self._change(min(known, default=None))

    def leave(self, server: Server) -> None:
        """A request is no longer in flight."""
        server.throttle.leave()
        self._changed.set()

    def correct(self, server: Server, taken: Pass, tokens: int) -> None:
        """A request turned out to take so many tokens."""
        server.throttle.correct(taken, tokens)
        self._changed.set()

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True
        self._changed.set()

    def refuse_if_closed(self) -> None:
        """Raise `EndpointError` when nobody is let in any more."""
        if self._closed:
            raise EndpointError("the run is ending; nothing more is sent")

    async def _change(self, within_s: float | None) -> None:
        self._changed.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._changed.wait()

    def _patience_left_s(self) -> float | None:
        """Seconds until no server has answered for too long; None while one is up.

        Raises:
            EndpointError: none are left.
        """
        if not all(server.is_down for server in self.servers):
            return None
        silent_s = min(server.silent_s() for server in self.servers)
        if silent_s >= self._patience_s:
            names = " and ".join(server.base_url for server in self.servers)
            raise EndpointError(
                f"{names} answered nothing for {silent_s:.0f} seconds; see that it runs, then give the same command again: "
                "what was answered is kept"
            )
        return self._patience_s - silent_s
