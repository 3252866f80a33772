"""What the failure of an attempt means: for the request, for the server, and for the run.

The invariant is that the API key is in no message, whatever the endpoint echoes back.
"""

import re
from enum import Enum, auto

import httpx2
from openai import APIConnectionError, APIStatusError, APITimeoutError

from autolabel.errors import AutolabelError, EndpointError, ModelResponseError
from autolabel.secrets import blotted

_TOO_LONG = re.compile(r"context.?(length|size|window)|maximum context|too many tokens|prompt is too long", re.I)
_FILTERED = re.compile(r"content.?(filter|policy|management)", re.I)
_NO_CREDIT = re.compile(r"insufficient_quota|exceeded your current quota|credit balance", re.I)
_NEVER_CONNECTED = (httpx2.ConnectError, httpx2.ConnectTimeout)
_OVERLOADED = (502, 503, 504, 529)
_MALFORMED = (400, 413, 422)


class Kind(Enum):
    """What went wrong with an attempt."""

    RATE_LIMITED = auto()
    """The server asked for fewer requests; it did no work."""
    FAILED = auto()
    """The server failed at this request."""
    OVERLOADED = auto()
    """The server, or what stands behind it, is away or has too much to do."""
    TIMED_OUT = auto()
    CUT_OFF = auto()
    """The connection broke before the whole answer was there."""
    UNREACHABLE = auto()
    """No connection came about; the request cannot be what is wrong."""
    GARBLED = auto()
    """An answer that is no completion."""
    REJECTED = auto()
    """The server will not take this request, now or later."""


class AttemptFailed(Exception):
    """An attempt that brought no completion."""

    def __init__(self, kind: Kind, what: str, *, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what
        """One line, without secrets."""
        self.status = status
        """HTTP status, where the server answered with one that says failure."""
        self.retry_after_s = retry_after_s
        """Seconds the server asked us to wait, if it said so in a number."""

    @property
    def is_transient(self) -> bool:
        """Whether the same request may well succeed a little later."""
        return self.kind is not Kind.REJECTED

    @property
    def is_silence(self) -> bool:
        """Whether the server said nothing at all."""
        return self.kind in (Kind.TIMED_OUT, Kind.CUT_OFF, Kind.UNREACHABLE)

    @property
    def is_push_back(self) -> bool:
        """Whether fewer requests at once may help."""
        return self.kind in (Kind.RATE_LIMITED, Kind.OVERLOADED, Kind.TIMED_OUT)

    @property
    def is_about_prompt(self) -> bool:
        """Whether it is the prompt that the server does not take: a filter caught it, or it is too long for the model."""
        return self.status in _MALFORMED and bool(_FILTERED.search(self.what) or _TOO_LONG.search(self.what))

    @property
    def was_refused_unread(self) -> bool:
        """Whether the server turned the request down before any model worked on it (4xx), so that nothing is charged."""
        return self.status is not None and 400 <= self.status < 500


def attempt_failed(error: Exception) -> AttemptFailed:
    """What an error of the client library, or of reading its answer, means."""
    if isinstance(error, AttemptFailed):
        return error
    if isinstance(error, APIStatusError):
        return _by_status(error)
    never_connected = isinstance(error.__cause__, _NEVER_CONNECTED)
    if isinstance(error, TimeoutError | APITimeoutError):
        return AttemptFailed(Kind.UNREACHABLE if never_connected else Kind.TIMED_OUT, "timed out")
    if isinstance(error, APIConnectionError):
        why = one_line(str(error.__cause__ or error) or type(error.__cause__).__name__)
        if never_connected:
            return AttemptFailed(Kind.UNREACHABLE, f"no connection ({why})")
        return AttemptFailed(Kind.CUT_OFF, f"the connection broke ({why})")
    return AttemptFailed(Kind.GARBLED, one_line(str(error)))


def _by_status(error: APIStatusError) -> AttemptFailed:
    code = error.status_code
    what = _what(error)
    if code == 429 and not _NO_CREDIT.search(what):
        kind = Kind.RATE_LIMITED
    elif code in _OVERLOADED:
        kind = Kind.OVERLOADED
    elif code in (408, 409) or code >= 500:
        kind = Kind.FAILED
    else:
        kind = Kind.REJECTED
    header = error.response.headers.get("retry-after", "")
    wait = float(header) if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", header) else None
    return AttemptFailed(kind, what, status=code, retry_after_s=wait)


def _what(error: APIStatusError) -> str:
    """The status and the endpoint's own words: its message or whatever it sent instead, with the parameter and the code it names."""
    status = f"HTTP {error.status_code}"
    said = one_line(error.message.removeprefix(f"Error code: {error.status_code}").removeprefix(" - ") or error.response.text)
    named = [one_line(name) for name in (error.param, error.code) if isinstance(name, str) and name not in f"{status} {said}"]
    return (f"{status}: {said}" if said else status) + (f" ({', '.join(named)})" if named else "")


def one_line(text: str) -> str:
    """What an endpoint says, fit for a message: without secrets and control characters, not too long."""
    printable = "".join(character if character.isprintable() else " " for character in blotted(text)[:2000])
    return " ".join(printable.split())[:300].rstrip()


def final(failed: AttemptFailed, endpoint: str, model: str, key_env: str, *, has_answered: bool) -> AutolabelError:
    """The error to raise for a failure that is not tried again. `has_answered`: the endpoint took another request before, so that a
    malformed one is a matter of this request alone."""
    what, code = failed.what, failed.status
    if code in (401, 403):
        return EndpointError(
            f"{endpoint} does not accept the API key (HTTP {code}); put a valid one into the environment variable {key_env}"
        )
    if code == 404:
        return EndpointError(
            f"{endpoint} knows no model '{model}' or is no OpenAI-compatible address ({what}); check llm.model and llm.base_url"
        )
    if code == 402 or (code == 429 and failed.kind is Kind.REJECTED):
        return EndpointError(
            f"{endpoint} wants to be paid first ({what}); add credit to the account, then give the same command again"
        )
    if failed.is_about_prompt and _FILTERED.search(what):
        return ModelResponseError("refused", f"the endpoint's filter refused the prompt ({what})")
    if failed.is_about_prompt:
        return ModelResponseError("failed", f"the prompt does not fit the model's context ({what}); show fewer or shorter windows")
    if failed.kind is Kind.REJECTED and not has_answered:
        return EndpointError(
            f"{endpoint} does not accept our requests to model '{model}' ({what}); check llm.model and the server's version"
        )
    return ModelResponseError("failed", f"{endpoint} gave no answer: {what}")


def unreachable(failed: AttemptFailed, endpoint: str, key_env: str) -> EndpointError:
    """The error for an endpoint at which nothing answers."""
    return EndpointError(
        f"no LLM answers at {endpoint} ({failed.what}); start the server there or set llm.base_url, "
        f"and put its API key, if it needs one, into the environment variable {key_env}"
    )
