"""The models of a run, and the labelers and scorers they allow. A new labeler or scorer is one module and one line here."""

from collections.abc import Callable
from dataclasses import dataclass

from autolabel.config import LabelSettings, Settings
from autolabel.errors import ConfigError
from autolabel.labelers.base import Labeler
from autolabel.labelers.explain import ChatExplainer, CompletionExplainer
from autolabel.labelers.lexical import LexicalLabeler, TokenLookup
from autolabel.llm.endpoint import OpenAIChat
from autolabel.local.causal_lm import LocalModel
from autolabel.local.minilm import SentenceEncoder
from autolabel.parts import locate
from autolabel.records import AnswerMode, CallStore, ChatModel, Embedder, LikelihoodModel, ScorerName
from autolabel.scorers.base import Scorer
from autolabel.scorers.embedding import EmbeddingScorer
from autolabel.scorers.judging import JudgeScorer
from autolabel.scorers.likelihood import LikelihoodScorer
from autolabel.scorers.rule import RuleScorer

ALL_SCORERS: tuple[ScorerName, ...] = ("detection", "fuzzing", "embedding", "likelihood", "rule")


@dataclass(frozen=True, slots=True)
class Models:
    """What a run can ask; None where nothing is set up."""

    chat: ChatModel | None = None
    likelihood: LikelihoodModel | None = None
    embedder: Embedder | None = None


def load_models(settings: Settings, calls: CallStore) -> Models:
    """Load the local models and set up the endpoint, which is not spoken to yet."""
    device = settings.subject.device
    local = settings.local
    chat = likelihood = embedder = None
    if settings.llm:
        chat = OpenAIChat(
            settings.llm.base_url,
            settings.llm.model,
            calls,
            api_key_env=settings.llm.api_key_env,
            max_concurrency=settings.llm.max_concurrency,
            timeout_s=settings.llm.timeout_s,
        )
    if local.likelihood_model:
        name = local.likelihood_model.removeprefix("part:")
        where = locate(local.likelihood_model)
        likelihood = LocalModel.load(where, name=name, device=device, dtype=settings.subject.dtype, calls=calls)
    if local.embedding_model:
        name = local.embedding_model.removeprefix("part:")
        embedder = SentenceEncoder.load(locate(local.embedding_model), name=name)
    return Models(chat, likelihood, embedder)


def make_labelers(settings: Settings, models: Models) -> list[Labeler]:
    """The labelers of the settings, and the baseline that all are compared with.

    Raises:
        ConfigError: `explain` is wanted and there is no model to explain.
    """
    makers: dict[str, Callable[[], Labeler]] = {
        "explain": lambda: _explainer(settings, settings.label, models),
        "lexical": LexicalLabeler,
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
    """The scorers of the settings that the models allow, the one that chooses included. `answer_mode` is how the chat model answers.

    Raises:
        ConfigError: a scorer is asked for by name and its model is missing.
    """
    made: list[Scorer] = []
    by_name = settings.score.scorers or []
    wanted = ALL_SCORERS if settings.score.scorers is None else by_name
    chooser = [settings.label.chooser] if settings.label.chooser else []
    for name in dict.fromkeys([*wanted, *chooser]):
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
    if models.chat is None or settings.llm is None:
        return None
    return JudgeScorer(name, models.chat, answer_mode, settings.llm.tiles_per_prompt, settings.seed)
