"""From the requests of a dry run to what they cost: tokens, money and time, by stage and model."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autolabel.config import LlmSettings
from autolabel.llm.addresses import is_own
from autolabel.llm.connecting import without_secrets
from autolabel.llm.prices import Price, Prices
from autolabel.llm.probing import THINKING_TOKENS
from autolabel.pipeline.costs import CostRow
from autolabel.pipeline.counting import FEWEST_SEEN, InputCounter, alike
from autolabel.pipeline.dry_run import DryChat, Group
from autolabel.store.ledger import StageUsage


@dataclass(frozen=True, slots=True)
class Sample:
    """How many features were looked at, and for how many they stand."""

    n_looked_at: int
    n_features: int

    def scale(self, group: Group) -> float:
        """What the requests of a group are multiplied by; those made for no feature are made once."""
        return 1.0 if set(group.by_feature) <= {None} else self.n_features / self.n_looked_at

    def error(self, group: Group) -> float:
        """Half the width of the 95% interval of a group's calls: features are drawn without replacement."""
        n = self.n_looked_at
        if n == self.n_features or n < 2 or self.scale(group) == 1.0:
            return 0.0
        mean = group.n / n
        squares = sum((k - mean) ** 2 for k in group.by_feature.values()) + mean**2 * (n - len(group.by_feature))
        return 2 * self.n_features * math.sqrt(squares / (n - 1) / n * (1 - n / self.n_features))


@dataclass(frozen=True, slots=True)
class _Part:
    """The share of a `CostRow` that comes from one prompt."""

    calls: float
    calls_error: float
    input_tokens: float
    input_error: float
    input_source: str
    output_tokens: float
    output_source: str
    worst_output_tokens: float


class Costing:
    """What the requests to one endpoint and model cost."""

    def __init__(
        self, llm: LlmSettings, chat: DryChat, counter: InputCounter, seen: Mapping[str, StageUsage], prices: Prices
    ) -> None:
        self._llm = llm
        self._chat = chat
        self._counter = counter
        self._seen = seen
        self._price = prices.price_of(without_secrets(llm.base_urls[0]), llm.model)
        self._thinking = llm.reasoning_tokens or (THINKING_TOKENS if chat.can.thinks else 0)

    async def rows(self, sample: Sample) -> list[CostRow]:
        """A row for each stage that sends anything."""
        stages: dict[str, list[Group]] = {}
        for (stage, _), group in self._chat.groups.items():
            stages.setdefault(stage, []).append(group)
        return [await self._row(stage, groups, sample) for stage, groups in stages.items()]

    async def _row(self, stage: str, groups: Sequence[Group], sample: Sample) -> CostRow:
        parts = [await self._part(stage, group, sample) for group in groups]
        tokens, error = sum(part.input_tokens for part in parts), sum(part.input_error for part in parts)
        likely, worst = sum(part.output_tokens for part in parts), sum(part.worst_output_tokens for part in parts)
        calls, price, batch = sum(part.calls for part in parts), self._price, self._llm.batch
        return CostRow(
            stage=stage,
            endpoint_id=self._chat.endpoint_id,
            model=self._chat.model_id,
            is_own=all(map(is_own, self._llm.base_urls)),
            calls=calls,
            calls_error=sum(part.calls_error for part in parts),
            input_tokens=tokens,
            input_error=error,
            input_source=" and ".join(dict.fromkeys(part.input_source for part in parts)),
            output_tokens=likely,
            output_source=" and ".join(dict.fromkeys(part.output_source for part in parts)),
            worst_output_tokens=worst,
            usd=None if price is None else price.usd(round(tokens), 0, round(likely), batch),
            worst_usd=None if price is None else price.worst_usd(math.ceil(tokens + error), math.ceil(worst), batch),
            price_source=_price_source(price),
            seconds=self._seconds(stage, calls, tokens + likely),
        )

    async def _part(self, stage: str, group: Group, sample: Sample) -> _Part:
        """What one prompt's share of a stage takes, for all features."""
        count = await self._counter.count(stage, group)
        likely, source = self._likely_output(stage, group)
        scale, error = sample.scale(group), sample.error(group)
        worst = group.worst_output + self._thinking * group.n
        return _Part(
            calls=group.n * scale,
            calls_error=error,
            input_tokens=count.tokens * scale,
            input_error=count.error * scale + count.tokens / group.n * error,
            input_source=count.source,
            output_tokens=likely * scale,
            output_source=source,
            worst_output_tokens=worst * scale + worst / group.n * error,
        )

    def _likely_output(self, stage: str, group: Group) -> tuple[float, str]:
        """Output tokens of a group, and how that is known."""
        seen = self._seen.get(stage)
        if seen is not None and seen.n >= FEWEST_SEEN and alike(group.input_bytes / group.n, seen.input_bytes / seen.n):
            return group.n * seen.completion_tokens / seen.n, f"the mean of {seen.n:,} earlier calls"
        thinking = f", {self._thinking:,} of thinking each" if self._thinking else ""
        return group.likely_output + self._thinking * group.n, f"assumed{thinking}"

    def _seconds(self, stage: str, calls: float, tokens: float) -> float | None:
        """Time by the latency of earlier calls, these or others to this model, and by the limits that are set."""
        timed = [seen for seen in (self._seen.get(stage), *self._seen.values()) if seen and seen.mean_latency_ms is not None]
        if not timed or timed[0].mean_latency_ms is None or self._llm.batch:
            return None
        longest = max(
            calls * timed[0].mean_latency_ms / 1000 / self._llm.max_concurrency,
            60 * calls / (self._llm.requests_per_minute or math.inf),
            60 * tokens / (self._llm.tokens_per_minute or math.inf),
        )
        return longest / len(self._llm.base_urls)


def _price_source(price: Price | None) -> str:
    if price is None:
        return "unknown"
    return ", ".join(str(part) for part in (price.as_of, price.source or "your price file") if part is not None)
