"""Recorded replies: written and read back whole, refused when they are anything else, and never made up."""

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from autolabel.calls import (
    Attempt,
    Usage,
    chat_request_hash,
    likelihood_request_hash,
    reply_to_json,
)
from autolabel.errors import DataError, ModelResponseError
from autolabel.records import AnsweredToken, ChatReply, ChatRequest, Continuation, Message, Purpose
from autolabel.store.run_store import RunStore
from autolabel.truth.replies import (
    FORMAT,
    NOT_RECORDED,
    Recorded,
    RecordedChat,
    RecordedLikelihood,
    TracedCalls,
    load_replies,
    write_replies,
)

ENDPOINT, MODEL, SMALL = "somewhere", "an-llm", "a-small-lm"
RECORDED = Recorded(ENDPOINT, MODEL, SMALL)
PURPOSE = Purpose("score", 3)
REPLIES = {
    ChatRequest((Message("system", "Be short."), Message("user", f"Question {n}?")), 8, sample_number=n): ChatReply(
        f"answer {n} “é”\n", "stop", MODEL, (AnsweredToken("1", -0.25 * n, {"0": -1.5}),) if n else None, 10 + n, 2, 3
    )
    for n in range(3)
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    with RunStore.open(tmp_path / "one.duckdb", "run-1") as opened:
        yield opened


def answer(calls: RunStore | TracedCalls) -> list[str]:
    """Record three chat replies and one of a small model, as live models do; their keys."""
    keys = []
    for request, reply in REPLIES.items():
        key = chat_request_hash(ENDPOINT, MODEL, request)
        attempt = Attempt.begin(key, ENDPOINT, MODEL, PURPOSE)
        usage = Usage(reply.prompt_tokens, reply.cached_tokens, reply.completion_tokens)
        calls.record(attempt.call_row("chat", reply_to_json(reply), MODEL, usage, "sha256:prompt"), attempt.row(usage))
        keys.append(key)
    key = likelihood_request_hash(SMALL, "prefix", ["yes", "no"])
    attempt = Attempt.begin(key, "local", SMALL, PURPOSE)
    reply_row = attempt.call_row("likelihood", {"logprobs": [-1.0, -2.5], "n_tokens": [1, 2]}, SMALL, Usage(7, 0, 0))
    calls.record(reply_row, attempt.row(Usage(7, 0, 0)))
    return [*keys, key]


@pytest.fixture
def written(store: RunStore, tmp_path: Path) -> Path:
    path = tmp_path / "replies.jsonl.xz"
    answer(store)
    assert write_replies(path, store, RECORDED) == 4
    return path


@pytest.fixture
def other(tmp_path: Path) -> Iterator[RunStore]:
    """Another database, without a reply."""
    with RunStore.open(tmp_path / "other.duckdb", "run-2") as opened:
        yield opened


async def test_what_was_recorded_is_replied(written: Path, other: RunStore) -> None:
    found = load_replies(written, other)
    assert found == RECORDED
    chat = RecordedChat(ENDPOINT, MODEL, TracedCalls(other))
    for request, reply in REPLIES.items():
        said = await chat.chat(request, PURPOSE)
        assert said.request_hash == chat_request_hash(ENDPOINT, MODEL, request)
        assert reply_to_json(said) == reply_to_json(reply)
    small = RecordedLikelihood(SMALL, TracedCalls(other))
    assert small.log_probabilities("prefix", ["yes", "no"], PURPOSE) == [Continuation(-1.0, 1), Continuation(-2.5, 2)]


def test_written_again_the_file_is_the_same(written: Path, other: RunStore, tmp_path: Path) -> None:
    load_replies(written, other)
    load_replies(written, other)
    again = tmp_path / "again.jsonl.xz"
    assert write_replies(again, other, RECORDED) == 4
    assert lzma.decompress(again.read_bytes()) == lzma.decompress(written.read_bytes())


def test_the_file_says_what_made_it_and_nothing_of_who_or_when(written: Path) -> None:
    header, *rows = [json.loads(line) for line in lzma.decompress(written.read_bytes()).decode().splitlines()]
    assert header == {"format": FORMAT, "endpoint_id": ENDPOINT, "model": MODEL, "likelihood_model": SMALL}
    assert [row["kind"] for row in rows] == ["chat"] * 3 + ["likelihood"]
    assert all({"run_id", "created_utc", "latency_ms"}.isdisjoint(row) for row in rows)


def test_replies_of_the_database_s_own_are_not_replaced(written: Path, other: RunStore) -> None:
    request = next(iter(REPLIES))
    key = chat_request_hash(ENDPOINT, MODEL, request)
    attempt = Attempt.begin(key, ENDPOINT, MODEL, PURPOSE)
    own = reply_to_json(ChatReply("own answer", "stop", MODEL))
    other.record(attempt.call_row("chat", own, MODEL, Usage(1, 0, 1)), attempt.row(Usage(1, 0, 1)))
    other.drain(30.0)
    load_replies(written, other)
    found = TracedCalls(other).get(key)
    assert found is not None
    assert found["text"] == "own answer"


@pytest.mark.parametrize(
    "request_",
    [
        ChatRequest((Message("user", "another question"),), 8),
        *(
            ChatRequest((Message("system", "Be short."), Message("user", "Question 1?")), **changed)
            for changed in (
                {"max_tokens": 9, "sample_number": 1},
                {"max_tokens": 8, "sample_number": 2},
                {"max_tokens": 8, "temperature": 0.5},
            )
        ),
    ],
)
async def test_a_question_that_was_not_asked_has_no_reply(written: Path, other: RunStore, request_: ChatRequest) -> None:
    load_replies(written, other)
    with pytest.raises(ModelResponseError, match=NOT_RECORDED) as caught:
        await RecordedChat(ENDPOINT, MODEL, TracedCalls(other)).chat(request_, PURPOSE)
    assert caught.value.status == "failed"


async def test_another_model_s_replies_are_not_its_own(written: Path, other: RunStore) -> None:
    load_replies(written, other)
    request, calls = next(iter(REPLIES)), TracedCalls(other)
    assert calls.holds(chat_request_hash(ENDPOINT, MODEL, request))
    for chat in (RecordedChat(ENDPOINT, "another-llm", calls), RecordedChat("elsewhere", MODEL, calls)):
        with pytest.raises(ModelResponseError, match=NOT_RECORDED):
            await chat.chat(request, PURPOSE)


def test_a_small_model_knows_only_what_was_recorded_and_completes_nothing(written: Path, other: RunStore) -> None:
    load_replies(written, other)
    small = RecordedLikelihood(SMALL, TracedCalls(other))
    with pytest.raises(ModelResponseError, match=NOT_RECORDED):
        small.log_probabilities("prefix", ["no", "yes"], PURPOSE)
    with pytest.raises(ModelResponseError, match=NOT_RECORDED):
        small.complete("prefix", 1, 5, 0, PURPOSE)


def lines(*values: Any) -> bytes:
    return lzma.compress("".join(json.dumps(value) + "\n" for value in values).encode())


HEADER = {"format": FORMAT, "endpoint_id": ENDPOINT, "model": MODEL, "likelihood_model": None}
ROW = {
    "request_hash": "00",
    "kind": "chat",
    "endpoint_id": ENDPOINT,
    "model_requested": MODEL,
    "model_served": MODEL,
    "prompt_hash": None,
    "reply": {"text": "x"},
    "prompt_tokens": 1,
    "cached_tokens": 0,
    "completion_tokens": 1,
}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot read the replies"),
        (b"plain text, not compressed", "cannot read the replies"),
        (lzma.compress(b""), "cannot read the replies"),
        (lzma.compress(b"not JSON"), "cannot read the replies"),
        (lzma.compress(b"\xff\xfe\x00"), "cannot read the replies"),
        (lzma.compress(b'{"format": "x"'), "cannot read the replies"),
        (lines([1, 2]), "cannot read the replies"),
        (lines("text"), "cannot read the replies"),
        (lines({}), "holds no recorded replies"),
        (lines({"format": "autolabel-replies-2"}), "holds no recorded replies"),
        (lines({"name": "package", "version": 1}, ROW), "holds no recorded replies"),
        (lines(HEADER, ROW, "text"), "line 3 of .* is no reply"),
        (lines(HEADER, []), "line 2 of .* is no reply"),
        (lines(HEADER, {name: value for name, value in ROW.items() if name != "reply"}), "line 2 of .* is no reply"),
        (lines(HEADER, {name: value for name, value in ROW.items() if name != "cached_tokens"}), "line 2 of .* is no reply"),
        (lzma.compress(lzma.decompress(lines(HEADER, ROW)) + b'{"request_hash"'), "cannot read the replies"),
    ],
)
def test_what_is_no_file_of_replies_is_refused_by_name(store: RunStore, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "others.xz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_replies(path, store)
    assert str(path) in str(caught.value)
    assert "--record wrote" in str(caught.value)


def test_a_missing_file_or_a_folder_is_refused_by_name(store: RunStore, tmp_path: Path) -> None:
    for path in (tmp_path / "missing.xz", tmp_path):
        with pytest.raises(DataError, match="cannot read the replies") as caught:
            load_replies(path, store)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95])
def test_a_file_that_was_cut_short_is_refused_and_nothing_of_it_kept(written: Path, other: RunStore, kept: float) -> None:
    whole = written.read_bytes()
    written.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(DataError, match="cannot read the replies"):
        load_replies(written, other)
    with other.database.read() as connection:
        assert connection.execute("SELECT count(*) FROM llm_calls").fetchall() == [(0,)]


def test_a_file_without_replies_is_one_of_none(other: RunStore, tmp_path: Path) -> None:
    path = tmp_path / "none.xz"
    assert write_replies(path, other, Recorded(None, None, None)) == 0
    assert load_replies(path, other) == Recorded(None, None, None)


def test_tokens_are_counted_for_what_a_part_needed(store: RunStore) -> None:
    calls = TracedCalls(store)
    keys = answer(calls)
    with calls.tracing() as first:
        assert calls.get(keys[0]) is not None
        assert calls.get("missing") is None
        with calls.tracing() as inner:
            assert set(calls.get_many([keys[1], "missing"])) == {keys[1]}
        assert calls.get(keys[3]) is not None
    assert (first, inner) == ({keys[0], keys[3]}, {keys[1]})
    assert calls.tokens(first) == (10 + 7, 2, 3)
    assert calls.tokens(inner) == (11, 2, 3)
    assert calls.tokens(set()) == (0, 0, 0)


def test_what_is_recorded_inside_a_part_is_counted_with_it(store: RunStore) -> None:
    calls = TracedCalls(store)
    with calls.tracing() as requests:
        keys = answer(calls)
    assert requests == set(keys)
    assert calls.tokens(requests) == (10 + 11 + 12 + 7, 6, 9)


def test_everything_else_is_the_store_s(store: RunStore) -> None:
    calls = TracedCalls(store)
    (key, *_) = answer(calls)
    assert calls.holds(key)
    assert calls.unusable(key) is None
    ticket = calls.sending(Attempt.begin("11", ENDPOINT, MODEL, PURPOSE).row(Usage()))
    calls.sent(ticket)
