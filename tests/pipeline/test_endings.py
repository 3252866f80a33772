"""How runs end: within the budget, by a signal, after a fault; and that what failed is tried again only when that is wanted."""

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from autolabel.errors import BudgetExceeded, EndpointError
from autolabel.labelers.lexical import LexicalLabeler
from autolabel.pipeline import labeling, running, scoring
from autolabel.store.connection import Database
from autolabel.store.maintenance import check, diff
from tests.pipeline import world
from tests.pipeline.test_end_to_end import one, rows
from tests.pipeline.world import Server

LAST_RUN = "SELECT status, message FROM runs ORDER BY started_utc DESC LIMIT 1"
BAD = "status <> 'ok'"


def failures(db: Path) -> int:
    """Labels and predictions that failed, and choices of no label."""
    counted = [one(db, f"SELECT count(*) FROM {table} WHERE {BAD}") for table in ("labels", "predictions")]
    return sum(counted) + int(one(db, "SELECT count(*) FROM choices WHERE verdict = 'failed'"))


@pytest.mark.parametrize("max_concurrency", [1, 16])
def test_a_run_that_is_out_of_budget_keeps_what_is_done_and_the_next_does_the_rest(
    max_concurrency: int, built: Path, collected: Path, unbroken: Path
) -> None:
    llm = world.content(built, collected)["llm"] | {"max_concurrency": max_concurrency}
    first = Server()
    with pytest.raises(BudgetExceeded) as caught:
        world.run(world.settings(built, collected, llm=llm, budget={"max_calls": 40}), first)
    assert len(first.answered) == 40
    assert rows(collected, LAST_RUN) == [("out_of_budget", str(caught.value))]
    assert failures(collected) == 0
    second = Server()
    world.run(world.settings(built, collected, llm=llm, budget={"max_calls": 4_000}), second)
    assert rows(collected, LAST_RUN) == [("done", None)]
    assert not {body for body in first.answered if json.loads(body)["temperature"] == 0} & set(second.answered)
    assert diff(collected, unbroken) == []
    assert check(Database(collected)) == []


def test_a_dead_endpoint_leaves_no_failure_behind(built: Path, collected: Path, unbroken: Path) -> None:
    llm = world.content(built, collected)["llm"] | {"max_concurrency": 16}
    with pytest.raises(EndpointError):
        world.run(world.settings(built, collected, llm=llm), Server(die_at=45))
    assert rows(collected, LAST_RUN)[0][0] == "failed"
    assert failures(collected) == 0
    world.run(world.settings(built, collected, llm=llm), Server())
    assert diff(collected, unbroken) == []


class Stopper(world.Quiet):
    """Stops the process, as from outside, when the first feature of a stage is done."""

    def __init__(self, number: signal.Signals) -> None:
        super().__init__()
        self._number = number

    def advance(self, done: int) -> None:
        if self.stages[-1][0] == "choosing on validation text":
            signal.raise_signal(self._number)


@pytest.fixture(params=[signal.default_int_handler, signal.SIG_IGN], ids=["foreground", "background"])
def interrupts(request: pytest.FixtureRequest) -> Iterator[None]:
    """A process that minds Ctrl-C, and one that was started not to, as a script's background jobs are."""
    before = signal.signal(signal.SIGINT, request.param)
    yield
    assert signal.getsignal(signal.SIGINT) is request.param
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interrupts")
@pytest.mark.parametrize(("number", "message"), [(signal.SIGTERM, "stopped by SIGTERM"), (signal.SIGINT, "stopped by Ctrl-C")])
def test_a_run_told_to_stop_says_so_and_goes_on_later(
    number: signal.Signals, message: str, built: Path, collected: Path, unbroken: Path
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    first, second = Server(), Server()
    with pytest.raises(KeyboardInterrupt):
        world.run(world.settings(built, collected), first, watcher=Stopper(number))
    assert rows(collected, LAST_RUN) == [("interrupted", message)]
    assert signal.getsignal(signal.SIGTERM) == before
    assert failures(collected) == 0
    world.run(world.settings(built, collected), second)
    assert not {body for body in first.answered if json.loads(body)["temperature"] == 0} & set(second.answered)
    assert diff(collected, unbroken) == []


def test_a_run_in_another_thread_leaves_signals_alone() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with running._terminated_like_interrupted() as told:
            seen.append((signal.getsignal(signal.SIGTERM), told.is_set()))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(before, False)]


def failing(prompt: str) -> str | httpx2.Response:
    """Explains nothing of some features and cannot judge texts about a harbour."""
    if prompt.startswith("Fires:"):
        return "I'm sorry, I can't help with that." if "harbour" in prompt else world.answer(prompt)
    if "harbour" in prompt and "rain" in prompt and "cat" in prompt and world.judges_evidence(prompt):
        return "" if prompt.count("<<") else "no idea"
    return world.answer(prompt)


def test_what_failed_is_tried_again_only_when_that_is_wanted(built: Path, collected: Path, unbroken: Path) -> None:
    settings = world.settings(built, collected)
    world.run(settings, Server(failing))
    assert failures(collected) > 10
    bad = rows(collected, f"SELECT DISTINCT feature_index FROM predictions WHERE split = 'test' AND {BAD}")
    assert bad
    once_more = Server()
    world.run(settings, once_more)
    assert once_more.answered == [], "failures are remembered"
    retried, watcher = Server(), world.Quiet()
    world.run(settings, retried, watcher=watcher, retry_failed=True)
    assert retried.answered
    assert any(line.startswith("to be tried again: ") for line in watcher.said)
    assert failures(collected) == 0
    assert one(collected, "SELECT count(*) FROM scores WHERE n_failed > 0") == 0
    assert check(Database(collected)) == []
    in_force = "SELECT feature_index, label_id, validation_score FROM current_choices ORDER BY feature_index"
    assert rows(collected, in_force) == rows(unbroken, in_force)
    assert [line for line in diff(collected, unbroken) if not line.startswith(("choices", "scores", "predictions"))] == []
    kept = "SELECT score_id, value, low, high, n FROM scores ORDER BY ALL"
    assert set(rows(unbroken, kept)) <= set(rows(collected, kept))
    quiet = Server()
    world.run(settings, quiet, retry_failed=True)
    assert quiet.answered == []


def test_a_fault_in_one_feature_is_a_row_and_not_the_end(
    built: Path, collected: Path, unbroken: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drafts, estimate, compared = LexicalLabeler.drafts, labeling.headline_estimate, scoring.paired_difference

    def no_drafts(self: LexicalLabeler, evidence: Any) -> Any:
        return 1 / 0 if evidence.feature_index == 0 else drafts(self, evidence)

    def no_estimate(feature: Any, *given: Any) -> Any:
        return 1 / 0 if feature.index == 1 else estimate(feature, *given)

    calls = []

    def no_comparison(*given: Any) -> Any:
        calls.append(given)
        return 1 / 0 if len(calls) == 1 else compared(*given)

    monkeypatch.setattr(LexicalLabeler, "drafts", no_drafts)
    monkeypatch.setattr(labeling, "headline_estimate", no_estimate)
    monkeypatch.setattr(scoring, "paired_difference", no_comparison)
    outcome = world.run(world.settings(built, collected), Server())
    assert (outcome.n_labelled, outcome.n_failed) == (4, 1)
    assert one(collected, "SELECT count(*) FROM labels WHERE feature_index = 0 AND method = 'lexical'") == 0
    ((verdict, reason),) = rows(collected, "SELECT verdict, reason FROM choices WHERE feature_index = 1")
    assert (verdict, reason) == ("failed", "choosing failed: ZeroDivisionError: division by zero")
    why = "unexpected: ZeroDivisionError: division by zero"
    assert rows(collected, f"SELECT metric, value FROM scores WHERE reason = '{why}'") == [("label_score", None)]
    monkeypatch.undo()
    world.run(world.settings(built, collected), Server(), retry_failed=True)
    assert one(collected, f"SELECT count(*) FROM scores WHERE reason = '{why}'") == 0
    in_force = "SELECT feature_index, label_id FROM current_choices ORDER BY feature_index"
    assert rows(collected, in_force) == rows(unbroken, in_force)
