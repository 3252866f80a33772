"""Cache keys: everything that can change an answer, and nothing else."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.calls import chat_request_hash, completion_request_hash, likelihood_request_hash, reply_from_json, reply_to_json
from autolabel.records import AnsweredToken, ChatReply, ChatRequest, Message

REQUEST = ChatRequest((Message("user", "a"),), 5, 0.5, 3, {"type": "array"}, 1, 2, "sha256:p")
KEY = chat_request_hash("e", "m", REQUEST)


@pytest.mark.parametrize(
    "change",
    [
        {"messages": (Message("system", "a"),)},
        {"messages": (Message("user", "b"),)},
        {"max_tokens": 6},
        {"temperature": 0.6},
        {"top_logprobs": 0},
        {"json_schema": None},
        {"seed": None},
        {"sample_number": 3},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_changes_the_answer_changes_the_key(change: dict[str, object]) -> None:
    assert chat_request_hash("e", "m", replace(REQUEST, **change)) != KEY


def test_endpoint_and_model_are_in_the_key_and_the_prompt_file_is_not() -> None:
    assert len({KEY, chat_request_hash("f", "m", REQUEST), chat_request_hash("e", "n", REQUEST)}) == 3
    assert chat_request_hash("e", "m", replace(REQUEST, prompt_hash=None)) == KEY
    assert chat_request_hash("e", "m", replace(REQUEST, temperature=1)) == chat_request_hash(
        "e", "m", replace(REQUEST, temperature=1.0)
    )


def test_keys_of_local_requests_tell_their_parts_apart() -> None:
    keys = {
        likelihood_request_hash("m", "a", ["b"]),
        likelihood_request_hash("m", "a", ["b", ""]),
        likelihood_request_hash("m", "ab", [""]),
    }
    keys |= {completion_request_hash("m", "a", 1, 2, 3), completion_request_hash("m", "a", 1, 3, 2)}
    assert len(keys) == 5


@given(st.text(), st.lists(st.builds(AnsweredToken, st.text(), st.floats(-99, 0), st.dictionaries(st.text(), st.floats(-99, 0)))))
def test_a_reply_survives_the_store(text: str, tokens: list[AnsweredToken]) -> None:
    for given_tokens in (tuple(tokens), None):
        reply = ChatReply(text, "stop", "m", given_tokens, 3, 2, 1, "hash")
        assert reply_from_json(reply_to_json(reply), "hash") == reply
