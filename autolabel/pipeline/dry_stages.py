"""The stages that ask models, with nothing to ask and nowhere to write: what a dry run puts in place of a run's own parts."""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import cast

from autolabel.config import LlmSettings, Settings
from autolabel.llm.capabilities import Capabilities
from autolabel.llm.connecting import endpoint_id_of
from autolabel.parts import PART_PREFIX
from autolabel.pipeline.dry_run import DryChat, DryEmbedder, DryLikelihood
from autolabel.pipeline.judges import calibrate, calibration_id
from autolabel.pipeline.models import Models
from autolabel.pipeline.rows import Row
from autolabel.pipeline.stages import ModelStages, Stage
from autolabel.pipeline.subjects import silent_subject
from autolabel.pipeline.workspace import Workspace
from autolabel.scorers.base import Scorer
from autolabel.store.connection import Database
from autolabel.store.ledger import newest_probe, open_batches
from autolabel.store.reading import calibration
from autolabel.store.run_store import RunStore


async def dry_run(
    settings: Settings, store: RunStore, evidence_set_id: str, features: Sequence[int], stages: Sequence[Stage]
) -> list[tuple[LlmSettings, DryChat]]:
    """Go through the stages without sending or writing anything; the LLMs of the settings, which know what they would have been sent."""
    chats = [(llm, _dry_chat(llm, store)) for llm in (settings.llm, settings.judge) if llm is not None]
    local = settings.local
    models = Models(
        chat=chats[0][1] if settings.llm is not None else None,
        judge=chats[-1][1] if chats else None,
        likelihood=DryLikelihood(local.likelihood_model.removeprefix(PART_PREFIX)) if local.likelihood_model else None,
        embedder=DryEmbedder(local.embedding_model.removeprefix(PART_PREFIX)) if local.embedding_model else None,
        subject=partial(silent_subject, store.database) if settings.subject is not None and settings.saes else None,
    )
    with _DryWorkspace(cast(RunStore, _Forgetful(store.database)), evidence_set_id, features) as workspace:
        await _DryStages(settings, workspace, models, _Silence()).run(stages)
    return chats


def _dry_chat(llm: LlmSettings, store: RunStore) -> DryChat:
    endpoint_id = endpoint_id_of(llm)
    known = newest_probe(store.database, endpoint_id, llm.model)
    can = None if known is None else Capabilities.from_json(known["capabilities"])
    batches = open_batches(store.database, endpoint_id, llm.model)
    return DryChat(endpoint_id, llm.model, store, can, (item.request_hash for batch in batches for item in batch.items))


class _Forgetful:
    """In place of a run's store: the database for reading, and nothing for writing."""

    def __init__(self, database: Database) -> None:
        self.database = database

    def append(self, table: str, rows: Sequence[Row]) -> None:
        """Forget the rows."""


class _DryWorkspace(Workspace):
    """A workspace that computes no scores: nothing that is asked depends on one."""

    def add_scores(self, compute: Callable[[], Sequence[Row]]) -> None:
        """Spare the bootstrap."""


class _DryStages(ModelStages):
    """The stages with every judge admitted that was not found unfit before: made-up judgements cannot pass for good ones."""

    async def _is_fit(self, scorer: Scorer) -> bool:
        known = await asyncio.to_thread(calibration, self._workspace.store.database, calibration_id(scorer.info))
        if known is None:
            await calibrate(scorer)
        return known is None or known.verdict == "admitted"


class _Silence:
    """A watcher that says nothing."""

    def stage(self, name: str, total: int) -> None:
        """A stage begins."""

    def advance(self, done: int) -> None:
        """A step is done."""

    def say(self, text: str) -> None:
        """Something that is worth a line in a run."""
