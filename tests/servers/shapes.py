"""An answer in the shape of a JSON schema, and the token probabilities that go with a text."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any

from tests.servers.answers import Answer
from tests.servers.tokens import pieces

_BLANK: dict[str, Any] = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}
_OPPOSITE = {"0": "1", "1": "0", "true": "false", "false": "true"}
_FILLERS = (
    "the",
    " a",
    "\n",
    "no",
    "yes",
    "-",
    " and",
    "2",
    '"',
    "None",
    " in",
    "of",
    "3",
    "or",
    ".",
    "it",
    "an",
    "to",
    "he",
    "we",
)
_LOWEST, _HIGHEST = 0.55, 0.999
"""Probability of the token that was chosen."""
_RUNNER_UP = 0.9
"""Share of what is left that goes to the second token; each further one gets as much of what is left then."""


def as_text(answer: Answer, schema: Mapping[str, Any] | None) -> str:
    """The answer as it is written, in the shape of the schema if there is one."""
    if schema is None:
        return answer if isinstance(answer, str) else _json(answer)
    return _json(conforming(answer, schema))


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def conforming(answer: Answer, schema: Mapping[str, Any]) -> Any:
    """The answer as the schema has it; in an object it is the first property of its kind, and the others are blank."""
    kind = schema.get("type")
    one = answer[0] if isinstance(answer, list) and answer else answer
    if "enum" in schema:
        return next((choice for choice in schema["enum"] if _same(choice, one)), schema["enum"][0])
    if kind == "object":
        properties: dict[str, Any] = schema.get("properties", {})
        wanted = {list: "array", str: "string", int: "integer"}[type(answer)]
        holder = next((name for name, inner in properties.items() if inner.get("type") == wanted), next(iter(properties), None))
        return {name: conforming(answer, inner) if name == holder else _blank(inner) for name, inner in properties.items()}
    if kind == "array":
        return [conforming(item, schema.get("items", {})) for item in (answer if isinstance(answer, list) else [answer])]
    if kind == "string":
        return answer if isinstance(answer, str) else _json(answer)
    if kind == "boolean":
        return one == 1
    return int(one == 1) if kind in ("integer", "number") else answer


def _same(choice: Any, one: Any) -> bool:
    return str(choice).casefold() in (str(one).casefold(), {1: "yes", 0: "no"}.get(one, ""))


def _blank(schema: Mapping[str, Any]) -> Any:
    return schema["enum"][0] if "enum" in schema else _BLANK.get(schema.get("type", "null"))


def logprobs(text: str, body_hash: str, top: int) -> list[dict[str, Any]]:
    """Each token of a text with its probability and `top` alternatives, itself the first; digits compete with the opposite answer."""
    tokens = pieces(text)
    noise = hashlib.shake_128(body_hash.encode()).digest(len(tokens))
    return [
        _with_rivals(token, _LOWEST + (_HIGHEST - _LOWEST) * byte / 255, top) for token, byte in zip(tokens, noise, strict=True)
    ]


def _with_rivals(token: str, probability: float, top: int) -> dict[str, Any]:
    opposite = _OPPOSITE.get(token)
    rivals = [*([opposite] if opposite else []), *(filler for filler in _FILLERS if filler != token)][: max(top - 1, 0)]
    chosen = _entry(token, probability)
    listed, left = [chosen], 1 - probability
    for rival in rivals:
        listed.append(_entry(rival, left * _RUNNER_UP))
        left *= 1 - _RUNNER_UP
    return {**chosen, "top_logprobs": listed[:top]}


def _entry(token: str, probability: float) -> dict[str, Any]:
    return {"token": token, "logprob": round(math.log(probability), 6), "bytes": list(token.encode("utf-8", "replace"))}
