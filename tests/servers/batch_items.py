"""What goes into a batch and what comes out of it: lines of JSON in OpenAI's wire format."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.servers.faults import draw
from tests.servers.model import Body, read_body

CHAT = "/v1/chat/completions"
Answer = Callable[[Body, str, str], tuple[int, dict[str, Any]]]
"""Body, its hash and custom id → HTTP status and content."""


@dataclass(frozen=True, slots=True)
class Item:
    """One request of a batch."""

    custom_id: str
    body: Body
    body_hash: str


def read_items(content: bytes) -> tuple[list[Item], list[dict[str, Any]]]:
    """The requests of an input file, and an error for each line that is none."""
    items: dict[str, Item] = {}
    errors: list[dict[str, Any]] = []
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
        found, _ = read_body(line)
        custom_id, body = found.get("custom_id"), found.get("body")
        if (
            not isinstance(custom_id, str)
            or not isinstance(body, dict)
            or (found.get("method"), found.get("url")) != ("POST", CHAT)
        ):
            message = f"Expected 'custom_id', a 'body', the method POST and the url {CHAT}."
            errors.append({"code": "invalid_json_line", "message": message, "param": None, "line": number})
        elif custom_id in items:
            message = f"The custom_id '{custom_id}' is not unique."
            errors.append({"code": "duplicate_custom_id", "message": message, "param": "custom_id", "line": number})
        else:
            items[custom_id] = Item(custom_id, *read_body(json.dumps(body)))
    if not items and not errors:
        errors.append({"code": "empty_file", "message": "The input file is empty.", "param": None, "line": None})
    return list(items.values()), errors


@dataclass
class Results:
    """The lines of a batch's output file and error file so far, and what its answers cost."""

    seed: int
    _lines: dict[bool, dict[str, dict[str, Any]]] = field(default_factory=lambda: {True: {}, False: {}})
    _input_tokens: int = 0
    _output_tokens: int = 0

    def run(self, item: Item, answer: Answer) -> None:
        """Have an item answered; of those that fail, some have a response and the others an error instead, as both occur."""
        status, content = answer(item.body, item.body_hash, item.custom_id)
        response = {"status_code": status, "request_id": f"req_{item.body_hash[:16]}", "body": content}
        if status == 200:
            usage = content["usage"]
            self._input_tokens += usage["prompt_tokens"]
            self._output_tokens += usage["completion_tokens"]
            self._add(item, True, response, None)
        elif draw(self.seed, "error", item.custom_id) < 0.5:
            self._add(item, False, response, None)
        else:
            self._add(item, False, None, {"code": "server_error", "message": content["error"]["message"]})

    def expire(self, item: Item) -> None:
        message = "This request could not be executed before the completion window expired."
        self._add(item, False, None, {"code": "batch_expired", "message": message})

    def count(self, succeeded: bool) -> int:
        return len(self._lines[succeeded])

    def file(self, succeeded: bool) -> bytes:
        """The lines, in an order of their own."""
        lines = self._lines[succeeded]
        order = sorted(lines, key=lambda custom_id: draw(self.seed, "order", custom_id))
        return "".join(json.dumps(lines[custom_id]) + "\n" for custom_id in order).encode()

    def usage(self) -> dict[str, Any]:
        return {
            "input_tokens": self._input_tokens,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": self._output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self._input_tokens + self._output_tokens,
        }

    def _add(self, item: Item, succeeded: bool, response: dict[str, Any] | None, error: dict[str, Any] | None) -> None:
        line = {"id": f"batch_req_{item.body_hash[:16]}", "custom_id": item.custom_id, "response": response, "error": error}
        self._lines[succeeded][item.custom_id] = line
