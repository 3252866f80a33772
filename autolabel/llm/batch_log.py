"""What is written down of a batch, so that a later process can go on where one was killed.

The invariant is that a batch is written down whole, with all that it sets aside in the budget, before the endpoint is asked to run it.
"""

import asyncio
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import Protocol

from autolabel.calls import Attempt, Row, now_utc
from autolabel.hashing import content_id
from autolabel.llm.batch_api import BatchApi
from autolabel.llm.budget import Charge
from autolabel.llm.sending import Order
from autolabel.records import ChatReply


class OpenItem(Protocol):
    """A request of an open batch whose outcome is not in the ledger."""

    @property
    def request_hash(self) -> str:
        """Names the request, to us and to the endpoint."""

    @property
    def stage(self) -> str:
        """What it was asked for, as in a `Purpose`."""

    @property
    def feature_index(self) -> int | None:
        """The feature it was asked for."""

    @property
    def prompt_hash(self) -> str | None:
        """The prompt file it was made from."""

    @property
    def input_bytes(self) -> int | None:
        """Length of its messages."""

    @property
    def reserved_tokens(self) -> int:
        """What it may take at most."""

    @property
    def reserved_usd(self) -> float | None:
        """What it may cost at most; None where the price is unknown."""


class OpenBatch(Protocol):
    """A batch that was written down and neither collected nor abandoned."""

    @property
    def submission_id(self) -> str:
        """Our name for it."""

    @property
    def base_url(self) -> str | None:
        """Address it was written down for."""

    @property
    def input_file_id(self) -> str | None:
        """The endpoint's name for the file of its requests."""

    @property
    def batch_id(self) -> str | None:
        """The endpoint's name for it; None when it is not known that the endpoint took it."""

    @property
    def n_requests(self) -> int:
        """All of its requests, those with an outcome included."""

    @property
    def created_utc(self) -> datetime:
        """When it was written down, naive UTC."""

    @property
    def items(self) -> Sequence[OpenItem]:
        """What is left of it."""


class BatchLog(Protocol):
    """Where the batches of one endpoint and model are written down; safe to use from several threads."""

    def open(self) -> Sequence[OpenBatch]:
        """The open batches, oldest first."""

    def keep(self, rows: Sequence[tuple[str, Row]]) -> None:
        """Append rows to tables with one write; returns once they are safe from a crash."""


@dataclass(slots=True)
class Item:
    """A request on its way through a batch."""

    order: Order
    worst: Charge
    max_output: int
    """The most output tokens it asks for."""
    body: str | None
    """What is to be kept of the request beside its reply."""
    reply: asyncio.Future[ChatReply]
    """Its failure is an `AttemptFailed` when it may be sent again, by itself."""
    line: bytes = b""
    """The request as it goes into the file; empty once that is uploaded."""

    def resolve(self, outcome: ChatReply | Exception) -> None:
        """Let whoever waits for the reply go on."""
        if self.reply.done():
            return
        if isinstance(outcome, ChatReply):
            self.reply.set_result(outcome)
        else:
            self.reply.set_exception(outcome)
            self.reply.exception()  # whoever waited for it may be gone


@dataclass(slots=True)
class Submission:
    """A batch of requests, handed over once."""

    submission_id: str
    api: BatchApi
    input_file_id: str
    batch_id: str | None
    """The endpoint's name for it, once it has one."""
    created_utc: str
    started: float
    """The same moment on this process's clock."""
    n_requests: int
    items: dict[str, Item]
    """Requests without an outcome, by hash."""
    is_resumed: bool = False
    """Whether an earlier process handed it over."""

    @classmethod
    def new(cls, submission_id: str, api: BatchApi, input_file_id: str, items: Sequence[Item]) -> "Submission":
        """A batch whose requests were just uploaded."""
        by_hash = {item.order.request_hash: item for item in items}
        return cls(submission_id, api, input_file_id, None, now_utc(), perf_counter(), len(items), by_hash)

    @classmethod
    def reopened(cls, batch: OpenBatch, api: BatchApi, items: Sequence[Item]) -> "Submission":
        """A batch that an earlier process wrote down."""
        age_s = (datetime.fromisoformat(now_utc()) - batch.created_utc).total_seconds()
        return cls(
            batch.submission_id,
            api,
            batch.input_file_id or "",
            batch.batch_id,
            batch.created_utc.isoformat(),
            perf_counter() - age_s,
            batch.n_requests,
            {item.order.request_hash: item for item in items},
            is_resumed=True,
        )

    def attempt(self, order: Order, endpoint_id: str, model: str) -> Attempt:
        """One of its requests being sent."""
        sent_at = (self.created_utc, self.started)
        return Attempt(
            order.request_hash, endpoint_id, model, order.purpose, *sent_at, self.api.base_url, "batch", order.input_bytes
        )

    def attempt_id(self, request_hash: str) -> str:
        """The same in every process, so that a result that is read twice is one row of the ledger."""
        return content_id("batch attempt", [self.submission_id, request_hash])

    def rows(self, endpoint_id: str, model: str) -> list[tuple[str, Row]]:
        """What is written down of it; the batch's own row comes last, so that one torn off by a crash is a batch that never was."""
        batch = {
            "submission_id": self.submission_id,
            "endpoint_id": endpoint_id,
            "base_url": self.api.base_url,
            "model": model,
            "input_file_id": self.input_file_id,
            "n_requests": self.n_requests,
            "created_utc": self.created_utc,
        }
        items = [("llm_batch_items", self._item_row(item)) for item in self.items.values()]
        return [*items, ("llm_batches", batch)]

    def event(self, status: str, message: str | None = None) -> tuple[str, Row]:
        """The row that says what became of it."""
        return "llm_batch_events", {
            "event_id": uuid.uuid4().hex,
            "submission_id": self.submission_id,
            "batch_id": self.batch_id,
            "status": status,
            "message": message,
        }

    def _item_row(self, item: Item) -> Row:
        order = item.order
        return {
            "submission_id": self.submission_id,
            "request_hash": order.request_hash,
            "stage": order.purpose.stage,
            "feature_index": order.purpose.feature_index,
            "prompt_hash": order.prompt_hash,
            "input_bytes": order.input_bytes,
            "reserved_tokens": item.worst.tokens,
            "reserved_usd": item.worst.usd,
        }
