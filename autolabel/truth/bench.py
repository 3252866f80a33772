"""The benchmark from text to tables: build, have features labelled and labels scored, and say how well both went."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import perf_counter

from autolabel.config import TruthSettings
from autolabel.errors import ConfigError
from autolabel.pipeline import rows
from autolabel.scorers.base import ScorerInfo
from autolabel.scorers.embedding import EmbeddingScorer
from autolabel.store.run_store import RunStore
from autolabel.truth.built import Built, build, certain_row, known_families
from autolabel.truth.costs import ProtocolCost, measure_costs
from autolabel.truth.coverage import Coverage, measure_coverage
from autolabel.truth.discoveries import Discoveries, measure_discoveries
from autolabel.truth.generation import Writer
from autolabel.truth.label_table import Attempt, LabelerRow, Outcomes, measure_labels
from autolabel.truth.labeling import LABELERS, Share
from autolabel.truth.meaning import ConceptReader, Mapper
from autolabel.truth.memorised import LeakSummary, measure_leak
from autolabel.truth.models import TruthModels, load_truth_models
from autolabel.truth.referees import ChoosingReferee, EmbeddingReferee, Referee
from autolabel.truth.replies import NOT_ANY, NOT_RECORDED, Recorded
from autolabel.truth.score_table import ScorerRow
from autolabel.truth.scoring import SCORERS, Scored, measure_scorer
from autolabel.truth.selection import sizes

WRITTEN = ("oracle", "explain")
"""Labelers from whose labels texts are written: it takes hundreds of output tokens for each feature."""
REFEREED = ("paraphrase", "shuffled", "lexical")
"""Labelers whose labels the LLM referees; those it made itself it never does."""


@dataclass
class Results:
    """What a benchmark found."""

    built: Built
    recorded: Recorded = NOT_ANY
    """What a file of the replies would say of itself."""
    needed: set[str] = field(default_factory=set)
    """The hashes of the requests whose replies it needed."""
    labelers: list[LabelerRow] = field(default_factory=list)
    outcomes: dict[str, Outcomes] = field(default_factory=dict)
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)
    scorers: list[ScorerRow] = field(default_factory=list)
    scored: dict[str, Scored] = field(default_factory=dict)
    coverage: list[Coverage] = field(default_factory=list)
    discoveries: list[Discoveries] = field(default_factory=list)
    leak: list[LeakSummary] = field(default_factory=list)
    costs: list[ProtocolCost] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """Time that building and measuring took, by part."""

    @property
    def parts(self) -> list[str]:
        """The labelers and scorers that were measured."""
        return [*(f"labeler {row.name}" for row in self.labelers), *(f"scorer {name}" for name in self.scored)]


def chosen(wanted: Sequence[str] | None, known: Sequence[str], what: str) -> list[str]:
    """The names wanted, all when none are.

    Raises:
        ConfigError: there is no such one.
    """
    unknown = [name for name in wanted or [] if name not in known]
    if unknown:
        raise ConfigError(f"there is no {what} '{unknown[0]}'; there are {', '.join(known)}")
    return [name for name in known if wanted is None or name in wanted]


class Bench:
    """One run of the benchmark on one database."""

    def __init__(self, settings: TruthSettings, store: RunStore, say: Callable[[str], None]) -> None:
        """Check what is wanted before anything is read.

        Raises:
            ConfigError: a labeler, scorer or family is unknown.
            DataError: there are fewer features than families.
        """
        self._settings, self._store, self._say = settings, store, say
        sizes(settings.n, known_families(settings.families))
        self._labelers = chosen(settings.labelers, list(LABELERS), "labeler")
        self._scorers = chosen(settings.scorers, list(SCORERS), "scorer")

    async def run(self) -> Results:
        """Build and measure.

        Raises:
            AutolabelError: the text or a model cannot be used; what was answered is kept.
        """
        started = perf_counter()
        self._store.insert_many({"prompts": rows.prompt_rows()})
        built = build(self._settings, self._store, self._say)
        results = Results(built)
        results.seconds["build"] = perf_counter() - started
        models = load_truth_models(self._settings, self._store)
        try:
            await models.open()
            await self._label(results, models)
            await self._score(results, models)
            if self._settings.checks:
                await self._check(results, models)
        finally:
            await models.close()
        results.recorded = replace(models.recorded, parts=tuple(results.parts))
        results.needed = models.calls.needed
        return results

    def _features(self, built: Built, share: Share) -> list[int]:
        settings = self._settings
        n = {"all": settings.n, "llm": settings.n_llm, "judge": settings.n_judge, "expensive": settings.n_expensive}[share]
        return [feature.index for feature in built.subset(n)]

    async def _label(self, results: Results, models: TruthModels) -> None:
        built = results.built
        mapper = None if models.embedder is None else Mapper(built, models.embedder)
        reader = None if models.embedder is None else ConceptReader(models.embedder)
        few = frozenset(self._features(built, "llm"))
        every = frozenset(self._features(built, "all"))
        writer = None if models.chat is None else Writer(models.chat, few)
        for name in self._labelers:
            spec = LABELERS[name]
            if not (spec.can_run(models) and models.can_replay(f"labeler {name}", spec.needs)):
                continue
            with self._timed(results, models, f"labeler {name}") as spent:
                attempts = await spec.make(built, models, self._features(built, spec.share))
            labels = [one.label for one in attempts if one.label is not None and one.label.error != NOT_RECORDED]
            self._store.insert_many({"labels": [rows.label_row(label) for label in labels]})
            referees: list[tuple[Referee, frozenset[int]]] = []
            if models.embedder is not None:
                referees.append((EmbeddingReferee(models.embedder), every))
            if models.chat is not None and name in REFEREED:
                referees.append((ChoosingReferee(models.chat), few))
            with self._timed(results, models, f"reading the labels of {name}"):
                row, outcomes = await measure_labels(
                    built, name, attempts, spec.models(models), referees, mapper, reader, writer if name in WRITTEN else None
                )
            row.tokens, row.seconds = spent.tokens, spent.seconds
            results.labelers.append(row)
            results.outcomes[name], results.attempts[name] = outcomes, attempts
            self._keep_recovery(built, attempts, outcomes)

    def _keep_recovery(self, built: Built, attempts: Sequence[Attempt], outcomes: Outcomes) -> None:
        """Store which labels were recognised, and by whom."""
        labels = {one.index: one.label for one in attempts if one.label is not None and one.label.status == "ok"}
        found = []
        for referee, rights in outcomes.chosen.items():
            info = ScorerInfo("recovery", referee, "binary")
            for index, right in rights.items():
                if right is not None and index in labels:
                    found.append(certain_row(labels[index], built.evidence[index], info, "recovered", float(right), 1))
        if found:
            self._store.insert_many({"scores": found})

    async def _score(self, results: Results, models: TruthModels) -> None:
        for name in self._scorers:
            spec = SCORERS[name]
            needs = () if spec.needs is None else (spec.needs,)
            if not (spec.can_run(models) and models.can_replay(f"scorer {name}", needs)):
                continue
            with self._timed(results, models, f"scorer {name}") as spent:
                scored = await measure_scorer(results.built, models, name, self._features(results.built, spec.share))
            scored.row.tokens, scored.row.seconds = spent.tokens, spent.seconds
            results.scorers += [scored.row, *([] if scored.broken is None else [scored.broken])]
            results.scored[name] = scored

    async def _check(self, results: Results, models: TruthModels) -> None:
        """What is measured without an LLM besides the tables: intervals, false discoveries, and what a leak is worth."""
        built = results.built
        with self._timed(results, models, "coverage of intervals"):
            results.coverage = measure_coverage(built)
        with self._timed(results, models, "what a leak is worth"):
            results.leak = measure_leak(built)
        with self._timed(results, models, "what the protocols of others cost"):
            results.costs = measure_costs(built)
        if models.embedder is not None and built.selected.nulls:
            with self._timed(results, models, "features about nothing"):
                every = [feature.index for feature in (*built.features, *built.selected.nulls)]
                attempts = await LABELERS["lexical"].make(built, models, every)
                scorer = EmbeddingScorer(models.embedder)
                found = await measure_discoveries(built, scorer, "lexical", attempts)
                results.discoveries = [] if found is None else [found]

    @contextmanager
    def _timed(self, results: Results, models: TruthModels, what: str) -> Iterator["Spent"]:
        """Time a part and count the tokens of the replies that it needed."""
        self._say(what)
        spent, started = Spent(), perf_counter()
        with models.calls.tracing() as requests:
            yield spent
        spent.seconds = None if models.replayed else perf_counter() - started
        spent.tokens = models.calls.tokens(requests) if requests else (0, 0, 0)
        results.seconds[what] = perf_counter() - started


@dataclass
class Spent:
    """What a part of the benchmark took."""

    tokens: tuple[int, int, int] = (0, 0, 0)
    seconds: float | None = None
