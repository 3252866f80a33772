"""The models of a run, and the labelers and scorers they allow. A new labeler or scorer is one module and one line here."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, runtime_checkable

from autolabel.config import LabelSettings, Settings, SubjectSettings
from autolabel.errors import ConfigError
from autolabel.labelers.base import Labeler
from autolabel.labelers.explain import ChatExplainer, CompletionExplainer
from autolabel.labelers.lexical import LexicalLabeler, TokenLookup
from autolabel.labelers.rules import RuleLabeler
from autolabel.llm.capabilities import Capabilities
from autolabel.parts import locate
from autolabel.pipeline.endpoints import connect_llms
from autolabel.pipeline.subjects import LazySubject, OpenSubject, load_subject
from autolabel.records import AnswerMode, ChatModel, Embedder, LikelihoodModel, ScorerName
from autolabel.scorers.base import Inquiry, Scorer
from autolabel.scorers.embedding import EmbeddingScorer
from autolabel.scorers.fade import FadeScorer
from autolabel.scorers.generation import Dictionary, GenerationScorer
from autolabel.scorers.judging import JudgeScorer
from autolabel.scorers.likelihood import LikelihoodScorer
from autolabel.scorers.rule import RuleScorer
from autolabel.scorers.saebench import SaeBenchScorer
from autolabel.store.connection import Database
from autolabel.store.dictionary import load_dictionary
from autolabel.store.run_store import RunStore

DEFAULT_SCORERS: tuple[ScorerName, ...] = ("detection", "fuzzing", "embedding", "likelihood", "rule")
"""Scorers that run when none is named, where the models at hand allow them."""
INQUIRIES: tuple[ScorerName, ...] = ("generation", "fade", "saebench")
"""Scorers that ask questions of their own in place of the exam; they run only when named."""
_ASK_THE_SUBJECT = ("generation", "fade")


@runtime_checkable
class Remote(Protocol):
    """A model behind an endpoint."""

    @property
    def can(self) -> Capabilities:
        """What the endpoint supports, as far as is known."""

    async def probe(self) -> None:
        """Find out what is there, before anything else is asked."""

    async def resume(self) -> None:
        """Take in what earlier runs were still owed."""

    async def close(self) -> None:
        """Ask nothing more, and wait for what is under way."""


@dataclass(frozen=True, slots=True)
class Models:
    """What a run can ask; None where nothing is set up."""

    chat: ChatModel | None = None
    """Proposes labels."""
    judge: ChatModel | None = None
    """Judges them; often the same."""
    likelihood: LikelihoodModel | None = None
    embedder: Embedder | None = None
    subject: OpenSubject | None = None
    """Opens the model whose features are labelled, for scorers that ask it; None where there is none."""

    @property
    def remote(self) -> list[Remote]:
        """Those behind endpoints, each once."""
        found: dict[int, Remote] = {}
        for model in (self.chat, self.judge):
            if isinstance(model, Remote):
                found[id(model)] = model
        return list(found.values())


def load_models(settings: Settings, store: RunStore) -> Models:
    """Load the local models and set up the endpoints, which are not spoken to yet."""
    subject = settings.subject or SubjectSettings(model="none")
    dtype = "bfloat16" if subject.dtype == "auto" else subject.dtype
    local = settings.local
    likelihood = embedder = None
    chat, judge = connect_llms(settings, store)
    if local.likelihood_model:
        from autolabel.local.causal_lm import LocalModel

        name = local.likelihood_model.removeprefix("part:")
        where = locate(local.likelihood_model)
        likelihood = LocalModel.load(where, name=name, device=subject.device, dtype=dtype, calls=store)
    if local.embedding_model:
        from autolabel.local.minilm import SentenceEncoder

        name = local.embedding_model.removeprefix("part:")
        embedder = SentenceEncoder.load(locate(local.embedding_model), name=name)
    opened = partial(load_subject, settings, store.database) if settings.subject is not None and settings.saes else None
    return Models(chat, judge, likelihood, embedder, opened)


def make_labelers(settings: Settings, models: Models) -> list[Labeler]:
    """The labelers of the settings, and the baseline that all are compared with.

    Raises:
        ConfigError: `explain` is wanted and there is no model to explain.
    """
    makers: dict[str, Callable[[], Labeler]] = {
        "explain": lambda: _explainer(settings, settings.label, models),
        "lexical": LexicalLabeler,
        "rule": RuleLabeler,
    }
    return [*(makers[name]() for name in settings.label.labelers), TokenLookup()]


def _explainer(settings: Settings, label: LabelSettings, models: Models) -> Labeler:
    if models.chat is not None and settings.llm is not None:
        return ChatExplainer(models.chat, label.candidates, label.shown_windows, settings.llm.label_temperature)
    if models.likelihood is not None:
        return CompletionExplainer(models.likelihood, label.candidates, settings.seed)
    raise ConfigError(
        "the labeler 'explain' needs a model: set [llm] base_url and model, or [local] likelihood_model; "
        'or label without one by [label] labelers = ["lexical"]'
    )


def make_scorers(settings: Settings, models: Models, answer_mode: AnswerMode) -> list[Scorer]:
    """The scorers of the settings that the models allow, the one that chooses included. `answer_mode` is how the judge answers.

    Raises:
        ConfigError: a scorer is asked for by name and its model is missing.
    """
    made: list[Scorer] = []
    by_name = settings.score.scorers or []
    wanted = DEFAULT_SCORERS if settings.score.scorers is None else by_name
    chooser = [settings.label.chooser] if settings.label.chooser else []
    for name in dict.fromkeys([*wanted, *chooser]):
        if name in INQUIRIES:
            _require_what_it_asks(name, models, name in chooser)
            continue
        scorer = _scorer(name, settings, models, answer_mode)
        if scorer is not None:
            made.append(scorer)
        elif name in (*by_name, *chooser):
            table = (
                "[local] likelihood_model"
                if name == "likelihood"
                else "[local] embedding_model"
                if name == "embedding"
                else "[llm]"
            )
            raise ConfigError(f"the scorer '{name}' needs {table} to be set")
    return made


def _scorer(name: ScorerName, settings: Settings, models: Models, answer_mode: AnswerMode) -> Scorer | None:
    if name == "rule":
        return RuleScorer()
    if name == "embedding":
        return EmbeddingScorer(models.embedder) if models.embedder else None
    if name == "likelihood":
        return LikelihoodScorer(models.likelihood) if models.likelihood else None
    if name not in ("detection", "fuzzing") or models.judge is None or settings.judge_llm is None:
        return None
    tiles = settings.score.judge_tiles
    return JudgeScorer(name, models.judge, answer_mode, settings.judge_llm.tiles_per_prompt, settings.seed, tiles)


def make_inquiries(settings: Settings, models: Models, database: Database, evidence_set_id: str) -> list[Inquiry]:
    """The inquiries that the settings name, about features of an evidence set. The subject model is opened when it is first asked.

    Raises:
        ConfigError: what one of them asks is missing.
    """
    wanted = [name for name in dict.fromkeys(settings.score.scorers or []) if name in INQUIRIES]
    return [_inquiry(name, settings, models, database, evidence_set_id) for name in wanted]


def _inquiry(name: ScorerName, settings: Settings, models: Models, database: Database, evidence_set_id: str) -> Inquiry:
    judge = _require_what_it_asks(name, models, chooses=False)
    if name == "saebench" or models.subject is None:
        return SaeBenchScorer(judge, settings.seed)
    subject = LazySubject(partial(models.subject, evidence_set_id))
    if name == "fade":
        return FadeScorer(judge, subject, settings.seed)
    known = load_dictionary(database, evidence_set_id)
    return GenerationScorer(judge, subject, Dictionary(known.alive, known.thresholds), settings.seed)


def _require_what_it_asks(name: ScorerName, models: Models, chooses: bool) -> ChatModel:
    """The LLM that an inquiry asks."""
    if chooses:
        raise ConfigError(
            f"[label] chooser = '{name}' asks questions of its own in place of the exam, and cannot choose; take one of "
            f"{', '.join(DEFAULT_SCORERS)}"
        )
    if models.judge is None:
        raise ConfigError(f"the scorer '{name}' needs [llm] to be set")
    if name in _ASK_THE_SUBJECT and models.subject is None:
        raise ConfigError(
            f"the scorer '{name}' runs texts through the subject model: it needs [subject] and [sae] to be set, and has nothing to run "
            "where evidence comes from files with activations"
        )
    return models.judge
