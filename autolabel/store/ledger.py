"""What LLM calls have cost so far and what is known of the endpoints they go to, read from the ledger.

The invariant: what a job has spent is summed over all runs of the job, so that a resumed run spends only the rest. What still waits
in a journal is not seen; a run sees all of it, because it drains what others left before it begins.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autolabel.store.connection import Database

PAIRS = 2_000


@dataclass(frozen=True, slots=True)
class Spent:
    """What a job has spent on calls to endpoints."""

    calls: int
    """Requests sent, those that the endpoint rejected (HTTP 4xx) left out."""
    tokens: int
    usd: float | None
    """None when the price of any of these calls is unknown."""


@dataclass(frozen=True, slots=True)
class BatchItem:
    """A request of a batch whose outcome is not in the ledger, with what was reserved for it."""

    request_hash: str
    stage: str
    feature_index: int | None
    prompt_hash: str | None
    input_bytes: int | None
    reserved_tokens: int
    reserved_usd: float | None


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A batch whose answers have not all been collected."""

    submission_id: str
    base_url: str | None
    input_file_id: str | None
    n_requests: int
    """All of its requests, those with an outcome included."""
    created_utc: datetime
    batch_id: str | None
    """The endpoint's name for it; None when it is not known that the endpoint took it."""
    status: str | None
    """Of the newest event; None when there is none."""
    items: tuple[BatchItem, ...]


@dataclass(frozen=True, slots=True)
class StageUsage:
    """What the ok attempts of a stage used, where the endpoint said."""

    n: int
    input_bytes: int
    prompt_tokens: int
    completion_tokens: int
    mean_latency_ms: float | None
    pairs: NDArray[np.int64]
    """Input bytes and prompt tokens of at most 2,000 of the attempts, chosen by hash; shape (n_pairs, 2)."""


def spent(db: Database, job_hash: str) -> Spent:
    """What all runs of a job together have spent; local models and rejected requests cost nothing."""
    (row,) = _rows(db, _SPENT, {"job_hash": job_hash})
    return Spent(**row)


def unusable_replies(db: Database, job_hash: str, run_id: str) -> dict[str, tuple[str, str]]:
    """Requests that earlier runs of a job, since it was last done, got no usable reply to: refused or truncated, and the message."""
    found = _rows(db, _UNUSABLE, {"job_hash": job_hash, "run_id": run_id})
    return {row["request_hash"]: (row["status"], row["message"]) for row in found}


def newest_probe(db: Database, endpoint_id: str, model: str) -> Mapping[str, Any] | None:
    """The newest row of `endpoint_probes` for an endpoint and model, its capabilities read; None when it was never looked at."""
    rows = _rows(db, _NEWEST_PROBE, {"endpoint_id": endpoint_id, "model": model})
    return None if not rows else rows[0] | {"capabilities": json.loads(rows[0]["capabilities"])}


def open_batches(db: Database, endpoint_id: str, model: str) -> list[OpenBatch]:
    """The batches handed to an endpoint that were neither collected nor abandoned, oldest first, with what is left of them."""
    batches = _rows(db, _OPEN_BATCHES, {"endpoint_id": endpoint_id, "model": model})
    items: dict[str, list[BatchItem]] = defaultdict(list)
    for item in _rows(db, _OPEN_ITEMS, {"wanted": [batch["submission_id"] for batch in batches]}):
        items[item.pop("submission_id")].append(BatchItem(**item))
    return [OpenBatch(**batch, items=tuple(items[batch["submission_id"]])) for batch in batches]


def usage_by_stage(db: Database, endpoint_id: str, model: str) -> dict[str, StageUsage]:
    """What ok attempts at a model have used so far, by stage; those without usage or input bytes are left out."""
    parameters = {"endpoint_id": endpoint_id, "model": model}
    pairs: dict[str, list[tuple[int, int]]] = defaultdict(list)
    for row in _rows(db, _PAIRS, parameters):
        pairs[row["stage"]].append((row["input_bytes"], row["prompt_tokens"]))
    totals = {row.pop("stage"): row for row in _rows(db, _TOTALS, parameters)}
    return {stage: StageUsage(**row, pairs=np.array(pairs[stage], np.int64)) for stage, row in totals.items()}


def _rows(db: Database, sql: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    with db.read() as connection:
        rows: list[dict[str, Any]] = connection.sql(sql, params=parameters).to_arrow_table().to_pylist()
    return rows


_SPENT = """
SELECT
    count(*) AS calls, coalesce(sum(charged_tokens), 0)::BIGINT AS tokens,
    CASE WHEN count(*) = count(cost_usd) THEN coalesce(sum(cost_usd), 0) END AS usd
FROM llm_attempts JOIN runs USING (run_id)
WHERE job_hash = $job_hash AND via <> 'local' AND coalesce(http_status NOT BETWEEN 400 AND 499, true)
"""
_UNUSABLE = """
SELECT
    a.request_hash, arg_max(a.status, a.started_utc) AS status, arg_max(coalesce(a.error, ''), a.started_utc) AS message
FROM llm_attempts a
JOIN runs r USING (run_id)
ANTI JOIN llm_calls c USING (request_hash)
WHERE r.job_hash = $job_hash AND a.status IN ('refused', 'truncated')
    AND r.status <> 'done' AND r.run_id <> $run_id
    AND NOT EXISTS (SELECT 1 FROM runs d WHERE d.job_hash = $job_hash AND d.status = 'done' AND d.started_utc > r.started_utc)
GROUP BY a.request_hash
"""
_NEWEST_PROBE = """
SELECT * FROM endpoint_probes WHERE endpoint_id = $endpoint_id AND model = $model
ORDER BY created_utc DESC, probe_id DESC LIMIT 1
"""
_OPEN_BATCHES = """
SELECT
    b.submission_id, b.base_url, b.input_file_id, b.n_requests, b.created_utc,
    arg_max(e.batch_id, e.created_utc) FILTER (e.batch_id IS NOT NULL) AS batch_id, arg_max(e.status, e.created_utc) AS status
FROM llm_batches b
LEFT JOIN llm_batch_events e USING (submission_id)
WHERE b.endpoint_id = $endpoint_id AND b.model = $model
GROUP BY ALL
HAVING NOT coalesce(bool_or(e.status IN ('collected', 'abandoned')), false)
ORDER BY b.created_utc, b.submission_id
"""
_OPEN_ITEMS = """
SELECT i.* FROM llm_batch_items i
JOIN llm_batches b USING (submission_id)
WHERE list_contains($wanted, i.submission_id)
    AND NOT EXISTS (
        SELECT 1 FROM llm_attempts a
        WHERE a.request_hash = i.request_hash AND a.via = 'batch' AND a.started_utc >= b.created_utc
    )
ORDER BY i.submission_id, i.request_hash
"""
_USED = """
WITH used AS (
    SELECT * FROM llm_attempts
    WHERE endpoint_id = $endpoint_id AND model_requested = $model AND status = 'ok'
        AND prompt_tokens IS NOT NULL AND completion_tokens IS NOT NULL AND input_bytes IS NOT NULL
)
"""
_TOTALS = f"""{_USED}
SELECT
    stage, count(*) AS n, sum(input_bytes)::BIGINT AS input_bytes, sum(prompt_tokens)::BIGINT AS prompt_tokens,
    sum(completion_tokens)::BIGINT AS completion_tokens, avg(latency_ms) AS mean_latency_ms
FROM used GROUP BY stage ORDER BY stage
"""
_PAIRS = f"""{_USED}
SELECT stage, input_bytes, prompt_tokens FROM used
QUALIFY row_number() OVER (PARTITION BY stage ORDER BY request_hash, attempt_id) <= {PAIRS}
ORDER BY stage, request_hash, attempt_id
"""
