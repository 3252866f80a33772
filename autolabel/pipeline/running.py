"""A run from its first row to its last: collect, then the stages that ask models, so that a killed run goes on where it was.

The invariant: however a run ends, what was done is kept and its row says how it ended.
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from uuid import uuid4

from autolabel.config import Settings
from autolabel.errors import BudgetExceeded
from autolabel.pipeline.collecting import collect, collected
from autolabel.pipeline.costs import CostEstimate
from autolabel.pipeline.estimating import estimate_remaining, selected_features
from autolabel.pipeline.models import load_models
from autolabel.pipeline.stages import ModelStages, Stage, Watcher
from autolabel.pipeline.workspace import Workspace
from autolabel.store.failures import forget_failures
from autolabel.store.run_store import RunStore


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run: features by what happened to them."""

    evidence_set_id: str
    n_features: int
    n_labelled: int
    n_failed: int


def run_stages(
    settings: Settings,
    stages: Sequence[Stage],
    watcher: Watcher,
    *,
    command: str,
    force: bool = False,
    extend: str | None = None,
    retry_failed: bool = False,
    before_spending: Callable[[CostEstimate], None] | None = None,
) -> Outcome:
    """Run `stages` on the database of the settings.

    Args:
        settings: what is to be done.
        stages: which part of it.
        watcher: is told how it goes.
        command: what `runs` calls it.
        force: collect although the load gate refuses the SAE.
        extend: evidence set that the text is added to: the first letters of its id, or `latest`.
        retry_failed: ask again what failed in earlier runs, for the selected features.
        before_spending: is told what the run will cost before anything is paid for, and may raise to prevent it.

    Raises:
        BudgetExceeded: the next call would cross a limit; what was done is kept, and a run with a higher limit does the rest.
        AutolabelError: the run as a whole cannot go on; what was done is kept.
        KeyboardInterrupt: stopped by Ctrl-C or SIGTERM.
    """
    with RunStore.open(Path(settings.db), uuid4().hex) as store:
        config = settings.model_dump(mode="json")
        store.start_run(command, config, settings.config_hash, settings.seed, job_hash=settings.job_hash)
        with ending_recorded(store):
            evidence_set_id = (
                collect(settings, store, watcher, force, extend) if "collect" in stages else collected(settings, store)
            )
            if not {"label", "score"} & set(stages):
                return Outcome(evidence_set_id, 0, 0, 0)
            return _ask_models(settings, store, watcher, evidence_set_id, stages, retry_failed, before_spending)


@contextmanager
def ending_recorded(store: RunStore) -> Iterator[None]:
    """Write into the run's row how it ended."""
    with _terminated_like_interrupted() as told:
        try:
            yield
        except KeyboardInterrupt:
            store.finish_run("interrupted", f"stopped by {'SIGTERM' if told.is_set() else 'Ctrl-C'}")
            raise
        except BudgetExceeded as error:
            store.finish_run("out_of_budget", str(error)[:500])
            raise
        except BaseException as error:
            store.finish_run("failed", str(error)[:500])
            raise
        store.finish_run("done")


@contextmanager
def _terminated_like_interrupted() -> Iterator[threading.Event]:
    """Inside, SIGTERM does what Ctrl-C does, and is remembered. Only the main thread can be told of signals."""
    told = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield told
        return

    def terminate(number: int, frame: FrameType | None) -> None:
        told.set()
        signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGTERM, terminate)
    interrupted = signal.getsignal(signal.SIGINT)
    if interrupted is signal.SIG_IGN:  # as in a script's background job, where SIGTERM must end a run all the same
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield told
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, interrupted)


def _ask_models(
    settings: Settings,
    store: RunStore,
    watcher: Watcher,
    evidence_set_id: str,
    stages: Sequence[Stage],
    retry_failed: bool,
    before_spending: Callable[[CostEstimate], None] | None,
) -> Outcome:
    """Label and score the selected features."""
    features = selected_features(settings, store.database, evidence_set_id)
    if retry_failed:
        forgotten = forget_failures(store.database, evidence_set_id, features)
        store.forget_unusable()
        watcher.say(forgotten.summary())
    if before_spending is not None and settings.judge_llm is not None:
        before_spending(estimate_remaining(settings, store, evidence_set_id, features, stages))
    with Workspace(store, evidence_set_id, features) as workspace:
        asyncio.run(_with_models(settings, workspace, watcher, stages))
        return Outcome(evidence_set_id, len(features), len(workspace.chosen), len(features) - len(workspace.chosen))


async def _with_models(settings: Settings, workspace: Workspace, watcher: Watcher, stages: Sequence[Stage]) -> None:
    models = load_models(settings, workspace.store)
    try:
        await ModelStages(settings, workspace, models, watcher).run(stages)
    finally:
        for model in models.remote:
            await model.close()
