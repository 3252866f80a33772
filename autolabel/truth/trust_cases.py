"""Labels of which it is known whether they are right, with what a run would know about each: what trust models are fitted on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from autolabel.metrics import auroc, label_score
from autolabel.pipeline.examining import BOOTSTRAP_SEED
from autolabel.pipeline.rule_population import RulePopulation
from autolabel.records import Example, Label, Prediction, Purpose
from autolabel.scorers.base import Scorer
from autolabel.scorers.embedding import EmbeddingScorer
from autolabel.scorers.rule import RuleScorer
from autolabel.store.background import load_background
from autolabel.trust import signals_of
from autolabel.truth.bank import NEAR_KINDS
from autolabel.truth.built import Built, Shipped, predicted, smaller
from autolabel.truth.features import Family, TruthFeature
from autolabel.truth.labeling import LABELERS
from autolabel.truth.models import TruthModels
from autolabel.truth.rules import read_rule
from autolabel.truth.scoring import SCORERS
from autolabel.truth.world import Tiles

RULE_LABELERS = ("rule", "lexical")
"""Labelers whose labels carry rules and that a run may choose from; baselines are never chosen, so they would only dilute."""
PARAPHRASES = 1
"""Of each feature's, so many are cases: the right label in words of its own."""


@dataclass(frozen=True, slots=True)
class Case:
    """A label, its exact worth, and the signals that a run would have of it."""

    feature: str
    """The feature, of all benchmarks that cases come from."""
    family: Family
    source: str
    """Its relation to the truth for a shipped label, else the labeler that made it."""
    f1: float
    """Exact F1 against the feature's function without nuisances, over all test tiles; 0 for features about nothing."""
    known: dict[str, float]

    @property
    def has_rule(self) -> bool:
        """Whether the label carries a rule, which is what its F1 is about."""
        return self.source in RULE_LABELERS


async def shipped_cases(built: Built, models: TruthModels) -> list[Case]:
    """The shipped labels of every feature with an exam, under the encoder, and under the judge whose replies are there."""
    assert models.embedder is not None
    scorer = EmbeddingScorer(models.embedder)
    judged = await _judged(built, models)
    found = []
    for feature in _with_exam(built):
        exam, shipped = built.exam(feature.index), _tried(built.shipped[feature.index])
        said = await scorer.predict([one.label for one in shipped], exam, Purpose("score", feature.index))
        for one, predictions in zip(shipped, said, strict=True):
            known = _numbers(scorer, exam, predictions) | judged.get(one.label.label_id, {})
            named = _no_tiles(built) if one.shipped.predicate is None else built.world.tiles_of(one.shipped.predicate)
            found.append(_case(built, feature, one.shipped.relation, named, known))
    return found


async def rule_cases(built: Built, models: TruthModels) -> list[Case]:
    """The labels with rules that labelers make of every feature with an exam, under their rules."""
    database, here = built.store.database, built.evidence_set_id
    population = RulePopulation(load_background(database, here, "train"), load_background(database, here, "test"))
    features = {feature.index: feature for feature in _with_exam(built)}
    found = []
    for name in RULE_LABELERS:
        for attempt in await LABELERS[name].make(built, models, list(features)):
            label = attempt.label
            if label is not None and label.predicate is not None:
                known = await _rule_numbers(built, population, label)
                named = read_rule(built.world, label.predicate, built.fired[attempt.index]).named
                found.append(_case(built, features[attempt.index], name, named, known))
    return found


def _with_exam(built: Built) -> Iterator[TruthFeature]:
    return (feature for feature in built.features if built.exam(feature.index))


def _tried(shipped: Sequence[Shipped]) -> list[Shipped]:
    paraphrases = [one for one in shipped if one.shipped.relation == "paraphrase"][PARAPHRASES:]
    return [one for one in shipped if one not in paraphrases]


def _no_tiles(built: Built) -> Tiles:
    return next(iter(built.fired.values()))[:0]


def _case(built: Built, feature: TruthFeature, source: str, named: Tiles, known: dict[str, float]) -> Case:
    f1 = 0.0
    if feature.family != "null":
        f1 = built.world.exact(named, built.world.tiles_of(feature.candidate.meaning.predicate)).f1
    return Case(f"{built.settings.seed}:{feature.index}", feature.family, source, f1, known)


async def _judged(built: Built, models: TruthModels) -> dict[str, dict[str, float]]:
    """Detection's numbers of the labels that the benchmark asks it about, by label id; none where no judge is there."""
    spec = SCORERS["detection"]
    if models.chat is None or spec.make is None or not models.can_replay("scorer detection", ("chat",)):
        return {}
    scorer, found = spec.make(models), {}
    for feature in built.subset(built.settings.n_judge):
        exam = smaller(built.exam(feature.index), spec.tiles)
        if not exam or feature.family == "null":
            continue
        labels = [one.label for one in spec.labels(built, feature.index)]
        for label, said in zip(labels, await predicted(scorer, labels, exam, Purpose("score", feature.index)), strict=True):
            found[label.label_id] = _numbers(scorer, exam, said)
    return found


async def _rule_numbers(built: Built, population: RulePopulation, label: Label) -> dict[str, float]:
    scorer, exam = RuleScorer(), built.exam(label.feature_index)
    (said,) = await scorer.predict([label], exam, Purpose("score", label.feature_index))
    estimates = population.estimates(label, built.evidence[label.feature_index])
    rows = [_row(scorer, metric, estimate.value) for metric, estimate in estimates.items()]
    return signals_of([*_rows(scorer, exam, said), *rows])


def _numbers(scorer: Scorer, exam: Sequence[Example], predictions: Sequence[Prediction]) -> dict[str, float]:
    return signals_of(_rows(scorer, exam, predictions))


def _rows(scorer: Scorer, exam: Sequence[Example], predictions: Iterable[Prediction]) -> list[dict[str, object]]:
    """What a run would store of a label's exam, as far as signals need it."""
    answered = [(e, p.value) for e, p in zip(exam, predictions, strict=True) if p.value is not None]
    values, documents = [value for _, value in answered], [e.source_document_id for e, _ in answered]
    score = label_score(values, [str(e.stratum) for e, _ in answered], documents, BOOTSTRAP_SEED)
    area = auroc(values, [e.stratum == "firing" for e, _ in answered], documents)
    return [_row(scorer, "label_score", score.value), _row(scorer, "auroc", area.value)]


def _row(scorer: Scorer, metric: str, value: float | None) -> dict[str, object]:
    info = scorer.info
    return {
        "scorer": info.name,
        "metric": metric,
        "value": value,
        "answer_mode": info.answer_mode,
        "judge_status": "admitted",
        "split": "test",
        "part": None,
        "is_null": False,
    }


def is_near(case: Case) -> bool:
    """Whether the label is a near-miss of the truth."""
    return case.source in NEAR_KINDS
