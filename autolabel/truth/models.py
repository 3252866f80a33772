"""The models of a benchmark: live where they are set up, else stood in for by recorded replies."""

from collections.abc import Collection
from dataclasses import dataclass

from autolabel.config import TruthSettings
from autolabel.llm.endpoint import OpenAIChat
from autolabel.parts import locate
from autolabel.pipeline.endpoints import connect_llms
from autolabel.records import AnswerMode, ChatModel, Embedder, LikelihoodModel
from autolabel.store.run_store import RunStore
from autolabel.truth.memory import RememberingEmbedder
from autolabel.truth.replies import NOT_ANY, Recorded, RecordedChat, RecordedLikelihood, TracedCalls, load_replies


@dataclass(frozen=True, slots=True)
class TruthModels:
    """What a benchmark can ask; None where there is nothing."""

    chat: ChatModel | None
    likelihood: LikelihoodModel | None
    embedder: Embedder | None
    recorded: Recorded
    """What a file of replies written now would say of itself."""
    calls: TracedCalls
    answer_mode: AnswerMode
    """How the chat model judges."""
    tiles_per_prompt: int
    replayed: bool
    """Whether some replies were recorded, so that seconds mean nothing."""

    def can_replay(self, part: str, needs: Collection[str]) -> bool:
        """Whether a part of the benchmark that needs these models has them live, or was recorded."""
        stood_in = {
            "chat": isinstance(self.chat, RecordedChat),
            "likelihood": isinstance(self.likelihood, RecordedLikelihood),
            "embedder": False,
        }
        return part in self.recorded.parts or not any(stood_in[need] for need in needs)

    async def open(self) -> None:
        """Find out what the endpoint supports, where there is one."""
        if isinstance(self.chat, OpenAIChat):
            await self.chat.probe()
            await self.chat.resume()

    async def close(self) -> None:
        """Ask nothing more."""
        if isinstance(self.chat, OpenAIChat):
            await self.chat.close()


def load_truth_models(settings: TruthSettings, store: RunStore) -> TruthModels:
    """Load the local models, set up the endpoint, and put recorded replies into the cache.

    Raises:
        DataError: a model or the file of replies cannot be used.
    """
    recorded = NOT_ANY if settings.replies is None else load_replies(settings.replies, store)
    calls = TracedCalls(store)
    chat, likelihood, embedder = (
        _chat(settings, store, calls, recorded),
        _likelihood(settings, calls, recorded),
        _embedder(settings),
    )
    llm = settings.llm
    described = Recorded(
        endpoint_id=recorded.endpoint_id if llm is None else llm.name or llm.base_urls[0],
        model=recorded.model if llm is None else llm.model,
        likelihood_model=None if likelihood is None else likelihood.model_id,
        parts=recorded.parts,
    )
    packed = settings.tiles_per_prompt if llm is None else llm.tiles_per_prompt
    return TruthModels(chat, likelihood, embedder, described, calls, settings.answer_mode, packed, settings.replies is not None)


def _chat(settings: TruthSettings, store: RunStore, calls: TracedCalls, recorded: Recorded) -> ChatModel | None:
    if settings.llm is not None:
        return connect_llms(settings, store, calls)[0]
    if recorded.model is not None and recorded.endpoint_id is not None:
        return RecordedChat(recorded.endpoint_id, recorded.model, calls)
    return None


def _likelihood(settings: TruthSettings, calls: TracedCalls, recorded: Recorded) -> LikelihoodModel | None:
    if settings.local.likelihood_model is not None:
        from autolabel.local.causal_lm import LocalModel

        where = settings.local.likelihood_model
        return LocalModel.load(locate(where), name=where.removeprefix("part:"), device="cpu", dtype="bfloat16", calls=calls)
    return None if recorded.likelihood_model is None else RecordedLikelihood(recorded.likelihood_model, calls)


def _embedder(settings: TruthSettings) -> Embedder | None:
    if settings.local.embedding_model is None:
        return None
    from autolabel.local.minilm import SentenceEncoder

    where = settings.local.embedding_model
    return RememberingEmbedder(SentenceEncoder.load(locate(where), name=where.removeprefix("part:")))
