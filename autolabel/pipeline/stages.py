"""The stages that ask models, in order: try the judges, propose labels, choose between them, score. Each does only what is lacking."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Literal, Protocol

from autolabel.asking import together
from autolabel.calibration import load_calibration_items
from autolabel.config import Settings
from autolabel.pipeline.flow import work_through
from autolabel.pipeline.inquiring import inquire_all
from autolabel.pipeline.judges import calibrate, calibration_id
from autolabel.pipeline.labeling import choose, choosing_scorer, propose
from autolabel.pipeline.models import Models, Remote, make_labelers, make_scorers
from autolabel.pipeline.nulls import CO_FIRING_JACCARD, Nulls
from autolabel.pipeline.rows import prompt_rows
from autolabel.pipeline.rule_population import StoredRules
from autolabel.pipeline.scoring import TestExam
from autolabel.pipeline.trusting import model_row
from autolabel.pipeline.workspace import LoadedFeature, Workspace
from autolabel.records import AnswerMode, Label, Purpose
from autolabel.scorers.base import Scorer
from autolabel.scorers.judging import JudgeScorer
from autolabel.store.reading import calibration
from autolabel.trust import load_models

Stage = Literal["collect", "label", "score"]
BATCH_FEATURES = 2000
"""Features worked on at once where requests wait for each other in batches: enough to fill a batch with any stage's requests."""


class Watcher(Protocol):
    """Is told how a run is going."""

    def stage(self, name: str, total: int) -> None:
        """A stage begins, of so many steps."""

    def advance(self, done: int) -> None:
        """So many steps of the stage are done."""

    def say(self, text: str) -> None:
        """Something worth a line."""


def features_at_once(settings: Settings) -> int:
    """How many features are worked on at once: as many as requests may be in flight, so that one request each keeps the endpoint busy."""
    llms = [llm for llm in (settings.llm, settings.judge_llm) if llm is not None]
    return max((BATCH_FEATURES if llm.batch else llm.max_concurrency * len(llm.base_urls) for llm in llms), default=1)


class ModelStages:
    """Labels and scores the features of a workspace with these models."""

    def __init__(self, settings: Settings, workspace: Workspace, models: Models, watcher: Watcher) -> None:
        self._settings = settings
        self._workspace = workspace
        self._models = models
        self._watcher = watcher

    async def run(self, stages: Sequence[Stage]) -> None:
        """Do those of `stages` that ask models.

        Raises:
            AutolabelError: the run as a whole cannot go on; what was done is kept.
        """
        await self._workspace.aside(self._keep_prompts)
        admitted, unfit = await self._calibrate()
        if "label" in stages:
            await self._label(admitted)
        if "score" in stages:
            await self._score(admitted, unfit)

    def _keep_prompts(self) -> None:
        self._workspace.store.append("prompts", prompt_rows())

    async def _calibrate(self) -> tuple[list[Scorer], list[Scorer]]:
        """The scorers whose judge is admitted, and those whose judge is not."""
        for model in self._models.remote:
            await model.probe()
            await model.resume()
        scorers = make_scorers(self._settings, self._models, await self._answer_mode())
        self._watcher.stage("trying judges on solved examples", len(scorers))
        done = 0

        async def tried(scorer: Scorer) -> bool:
            nonlocal done
            fit = not scorer.info.needs_calibration or await self._is_fit(scorer)
            done += 1
            self._watcher.advance(done)
            return fit

        fits = await together(map(tried, scorers))
        judged = list(zip(scorers, fits, strict=True))
        return [scorer for scorer, fit in judged if fit], [scorer for scorer, fit in judged if not fit]

    async def _is_fit(self, scorer: Scorer) -> bool:
        known = await asyncio.to_thread(calibration, self._workspace.store.database, calibration_id(scorer.info))
        if known is not None:
            verdict, value = known.verdict, known.auroc
        else:
            row = await calibrate(scorer)
            await self._workspace.aside(self._workspace.store.append, "calibrations", [row])
            verdict, value = row["verdict"], row["auroc"]
        shown = "no usable answers" if value is None else f"AUROC {value:.2f} on solved examples"
        self._watcher.say(f"judge {scorer.info.judge} for {scorer.info.name} ({scorer.info.answer_mode}): {shown}, {verdict}")
        return verdict == "admitted"

    async def _answer_mode(self) -> AnswerMode:
        """Whether the judge's endpoint gives token probabilities, found out on the first solved example."""
        judge, llm = self._models.judge, self._settings.judge_llm
        if judge is None or llm is None or (isinstance(judge, Remote) and not judge.can.logprobs):
            return "binary"
        case = load_calibration_items()[0]
        scorer = JudgeScorer("detection", judge, "probability", llm.tiles_per_prompt, self._settings.seed)
        label = Label("answer-mode", "", "", -1, "ok", "calibration", text=case.label)
        (predictions,) = await scorer.predict([label], case.examples, Purpose("calibrate"))
        return "probability" if any(p.value is not None for p in predictions) else "binary"

    async def _label(self, admitted: Sequence[Scorer]) -> None:
        workspace = self._workspace
        labelers = make_labelers(self._settings, self._models)
        scorer = choosing_scorer(admitted, self._settings.label.chooser)
        await self._each(
            "proposing labels",
            workspace.features,
            partial(workspace.load, split="train"),
            lambda feature: propose(workspace, feature, labelers),
        )
        await self._each(
            "choosing on validation text",
            workspace.features,
            partial(workspace.load, split="validation"),
            lambda feature: choose(workspace, feature, scorer),
        )

    async def _score(self, admitted: Sequence[Scorer], unfit: Sequence[Scorer]) -> None:
        workspace, n_nulls, wanted = self._workspace, self._settings.score.nulls, self._settings.score.scorers
        reported, failed = (
            [scorer for scorer in scorers if wanted is None or scorer.info.name in wanted] for scorers in (admitted, unfit)
        )
        nulls = Nulls(workspace.chosen, workspace.firing_rates)
        rules = StoredRules(workspace.store.database, workspace.evidence_set_id)
        await workspace.aside(workspace.store.append, "trust_models", [model_row(model) for model in load_models()])

        async def score(feature: LoadedFeature) -> None:
            others = await workspace.aside(nulls.of, feature.index, n_nulls, feature.co_firing) if feature.exam else []
            await TestExam(workspace, feature, others, rules).take(reported, failed)

        await self._each(
            "scoring on test text",
            [feature for feature in workspace.features if feature in workspace.chosen],
            partial(workspace.load, split="test", co_firing_above=CO_FIRING_JACCARD if n_nulls else None),
            score,
        )
        await inquire_all(self._settings, workspace, self._models, self._each, self._is_fit)

    async def _each(
        self,
        stage: str,
        features: Sequence[int],
        load: Callable[[Sequence[int]], list[LoadedFeature]],
        work: Callable[[LoadedFeature], Awaitable[None]],
    ) -> None:
        """Do `work` for each feature, several at a time where an endpoint answers several requests at once."""
        self._watcher.stage(stage, len(features))
        await work_through(features, load, work, features_at_once(self._settings), self._watcher.advance)
