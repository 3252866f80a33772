"""HTTP/1.1 with keep-alive over raw asyncio, as fast as Python allows: a benchmark of a client must not measure its server.

One request of a connection is served at a time. Whoever serves it answers now or later, or cuts the connection; `when_lost` tells it
that the client has gone in the meantime.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Request:
    """What a client sent."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.target).query).items()}

    @property
    def authorization(self) -> str:
        return self.headers.get("authorization", "")


@dataclass(frozen=True, slots=True)
class Response:
    """What is answered."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    def json(self) -> Any:
        return json.loads(self.body)

    def encoded(self) -> bytes:
        extra = "".join(f"{name}: {value}\r\n" for name, value in self.headers.items())
        head = (
            f"HTTP/1.1 {self.status} {_PHRASES[self.status]}\r\ncontent-type: {self.content_type}\r\n"
            f"content-length: {len(self.body)}\r\n{extra}\r\n"
        )
        return head.encode("latin-1") + self.body


def ok(content: Any) -> Response:
    """A JSON answer."""
    return Response(200, json.dumps(content).encode())


def failure(
    status: int,
    message: str,
    kind: str = "invalid_request_error",
    *,
    param: str | None = None,
    code: str | None = None,
    **headers: str,
) -> Response:
    """An error as OpenAI writes it."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return Response(
        status, json.dumps({"error": error}).encode(), {name.replace("_", "-"): value for name, value in headers.items()}
    )


class Connection(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, serve: Callable[[Request, "Connection"], None], all_open: set["Connection"]) -> None:
        self.when_lost: Callable[[], None] | None = None
        """Called once when the connection ends before the request that is being served is answered."""
        self.closed = False
        self._serve = serve
        self._all_open = all_open
        self._buffer = bytearray()
        self._head: Request | None = None
        self._body_start = self._needed = 0
        self._busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._all_open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._all_open.discard(self)
        if self.when_lost is not None:
            told, self.when_lost = self.when_lost, None
            told()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._busy:
            self._serve_next()

    def respond(self, response: Response) -> bool:
        """Answer the request that is being served; whether the whole answer was written to an open connection."""
        self.when_lost = None
        if self.closed:
            return False
        self._transport.write(response.encoded())
        self._busy = False
        if self._buffer:
            asyncio.get_running_loop().call_soon(self._serve_next)
        return not self._transport.is_closing()

    def reset_after_half(self, response: Response) -> None:
        """Answer half of the body, then reset the connection."""
        encoded = response.encoded()
        self._transport.write(encoded[: len(encoded) - len(response.body) // 2])
        self.drop()

    def drop(self) -> None:
        """Reset the connection, whatever is being served."""
        self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()
        self.connection_lost(None)

    def _serve_next(self) -> None:
        if self._busy or self.closed:
            return
        if self._head is None and not self._read_head():
            return
        if self._head is None or len(self._buffer) < self._needed:
            return
        request = replace(self._head, body=bytes(self._buffer[self._body_start : self._needed]))
        del self._buffer[: self._needed]
        self._head, self._busy = None, True
        self._serve(request, self)

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        named = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in named}
        if "transfer-encoding" in headers:
            self.respond(failure(411, "this server reads requests with a content-length only"))
            self.drop()
            return False
        self._head = Request(method, target, headers)
        self._body_start = end + 4
        self._needed = self._body_start + int(headers.get("content-length", "0"))
        return True
