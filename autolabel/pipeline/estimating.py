"""What remains to be done on a database, and what it will cost, found out by a dry run of the pipeline's own code.

The invariant is that nothing is sent to a model and nothing is written. Calls are exact when every reply can be used, every judge is
admitted, labels are distinct and those of `explain` are chosen; a label made of words alone needs fewer.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from autolabel.config import LlmSettings, Settings
from autolabel.errors import ConfigError
from autolabel.hashing import combine
from autolabel.llm.prices import Prices
from autolabel.llm.server_counter import ServerCounter
from autolabel.llm.tokens import Counter
from autolabel.parts import locate
from autolabel.pipeline.costing import Costing, Sample
from autolabel.pipeline.costs import CostEstimate, CostRow
from autolabel.pipeline.counting import InputCounter
from autolabel.pipeline.dry_stages import dry_run
from autolabel.pipeline.stages import Stage
from autolabel.store.connection import Database
from autolabel.store.finding import CollectedSet, collected_sets
from autolabel.store.ledger import usage_by_stage
from autolabel.store.run_store import RunStore
from autolabel.store.selection import select_features

SAMPLE_FEATURES = 200
"""Of more features than these, so many are looked at, chosen by hash, unless all are asked for."""
_SALT = 41
_ADVICE = "`autolabel collect` with these settings asks no LLM and costs nothing; do that first, then estimate again"


def estimate_settings(settings: Settings, *, exact: bool = False) -> CostEstimate:
    """What `label` and `score` would still cost on the database of the settings, from the evidence that is there.

    Raises:
        ConfigError: there is no evidence, nothing is selected, or the price file cannot be used.
        StoreError: the database cannot be used, or a run is at work on it.
    """
    if not Path(settings.db).exists():
        raise ConfigError(_no_evidence(settings))
    with RunStore.open(Path(settings.db), uuid4().hex) as store:
        evidence_set_id = evidence_at_hand(settings, store.database)
        features = selected_features(settings, store.database, evidence_set_id)
        return estimate_remaining(settings, store, evidence_set_id, features, ("label", "score"), exact=exact)


def selected_features(settings: Settings, database: Database, evidence_set_id: str) -> list[int]:
    """The features that the settings select."""
    chosen = settings.select
    return select_features(
        database, evidence_set_id, features=chosen.features, where=chosen.where, sample=chosen.sample, seed=settings.seed
    )


def estimate_remaining(
    settings: Settings,
    store: RunStore,
    evidence_set_id: str,
    features: Sequence[int],
    stages: Sequence[Stage],
    *,
    exact: bool = False,
) -> CostEstimate:
    """The calls that `stages` would still make for these features, with their tokens, money and time.

    Args:
        settings: of the run.
        store: what was answered, stored and spent before.
        evidence_set_id: the evidence that the features belong to.
        features: those selected.
        stages: those of the run.
        exact: look at every feature, however many there are.

    Raises:
        ConfigError: the price file cannot be used.
        DataError: the tokenizer cannot be loaded.
    """
    prices = Prices.load(Path(settings.budget.prices) if settings.budget.prices else None)
    looked_at = list(features) if exact else _drawn(features, settings.seed)
    sample = Sample(len(looked_at), len(features))
    rows = asyncio.run(_rows(settings, store, evidence_set_id, looked_at, stages, prices, sample))
    return CostEstimate(tuple(rows), sample.n_features, sample.n_looked_at)


def _drawn(features: Sequence[int], seed: int) -> list[int]:
    ordered = sorted(features, key=lambda feature: int(combine(_SALT, seed, feature)))
    return sorted(ordered[:SAMPLE_FEATURES])


async def _rows(
    settings: Settings,
    store: RunStore,
    evidence_set_id: str,
    features: Sequence[int],
    stages: Sequence[Stage],
    prices: Prices,
    sample: Sample,
) -> list[CostRow]:
    rows: list[CostRow] = []
    for llm, chat in await dry_run(settings, store, evidence_set_id, features, stages):
        seen = usage_by_stage(store.database, chat.endpoint_id, chat.model_id)
        counter = InputCounter(_tokenizer(llm), ServerCounter.connect(llm), seen)
        try:
            rows += await Costing(llm, chat, counter, seen, prices).rows(sample)
        finally:
            await counter.close()
    return rows


def _tokenizer(llm: LlmSettings) -> Counter | None:
    if llm.tokenizer is None:
        return None
    from autolabel.local.tokenizing import TokenizerCounter  # loading it takes seconds

    return TokenizerCounter.load(locate(llm.tokenizer))


def evidence_at_hand(settings: Settings, database: Database) -> str:
    """The evidence set that `label` and `score` would work on, found without loading an SAE or a model.

    It is the newest that was collected with the same SAE and subject model in the settings, or the only one there is; for a model whose
    weights are permuted, among controls alone. That the SAE's files were not changed since is taken on trust; a run looks.

    Raises:
        ConfigError: there is none, or there are several SAEs and none was collected with these settings.
    """
    is_control = settings.subject is not None and settings.subject.weights != "as_they_are"
    sets = [one for one in collected_sets(database) if (one.control is not None) == is_control]
    wanted = _names(settings.model_dump(mode="json"))
    named = [found for found, sae in _by_sae(sets) if _names({**found.config, "sae": sae}) == wanted]
    if named or len(sets) == 1:
        return (named or sets)[0].evidence_set_id
    if not sets:
        raise ConfigError(_no_evidence(settings))
    raise ConfigError(f"{settings.db} holds evidence for {len(sets)} SAEs, none collected with {_described(settings)}; {_ADVICE}")


def _by_sae(sets: Sequence[CollectedSet]) -> list[tuple[CollectedSet, Any]]:
    """Each set with the SAE of its run's settings that it is of: a run with `also` collects one set after the other, in their order."""
    found = []
    for one in sets:
        together = [other for other in reversed(sets) if other.config == one.config]
        saes = [one.config.get("sae"), *one.config.get("also", [])]
        place = together.index(one) if len(together) == len(saes) else 0
        found.append((one, saes[place]))
    return found


def _no_evidence(settings: Settings) -> str:
    return f"{settings.db} holds no evidence yet, so nobody can say what labeling it will take; {_ADVICE}"


def _described(settings: Settings) -> str:
    if settings.source is not None:
        return f"source.path = '{settings.source.path}'"
    return f"sae.path = '{settings.saes[0].path}' and subject.model = '{settings.subject_or_refuse.model}'"


def _names(config: dict[str, Any]) -> list[Any]:
    subject = config.get("subject") or {}
    return [config.get("sae"), subject.get("model"), subject.get("permutation_seed"), config.get("source")]
