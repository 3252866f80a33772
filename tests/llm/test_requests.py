"""What is sent, and what is read out of an answer in which anything may stand."""

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel import secrets
from autolabel.calls import Usage, reply_from_json, reply_to_json
from autolabel.errors import ModelResponseError
from autolabel.llm.capabilities import Capabilities
from autolabel.llm.failures import AttemptFailed, Kind
from autolabel.llm.requests import (
    IMPOSSIBLE,
    Answer,
    body,
    is_cut_short,
    read_answer,
    reply_of,
    thinks,
    token_probabilities,
    usage_of,
)
from autolabel.records import ChatReply, ChatRequest, Message

REQUEST = ChatRequest((Message("system", "Judge."), Message("user", "Texts")), 30, 0.5, 5, {"type": "array"}, 3, 2)


def answer(content: Any = "[1,0]", *, finish: Any = "stop", usage: Any = None, logprobs: Any = None, **message: Any) -> Answer:
    choice = {"finish_reason": finish, "message": {"role": "assistant", "content": content, **message}, "logprobs": logprobs}
    return read_answer(json.dumps({"model": "served", "choices": [choice], "usage": usage}).encode())


def said(content: Any, **message: Any) -> ChatReply:
    return reply_of(answer(content, **message), "asked", "hash")


# What is sent


def test_a_request_with_everything() -> None:
    assert body(REQUEST, "m", Capabilities(), 100) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Judge."}, {"role": "user", "content": "Texts"}],
        "max_tokens": 130,
        "temperature": 0.5,
        "logprobs": True,
        "top_logprobs": 5,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "answer", "strict": True, "schema": {"type": "array"}},
        },
        "seed": 5,
    }


def test_what_an_endpoint_does_not_know_is_left_out() -> None:
    nothing = Capabilities(temperature=False, logprobs=False, response_format=False, max_tokens=False, seed=False)
    assert set(body(REQUEST, "m", nothing)) == {"model", "messages", "max_completion_tokens"}
    plain = replace(REQUEST, top_logprobs=0, json_schema=None, seed=None)
    assert set(body(plain, "m", Capabilities())) == {"model", "messages", "max_tokens", "temperature"}


# What is no completion


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "not JSON"),
        (b"{not json", "not JSON"),
        (b"<html>a proxy's page</html>", "not JSON"),
        (b'{"choices": [{"mess', "not JSON"),
        (b"\xff\xfe\xfd", "not JSON"),
        (b"[" * 200_000, "not JSON"),
        (b'{"choices": ' * 5000, "not JSON"),
        (b"1" * 5000, "not JSON"),
        (b"null", "no chat completion"),
        (b"NaN", "no chat completion"),
        (b"[]", "no chat completion"),
        (b'"choices"', "no chat completion"),
        (b'{"choices": {}}', "no chat completion"),
        (b'{"choices": []}', "no chat completion"),
        (b'{"choices": [null]}', "no chat completion"),
        (b'{"choices": [{"message": "hi"}]}', "no chat completion"),
        (b'{"choices": [{"text": "hi"}]}', "no chat completion"),
        (b'{"error": {"message": "overloaded"}}', "no chat completion"),
    ],
    ids=lambda value: "" if isinstance(value, str) else value[:30].decode(errors="replace"),
)
def test_what_is_no_completion_is_a_failed_attempt(content: bytes, what: str) -> None:
    with pytest.raises(AttemptFailed, match=what) as caught:
        read_answer(content)
    assert caught.value.kind is Kind.GARBLED
    assert caught.value.is_transient


NAMES = [
    *("choices", "message", "content", "usage", "logprobs", "top_logprobs", "token", "logprob", "model", "refusal", "text", "type"),
    *("finish_reason", "prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "cached_tokens"),
    *("completion_tokens_details", "reasoning_tokens", "reasoning_content", "reasoning"),
]
leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(10**320), 10**320)
    | st.floats()
    | st.text(st.characters(codec=None, exclude_categories=()), max_size=8)
    | st.sampled_from(["stop", "length", "content_filter", "<think>", "</think>"])
)
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6), max_leaves=20
)
messages = st.fixed_dictionaries({}, optional=dict.fromkeys(("content", "refusal", "reasoning_content", "reasoning"), values))
tokens = st.fixed_dictionaries({"token": leaves, "logprob": leaves}, optional={"top_logprobs": values})
choices = st.fixed_dictionaries(
    {"message": messages},
    optional={"finish_reason": leaves, "logprobs": values | st.fixed_dictionaries({"content": st.lists(tokens, max_size=3)})},
)
usages = st.dictionaries(st.sampled_from([name for name in NAMES if "tokens" in name]), values)
completions = st.fixed_dictionaries(
    {"choices": st.lists(choices, min_size=1, max_size=2)}, optional={"usage": usages | values, "model": values}
)


@given(values | completions)
@settings(max_examples=60, deadline=None)
def test_any_json_is_a_reply_or_a_failure_that_we_know(value: Any) -> None:
    try:
        found = read_answer(json.dumps(value).encode())
        usage = usage_of(found)
        thinks(found)
        reply = reply_of(found, "asked", "hash")
    except (AttemptFailed, ModelResponseError):
        return
    assert reply_from_json(json.loads(json.dumps(reply_to_json(reply), allow_nan=False)), "hash") == reply
    json.dumps(reply_to_json(reply), ensure_ascii=False).encode()
    counts = (usage.prompt_tokens, usage.cached_tokens, usage.completion_tokens, usage.reasoning_tokens)
    assert all(count is None or 0 <= count < 2**53 for count in counts)
    assert (usage.cached_tokens or 0) <= (usage.prompt_tokens if usage.prompt_tokens is not None else 2**53)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_completion_or_a_failed_attempt(content: bytes) -> None:
    with suppress(AttemptFailed):
        assert isinstance(read_answer(content)["choices"], list)


@given(st.integers(1, 3000), st.sampled_from(["content", "refusal", "reasoning"]))
@settings(max_examples=20, deadline=None)
def test_nesting_of_any_depth_is_survived(depth: int, name: str) -> None:
    content = f'{{"choices": [{{"message": {{"{name}": {"[" * depth}{"]" * depth}}}}}]}}'.encode()
    with suppress(AttemptFailed, ModelResponseError):
        assert reply_of(read_answer(content), "asked", "hash").text == ""


# What it says


def test_a_reply() -> None:
    found = answer(" [1,0]\n", usage={"prompt_tokens": 20, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 16}})
    assert reply_of(found, "asked", "hash") == ChatReply("[1,0]", "stop", "served", None, 20, 16, 5, "hash")


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ("", ""),
        (5, ""),
        ({"text": "x"}, ""),
        ([{"type": "text", "text": "[1,"}, {"type": "text", "text": "0]"}], "[1,0]"),
        ([{"type": "thinking", "thinking": [{"text": "hm"}]}, {"type": "text", "text": "a"}, "b", None, {"text": 5}], "a"),
        ("a\ud800b", "a\ufffdb"),
        ("\ud83d\ude00", "\N{GRINNING FACE}"),
        ("a\x00b", "a\x00b"),
    ],
)
def test_the_text_of_a_message(content: Any, text: str) -> None:
    reply = said(content)
    assert reply.text == text
    reply.text.encode()


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("<think>hm</think>\n[1,0]", "[1,0]"),
        ("\n<think>a</think><think>b</think>\n [1]", "[1]"),
        ("hm, so\n</think>\n\n[1]", "[1]"),
        ("<think></think>", ""),
        ("</think>", ""),
        ("hm</think>", ""),
        ("<think>[1,0] or [0,1]? I never stop", ""),
        ("<think>a</think> x </think> y", "x </think> y"),
        ("the <think> tag", "the <think> tag"),
        ("x > y < z", "x > y < z"),
    ],
)
def test_thoughts_are_no_part_of_the_answer(content: str, text: str) -> None:
    assert said(content).text == text


@pytest.mark.parametrize("content", ["<think>" * 200_000, "<think></think>" * 100_000 + "<think>", "x</think" * 200_000])
def test_long_replies_take_no_longer_than_they_are_long(content: str) -> None:
    assert said(content).text in ("", content)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (answer("[1]"), False),
        (answer("[1", finish="length"), False),
        (answer("", finish="stop"), False),
        (answer("the <think> tag"), False),
        (answer(" <think>hm</think>[1]"), True),
        (answer("hm</think>[1]"), True),
        (answer([{"text": "<think>hm"}]), True),
        (answer("[1]", reasoning_content="hm"), True),
        (answer("[1]", reasoning="hm"), True),
        (answer("[1]", reasoning_content=None, reasoning=""), False),
        (answer("[1]", usage={"completion_tokens_details": {"reasoning_tokens": 7}}), True),
        (answer("[1]", usage={"completion_tokens_details": {"reasoning_tokens": 0}}), False),
        (answer("", finish="length"), True),
        (answer(None, finish="length"), True),
    ],
)
def test_whether_a_model_thinks(found: Answer, expected: bool) -> None:
    assert thinks(found) is expected


@pytest.mark.parametrize(
    ("found", "status", "message"),
    [
        (answer(None, refusal="I will\nnot."), "refused", "the model refused: I will not."),
        (answer(None, refusal=["?"]), "refused", "the model refused: stopped by a content filter"),
        (answer("half", finish="content_filter"), "refused", "the model refused: stopped by a content filter"),
        (answer("[1,", finish="length"), "truncated", "the reply was cut off at max_tokens"),
    ],
)
def test_what_cannot_be_used_has_a_status(found: Answer, status: str, message: str) -> None:
    with pytest.raises(ModelResponseError) as caught:
        reply_of(found, "asked", "hash")
    assert (caught.value.status, str(caught.value)) == (status, message)
    assert is_cut_short(found) is (status == "truncated")


@pytest.mark.parametrize("finish", ["stop", None, "eos", 5, ["length"], {"length": 1}, "tool_calls"])
def test_any_other_end_is_an_end(finish: Any) -> None:
    assert reply_of(answer(finish=finish), "asked", "hash").finish_reason == "stop"


@pytest.mark.parametrize("model", [None, "", 5, ["m"]])
def test_a_model_that_is_not_named_is_the_one_asked_for(model: Any) -> None:
    assert reply_of({**answer(), "model": model}, "asked", "hash").model_served == "asked"


# What it took


def usage(**stated: Any) -> Usage:
    return usage_of(answer(usage=stated))


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        ({}, Usage()),
        ({"prompt_tokens": 20, "completion_tokens": 5}, Usage(20, None, 5)),
        ({"prompt_tokens": 20.0, "completion_tokens": 5.0, "total_tokens": 25}, Usage(20, None, 5)),
        ({"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 125}, Usage(20, None, 105)),
        ({"prompt_tokens": 20, "total_tokens": 25}, Usage(20, None, 5)),
        ({"prompt_tokens": 20, "completion_tokens": 5, "total_tokens": 7}, Usage(20, None, 5)),
        ({"prompt_tokens": 20, "total_tokens": 7}, Usage(20)),
        ({"prompt_tokens": 20, "prompt_tokens_details": {"cached_tokens": 1000}}, Usage(20, 20)),
        ({"prompt_tokens_details": {"cached_tokens": 7}}, Usage(None, 7)),
        ({"completion_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 8}}, Usage(None, None, 9, 8)),
        *(
            ({"prompt_tokens": odd, "completion_tokens": odd, "total_tokens": odd}, Usage())
            for odd in (-1, True, "20", None, [20], 2**53, 10**400, float("nan"), float("inf"), -0.5)
        ),
        ({"prompt_tokens_details": 5, "completion_tokens_details": ["x"]}, Usage()),
    ],
)
def test_usage_is_what_the_endpoint_says_in_numbers(stated: dict[str, Any], expected: Usage) -> None:
    assert usage(**stated) == expected


@pytest.mark.parametrize("stated", [None, 5, "20", [], [1]])
def test_usage_that_is_none(stated: Any) -> None:
    assert usage_of(answer(usage=stated)) == Usage()


# Token probabilities


def probabilities(*tokens: Any) -> Any:
    return token_probabilities(answer(logprobs={"content": list(tokens)}))


def token(text: Any = "1", logprob: Any = -0.1, **more: Any) -> dict[str, Any]:
    return {"token": text, "logprob": logprob, **more}


def test_token_probabilities_are_kept_raw() -> None:
    found = probabilities(token("1", -0.25, top_logprobs=[token("1", -0.25), token("0", -1.5)]), token("]", 0))
    assert [(t.text, t.logprob, t.alternatives) for t in found] == [("1", -0.25, {"1": -0.25, "0": -1.5}), ("]", 0.0, {})]


@pytest.mark.parametrize(
    ("stated", "kept"),
    [
        (None, IMPOSSIBLE),
        (float("-inf"), IMPOSSIBLE),
        (-9999, IMPOSSIBLE),
        (-(10.0**300), IMPOSSIBLE),
        (1e-7, 1e-7),
        ("-0.5", -0.5),
    ],
)
def test_the_impossible_has_a_number(stated: Any, kept: float) -> None:
    assert probabilities(token("1", stated))[0].logprob == kept


@pytest.mark.parametrize(
    "odd",
    [
        *(token("1", logprob) for logprob in (float("nan"), float("inf"), 3, 10**400, "x", [], {})),
        *(token(text) for text in (None, 5, ["1"])),
        {"token": "1"},
        {"logprob": -1},
        "1",
        None,
        [],
        token(top_logprobs=5),
        token(top_logprobs=["1"]),
        token(top_logprobs=[token("1", float("nan"))]),
        token(top_logprobs={"1": -0.1}),
    ],
    ids=repr,
)
def test_one_malformed_probability_spoils_them_all(odd: Any) -> None:
    assert probabilities(token(), odd) is None


@pytest.mark.parametrize("logprobs", [None, {}, {"content": None}, {"content": []}, {"content": {}}, [], 5, {"tokens": ["1"]}])
def test_no_probabilities(logprobs: Any) -> None:
    assert token_probabilities(answer(logprobs=logprobs)) is None


# Keys


def test_no_part_of_a_reply_holds_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    key = "sk-planted-0123456789"
    monkeypatch.setattr(secrets, "_known", {key})
    found = answer(
        [{"text": f"text {key[:9]}"}, {"text": f"{key[9:]} {key}"}],
        logprobs={"content": [token(key, -1, top_logprobs=[token(f"{key} ", -1)])]},
    )
    reply = reply_of({**found, "model": f"model {key}"}, "asked", "hash")
    assert key not in json.dumps(reply_to_json(reply))
    assert (reply.text, reply.model_served) == ("text [key] [key]", "model [key]")
    with pytest.raises(ModelResponseError) as caught:
        reply_of(answer(None, refusal=f"not with {key}"), "asked", "hash")
    assert str(caught.value) == "the model refused: not with [key]"
