"""What an HTTP failure means: try again, leave out a parameter, give up on one request, or give up on the endpoint.

The invariant is that the API key is in no message, whatever the endpoint echoes back.
"""

import re

from openai import APIConnectionError, APIStatusError, APITimeoutError, OpenAIError

from autolabel.errors import AutolabelError, EndpointError, ModelResponseError

_TOO_LONG = re.compile(r"context.?(length|size|window)|maximum context|too many tokens|prompt is too long", re.I)
_FILTERED = re.compile(r"content.?(filter|policy|management)", re.I)


class NotACompletion(OpenAIError):
    """Something answered, but not as an OpenAI-compatible API does."""


def is_transient(error: BaseException) -> bool:
    """Whether the same request may well succeed a little later."""
    if isinstance(error, APIStatusError):
        return error.status_code in (408, 409, 429) or error.status_code >= 500
    return isinstance(error, APIConnectionError)


def retry_after_s(error: BaseException | None) -> float | None:
    """Seconds the endpoint asked us to wait, if it said so in a number."""
    header = error.response.headers.get("retry-after", "") if isinstance(error, APIStatusError) else ""
    return float(header) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", header) else None


def described(error: Exception, key: str) -> str:
    """One line on the failure, with the key blotted out wherever it occurs."""
    if isinstance(error, APITimeoutError):
        text = "timed out"
    elif isinstance(error, APIConnectionError):
        text = f"no connection ({error.__cause__ or error})"
    elif isinstance(error, APIStatusError):
        text = f"HTTP {error.status_code}: {error.message.removeprefix(f'Error code: {error.status_code} - ')}"
    else:
        text = str(error)
    return " ".join(text.replace(key, "[key]").split())[:300]


def final(error: Exception, base_url: str, model: str, key_env: str, key: str) -> AutolabelError:
    """The error to raise for a failure that is not tried again."""
    what = described(error, key)
    code = error.status_code if isinstance(error, APIStatusError) else None
    if code in (401, 403):
        return EndpointError(
            f"{base_url} does not accept the API key (HTTP {code}); put a valid one into the environment variable {key_env}"
        )
    if code == 404:
        return EndpointError(
            f"{base_url} knows no model '{model}' or is no OpenAI-compatible address ({what}); check llm.model and llm.base_url"
        )
    if code in (400, 413, 422) and _FILTERED.search(what):
        return ModelResponseError("refused", f"the endpoint's filter refused the prompt ({what})")
    if code in (400, 413, 422) and _TOO_LONG.search(what):
        return ModelResponseError("failed", f"the prompt does not fit the model's context ({what}); show fewer or shorter windows")
    if code is not None and 400 <= code < 500 and not is_transient(error):
        return EndpointError(
            f"{base_url} does not accept our requests to model '{model}' ({what}); check llm.model and the server's version"
        )
    return ModelResponseError("failed", f"{base_url} gave no answer: {what}")


def unreachable(error: Exception, base_url: str, key_env: str, key: str) -> EndpointError:
    """The error for an endpoint at which nothing answers."""
    return EndpointError(
        f"no LLM answers at {base_url} ({described(error, key)}); start the server there or set llm.base_url, "
        f"and put its API key, if it needs one, into the environment variable {key_env}"
    )
