"""Seeing a batch through: it is handed over, watched, and what it brings is kept.

The invariants: what came of a request is in the ledger before anybody acts on it, and every request of a batch that has ended has an
outcome, also one of which the endpoint says nothing.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from autolabel.calls import UNKNOWN, Row
from autolabel.errors import EndpointError, ModelResponseError
from autolabel.llm.batch_answers import RemoteBatch
from autolabel.llm.batch_api import LINES
from autolabel.llm.batch_lines import Result, read_result
from autolabel.llm.batch_log import BatchLog, Item, Submission
from autolabel.llm.budget import NOTHING, Budget, Charge
from autolabel.llm.failures import AttemptFailed, Kind
from autolabel.llm.recording import Books
from autolabel.llm.requests import usage_of
from autolabel.llm.sending import Meter, outcome_of
from autolabel.records import ChatReply

logger = logging.getLogger(__name__)

FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
"""Between two looks at a batch; each pause is twice as long as the one before."""
MAX_UNHEARD = 60
"""Looks at a batch in a row that may come to nothing: half an hour."""
_NEVER_RAN = Charge(calls=1)


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What came of one request."""

    item: Item
    call: Row | None
    attempt: Row
    charge: Charge
    reply: ChatReply | ModelResponseError | AttemptFailed


@dataclass(slots=True)
class _Tally:
    """Results that are no replies."""

    n_failed: int = 0
    n_strange: int = 0
    """Lines that are no result of a request that waits for one."""


class Follower:
    """Sees batches of one endpoint and model through."""

    def __init__(
        self,
        books: Books,
        budget: Budget,
        meter: Meter,
        log: BatchLog,
        *,
        endpoint_id: str,
        model: str,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._books = books
        self._budget = budget
        self._meter = meter
        self._log = log
        self._endpoint_id = endpoint_id
        self._model = model
        self._sleep = sleep

    async def follow(self, submission: Submission) -> None:
        """Hand a batch over unless that was done, wait for its end, and give every request of it its outcome.

        Raises:
            EndpointError: the endpoint turned it down as a whole, or says nothing of it any more.
        """
        remote = await self._handed_over(submission)
        if not remote.has_ended:
            remote = await self._ended(submission, remote)
        if remote.never_ran:
            await self._abandon(submission, remote.complaint)
            raise EndpointError(
                f"{self._endpoint_id} did not run a batch of {submission.n_requests} requests ({remote.complaint}) and charged "
                "nothing for it; see to that and give the same command again, or leave out --batch"
            )
        await self._collect(submission, remote)

    async def _handed_over(self, submission: Submission) -> RemoteBatch:
        if submission.batch_id is not None:
            return RemoteBatch(submission.batch_id, "submitted")
        remote = await submission.api.create(submission.submission_id, submission.input_file_id, may_exist=submission.is_resumed)
        if remote.batch_id is not None:
            submission.batch_id = remote.batch_id
            await self._note(submission, "submitted")
            logger.info("%s works on %d requests in %s", self._endpoint_id, submission.n_requests, remote.batch_id)
        return remote

    async def _ended(self, submission: Submission, remote: RemoteBatch) -> RemoteBatch:
        """Look at a batch, ever more seldom, until it has ended."""
        pause_s, n_unheard = FIRST_PAUSE_S, 0
        while not remote.has_ended:
            asked_s = 0.0
            try:
                remote = await submission.api.look(str(submission.batch_id))
                n_unheard = 0
            except AttemptFailed as failed:
                n_unheard += 1
                asked_s = failed.retry_after_s or 0.0
                if n_unheard == MAX_UNHEARD:
                    raise EndpointError(
                        f"{submission.api.base_url} says nothing of {submission.batch_id} any more ({failed.what}); give the "
                        "same command again later, which goes on with it"
                    ) from None
            if not remote.has_ended:
                await self._sleep(max(pause_s, min(asked_s, LONGEST_PAUSE_S)))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        return remote

    async def _abandon(self, submission: Submission, complaint: str) -> None:
        """Forget a batch of which nothing was worked on."""
        for item in submission.items.values():
            self._budget.settle(item.worst, NOTHING)
        await self._note(submission, "abandoned", complaint)

    # What it brings

    async def _collect(self, submission: Submission, remote: RemoteBatch) -> None:
        """Read the results; what has none has failed."""
        tally = _Tally(n_strange=len(submission.items) - submission.n_requests)  # lines read by the process before are no news

        async def take(lines: list[bytes]) -> None:
            await self._take(submission, lines, tally)

        for file_id in remote.file_ids:
            await submission.api.read(file_id, take)
        silence = AttemptFailed(Kind.GARBLED, f"the batch ended ({remote.status}) without a result")
        silent = [Result(request_hash, silence) for request_hash in submission.items]
        for start in range(0, len(silent), LINES):
            await self._keep(submission, silent[start : start + LINES], tally)
        if tally.n_strange > 0:
            logger.warning("%s: %d lines of results belong to no request and are ignored", submission.batch_id, tally.n_strange)
        said = f"{remote.status}; {tally.n_failed} of {submission.n_requests} requests failed"
        if tally.n_failed:
            logger.warning("%s: %s and are sent by themselves if they are still wanted", submission.batch_id, said)
        await self._note(submission, "collected", said)

    async def _take(self, submission: Submission, lines: Sequence[bytes], tally: _Tally) -> None:
        found: dict[str, Result] = {}
        for line in filter(bytes.strip, lines):
            result = read_result(line)
            if result is None or result.request_hash not in submission.items or result.request_hash in found:
                tally.n_strange += 1
            else:
                found[result.request_hash] = result
        await self._keep(submission, list(found.values()), tally)

    async def _keep(self, submission: Submission, results: Sequence[Result], tally: _Tally) -> None:
        """Record results with one write, then let whoever waits for them go on."""
        outcomes = [self._outcome(submission, result) for result in results]
        await asyncio.to_thread(self._books.calls.record_many, [(outcome.call, outcome.attempt) for outcome in outcomes])
        for outcome in outcomes:
            del submission.items[outcome.item.order.request_hash]
            self._budget.settle(outcome.item.worst, outcome.charge)
            tally.n_failed += isinstance(outcome.reply, AttemptFailed)
            outcome.item.resolve(outcome.reply)

    def _outcome(self, submission: Submission, result: Result) -> _Outcome:
        item = submission.items[result.request_hash]
        attempt = submission.attempt(item.order, self._endpoint_id, self._model)
        own_id = {"attempt_id": submission.attempt_id(result.request_hash)}
        answer = result.answer
        if isinstance(answer, AttemptFailed):
            charge = NOTHING if answer.was_refused_unread else _NEVER_RAN if result.never_ran else item.worst
            error = ModelResponseError("failed", answer.what)
            row = attempt.row(UNKNOWN, error, charged_tokens=charge.tokens, cost_usd=charge.usd, http_status=answer.status)
            return _Outcome(item, None, row | own_id, charge, answer)
        usage = usage_of(answer)
        charge = self._meter.actual(usage, item.worst, batch=True)
        self._meter.learn(usage, item.order.input_bound, item.max_output)
        outcome = outcome_of(attempt, item.order, answer, charge, item.body)
        return _Outcome(item, outcome.call, outcome.attempt | own_id, charge, outcome.reply)

    async def _note(self, submission: Submission, status: str, message: str | None = None) -> None:
        await asyncio.to_thread(self._log.keep, [submission.event(status, message)])
