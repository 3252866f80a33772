"""The labelers of a benchmark, by name: which features each is tried on, which models have a hand in it, what it makes.

A new labeler is one function here and one line in `LABELERS`.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from autolabel.asking import together
from autolabel.labelers.base import Labeler
from autolabel.labelers.explain import ChatExplainer
from autolabel.labelers.lexical import LexicalLabeler, TokenLookup
from autolabel.labelers.rules import RuleLabeler
from autolabel.metrics import label_score
from autolabel.pipeline.examining import BOOTSTRAP_SEED
from autolabel.ranking import MINIMUM_TILES
from autolabel.records import ChatModel, FeatureEvidence, Label, LikelihoodModel, Purpose
from autolabel.scorers.likelihood import LikelihoodScorer
from autolabel.truth.baselines import TfIdfContrast, paraphrase, shuffled_label, true_label
from autolabel.truth.built import Built, predicted, smaller
from autolabel.truth.label_table import Attempt
from autolabel.truth.models import TruthModels
from autolabel.truth.opening import open_peer
from autolabel.truth.peers.base import Peer

Share = Literal["all", "llm", "judge", "expensive"]
"""Which of `TruthSettings.n`, `n_llm`, `n_judge` and `n_expensive` says how many features there are."""
SHOWN_WINDOWS = 12
FEATURES_AT_ONCE = 4
Make = Callable[[Built, TruthModels, Sequence[int]], Awaitable[list[Attempt]]]


@dataclass(frozen=True, slots=True)
class LabelerSpec:
    """One labeler of the table."""

    make: Make
    share: Share = "all"
    needs: frozenset[Literal["chat", "likelihood"]] = frozenset()
    """Models it cannot do without, which are never its referees."""

    def models(self, models: TruthModels) -> frozenset[str]:
        """Ids of the models that have a hand in its labels."""
        return frozenset(model.model_id for need in self.needs if (model := getattr(models, need)) is not None)

    def can_run(self, models: TruthModels) -> bool:
        """Whether everything it needs is there."""
        return all(getattr(models, need) is not None for need in self.needs)


async def _oracle(built: Built, models: TruthModels, features: Sequence[int]) -> list[Attempt]:
    return [Attempt(i, None if built.feature(i).family == "null" else true_label(built, i)) for i in features]


async def _paraphrase(built: Built, models: TruthModels, features: Sequence[int]) -> list[Attempt]:
    return [Attempt(i, paraphrase(built, i)) for i in features]


async def _shuffled(built: Built, models: TruthModels, features: Sequence[int]) -> list[Attempt]:
    return [Attempt(i, shuffled_label(built, i)) for i in features]


def _by(make: Callable[[TruthModels], Labeler]) -> Make:
    """A labeler of the package that proposes one label from train evidence."""

    async def attempts(built: Built, models: TruthModels, features: Sequence[int]) -> list[Attempt]:
        labeler = make(models)
        return await _few_at_once(features, lambda i: _first(labeler, built.evidence[i], i))

    return attempts


async def _first(labeler: Labeler, evidence: FeatureEvidence, index: int) -> Attempt:
    return Attempt(index, (await _proposed(labeler, evidence))[0])


async def _few_at_once(features: Sequence[int], attempt: Callable[[int], Coroutine[Any, Any, Attempt]]) -> list[Attempt]:
    """Attempts in order, a few features at a time: enough to keep a server busy, and little is lost if the run is stopped."""
    found: list[Attempt] = []
    for start in range(0, len(features), FEATURES_AT_ONCE):
        found += await together(attempt(index) for index in features[start : start + FEATURES_AT_ONCE])
    return found


async def _proposed(labeler: Labeler, evidence: FeatureEvidence) -> list[Label]:
    return await labeler.fill(labeler.drafts(evidence), evidence)


def _explainer(models: TruthModels, candidates: int) -> ChatExplainer:
    return ChatExplainer(_chat(models), candidates, SHOWN_WINDOWS, 0.0)


async def _best_of(built: Built, models: TruthModels, features: Sequence[int]) -> list[Attempt]:
    """What a run does: an explanation and the words that tell, of which the likelier on validation tiles is chosen."""
    scorer = LikelihoodScorer(_likelihood(models))

    async def attempt(index: int) -> Attempt:
        evidence = built.evidence[index]
        labels = [one for maker in (_explainer(models, 1), LexicalLabeler()) for one in await _proposed(maker, evidence)]
        return Attempt(index, await _chosen(scorer, evidence, [one for one in labels if one.status == "ok"]))

    return await _few_at_once(features, attempt)


async def _chosen(scorer: LikelihoodScorer, evidence: FeatureEvidence, labels: Sequence[Label]) -> Label | None:
    exam = smaller(evidence.exam("validation"), MINIMUM_TILES)
    if not labels or not exam:
        return labels[0] if labels else None
    strata, clusters = [str(e.stratum) for e in exam], [e.source_document_id for e in exam]
    found = await predicted(scorer, labels, exam, Purpose("validate", evidence.feature_index))
    values = [[p.value for p in said if p.value is not None] for said in found]
    if any(len(known) < len(exam) for known in values):
        return labels[0]
    scores = [label_score(known, strata, clusters, BOOTSTRAP_SEED).value for known in values]
    best = max(range(len(labels)), key=lambda i: (-1.0 if scores[i] is None else scores[i], labels[i].method, labels[i].label_id))
    return labels[best]


def _peer(name: str) -> Make:
    async def attempts(built: Built, models: TruthModels, features: Sequence[int]) -> list[Attempt]:
        peer: Peer = open_peer(name, built, _chat(models))

        async def attempt(index: int) -> Attempt:
            return Attempt(index, await peer.label(index))

        return await _few_at_once(features, attempt)

    return attempts


def _chat(models: TruthModels) -> ChatModel:
    assert models.chat is not None
    return models.chat


def _likelihood(models: TruthModels) -> LikelihoodModel:
    assert models.likelihood is not None
    return models.likelihood


LABELERS: dict[str, LabelerSpec] = {
    "oracle": LabelerSpec(_oracle),
    "paraphrase": LabelerSpec(_paraphrase),
    "shuffled": LabelerSpec(_shuffled),
    "token_lookup": LabelerSpec(_by(lambda models: TokenLookup())),
    "tfidf": LabelerSpec(_by(lambda models: TfIdfContrast())),
    "lexical": LabelerSpec(_by(lambda models: LexicalLabeler())),
    "rule": LabelerSpec(_by(lambda models: RuleLabeler())),
    "explain": LabelerSpec(_by(lambda models: _explainer(models, 1)), "llm", frozenset({"chat"})),
    "best_of": LabelerSpec(_best_of, "llm", frozenset({"chat", "likelihood"})),
    "neuronpedia": LabelerSpec(_peer("neuronpedia"), "expensive", frozenset({"chat"})),
    "saebench": LabelerSpec(_peer("saebench"), "expensive", frozenset({"chat"})),
    "delphi": LabelerSpec(_peer("delphi"), "expensive", frozenset({"chat"})),
}
"""Labeler → how it is run. `paraphrase` is the referees' ceiling, `shuffled` their floor."""
