"""How many input tokens requests have, by the best means at hand: a tokenizer, the server, earlier calls, the default ratio.

The invariant is that every number says which of these it comes from and how wrong it may be.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from autolabel.llm.server_counter import ServerCounter
from autolabel.llm.tokens import DEFAULT_ERROR, MESSAGE_ALLOWANCE, REQUEST_ALLOWANCE, Counter, Fit, fit
from autolabel.pipeline.dry_run import LABEL_ERROR_BYTES, Group
from autolabel.records import Message
from autolabel.store.ledger import StageUsage

ASKED_OF_SERVER = 24
"""Requests of one prompt that a server is asked to count; what is left to doubt then is less than a percent."""
FEWEST_SEEN = 5
"""Earlier calls below which the default ratio is trusted more."""
ALIKE = 1.75
"""Earlier calls this many times as long or short were made from another kind of prompt, and say nothing of this one."""
OTHER_PROMPT_ERROR = 0.06
"""The ledger does not tell prompts apart: what one prompt's calls say of another's of like length was wrong by 5.4% at most, on the
eleven tokenizers of `llm.tokens`, beyond what the fit itself says."""

SHOW_LABELS = ("validate", "score")
"""Stages whose requests show a label, which may be made up yet."""


@dataclass(frozen=True, slots=True)
class Count:
    """Input tokens of a group of requests."""

    tokens: float
    error: float
    """Half the width of the 95% interval, in tokens."""
    source: str


class InputCounter:
    """Counts for one endpoint and model."""

    def __init__(self, tokenizer: Counter | None, server: ServerCounter | None, seen: Mapping[str, StageUsage]) -> None:
        self._tokenizer = tokenizer
        self._server = server
        self._seen = {stage: fit(usage.pairs.tolist()) for stage, usage in seen.items() if len(usage.pairs) >= FEWEST_SEEN}

    async def close(self) -> None:
        """Close the connections to the server."""
        if self._server is not None:
            await self._server.close()

    async def count(self, stage: str, group: Group) -> Count:
        """Input tokens of all requests of a group."""
        found = await self._count(stage, group)
        unsure = LABEL_ERROR_BYTES * group.n / group.input_bytes if stage in SHOW_LABELS else 0.0
        return Count(found.tokens, found.error + unsure * found.tokens, found.source)

    async def _count(self, stage: str, group: Group) -> Count:
        kept = [(length, messages) for _, length, messages in sorted(group.kept, key=lambda item: -item[0])]
        if self._tokenizer is not None:
            return _by_tokenizer(self._tokenizer, group, kept)
        counted = await self._ask_server(kept[:ASKED_OF_SERVER])
        if counted:
            return _counted(counted, group, "counted by the server")
        seen = self._like(stage, group.input_bytes / group.n)
        if seen is not None:
            found = _fitted(seen, group, f"fitted on {seen.n:,} earlier calls")
            return Count(found.tokens, found.error + OTHER_PROMPT_ERROR * found.tokens, found.source)
        return Count(group.default_tokens, DEFAULT_ERROR * group.default_tokens, "by the default ratio to bytes")

    async def _ask_server(self, kept: Sequence[tuple[int, tuple[Message, ...]]]) -> list[tuple[int, int]]:
        """Bytes and tokens of these requests; none when the server cannot count."""
        if self._server is None:
            return []
        first = await self._server.count(kept[0][1])
        if first is None:
            await self.close()
            self._server = None
            return []
        rest = await asyncio.gather(*(self._server.count(messages) for _, messages in kept[1:]))
        found = zip((length for length, _ in kept), (first, *rest), strict=True)
        return [(length, tokens) for length, tokens in found if tokens is not None]

    def _like(self, stage: str, length: float) -> Fit | None:
        """What earlier calls of this stage say of requests of this length, or else those of another stage of the nearest length."""
        able = [
            (of != stage, abs(length - seen.mean_bytes), seen) for of, seen in self._seen.items() if alike(length, seen.mean_bytes)
        ]
        return min(able, key=lambda item: item[:2])[2] if able else None


def alike(length: float, seen: float) -> bool:
    """Whether requests of these mean lengths may have been made from the same prompts."""
    return 1 / ALIKE <= length / seen <= ALIKE


def _by_tokenizer(tokenizer: Counter, group: Group, kept: Sequence[tuple[int, tuple[Message, ...]]]) -> Count:
    counted = [(length, tokenizer.count(messages)) for length, messages in kept]
    unsure, source = 0.0, "counted by the tokenizer"
    if not tokenizer.is_exact:
        source = "counted by the tokenizer, the chat template guessed"
        unsure = sum(MESSAGE_ALLOWANCE * len(messages) + REQUEST_ALLOWANCE for _, messages in kept) * group.n / len(kept)
    found = _counted(counted, group, source)
    return Count(found.tokens, found.error + unsure, found.source)


def _counted(counted: Sequence[tuple[int, int]], group: Group, source: str) -> Count:
    """All requests of the group, or as many as were counted and the others like them."""
    if len(counted) == group.n:
        return Count(sum(tokens for _, tokens in counted), 0.0, source)
    return _fitted(fit(counted), group, f"{source} on {len(counted):,} of {group.n:,}")


def _fitted(found: Fit, group: Group, source: str) -> Count:
    length = group.input_bytes / group.n
    return Count(group.n * found.tokens(length), group.n * found.error(length), source)
