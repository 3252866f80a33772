"""What an endpoint says of files and batches; nothing of it is trusted to have a shape.

Where something that is needed is missing, `AttemptFailed` says so: it may be there when asked again.
"""

import json
from dataclasses import dataclass
from typing import Any

import httpx2

from autolabel.llm.failures import AttemptFailed, Kind, one_line

LOST = "lost"
"""Our word for the state of a batch that the endpoint no longer knows."""
_ENDED = ("completed", "failed", "expired", "cancelled", LOST)


@dataclass(frozen=True, slots=True)
class RemoteBatch:
    """A batch as the endpoint describes it."""

    batch_id: str | None
    """The endpoint's name for it; None when the endpoint did not take it."""
    status: str
    file_ids: tuple[str, ...] = ()
    """Files of results: of answers and of errors, those that there are."""
    complaint: str = ""
    """What the endpoint says is wrong with the batch as a whole."""

    @property
    def has_ended(self) -> bool:
        """Whether nothing more will come of it."""
        return self.status in _ENDED

    @property
    def never_ran(self) -> bool:
        """Whether the endpoint turned it down before any of its requests was worked on."""
        return self.status == "failed" and not self.file_ids


def content_of(response: httpx2.Response) -> dict[str, Any]:
    """The JSON object that was answered."""
    try:
        content = json.loads(response.content)
    except ValueError:
        content = None
    if not isinstance(content, dict):
        raise AttemptFailed(Kind.GARBLED, "the answer is no JSON object")
    return content


def name_in(content: dict[str, Any]) -> str:
    """The endpoint's name for what it describes."""
    name = content.get("id")
    if not isinstance(name, str) or not name:
        raise AttemptFailed(Kind.GARBLED, "the answer names no id")
    return name


def batch_in(content: dict[str, Any]) -> RemoteBatch:
    """The batch that it describes."""
    file_ids = (content.get("output_file_id"), content.get("error_file_id"))
    errors = content.get("errors")
    listed = errors.get("data") if isinstance(errors, dict) else None
    said = [str(error.get("message") or error.get("code")) for error in listed or () if isinstance(error, dict)]
    return RemoteBatch(
        name_in(content),
        str(content.get("status")),
        tuple(file_id for file_id in file_ids if isinstance(file_id, str) and file_id),
        one_line("; ".join(said[:3])) or "no reason given",
    )
