"""POST /v1/chat/completions: who is turned away, what goes wrong, and when the answer leaves."""

import asyncio
from functools import partial
from typing import Any

from tests.servers.connection import Connection, Request, Response, failure, ok
from tests.servers.faults import REFUSED, Faults, draw
from tests.servers.keys import Access
from tests.servers.limits import Limits
from tests.servers.log import Call, Ledger
from tests.servers.model import Body, Model, Reply, read_body
from tests.servers.options import Options


class Chat:
    """Serves chat requests, from connections and from batches."""

    def __init__(self, options: Options, model: Model, faults: Faults, access: Access, ledger: Ledger) -> None:
        self._options = options
        self._model = model
        self._faults = faults
        self._access = access
        self._ledger = ledger
        self._limits = Limits(options.rate_limit, options.token_limit)

    def serve(self, request: Request, connection: Connection) -> None:
        """Answer at once what is refused, after the latency what is worked on, and never what hangs."""
        body, body_hash = read_body(request.body)
        call = self._ledger.arrive(body_hash)
        refused = self._refusal(request, body, call)
        if refused is not None:
            self._send(connection, call, self._dressed(refused, request))
            return
        response = self._dressed(self._worked_on(request, body, call), request)
        if call.fault == "hang":
            connection.when_lost = partial(self._ledger.end, call, "hang")
            return
        connection.when_lost = partial(self._ledger.end, call, "gone")
        send = self._cut if call.fault == "reset" else self._send
        if self._options.latency:
            due_in = call.arrived + self._options.latency - self._ledger.since_start()
            asyncio.get_running_loop().call_later(due_in, send, connection, call, response)
        else:
            send(connection, call, response)

    def item(self, body: Body, body_hash: str, custom_id: str) -> tuple[int, dict[str, Any]]:
        """Status and content of the answer to an item of a batch."""
        call = self._ledger.arrive(body_hash, custom_id)
        response = self._unanswerable(body, call)
        failing = draw(self._options.seed, "batch", custom_id) < self._options.batch_fail
        wrong = self._faults.sticky(body_hash) or ("batch_fail" if failing else None)
        if response is None and wrong is not None:
            call.fault, response = wrong, _broken()
        if response is not None:
            self._ledger.end(call, response.status, delivered=True)
            return response.status, response.json()
        reply = self._model.reply(body, body_hash, self._faults.content(body_hash))
        _charge(call, reply, reply.fault)
        self._ledger.end(call, 200, delivered=True)
        return 200, reply.content

    def _refusal(self, request: Request, body: Body, call: Call) -> Response | None:
        refused = self._access.refusal(request) or self._unanswerable(body, call)
        if refused is not None:
            return refused
        most = self._options.max_concurrent
        if most is not None and call.in_flight > most:
            return _too_many(f"More than {most} requests at once.")
        refused = self._limits.refusal(body, self._ledger.since_start())
        if refused is not None:
            return refused
        call.fault = self._faults.transport(call.body_hash, call.seen)
        if call.fault == "429_retry_after":
            low, high = self._options.retry_after
            wait_s = low + (high - low) * draw(self._options.seed, "retry_after", call.body_hash, call.seen)
            return _too_many("Too many requests.", retry_after=f"{wait_s:.3f}")
        return _too_many("Too many requests.") if call.fault == "429" else None

    def _unanswerable(self, body: Body, call: Call) -> Response | None:
        refused = self._model.refusal(body)
        if refused is None:
            refused = self._model.refused_parameter(body)
            call.fault = REFUSED if refused is not None else None
        return refused

    def _worked_on(self, request: Request, body: Body, call: Call) -> Response:
        if call.fault in ("500", "sticky_500"):
            return _broken()
        wrong = "empty" if call.fault == "empty" else self._faults.content(call.body_hash)
        reply = self._model.reply(body, call.body_hash, wrong, self._access.in_reply(request, call.body_hash))
        _charge(call, reply, call.fault or reply.fault)
        response = ok(reply.content)
        return Response(200, response.body[: len(response.body) // 2]) if call.fault == "malformed" else response

    def _dressed(self, response: Response, request: Request) -> Response:
        if self._options.headers:
            response.headers.update(self._limits.headers(self._ledger.since_start()))
        return self._access.echoed(response, request)

    def _send(self, connection: Connection, call: Call, response: Response) -> None:
        if connection.closed:
            return  # written down when it closed
        self._ledger.end(call, response.status, connection.respond(response))

    def _cut(self, connection: Connection, call: Call, response: Response) -> None:
        if connection.closed:
            return
        connection.when_lost = partial(self._ledger.end, call, "reset")
        connection.reset_after_half(response)


def _charge(call: Call, reply: Reply, fault: str | None) -> None:
    call.prompt_tokens, call.completion_tokens, call.fault = reply.prompt_tokens, reply.completion_tokens, fault


def _too_many(message: str, **headers: str) -> Response:
    return failure(429, message, "requests", code="rate_limit_exceeded", **headers)


def _broken() -> Response:
    return failure(500, "The server had an error while processing your request.", "server_error")
