"""What the failure of an attempt means: for the request, for the server, and for the run."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from conftest import KEY, failure
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import AsyncOpenAI, OpenAIError

from autolabel import secrets
from autolabel.errors import EndpointError, ModelResponseError
from autolabel.llm.capabilities import Capabilities, refused_parameters
from autolabel.llm.failures import AttemptFailed, Kind, attempt_failed, final, one_line, unreachable
from autolabel.llm.requests import body
from autolabel.records import ChatRequest, Message


class Client:
    """The client library on a transport whose next outcome is set from outside."""

    def __init__(self) -> None:
        self.outcome: httpx2.Response | Exception | None = None
        http = httpx2.AsyncClient(transport=httpx2.MockTransport(self.handle))
        self.library = AsyncOpenAI(api_key=KEY, base_url="http://llm.test/v1", max_retries=0, http_client=http)

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        if isinstance(self.outcome, httpx2.Response):
            return self.outcome
        raise self.outcome or AssertionError("nothing to answer")


CLIENT = Client()


async def outcome(of: httpx2.Response | Exception) -> AttemptFailed:
    """What the client library makes of an answer, as we understand it."""
    CLIENT.outcome = of
    with pytest.raises(OpenAIError) as caught:
        await CLIENT.library.post("/chat/completions", cast_to=httpx2.Response, body={})
    return attempt_failed(caught.value)


def traits(failed: AttemptFailed) -> set[str]:
    names = ("is_transient", "is_silence", "is_push_back", "was_refused_unread", "is_about_prompt")
    return {name for name in names if getattr(failed, name)}


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (429, Kind.RATE_LIMITED, {"is_transient", "is_push_back", "was_refused_unread"}),
        (408, Kind.FAILED, {"is_transient", "was_refused_unread"}),
        (409, Kind.FAILED, {"is_transient", "was_refused_unread"}),
        (500, Kind.FAILED, {"is_transient"}),
        (503, Kind.OVERLOADED, {"is_transient", "is_push_back"}),
        (529, Kind.OVERLOADED, {"is_transient", "is_push_back"}),
        *((status, Kind.REJECTED, {"was_refused_unread"}) for status in (400, 401, 402, 403, 404, 405, 413, 422)),
    ],
)
async def test_a_status_says_what_to_do(status: int, kind: Kind, expected: set[str]) -> None:
    failed = await outcome(failure(status, "as it is"))
    assert (failed.kind, failed.status, failed.what) == (kind, status, f"HTTP {status}: as it is")
    assert traits(failed) == expected


@pytest.mark.parametrize(
    ("error", "kind", "expected", "what"),
    [
        (httpx2.ConnectError("refused"), Kind.UNREACHABLE, {"is_transient", "is_silence"}, "no connection (refused)"),
        (httpx2.ConnectTimeout(""), Kind.UNREACHABLE, {"is_transient", "is_silence"}, "timed out"),
        (httpx2.ReadTimeout("slow"), Kind.TIMED_OUT, {"is_transient", "is_silence", "is_push_back"}, "timed out"),
        (httpx2.ReadError("reset by peer"), Kind.CUT_OFF, {"is_transient", "is_silence"}, "the connection broke (reset by peer)"),
        (httpx2.RemoteProtocolError("half"), Kind.CUT_OFF, {"is_transient", "is_silence"}, "the connection broke (half)"),
        (httpx2.ReadError(""), Kind.CUT_OFF, {"is_transient", "is_silence"}, "the connection broke (ReadError)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_a_broken_exchange_says_what_to_do(error: Exception, kind: Kind, expected: set[str], what: str) -> None:
    failed = await outcome(error)
    assert (failed.kind, failed.status, failed.what) == (kind, None, what)
    assert traits(failed) == expected


async def test_our_own_time_out_and_a_garbled_answer() -> None:
    assert attempt_failed(TimeoutError()).kind is Kind.TIMED_OUT
    garbled = attempt_failed(OpenAIError(f"odd answer\nwith {KEY[:3]}"))
    assert (garbled.kind, garbled.what) == (Kind.GARBLED, "odd answer with sk-")
    assert traits(garbled) == {"is_transient"}
    assert attempt_failed(garbled) is garbled


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b'{"error": {"message": "too bad", "param": "seed", "code": "unsupported"}}', "HTTP 400: too bad (seed, unsupported)"),
        (b'{"error": {"message": "no seed", "param": "seed", "code": 400}}', "HTTP 400: no seed"),
        (b'{"object": "error", "message": "bad request", "param": null, "code": 400}', "HTTP 400: bad request"),
        (b'{"error": {"message": "bad", "param": ["seed"], "code": {"a": 1}}}', "HTTP 400: bad ({'a': 1})"),
        (b'{"error": {"message": "bad", "param": 5, "type": 7}}', "HTTP 400: bad"),
        (b'{"error": "json: unknown field \\"seed\\""}', 'HTTP 400: {"error": "json: unknown field \\"seed\\""}'),
        (
            b'{"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}',
            'HTTP 400: {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}',
        ),
        (b"unknown parameter: seed\n", "HTTP 400: unknown parameter: seed"),
        (b"", "HTTP 400"),
        (b"[1]", "HTTP 400: [1]"),
        (b'{"error": {"message": "a \\u001b[31mred\\u0000\\n\\n word \\ud800"}}', "HTTP 400: a [31mred word"),
        (b'{"error": {"message": "' + b"long " * 1000 + b'"}}', "HTTP 400: " + ("long " * 60).strip()),
        (b"[" * 100_000, "HTTP 400: " + "[" * 300),
    ],
    ids=[
        "OpenAI",
        "named twice",
        "vLLM",
        "odd param",
        "odd types",
        "text",
        "list",
        "plain",
        "empty",
        "array",
        "controls",
        "long",
        "deep",
    ],
)
async def test_the_endpoint_is_quoted_in_one_line_whatever_it_sends(content: bytes, what: str) -> None:
    assert (await outcome(httpx2.Response(400, content=content))).what == what


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "message", "param", "code", "detail"]), inner),
        max_leaves=12,
    )
)
@settings(max_examples=50, deadline=None)
def test_no_error_body_is_too_odd_to_be_quoted(content: Any) -> None:
    failed = asyncio.run(outcome(httpx2.Response(422, content=json.dumps(content))))
    assert failed.what.startswith("HTTP 422")
    assert failed.what.isprintable()
    assert len(failed.what) < 1000


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7),
        ("0.5", 0.5),
        ("0", 0),
        (None, None),
        ("soon", None),
        ("-1", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("9" * 50, None),
    ],
)
async def test_a_wait_counts_when_it_is_asked_for_in_seconds(header: str | None, seconds: float | None) -> None:
    failed = await outcome(failure(429, headers=None if header is None else {"retry-after": header}))
    assert failed.retry_after_s == seconds


@pytest.mark.parametrize(
    "error",
    [
        {"code": "insufficient_quota"},
        {"message": "You exceeded your current quota, please check your plan"},
        {"message": "Your credit balance is too low"},
    ],
)
async def test_an_empty_account_is_no_rate_limit(error: dict[str, str]) -> None:
    failed = await outcome(failure(429, **{"message": "no", **error}))
    assert failed.kind is Kind.REJECTED
    with pytest.raises(EndpointError, match=r"wants to be paid first .* add credit to the account"):
        raise final(failed, "http://e", "m", "KEY", has_answered=True)


TOO_LONG = [
    "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens.",
    "'max_tokens' or 'max_completion_tokens' is too large: 30. This model's maximum context length is 8192 tokens",
    "the request exceeds the available context size. try increasing the context size or enable context shift",
    "prompt is too long: 210000 tokens > 200000 maximum",
]
FILTERED = [
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy.",
    "blocked by content_filter",
]


@pytest.mark.parametrize(
    ("message", "status", "said"),
    [(message, "failed", "does not fit the model's context") for message in TOO_LONG]
    + [(message, "refused", "filter refused the prompt") for message in FILTERED],
)
async def test_a_prompt_that_is_not_taken_is_the_matter_of_one_request(message: str, status: str, said: str) -> None:
    failed = await outcome(failure(400, message))
    assert traits(failed) == {"is_about_prompt", "was_refused_unread"}
    error = final(failed, "http://e", "m", "KEY", has_answered=False)
    assert isinstance(error, ModelResponseError)
    assert error.status == status
    assert said in str(error)
    assert not (await outcome(failure(500, message))).is_about_prompt


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "does not accept the API key (HTTP 401); put a valid one into the environment variable MY_KEY"),
        (403, "does not accept the API key (HTTP 403); put a valid one into the environment variable MY_KEY"),
        (404, "knows no model 'm' or is no OpenAI-compatible address (HTTP 404: no); check llm.model and llm.base_url"),
        (402, "wants to be paid first (HTTP 402: no); add credit to the account, then give the same command again"),
    ],
)
async def test_what_every_further_request_would_meet_ends_the_run(status: int, said: str) -> None:
    for has_answered in (True, False):
        error = final(await outcome(failure(status)), "http://e", "m", "MY_KEY", has_answered=has_answered)
        assert (type(error), str(error)) == (EndpointError, f"http://e {said}")


async def test_a_malformed_request_ends_the_run_only_where_no_other_was_ever_taken() -> None:
    failed = await outcome(failure(400, "no"))
    error = final(failed, "http://e", "m", "KEY", has_answered=False)
    assert (type(error), str(error)) == (
        EndpointError,
        "http://e does not accept our requests to model 'm' (HTTP 400: no); check llm.model and the server's version",
    )
    item = final(failed, "http://e", "m", "KEY", has_answered=True)
    assert isinstance(item, ModelResponseError)
    assert (item.status, str(item)) == ("failed", "http://e gave no answer: HTTP 400: no")


async def test_lasting_trouble_is_the_matter_of_one_request() -> None:
    for failed in (await outcome(failure(500)), await outcome(httpx2.ReadTimeout("")), attempt_failed(TimeoutError())):
        assert isinstance(final(failed, "http://e", "m", "KEY", has_answered=False), ModelResponseError)


def test_nobody_there() -> None:
    error = unreachable(AttemptFailed(Kind.UNREACHABLE, "no connection (refused)"), "http://e", "MY_KEY")
    assert str(error) == (
        "no LLM answers at http://e (no connection (refused)); start the server there or set llm.base_url, "
        "and put its API key, if it needs one, into the environment variable MY_KEY"
    )


async def test_no_message_holds_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_known", {KEY})
    padding = "x" * 290  # the key lies across the place where the message is cut
    for failed in (
        await outcome(failure(401, f"Incorrect API key provided: {KEY}")),
        await outcome(failure(500, padding + KEY)),
        await outcome(failure(400, "no", param=KEY, code=KEY)),
        await outcome(httpx2.Response(502, text=f"<html>{KEY}</html>")),
        await outcome(httpx2.ReadError(f"bad header {KEY}")),
        attempt_failed(OpenAIError(f"what is {KEY}?")),
    ):
        error = final(failed, "http://e", "m", "KEY", has_answered=True)
        assert KEY not in failed.what + str(error) + repr(failed)
        assert KEY[:8] not in failed.what
    assert one_line(KEY) == "[key]"


# Parameters that an error names


SENT = body(ChatRequest((Message("user", "x"),), 5, 0.0, 3, {"type": "array"}, 1), "m", Capabilities())


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        (
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            {"max_tokens"},
        ),
        (
            "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
            {"temperature"},
        ),
        ("You are not allowed to request logprobs from this model", {"logprobs"}),
        ("Value error, `top_logprobs` can only be used if `logprobs` is true", {"logprobs"}),
        ("Invalid schema for response_format 'answer': schema must be a JSON Schema of 'type: \"object\"'", {"response_format"}),
        ("Invalid parameter: 'response_format' of type 'json_schema' is not supported with this model", {"response_format"}),
        ("The provided JSON schema contains features not supported by xgrammar.", {"response_format"}),
        ('{"detail": [{"loc": ["body", "seed"]}, {"loc": ["body", "temperature"]}]}', {"seed", "temperature"}),
        ("Unrecognized request argument supplied: Seed", {"seed"}),
        ("the seeds of temperature_2 and maximum tokens", set()),
        ("no", set()),
    ],
)
def test_parameters_are_known_by_their_names(message: str, refused: set[str]) -> None:
    assert refused_parameters(message, SENT) == refused


def test_only_what_was_sent_can_be_refused() -> None:
    assert refused_parameters("no seed, no max_tokens", {"max_completion_tokens": 5}) == set()
