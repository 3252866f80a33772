"""What goes into a batch and what comes out of it: one request, or one result, on a line of JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from autolabel.llm.batch_api import CHAT
from autolabel.llm.failures import AttemptFailed, Kind, one_line
from autolabel.llm.requests import Answer, completion_in

_NEVER_RUN = ("batch_expired", "batch_cancelled")


@dataclass(frozen=True, slots=True)
class Result:
    """What the endpoint says of one request."""

    request_hash: str
    answer: Answer | AttemptFailed
    never_ran: bool = False
    """Whether the endpoint says that it did not get to it."""


def request_line(request_hash: str, parameters: Mapping[str, Any]) -> bytes:
    """A request as it goes into a batch, line end included; in ASCII, so that every reader sees the same lines."""
    line = {"custom_id": request_hash, "method": "POST", "url": CHAT, "body": dict(parameters)}
    return json.dumps(line, separators=(",", ":")).encode() + b"\n"


def read_result(line: bytes) -> Result | None:
    """The result on a line; None when there is none on it."""
    try:
        content = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(content, dict) or not isinstance(content.get("custom_id"), str):
        return None
    request_hash, response, error = content["custom_id"], content.get("response"), content.get("error")
    if isinstance(error, dict):
        what = one_line(f"{error.get('code') or 'error'}: {error.get('message') or 'no reason given'}")
        never_ran = error.get("code") in _NEVER_RUN
        return Result(request_hash, AttemptFailed(Kind.FAILED, what), never_ran)
    if not isinstance(response, dict):
        return Result(request_hash, AttemptFailed(Kind.GARBLED, "the result holds neither an answer nor an error"))
    return _of_response(request_hash, response)


def _of_response(request_hash: str, response: Mapping[str, Any]) -> Result:
    status, content = response.get("status_code"), response.get("body")
    if status == 200:
        try:
            return Result(request_hash, completion_in(content))
        except AttemptFailed as failed:
            return Result(request_hash, failed)
    error = content.get("error") if isinstance(content, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    known = status if isinstance(status, int) and not isinstance(status, bool) else None
    what = one_line(f"HTTP {status}: {message or 'no reason given'}")
    return Result(request_hash, AttemptFailed(Kind.FAILED, what, status=known))
