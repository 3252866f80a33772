"""Recorded replies: written and read back whole, refused when they are anything else, and never made up."""

import json
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def opened(folder: Path) -> Iterator[RunStore]:
    with RunStore.open(folder / "replies.duckdb", "run-1") as store:
        yield store


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of four replies."""
    folder = tmp_path_factory.mktemp("written")
    with opened(folder) as store:
        answer(store)
        assert write_replies(folder / "replies.jsonl.xz", store, RECORDED) == 4
    return folder / "replies.jsonl.xz"


@pytest.fixture(scope="module")
def loaded(written: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunStore]:
    """A new database into which they were put."""
    with opened(tmp_path_factory.mktemp("loaded")) as store:
        assert load_replies(written, store) == RECORDED
        yield store


@pytest.fixture(scope="module")
def calls(loaded: RunStore) -> TracedCalls:
    return TracedCalls(loaded)


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunStore]:
    """A database that stays without a reply."""
    with opened(tmp_path_factory.mktemp("empty")) as store:
        yield store
        with store.database.read() as connection:
            assert connection.execute("SELECT count(*) FROM llm_calls").fetchall() == [(0,)]


async def test_what_was_recorded_is_replied(calls: TracedCalls) -> None:
    chat = RecordedChat(ENDPOINT, MODEL, calls)
    for request, reply in REPLIES.items():
        said = await chat.chat(request, PURPOSE)
        assert said.request_hash == chat_request_hash(ENDPOINT, MODEL, request)
        assert reply_to_json(said) == reply_to_json(reply)
    small = RecordedLikelihood(SMALL, calls)
    assert small.log_probabilities("prefix", ["yes", "no"], PURPOSE) == [Continuation(-1.0, 1), Continuation(-2.5, 2)]


def test_written_again_the_file_is_the_same(written: Path, loaded: RunStore, tmp_path: Path) -> None:
    load_replies(written, loaded)
    again = tmp_path / "again.jsonl.xz"
    assert write_replies(again, loaded, RECORDED) == 4
    assert lzma.decompress(again.read_bytes()) == lzma.decompress(written.read_bytes())


def test_the_file_says_what_made_it_and_nothing_of_who_or_when(written: Path) -> None:
    header, *rows = [json.loads(line) for line in lzma.decompress(written.read_bytes()).decode().splitlines()]
    wanted = {"format": FORMAT, "endpoint_id": ENDPOINT, "model": MODEL, "likelihood_model": SMALL}
    assert {name: header[name] for name in wanted} == wanted
    assert [row["kind"] for row in rows] == ["chat"] * 3 + ["likelihood"]
    assert all({"run_id", "created_utc", "latency_ms"}.isdisjoint(row) for row in rows)


def test_replies_of_the_database_s_own_are_not_replaced(written: Path, tmp_path: Path) -> None:
    request = next(iter(REPLIES))
    key = chat_request_hash(ENDPOINT, MODEL, request)
    attempt = Attempt.begin(key, ENDPOINT, MODEL, PURPOSE)
    own = reply_to_json(ChatReply("own answer", "stop", MODEL))
    with opened(tmp_path) as store:
        store.record(attempt.call_row("chat", own, MODEL, Usage(1, 0, 1)), attempt.row(Usage(1, 0, 1)))
        store.drain(30.0)
        load_replies(written, store)
        found = TracedCalls(store).get(key)
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
async def test_a_question_that_was_not_asked_has_no_reply(calls: TracedCalls, request_: ChatRequest) -> None:
    with pytest.raises(ModelResponseError, match=NOT_RECORDED) as caught:
        await RecordedChat(ENDPOINT, MODEL, calls).chat(request_, PURPOSE)
    assert caught.value.status == "failed"


async def test_another_model_s_replies_are_not_its_own(calls: TracedCalls) -> None:
    request = next(iter(REPLIES))
    assert calls.holds(chat_request_hash(ENDPOINT, MODEL, request))
    for chat in (RecordedChat(ENDPOINT, "another-llm", calls), RecordedChat("elsewhere", MODEL, calls)):
        with pytest.raises(ModelResponseError, match=NOT_RECORDED):
            await chat.chat(request, PURPOSE)


def test_a_small_model_knows_only_what_was_recorded_and_completes_nothing(calls: TracedCalls) -> None:
    small = RecordedLikelihood(SMALL, calls)
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
    "reply": {
        "text": "x",
        "finish_reason": "stop",
        "model_served": "m",
        "tokens": None,
        "prompt_tokens": 1,
        "cached_tokens": 0,
        "completion_tokens": 1,
    },
    "prompt_tokens": 1,
    "cached_tokens": 0,
    "completion_tokens": 1,
}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot read the replies"),
        (b"plain text, not compressed", "cannot read the replies"),
        (lzma.compress(b""), "holds no recorded replies"),
        (lzma.compress(b"not JSON"), "cannot read the replies"),
        (lzma.compress(b"\xff\xfe\x00"), "cannot read the replies"),
        (lzma.compress(b'{"format": "x"'), "cannot read the replies"),
        (lines([1, 2]), "holds no recorded replies"),
        (lines("text"), "holds no recorded replies"),
        (lines({}), "holds no recorded replies"),
        (lines({"format": "autolabel-replies-2"}), "holds no recorded replies"),
        (lines({"name": "package", "version": 1}, ROW), "holds no recorded replies"),
        (lines(HEADER, ROW, "text"), "line 3 of .* is no recorded reply"),
        (lines(HEADER, []), "line 2 of .* is no recorded reply"),
        (lines(HEADER, {name: value for name, value in ROW.items() if name != "reply"}), "line 2 of .* is no recorded reply"),
        (
            lines(HEADER, {name: value for name, value in ROW.items() if name != "cached_tokens"}),
            "line 2 of .* is no recorded reply",
        ),
        (lzma.compress(lzma.decompress(lines(HEADER, ROW)) + b'{"request_hash"'), "cannot read the replies"),
        (lines(HEADER, ROW | {"reply": {"text": "x"}}), "line 2 of .* is no recorded reply"),
        (lines(HEADER, ROW | {"reply": None}), "line 2 of .* is no recorded reply"),
        (lines(HEADER, ROW | {"kind": "mail"}), "line 2 of .* is no recorded reply .*kind is 'mail'"),
        (lines(HEADER, ROW | {"prompt_tokens": "many"}), "line 2 of .* is no recorded reply"),
        (lines(HEADER, ROW | {"kind": "likelihood"}), "line 2 of .* is no recorded reply"),
        (lzma.compress(lzma.decompress(lines(HEADER)) + b"[" * 200_000), "cannot read the replies"),
    ],
)
def test_what_is_no_file_of_replies_is_refused_by_name(empty: RunStore, tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "others.xz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        load_replies(path, empty)
    assert str(path) in str(caught.value)
    assert "--record wrote" in str(caught.value)


def test_a_missing_file_or_a_folder_is_refused_by_name(empty: RunStore, tmp_path: Path) -> None:
    for path in (tmp_path / "missing.xz", tmp_path):
        with pytest.raises(DataError, match="cannot read the replies") as caught:
            load_replies(path, empty)
        assert str(path) in str(caught.value)


@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95])
def test_a_file_that_was_cut_short_is_refused(written: Path, empty: RunStore, tmp_path: Path, kept: float) -> None:
    whole = written.read_bytes()
    path = tmp_path / "short.xz"
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(DataError, match="cannot read the replies"):
        load_replies(path, empty)


def test_a_file_without_replies_is_one_of_none(empty: RunStore, tmp_path: Path) -> None:
    path = tmp_path / "none.xz"
    assert write_replies(path, empty, Recorded(None, None, None)) == 0
    assert load_replies(path, empty) == Recorded(None, None, None)


def test_tokens_are_counted_for_what_a_part_needed(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        calls = TracedCalls(store)
        with calls.tracing() as every:
            keys = answer(calls)
        assert every == set(keys), "what is recorded inside a part counts as needed by it"
        with calls.tracing() as first:
            assert calls.get(keys[0]) is not None
            assert calls.get("missing") is None
            with calls.tracing() as inner:
                assert set(calls.get_many([keys[1], "missing"])) == {keys[1]}
            assert calls.get(keys[3]) is not None
        assert (first, inner) == ({keys[0], keys[3]}, {keys[1]})
        assert calls.tokens(every) == (10 + 11 + 12 + 7, 6, 9)
        assert calls.tokens(first) == (10 + 7, 2, 3)
        assert calls.tokens(inner) == (11, 2, 3)
        assert calls.tokens(set()) == (0, 0, 0)
        assert calls.holds(keys[0])
        assert calls.unusable(keys[0]) is None
