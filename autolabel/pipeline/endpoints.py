"""The LLM endpoints of a run, with the one budget they share and what earlier runs learnt of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from autolabel.config import BudgetSettings, LlmSettings, Settings, TruthSettings
from autolabel.errors import ConfigError
from autolabel.llm.batch_log import OpenBatch
from autolabel.llm.budget import Budget, Charge
from autolabel.llm.capabilities import Capabilities
from autolabel.llm.connecting import connect, endpoint_id_of, without_secrets
from autolabel.llm.endpoint import OpenAIChat
from autolabel.llm.prices import Price, Prices
from autolabel.llm.tokens import Counter
from autolabel.parts import locate
from autolabel.records import CallStore
from autolabel.store.ledger import newest_probe, open_batches, spent
from autolabel.store.run_store import RunStore


def connect_llms(
    settings: Settings | TruthSettings, store: RunStore, calls: CallStore | None = None
) -> tuple[OpenAIChat | None, OpenAIChat | None]:
    """The LLM that proposes labels and the one that judges them, which may be the same; neither is spoken to yet.

    Replies are kept in `store`, through `calls` where that is given.

    Raises:
        ConfigError: money is limited, and what a model costs is unknown.
    """
    if settings.llm is None and settings.judge is None:
        return None, None
    prices = Prices.load(Path(settings.budget.prices) if settings.budget.prices else None)
    budget = budget_of(settings, store)
    chat, judge = (
        None if llm is None else _connect(llm, settings.budget, prices, budget, store, calls or store)
        for llm in (settings.llm, settings.judge)
    )
    return chat, judge or chat


def budget_of(settings: Settings | TruthSettings, store: RunStore) -> Budget:
    """The budget of the settings, less what earlier runs of the same job have spent."""
    before = spent(store.database, settings.job_hash)
    limits = settings.budget
    return Budget(
        max_calls=limits.max_calls,
        max_tokens=limits.max_tokens,
        max_usd=limits.max_usd,
        spent=Charge(before.calls, before.tokens, before.usd),
    )


def _connect(
    llm: LlmSettings, limits: BudgetSettings, prices: Prices, budget: Budget, store: RunStore, calls: CallStore
) -> OpenAIChat:
    endpoint_id = endpoint_id_of(llm)
    price = prices.price_of(without_secrets(llm.base_urls[0]), llm.model)
    if limits.max_usd is not None:
        _require_price(price, llm, endpoint_id)
    known = newest_probe(store.database, endpoint_id, llm.model)

    def learnt(can: Capabilities, reason: str) -> None:
        row = {"endpoint_id": endpoint_id, "model": llm.model, "capabilities": can.to_json(), "reason": reason}
        store.append("endpoint_probes", [{"probe_id": uuid4().hex} | row])

    return connect(
        llm,
        calls,
        budget=budget,
        price=price,
        can=None if known is None else Capabilities.from_json(known["capabilities"]),
        learnt=learnt,
        counter=_counter(llm),
        batch_log=_StoreBatchLog(store, endpoint_id, llm.model),
    )


@dataclass(frozen=True, slots=True)
class _StoreBatchLog:
    """The `BatchLog` of a run's database."""

    store: RunStore
    endpoint_id: str
    model: str

    def open(self) -> Sequence[OpenBatch]:
        """The batches whose answers were never collected."""
        return open_batches(self.store.database, self.endpoint_id, self.model)

    def keep(self, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Write rows down, all or none; they are on the disk when this returns."""
        self.store.keep(rows)


def _require_price(price: Price | None, llm: LlmSettings, endpoint_id: str) -> None:
    if price is None:
        raise ConfigError(
            f"--max-usd needs the price of '{llm.model}' at {endpoint_id}, which is unknown; write it into a TOML file "
            "and name that in [budget] prices, or limit --max-tokens instead"
        )


def _counter(llm: LlmSettings) -> Counter | None:
    """Counts tokens for reservations, where the settings name a tokenizer that is exact."""
    if llm.tokenizer is None:
        return None
    from autolabel.local.tokenizing import TokenizerCounter  # loading it takes seconds

    counter = TokenizerCounter.load(locate(llm.tokenizer))
    return counter if counter.is_exact else None
