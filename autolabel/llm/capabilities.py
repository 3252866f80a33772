"""What an endpoint and model support, found out by asking once and kept.

Endpoints differ in the parameters they know. The invariant is that a parameter is left out only after the endpoint itself refused it by
name, when asked about nothing else.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from autolabel.records import ChatRequest, Message

_NAMED_AS = {
    "logprobs": r"(top_)?logprobs",
    "response_format": r"response_format|json[_ ]schema",
    "max_tokens": "max_tokens",
    "temperature": "temperature",
    "seed": "seed",
}
"""Parameters that can be left out, and how an error names each."""

PROBES = 3
"""Wordings of the probe: an answer that was refused or is empty says nothing of what is supported."""


def probe_request(number: int = 0) -> ChatRequest:
    """The request that finds out: short, and with every parameter we ever send; `number` words it anew."""
    please = "Please answer" if number else "Answer"
    return ChatRequest(
        messages=(Message("user", f"{please} with the JSON array [1,0] and nothing else{'!' * number or '.'}"),),
        max_tokens=16,
        temperature=0.0,
        top_logprobs=5,
        json_schema={"type": "array", "items": {"type": "integer", "enum": [0, 1]}, "minItems": 2, "maxItems": 2},
        seed=0,
    )


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Which parameters an endpoint and model accept."""

    temperature: bool = True
    logprobs: bool = True
    """It accepts `logprobs` and answers with them."""
    response_format: bool = True
    """It accepts a JSON schema whose root is an array."""
    max_tokens: bool = True
    """It calls the limit of a reply `max_tokens`, not `max_completion_tokens`."""
    seed: bool = True
    thinks: bool = False
    """The model spends output tokens on thinking before it answers."""

    def without(self, refused: Collection[str]) -> "Capabilities":
        """The same but for these parameters."""
        return replace(self, **dict.fromkeys(refused, False))

    def to_json(self) -> dict[str, bool]:
        """As the store keeps it."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> "Capabilities":
        """What `to_json` wrote, by this version or another."""
        known = {field.name for field in fields(cls)}
        return cls(**{name: bool(value) for name, value in stored.items() if name in known})


def refused_parameters(message: str, sent: Collection[str]) -> set[str]:
    """Which of the parameters that were sent an error message names."""
    return {name for name, pattern in _NAMED_AS.items() if name in sent and re.search(rf"\b({pattern})\b", message, re.IGNORECASE)}
