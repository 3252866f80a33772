"""/v1/batches: batches live through OpenAI's states in their own time, and end as the options say.

Results come in another order than requests, failed items in a file of their own, and a cancelled or expired batch with what it has.
"""

import asyncio
import json
import secrets
import time
from typing import Any

from tests.servers.batch_items import CHAT, Answer, Item, Results, read_items
from tests.servers.connection import Request, Response, failure, ok
from tests.servers.files import Files
from tests.servers.model import read_body
from tests.servers.options import Options

Batch = dict[str, Any]
_STEPS = 10
"""Parts in which a batch is worked on; before them it is validated and after them finalized, each for as long as a part takes."""
_ENDED = ("completed", "failed", "expired", "cancelled")
_DAY_S = 86_400
_DATES = ("in_progress_at", "finalizing_at", "completed_at", "failed_at", "expired_at", "cancelling_at", "cancelled_at")


class Batches:
    """Batches by id, oldest first."""

    def __init__(self, options: Options, files: Files, answer: Answer) -> None:
        self._options = options
        self._files = files
        self._answer = answer
        self._batches: dict[str, Batch] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Take up the batches of the folder; those that had not ended begin again."""
        folder = self._options.batch_store
        stored = [json.loads(path.read_text()) for path in folder.glob("batch_*.json")] if folder else []
        for batch in sorted(stored, key=lambda batch: batch["created_at"]):
            self._batches[batch["id"]] = batch
            if batch["status"] not in _ENDED:
                self._begin(batch)

    def close(self) -> None:
        for task in self._tasks:
            task.cancel()

    def create(self, request: Request) -> Response:
        asked, _ = read_body(request.body)
        if asked.get("endpoint") != CHAT or asked.get("completion_window") != "24h":
            return failure(400, f"Expected the endpoint {CHAT} and the completion window 24h.", param="endpoint")
        if self._files.content(str(asked.get("input_file_id"))) is None:
            return failure(400, f"No such File object: {asked.get('input_file_id')}", param="input_file_id")
        now = int(time.time())
        batch: Batch = {
            "id": f"batch_{secrets.token_hex(8)}",
            "object": "batch",
            **{name: asked[name] for name in ("endpoint", "input_file_id", "completion_window")},
            "metadata": asked.get("metadata"),
            "created_at": now,
            "expires_at": now + _DAY_S,
            **dict.fromkeys(_DATES),
        }
        self._batches[batch["id"]] = batch
        self._begin(batch)
        return ok(batch)

    def page(self, query: dict[str, str]) -> Response:
        """A page of batches, newest first."""
        newest = list(reversed(self._batches))
        start = newest.index(query["after"]) + 1 if query.get("after") in newest else 0
        shown = newest[start : start + int(query.get("limit", "20"))]
        return ok(
            {
                "object": "list",
                "data": [self._batches[batch_id] for batch_id in shown],
                "first_id": shown[0] if shown else None,
                "last_id": shown[-1] if shown else None,
                "has_more": start + len(shown) < len(newest),
            }
        )

    def get(self, batch_id: str) -> Response:
        batch = self._batches.get(batch_id)
        return failure(404, f"No batch found with id '{batch_id}'.", param="id") if batch is None else ok(batch)

    def cancel(self, batch_id: str) -> Response:
        batch = self._batches.get(batch_id)
        if batch is not None and batch["status"] in _ENDED:
            return failure(409, f"Cannot cancel a batch with status '{batch['status']}'.")
        if batch is not None:
            self._enter(batch, "cancelling")
        return self.get(batch_id)

    def _begin(self, batch: Batch) -> None:
        batch |= {"output_file_id": None, "error_file_id": None, "errors": None, "usage": None, "model": None}
        batch["request_counts"] = {"total": 0, "completed": 0, "failed": 0}
        self._enter(batch, "validating")
        task = asyncio.get_running_loop().create_task(self._live(batch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _enter(self, batch: Batch, status: str) -> None:
        batch["status"] = status
        if f"{status}_at" in batch:
            batch[f"{status}_at"] = int(time.time())
        if self._options.batch_store is not None:
            (self._options.batch_store / f"{batch['id']}.json").write_text(json.dumps(batch))

    async def _live(self, batch: Batch) -> None:
        step_s = self._options.batch_seconds / (_STEPS + 2)
        await asyncio.sleep(step_s)
        items, errors = read_items(self._files.content(batch["input_file_id"]) or b"")
        if self._options.batch_state == "failed":
            message = "Enqueued token limit reached for this model."
            errors = [{"code": "token_limit_exceeded", "message": message, "param": None, "line": None}]
        if errors:
            batch["errors"] = {"object": "list", "data": errors}
            self._enter(batch, "failed")
            return
        results = Results(self._options.seed)
        if batch["status"] == "validating":
            batch["request_counts"]["total"], batch["model"] = len(items), items[0].body.get("model")
            self._enter(batch, "in_progress")
            await self._work(batch, items, results, step_s)
        if batch["status"] == "in_progress":
            self._enter(batch, "finalizing")
            await asyncio.sleep(step_s)
        self._end(batch, results)

    async def _work(self, batch: Batch, items: list[Item], results: Results, step_s: float) -> None:
        """Answer the items part by part, until the batch is cancelled or half of it has expired."""
        for step in range(_STEPS):
            await asyncio.sleep(step_s)
            expired = self._options.batch_state == "expired" and step >= _STEPS // 2
            for item in items[len(items) * step // _STEPS : len(items) * (step + 1) // _STEPS]:
                if batch["status"] == "cancelling":
                    return
                if expired:
                    results.expire(item)
                else:
                    results.run(item, self._answer)
                    await asyncio.sleep(0)
            batch["request_counts"] |= {"completed": results.count(True), "failed": results.count(False)}

    def _end(self, batch: Batch, results: Results) -> None:
        for name, succeeded in (("output_file_id", True), ("error_file_id", False)):
            if results.count(succeeded):
                batch[name] = self._files.add(results.file(succeeded), "batch_output")
        batch["usage"] = results.usage()
        self._enter(batch, "cancelled" if batch["status"] == "cancelling" else self._options.batch_state)
