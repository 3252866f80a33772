"""What the protocols of others would cost on every feature: their requests are rendered, none is sent."""

from collections.abc import Sequence
from dataclasses import dataclass

from autolabel.errors import ModelResponseError
from autolabel.llm.tokens import TOKENS_PER_BYTE
from autolabel.records import ChatModel, ChatReply, ChatRequest, Purpose
from autolabel.truth.built import Built
from autolabel.truth.opening import PEERS, open_peer


@dataclass(frozen=True, slots=True)
class ProtocolCost:
    """Mean calls and input tokens of a protocol for a feature; tokens by the usual ratio to bytes."""

    protocol: str
    n: int
    """Features that the protocol takes."""
    label_calls: float
    label_tokens: float
    score_calls: float
    score_tokens: float


class _Mute:
    """A chat model that is never asked."""

    model_id = "none"

    async def chat(self, request: ChatRequest, purpose: Purpose) -> ChatReply:
        """Nothing is sent where only costs are counted.

        Raises:
            ModelResponseError: always.
        """
        raise ModelResponseError("failed", "this only counts what requests would cost")


def measure_costs(built: Built) -> list[ProtocolCost]:
    """Render what each protocol would ask about each feature and its right label."""
    features = [feature.index for feature in built.features if feature.family != "null"]
    return [_cost(built, name, features) for name in PEERS]


def _cost(built: Built, name: str, features: Sequence[int]) -> ProtocolCost:
    model: ChatModel = _Mute()
    peer = open_peer(name, built, model)
    costs = [peer.cost(index, built.feature(index).label, count_tokens) for index in features]
    found = [cost for cost in costs if cost.label_calls]
    n = max(len(found), 1)
    sums = [sum(getattr(one, part) for one in found) / n for part in ("label_calls", "label_tokens", "score_calls", "score_tokens")]
    return ProtocolCost(name, len(found), *sums)


def count_tokens(text: str) -> int:
    """About how many tokens a text has."""
    return round(len(text.encode("utf-8")) * TOKENS_PER_BYTE)
