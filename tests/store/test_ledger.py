from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autolabel.store import ledger
from autolabel.store.connection import Database
from autolabel.store.ledger import Spent, newest_probe, open_batches, spent, unusable_replies, usage_by_stage
from autolabel.store.maintenance import check
from autolabel.store.run_store import RunStore
from tests.store.builders import at, attempt, call

API = {"endpoint_id": "api", "via": "live"}
Row = dict[str, Any]


@pytest.fixture
def db(tmp_path: Path) -> Database:
    return Database(tmp_path / "labels.duckdb")


def run(
    db: Database, run_id: str, *attempts: Row, job: str = "job", status: str | None = "interrupted", **tables: list[Row]
) -> None:
    with RunStore.open(db.path, run_id) as store:
        store.start_run("run", {}, "c", 0, job)
        store.append("llm_attempts", attempts)
        for table, rows in tables.items():
            store.append(table, rows)
        if status is not None:
            store.finish_run(status)  # type: ignore[arg-type]


def test_a_job_has_spent_what_all_its_runs_have(db: Database) -> None:
    run(db, "r0", attempt("other", **API, charged_tokens=1_000, cost_usd=9.0), job="another job")
    assert spent(db, "job") == Spent(0, 0, 0.0)
    run(
        db,
        "r1",
        attempt("a", **API, charged_tokens=100, cost_usd=0.25, http_status=200),
        attempt("b", **API, charged_tokens=500, cost_usd=0.5, status="failed", http_status=None),
        attempt("c", **API, charged_tokens=0, cost_usd=0.0, status="failed", http_status=429),
        attempt("d", **API, charged_tokens=300, cost_usd=0.25, status="failed", http_status=500),
        attempt("e"),
    )
    run(db, "r2", attempt("f", **API | {"via": "batch"}, charged_tokens=10, cost_usd=0.125), status="done")
    assert spent(db, "job") == Spent(4, 910, 1.125)
    run(db, "r3", attempt("g", **API, charged_tokens=1, cost_usd=None))
    assert spent(db, "job") == Spent(5, 911, None)


def test_what_could_not_be_used_is_remembered_until_the_job_is_done(db: Database) -> None:
    def bad(name: str, status: str, error: str | None, minute: float = 1) -> Row:
        return attempt(name, attempt_id=f"{name}-{minute}", status=status, error=error, started_utc=at(minute))

    run(db, "r1", bad("old", "refused", "no"), status="done")
    run(
        db, "r2", bad("x", "refused", "no"), bad("x", "truncated", "cut", 2), bad("y", "refused", None), bad("z", "unparsable", "?")
    )
    run(db, "r3", bad("answered", "truncated", "cut"), llm_calls=[call("answered", {})], status="out_of_budget")
    run(db, "r4", bad("elsewhere", "refused", "no"), job="another job")
    run(db, "r5", bad("w", "refused", "no"), status=None)
    with RunStore.open(db.path, "r6") as store:
        store.append("llm_attempts", [bad("mine", "refused", "no")])
        store.drain()
        store.start_run("run", {}, "c", 0, "job")
        asked = ("x", "y", "w", "z", "old", "answered", "elsewhere", "mine")
        found = [store.unusable(name) for name in asked]
        store.forget_unusable()
        assert not any(store.unusable(name) for name in asked)
        assert found == [("truncated", "cut"), ("refused", ""), ("refused", "no"), *[None] * 5]
        store.finish_run("done")
    assert unusable_replies(db, "job", "r7") == {}


def test_the_newest_probe_counts(db: Database) -> None:
    def probe(name: str, minute: float, **changes: Any) -> Row:
        row = {"probe_id": name, "endpoint_id": "api", "model": "big", "capabilities": {"name": name}, "created_utc": at(minute)}
        return row | changes

    probes = [probe("p1", 1), probe("p3", 3, reason="400: logprobs"), probe("p2", 2), probe("p4", 4, model="small")]
    run(db, "r1", endpoint_probes=probes)
    found = newest_probe(db, "api", "big")
    assert found is not None
    assert (found["capabilities"], found["reason"], found["run_id"]) == ({"name": "p3"}, "400: logprobs", "r1")
    assert newest_probe(db, "elsewhere", "big") is None


def batch_rows(
    name: str, minute: float, requests: tuple[str, ...], *events: tuple[str, str | None], **changes: Any
) -> dict[str, list[Row]]:
    batch = {"submission_id": name, "endpoint_id": "api", "model": "big", "n_requests": len(requests), "created_utc": at(minute)}
    return {
        "llm_batches": [batch | changes],
        "llm_batch_items": [
            {"submission_id": name, "request_hash": request, "stage": "score", "feature_index": 1, "reserved_tokens": 70}
            for request in requests
        ],
        "llm_batch_events": [
            {
                "event_id": f"{name}-{i}",
                "submission_id": name,
                "status": status,
                "batch_id": batch_id,
                "created_utc": at(minute + i / 10),
            }
            for i, (status, batch_id) in enumerate(events)
        ],
    }


def test_batches_are_open_until_collected_or_abandoned(db: Database) -> None:
    run(db, "r1", **batch_rows("collected", 1, ("q1",), ("validating", "b1"), ("collected", "b1")))
    run(db, "r2", **batch_rows("abandoned", 2, ("q1",), ("abandoned", None)))
    run(db, "r3", **batch_rows("elsewhere", 3, ("q1",), endpoint_id="other"))
    half = attempt("q2", endpoint_id="api", via="batch", started_utc=at(5))
    earlier = attempt("q3", endpoint_id="api", via="batch", started_utc=at(2))
    live = attempt("q3", **API, attempt_id="live", started_utc=at(6))
    run(
        db,
        "r4",
        half,
        earlier,
        live,
        **batch_rows("open", 5, ("q3", "q2", "q1"), ("validating", "b4"), ("in_progress", None), base_url="http://api.test/v1"),
    )
    run(db, "r5", **batch_rows("unsent", 4, ("q4",)))
    first, second = open_batches(db, "api", "big")
    assert (first.submission_id, first.batch_id, first.status, first.n_requests) == ("unsent", None, None, 1)
    assert (second.submission_id, second.batch_id, second.status) == ("open", "b4", "in_progress")
    assert (second.base_url, second.n_requests, second.created_utc) == ("http://api.test/v1", 3, at(5))
    assert [item.request_hash for item in second.items] == ["q1", "q3"]
    assert (second.items[0].stage, second.items[0].reserved_tokens, second.items[0].reserved_usd) == ("score", 70, None)
    assert check(db) == []


def test_batches_that_lack_a_request_are_found(db: Database) -> None:
    run(db, "r1", **batch_rows("short", 1, ("q1",), ("validating", None), n_requests=2))
    run(db, "r2", llm_batch_events=batch_rows("gone", 1, (), ("validating", None))["llm_batch_events"])
    run(db, "r3", llm_requests=[{"request_hash": "q9", "body": {}}])
    assert check(db) == [
        "1 llm_requests whose request_hash llm_calls does not hold (one is q9)",
        "1 llm_batch_events whose submission_id llm_batches does not hold (one is gone)",
        "1 batches with more or fewer requests than they say (one is short)",
    ]


def test_usage_by_stage(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "_PAIRS", ledger._PAIRS.replace(str(ledger.PAIRS), "3"))
    used = [attempt(f"q{i}", **API, stage="score", input_bytes=100 * i, prompt_tokens=30 * i, latency_ms=i) for i in range(1, 6)]
    without = [
        attempt("x1", **API, stage="score", input_bytes=None),
        attempt("x2", **API, stage="score", input_bytes=5, prompt_tokens=None),
        attempt("x3", **API, stage="score", input_bytes=5, status="failed"),
        attempt("x4", stage="score", input_bytes=5),
        attempt("x5", **API, stage="score", input_bytes=5, model_requested="small"),
    ]
    run(db, "r1", *reversed(used), *without, attempt("l", **API, stage="label", input_bytes=7, latency_ms=None))
    found = usage_by_stage(db, "api", "big")
    assert list(found) == ["label", "score"]
    score = found["score"]
    assert (score.n, score.input_bytes, score.prompt_tokens, score.completion_tokens) == (5, 1500, 450, 50)
    assert score.mean_latency_ms == 3.0
    np.testing.assert_array_equal(score.pairs, [[100, 30], [200, 60], [300, 90]])
    assert (found["label"].mean_latency_ms, found["label"].pairs.shape) == (None, (1, 2))
    assert usage_by_stage(db, "api", "unknown") == {}
