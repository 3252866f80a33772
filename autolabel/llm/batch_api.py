"""The Files and Batches API of one address: batches are handed over, looked for and read.

The invariant is that a lost answer leads to no second batch: whoever cannot know whether the endpoint took a batch looks for it by its
name before asking again.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any, BinaryIO, TypeVar
from urllib.parse import quote

import httpx2
from openai import AsyncOpenAI, OpenAIError

from autolabel.errors import AutolabelError, EndpointError
from autolabel.llm import failures
from autolabel.llm.batch_answers import LOST, RemoteBatch, batch_in, content_of, name_in
from autolabel.llm.failures import AttemptFailed, attempt_failed
from autolabel.llm.limits import LONGEST_PAUSE_S
from autolabel.llm.retrying import retrying

logger = logging.getLogger(__name__)

T = TypeVar("T")
CHAT = "/v1/chat/completions"
NAMED_AS = "autolabel"
"""Key of a batch's metadata under which our own name for it stands."""
LINES = 200
"""Lines of results that are handed on at once."""
_NOT_FOUND = (404, 410)
_NO_SUCH_API = (404, 405)
_NEVER_TAKEN = (400, 404, 405, 413, 422)


class BatchApi:
    """One address of an endpoint; what fails for a while is tried again."""

    def __init__(
        self,
        client: AsyncOpenAI,
        base_url: str,
        *,
        endpoint_id: str,
        model: str,
        key_env: str,
        timeout_s: float,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.base_url = base_url
        """Without secrets, as it may be stored and shown."""
        self._client = client
        self._endpoint_id = endpoint_id
        self._model = model
        self._key_env = key_env
        self._timeout_s = timeout_s
        self._sleep = sleep

    async def upload(self, name: str, file: BinaryIO) -> str:
        """Upload a file of requests; the endpoint's name for it.

        Raises:
            EndpointError: there is no such API, or the file was not taken.
        """

        async def upload() -> str:
            with _failures():
                answer = await self._client.files.with_raw_response.create(file=(f"{name}.jsonl", file), purpose="batch")
            return name_in(content_of(answer.http_response))

        return await self._persist(upload)

    async def create(self, submission_id: str, input_file_id: str, *, may_exist: bool) -> RemoteBatch:
        """Have an uploaded file worked on; `may_exist` when that may have been asked for before.

        Raises:
            EndpointError: it cannot be known whether the endpoint took it.
        """

        async def create() -> RemoteBatch:
            nonlocal may_exist
            found = await self._find(submission_id) if may_exist else None
            may_exist = True
            return found or await self._create(submission_id, input_file_id)

        return await self._persist(create)

    async def look(self, batch_id: str) -> RemoteBatch:
        """The batch as it is now; asked once.

        Raises:
            AttemptFailed: there is no telling at the moment.
            EndpointError: there will be none later.
        """
        try:
            with _failures():
                return batch_in(await self._get(f"/batches/{quote(batch_id, safe='')}"))
        except AttemptFailed as failed:
            if failed.status in _NOT_FOUND:
                return RemoteBatch(batch_id, LOST)
            if failed.is_transient:
                raise
            raise self._final(failed) from None

    async def read(self, file_id: str, take: Callable[[list[bytes]], Awaitable[None]]) -> None:
        """Hand the lines of a file to `take`, some hundred at a time and each once, however often the download breaks off.

        Raises:
            EndpointError: it cannot be read to its end.
        """
        n_taken = 0

        async def read_on() -> None:
            nonlocal n_taken
            n_seen = 0
            async with aclosing(self._lines(file_id)) as pages:
                async for lines in pages:
                    new = lines[max(0, n_taken - n_seen) :]
                    n_seen += len(lines)
                    if new:
                        await take(new)
                        n_taken = n_seen

        async def read() -> None:
            try:
                with _failures():
                    await read_on()
            except AttemptFailed as failed:
                if failed.status not in _NOT_FOUND:
                    raise
                logger.warning("%s no longer has a file of results (%s)", self._endpoint_id, failed.what)

        await self._persist(read)

    async def _lines(self, file_id: str) -> AsyncGenerator[list[bytes], None]:
        """The lines of a file, split at line feeds alone, unlike text, which JSON may hold with other line ends in it."""
        lines, rest = list[bytes](), b""
        async with self._client.files.with_streaming_response.content(file_id) as response:
            async for chunk in response.iter_bytes():
                *whole, rest = (rest + chunk).split(b"\n")
                lines += whole
                if len(lines) >= LINES:
                    yield lines
                    lines = []
        yield [*lines, rest] if rest else lines

    async def _create(self, submission_id: str, input_file_id: str) -> RemoteBatch:
        """Ask for a batch; it is new to the endpoint."""
        asked = {
            "input_file_id": input_file_id,
            "endpoint": CHAT,
            "completion_window": "24h",
            "metadata": {NAMED_AS: submission_id},
        }
        try:
            with _failures():
                async with asyncio.timeout(self._timeout_s):
                    response = await self._client.post("/batches", cast_to=httpx2.Response, body=asked)
            return batch_in(content_of(response))
        except AttemptFailed as failed:
            if failed.status not in _NEVER_TAKEN:
                raise
            missing = "it has no Batch API, or the uploaded file is gone: " if failed.status in _NO_SUCH_API else ""
            return RemoteBatch(None, "failed", complaint=missing + failed.what)

    async def _find(self, submission_id: str) -> RemoteBatch | None:
        """The batch of our name, if the endpoint has it."""
        after: dict[str, str] = {}
        while True:
            with _failures():
                page = await self._get("/batches", {"limit": "100", **after})
            listed = page.get("data")
            batches = [batch for batch in listed if isinstance(batch, dict)] if isinstance(listed, list) else []
            for batch in batches:
                metadata = batch.get("metadata")
                if isinstance(metadata, dict) and metadata.get(NAMED_AS) == submission_id:
                    return batch_in(batch)
            last = {"after": name_in(batches[-1])} if batches else after
            if not page.get("has_more") or last == after:
                return None
            after = last

    async def _get(self, path: str, params: dict[str, str] | None = None) -> dict[str, Any]:
        async with asyncio.timeout(self._timeout_s):
            response = await self._client.get(path, cast_to=httpx2.Response, options={"params": params or {}})
        return content_of(response)

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        try:
            return await retrying(self._sleep)(self._heeding, call)
        except AttemptFailed as failed:
            raise self._final(failed) from None

    async def _heeding(self, call: Callable[[], Awaitable[T]]) -> T:
        """No throttle stands before these requests, so a pause that the endpoint asks for is kept here."""
        try:
            return await call()
        except AttemptFailed as failed:
            if failed.retry_after_s:
                await self._sleep(min(failed.retry_after_s, LONGEST_PAUSE_S))
            raise

    def _final(self, failed: AttemptFailed) -> AutolabelError:
        if failed.status in _NO_SUCH_API:
            return EndpointError(f"{self._endpoint_id} has no Batch API ({failed.what}); leave out --batch")
        found = failures.final(failed, self._endpoint_id, self._model, self._key_env, has_answered=True)
        if isinstance(found, EndpointError):
            return found
        return EndpointError(
            f"the Batch API of {self._endpoint_id} fails ({failed.what}); give the same command again later, "
            "which goes on with the batches that were handed over, or leave out --batch"
        )


@contextmanager
def _failures() -> Iterator[None]:
    """Whatever goes wrong on the way is a failed attempt."""
    try:
        yield
    except (OpenAIError, TimeoutError, httpx2.HTTPError) as error:
        raise attempt_failed(error) from None
