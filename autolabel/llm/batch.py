"""The Batch API: requests gather into batches, which endpoints answer within a day at half the price.

The invariants: a batch is written down before the endpoint is asked to run it, so that whatever kills this process, the next one finds
the batch and nothing is paid for twice; the worst case of a batch fits the budget before it is handed over; memory holds what waits and
nothing more.
"""

import asyncio
import logging
import tempfile
import uuid
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, BinaryIO

from autolabel.asking import together
from autolabel.errors import EndpointError
from autolabel.llm.batch_api import BatchApi
from autolabel.llm.batch_following import Follower
from autolabel.llm.batch_lines import request_line
from autolabel.llm.batch_log import BatchLog, Item, OpenBatch, OpenItem, Submission
from autolabel.llm.budget import NOTHING, Budget, Charge
from autolabel.llm.pool import Server
from autolabel.llm.recording import Books
from autolabel.llm.requests import Answer
from autolabel.llm.sending import Meter, Order, output_limit
from autolabel.records import ChatReply, Purpose

logger = logging.getLogger(__name__)

MAX_REQUESTS = 50_000
MAX_BYTES = 150_000_000
"""The Batch API takes 200 MB."""
LINGER_S = 2.0
"""When nothing new was asked for so long, a batch leaves."""

Read = Callable[[Answer, str], ChatReply]
"""The reply in the answer to a request of this hash; raises `ModelResponseError` where there is none."""


class Batches:
    """The batches of one endpoint and model."""

    def __init__(
        self,
        servers: Sequence[Server],
        books: Books,
        budget: Budget,
        meter: Meter,
        log: BatchLog,
        *,
        endpoint_id: str,
        model: str,
        key_env: str,
        timeout_s: float,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        names = {"endpoint_id": endpoint_id, "model": model}
        self._apis = [
            BatchApi(server.client, server.base_url, key_env=key_env, timeout_s=timeout_s, sleep=sleep, **names)
            for server in servers
        ]
        self._follower = Follower(books, budget, meter, log, sleep=sleep, **names)
        self._budget = budget
        self._meter = meter
        self._log = log
        self._names = (endpoint_id, model)
        self._sleep = sleep
        self._queue: deque[Item] = deque()
        self._queued_bytes = 0
        self._n_asked = 0
        self._dispatcher: asyncio.Task[None] | None = None
        self._following: dict[asyncio.Task[None], Submission] = {}
        self._closed = False

    async def ask(self, order: Order, parameters: Mapping[str, Any], body: str | None = None) -> ChatReply:
        """Put a request into the next batch and wait for its reply; `body` is kept with it.

        Raises:
            AttemptFailed: no completion came; it may be sent again, by itself.
            ModelResponseError: an answer that cannot be used.
            BudgetExceeded: it was not sent.
            EndpointError: the endpoint runs no batches, or the run is ending.
        """
        if self._closed:
            raise _ending()
        limit = output_limit(parameters)
        worst = self._meter.worst(order.input_bound, limit, batch=True)
        reply: asyncio.Future[ChatReply] = asyncio.get_running_loop().create_future()
        self._put(Item(order, worst, limit, body, reply, request_line(order.request_hash, parameters)))
        return await reply

    async def resume(self, read: Read) -> None:
        """Collect what batches of earlier runs bring, before anything is asked; waits for those that have not ended.

        Raises:
            EndpointError: the endpoint turned one down, or says nothing of it any more.
        """
        submissions = [self._reopened(batch, read) for batch in await asyncio.to_thread(self._log.open)]
        for submission in submissions:
            logger.info("going on with a batch of %d requests, of %s", submission.n_requests, submission.created_utc)
            for item in submission.items.values():
                self._budget.take_over(item.worst)
        await together(self._follow(submission) for submission in submissions)

    async def close(self) -> None:
        """Let go. What was handed over goes on at the endpoint, and a later run collects it; what was not is dropped."""
        self._closed = True
        tasks = [*self._following, *([self._dispatcher] if self._dispatcher else [])]
        for task in tasks:
            if task not in self._following or self._following[task].items:  # else it only has to be noted that all is collected
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._drop_queue(_ending())

    # Gathering

    def _put(self, item: Item) -> None:
        self._queue.append(item)
        self._queued_bytes += len(item.line)
        self._n_asked += 1
        if self._dispatcher is None:
            self._dispatcher = asyncio.create_task(self._dispatch())

    @property
    def _is_full(self) -> bool:
        return len(self._queue) >= MAX_REQUESTS or self._queued_bytes >= MAX_BYTES

    async def _dispatch(self) -> None:
        try:
            while self._queue:
                await self._quiet()
                await self._send_off(await self._next())
        except Exception as error:
            self._drop_queue(error)  # everybody who waits is told
        finally:
            self._dispatcher = None

    def _drop_queue(self, error: Exception) -> None:
        while self._queue:
            self._queue.popleft().resolve(error)
        self._queued_bytes = 0

    async def _quiet(self) -> None:
        """Wait until nothing new was asked for a while, or a batch is full; a while is counted twice, as nothing is asked while other
        work holds up the loop."""
        n_quiet = 0
        while n_quiet < 2 and not self._is_full:
            n_before = self._n_asked
            await self._sleep(LINGER_S)
            n_quiet = n_quiet + 1 if self._n_asked == n_before else 0

    async def _next(self) -> list[Item]:
        """The requests of the next batch, whose worst cases are set aside; the others stay in the queue until there is room."""
        await self._budget.reserve(self._queue[0].worst)
        taken, n_bytes = [self._queue.popleft()], 0
        while self._queue and len(taken) < MAX_REQUESTS:
            n_bytes += len(self._queue[0].line)
            if n_bytes + len(taken[0].line) > MAX_BYTES or not self._budget.reserve_now(self._queue[0].worst):
                break
            taken.append(self._queue.popleft())
        self._queued_bytes -= sum(len(item.line) for item in taken)
        return taken

    # Handing over

    async def _send_off(self, items: Sequence[Item]) -> None:
        """Upload requests and write the batch down; from then on it is handed over once, whatever happens."""
        submission_id, api = uuid.uuid4().hex, self._apis[0]
        try:
            with await asyncio.to_thread(_file_of, items) as file:
                input_file_id = await api.upload(submission_id, file)
            submission = Submission.new(submission_id, api, input_file_id, items)
            await asyncio.to_thread(self._log.keep, submission.rows(*self._names))
        except BaseException:
            for item in items:
                self._budget.settle(item.worst, NOTHING)
            self._queue.extendleft(reversed(items))
            raise
        task = asyncio.create_task(self._follow(submission))
        self._following[task] = submission
        task.add_done_callback(self._followed)

    async def _follow(self, submission: Submission) -> None:
        try:
            await self._follower.follow(submission)
        except asyncio.CancelledError:
            logger.warning(
                "a batch of %d requests goes on at %s; the same command collects it later",
                submission.n_requests,
                submission.api.base_url,
            )
            raise

    def _followed(self, task: asyncio.Task[None]) -> None:
        submission = self._following.pop(task)
        error = None if task.cancelled() else task.exception()
        for item in submission.items.values():  # all have their outcome unless something went wrong
            item.resolve(error if isinstance(error, Exception) else _ending())

    def _reopened(self, batch: OpenBatch, read: Read) -> Submission:
        """A batch of an earlier run; when its address is no longer among ours, the endpoint has moved."""
        api = next((api for api in self._apis if api.base_url == batch.base_url), self._apis[0])
        return Submission.reopened(batch, api, [_item_again(item, read) for item in batch.items])


def _file_of(items: Sequence[Item]) -> BinaryIO:
    """The requests on disk instead of in memory."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever asked for it closes it
    file.writelines(item.line for item in items)
    file.flush()
    for item in items:
        item.line = b""
    return file


def _item_again(item: OpenItem, read: Read) -> Item:
    """A request that an earlier run asked; its reply is kept, and nobody waits for it."""
    order = Order(
        item.request_hash,
        Purpose(item.stage, item.feature_index),  # type: ignore[arg-type]  # the stage of a Purpose, stored
        item.prompt_hash,
        read=lambda answer: read(answer, item.request_hash),
        check=lambda reply: None,
        input_bytes=item.input_bytes or 0,
        input_bound=item.reserved_tokens,
    )
    worst = Charge(1, item.reserved_tokens, item.reserved_usd)
    return Item(order, worst, item.reserved_tokens, None, asyncio.get_running_loop().create_future())


def _ending() -> EndpointError:
    return EndpointError("the run is ending; nothing more is sent")
