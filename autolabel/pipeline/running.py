"""The stages of a run in order, each doing only what the database lacks, so that a killed run goes on where it was."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol
from uuid import uuid4

from autolabel import prompts
from autolabel.calibration import load_calibration_items
from autolabel.config import Settings
from autolabel.evidence.collect import Collection
from autolabel.evidence.sae import load_sae
from autolabel.evidence.subject import Subject
from autolabel.pipeline.judges import calibrate, calibration_id
from autolabel.pipeline.labeling import choose, choosing_scorer, propose
from autolabel.pipeline.models import Models, load_models, make_labelers, make_scorers
from autolabel.pipeline.scoring import TestExam
from autolabel.pipeline.workspace import Workspace
from autolabel.records import AnswerMode, Label, Purpose
from autolabel.scorers.base import Scorer
from autolabel.scorers.judging import JudgeScorer
from autolabel.store.reading import calibration, co_firing, evidence_sets, latest_evidence_set
from autolabel.store.run_store import RunStore
from autolabel.store.selection import select_features

Stage = Literal["collect", "label", "score"]
STAGES: tuple[Stage, ...] = ("collect", "label", "score")


class Watcher(Protocol):
    """Is told how a run is going."""

    def stage(self, name: str, total: int) -> None:
        """A stage begins, of so many steps."""

    def advance(self, done: int) -> None:
        """So many steps of the stage are done."""

    def say(self, text: str) -> None:
        """Something worth a line."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run: features by what happened to them."""

    evidence_set_id: str
    n_features: int
    n_labelled: int
    n_failed: int


def run_stages(settings: Settings, stages: Sequence[Stage], watcher: Watcher, *, command: str, force: bool = False) -> Outcome:
    """Run `stages` on the database of the settings.

    Raises:
        AutolabelError: the run as a whole cannot go on; what was done is kept.
    """
    with RunStore.open(Path(settings.db), uuid4().hex) as store:
        store.start_run(command, settings.model_dump(mode="json"), settings.config_hash, settings.seed)
        try:
            outcome = asyncio.run(_Run(settings, store, watcher, force).stages(stages))
        except KeyboardInterrupt:
            store.finish_run("interrupted", "stopped by Ctrl-C")
            raise
        except BaseException as error:
            store.finish_run("failed", str(error)[:500])
            raise
        store.finish_run("done")
        return outcome


class _Run:
    def __init__(self, settings: Settings, store: RunStore, watcher: Watcher, force: bool) -> None:
        self._settings = settings
        self._store = store
        self._watcher = watcher
        self._force = force

    async def stages(self, stages: Sequence[Stage]) -> Outcome:
        evidence_set_id = self._collect() if "collect" in stages else self._collected()
        selection = self._settings.select
        if not {"label", "score"} & set(stages):
            return Outcome(evidence_set_id, 0, 0, 0)
        features = select_features(
            self._store.database,
            evidence_set_id,
            features=selection.features,
            where=selection.where,
            sample=selection.sample,
            seed=self._settings.seed,
        )
        workspace = Workspace(self._store, evidence_set_id, features)
        self._keep_prompts()
        models = load_models(self._settings, self._store)
        try:
            admitted, unfit = await self._calibrate(models)
            if "label" in stages:
                await self._label(workspace, models, admitted)
            if "score" in stages:
                await self._score(workspace, admitted, unfit)
        finally:
            close = getattr(models.chat, "close", None)
            if close is not None:
                await close()
        n_labelled = sum(feature in workspace.chosen for feature in workspace.features)
        return Outcome(evidence_set_id, len(features), n_labelled, len(features) - n_labelled)

    def _collected(self) -> str:
        """The newest evidence there is for the SAE of the settings."""
        sae_id = load_sae(self._settings.sae.path, self._settings.sae.hookpoint).sae_id(
            Subject.load(self._settings.subject).identity
        )
        return latest_evidence_set(self._store.database, sae_id)

    def _collect(self) -> str:
        collection = Collection(self._settings)
        if collection.evidence_set_id in evidence_sets(self._store.database):
            self._watcher.say(f"evidence set {collection.evidence_set_id[:12]} is there already")
            return collection.evidence_set_id
        gate = collection.gate(self._force)
        self._watcher.say(gate.summary())
        self._watcher.stage("collecting evidence", collection.n_tokens)
        evidence = collection.run(self._watcher.advance)
        self._watcher.say("storing evidence")
        single = {"saes": [evidence.sae], "corpora": [evidence.corpus], "evidence_sets": [evidence.evidence_set]}
        self._store.insert_many({**single, **evidence.tables})
        return collection.evidence_set_id

    def _keep_prompts(self) -> None:
        loaded = [prompts.load(role, version) for role, version in prompts.list_prompts()]
        self._store.append(
            "prompts", [{"prompt_hash": p.prompt_hash, "role": p.role, "version": p.version, "body": p.body} for p in loaded]
        )

    async def _calibrate(self, models: Models) -> tuple[list[Scorer], list[Scorer]]:
        """The scorers whose judge is admitted, and those whose judge is not."""
        probe = getattr(models.chat, "probe", None)
        if probe is not None:
            await probe()
        mode = await self._answer_mode(models)
        scorers = make_scorers(self._settings, models, mode)
        self._watcher.stage("trying judges on solved examples", len(scorers))
        admitted: list[Scorer] = []
        unfit: list[Scorer] = []
        for done, scorer in enumerate(scorers, 1):
            fit = not scorer.info.needs_calibration or await self._is_fit(scorer)
            (admitted if fit else unfit).append(scorer)
            self._watcher.advance(done)
        return admitted, unfit

    async def _is_fit(self, scorer: Scorer) -> bool:
        known = calibration(self._store.database, calibration_id(scorer.info))
        if known is not None:
            verdict, value = known.verdict, known.auroc
        else:
            row = await calibrate(scorer)
            self._store.append("calibrations", [row])
            verdict, value = row["verdict"], row["auroc"]
        shown = "no usable answers" if value is None else f"AUROC {value:.2f} on solved examples"
        self._watcher.say(f"judge {scorer.info.judge} for {scorer.info.name} ({scorer.info.answer_mode}): {shown}, {verdict}")
        return verdict == "admitted"

    async def _answer_mode(self, models: Models) -> AnswerMode:
        """Whether the chat model's endpoint gives token probabilities, found out on the first solved example."""
        if models.chat is None or self._settings.llm is None:
            return "binary"
        case = load_calibration_items()[0]
        scorer = JudgeScorer("detection", models.chat, "probability", self._settings.llm.tiles_per_prompt, self._settings.seed)
        label = Label("answer-mode", "", "", -1, "ok", "calibration", text=case.label)
        (predictions,) = await scorer.predict([label], case.examples, Purpose("calibrate"))
        return "probability" if any(p.value is not None for p in predictions) else "binary"

    async def _label(self, workspace: Workspace, models: Models, admitted: Sequence[Scorer]) -> None:
        labelers = make_labelers(self._settings, models)
        await self._each("proposing labels", workspace.features, lambda feature: propose(workspace, feature, labelers))
        scorer = choosing_scorer(admitted, self._settings.label.chooser)
        await self._each("choosing on validation text", workspace.features, lambda feature: choose(workspace, feature, scorer))

    async def _score(self, workspace: Workspace, admitted: Sequence[Scorer], unfit: Sequence[Scorer]) -> None:
        chosen = [feature for feature in workspace.features if feature in workspace.chosen]
        wanted = self._settings.score.scorers
        reported = [scorer for scorer in admitted if wanted is None or scorer.info.name in wanted]
        failed = [scorer for scorer in unfit if wanted is None or scorer.info.name in wanted]
        together = co_firing(self._store.database, workspace.evidence_set_id, workspace.features)
        nulls = self._settings.score.nulls

        async def score(feature: int) -> None:
            await TestExam(workspace, feature, nulls, together.get(feature, {})).take(reported, failed)

        await self._each("scoring on test text", chosen, score)

    async def _each(self, stage: str, features: Iterable[int], work: Callable[[int], Awaitable[None]]) -> None:
        """Do `work` for each feature, several at a time where an endpoint answers several requests at once."""
        todo = list(features)
        self._watcher.stage(stage, len(todo))
        slots = asyncio.Semaphore(self._settings.llm.max_concurrency if self._settings.llm else 1)
        done = 0

        async def one(feature: int) -> None:
            nonlocal done
            async with slots:
                await work(feature)
            done += 1
            self._watcher.advance(done)

        tasks = [asyncio.ensure_future(one(feature)) for feature in todo]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
