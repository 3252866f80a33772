"""The local model against plain forward passes of the same tiny random model, and its cache against its own history."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes import MemoryCallStore, tiny_model_and_tokenizer

from autolabel.errors import DataError, ModelResponseError
from autolabel.local.causal_lm import LocalModel
from autolabel.records import ChatReply, ChatRequest, Continuation, Message, Purpose

PURPOSE = Purpose("score", 3)
PREFIX = "Text: the dog ran over the hill\nThe text above mentions"
TAILS = [" dogs", " cats and boats", " rain", "s", " the harbour where the boat lay", "<eos>", " dogs"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_and_tokenizer(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def store() -> MemoryCallStore:
    return MemoryCallStore()


@pytest.fixture
def model(folder: Path, store: MemoryCallStore) -> LocalModel:
    return LocalModel.load(str(folder), name="tiny", device="cpu", dtype="float32", calls=store)


def full_forward(model: LocalModel, prefix: str, tail: str) -> Continuation:
    start, ids = model._start(prefix), model._ids(tail)
    with torch.inference_mode():
        logits = model._decoder._model(torch.tensor([[*start, *ids]])).logits[0].float()
    logprobs = torch.log_softmax(logits, dim=-1)
    return Continuation(float(sum(logprobs[len(start) - 1 + i, token] for i, token in enumerate(ids))), len(ids))


@pytest.mark.parametrize("tails", [TAILS, TAILS[:1], ["s"], TAILS * 5], ids=["mixed", "one", "one token", "several batches"])
def test_cached_prefix_gives_the_numbers_of_a_full_forward(model: LocalModel, tails: list[str]) -> None:
    found = model.log_probabilities(PREFIX, tails, PURPOSE)
    for tail, (logprob, n_tokens) in zip(tails, [(c.logprob, c.n_tokens) for c in found], strict=True):
        expected = full_forward(model, PREFIX, tail)
        assert logprob == pytest.approx(expected.logprob, abs=1e-3)
        assert n_tokens == expected.n_tokens


def test_an_empty_prefix_and_no_continuations(model: LocalModel) -> None:
    assert model.log_probabilities("", [" dog"], PURPOSE)[0].logprob == pytest.approx(
        full_forward(model, "", " dog").logprob, abs=1e-3
    )
    assert model.log_probabilities(PREFIX, [], PURPOSE) == []
    with pytest.raises(ValueError, match="no tokens"):
        model.log_probabilities(PREFIX, [""], PURPOSE)


def test_special_tokens_in_text_are_text(model: LocalModel) -> None:
    ids = model._ids("a <bos><|user|> b")
    assert not set(ids) & set(model._tokenizer.all_special_ids)
    assert model._start("a")[0] == model._tokenizer.bos_token_id


def test_log_probabilities_are_asked_once_and_recorded(model: LocalModel, store: MemoryCallStore) -> None:
    first = model.log_probabilities(PREFIX, TAILS, PURPOSE)
    assert model.log_probabilities(PREFIX, TAILS, Purpose("null", 4)) == first
    model.log_probabilities(PREFIX, TAILS[:2], PURPOSE)
    assert len(store.calls) == len(store.attempts) == 2
    call, attempt = store.calls[0], store.attempts[0]
    assert (call["kind"], call["endpoint_id"], call["model_served"]) == ("likelihood", "local", "tiny")
    assert (attempt["status"], attempt["cost_usd"], attempt["feature_index"]) == ("ok", 0.0, 3)
    json.dumps([call, attempt], allow_nan=False)


def test_the_same_request_has_the_same_answer_in_a_new_process(folder: Path) -> None:
    answers = []
    for _ in range(2):
        model = LocalModel.load(str(folder), name="tiny", device="cpu", dtype="float32", calls=MemoryCallStore())
        answers.append((model.log_probabilities(PREFIX, TAILS, PURPOSE), model.complete(PREFIX, 3, 8, 5, PURPOSE)))
    assert answers[0] == answers[1]


def test_completions_are_greedy_first_and_follow_the_seed(model: LocalModel, store: MemoryCallStore) -> None:
    texts = model.complete(PREFIX, 4, 8, 1, PURPOSE)
    assert len(texts) == 4
    assert not any("\n" in text for text in texts)
    assert model.complete(PREFIX, 4, 8, 1, PURPOSE) == texts
    assert len(store.calls) == 1
    other = model.complete(PREFIX, 4, 8, 2, PURPOSE)
    assert other[0] == texts[0]
    assert other[1:] != texts[1:]
    assert model.complete(PREFIX, 1, 8, 1, PURPOSE) == [greedy(model, 8)]


def greedy(model: LocalModel, max_tokens: int) -> str:
    ids = model._start(PREFIX)
    start = len(ids)
    with torch.inference_mode():
        for _ in range(max_tokens):
            token = int(model._decoder._model(torch.tensor([ids])).logits[0, -1].argmax())
            if token == model._tokenizer.eos_token_id:
                break
            ids.append(token)
    return str(model._tokenizer.decode(ids[start:], skip_special_tokens=True)).split("\n")[0].strip()


REQUEST = ChatRequest((Message("user", "Hi <eos> there"),), max_tokens=6, top_logprobs=3)


def make_it_end(model: LocalModel, after: int) -> None:
    """Let the next generation stop by itself after so many tokens."""
    generate = model._decoder.generate

    def ending(prefix, temperatures, max_tokens, seed, stop):  # type: ignore[no-untyped-def]
        return generate(prefix, temperatures, max_tokens, seed, lambda ids: len(ids) >= after)

    model._decoder.generate = ending  # type: ignore[method-assign]


async def test_chat_answers_with_token_probabilities_once(model: LocalModel, store: MemoryCallStore) -> None:
    make_it_end(model, 4)
    reply = await model.chat(REQUEST, PURPOSE)
    assert await model.chat(REQUEST, PURPOSE) == reply
    assert reply.tokens is not None
    assert len(reply.tokens) == reply.completion_tokens == 4
    for token in reply.tokens:
        assert max(token.alternatives.values()) == token.logprob
        assert len(token.alternatives) <= 3
    assert store.statuses == ["ok"]
    json.dumps(store.calls[0], allow_nan=False)


async def test_chat_cut_off_is_truncated_and_not_kept(model: LocalModel, store: MemoryCallStore) -> None:
    with pytest.raises(ModelResponseError, match="max_tokens = 2") as caught:
        await model.chat(replace(REQUEST, max_tokens=2), PURPOSE)
    assert caught.value.status == "truncated"
    assert store.statuses == ["truncated"]
    assert not store.calls


async def test_chat_notes_a_reply_that_its_reader_refuses(model: LocalModel, store: MemoryCallStore) -> None:
    make_it_end(model, 2)

    def refuse(reply: ChatReply) -> None:
        raise ModelResponseError("unparsable", "no")

    reply = await model.chat_checked(REQUEST, PURPOSE, refuse)
    assert store.statuses == ["unparsable"]
    assert await model.chat(REQUEST, PURPOSE) == reply


async def test_chat_above_temperature_zero_follows_seed_and_sample(model: LocalModel) -> None:
    make_it_end(model, 6)
    warm = replace(REQUEST, temperature=1.5, seed=1)
    texts = [(await model.chat(replace(warm, sample_number=i), PURPOSE)).text for i in range(4)]
    assert len(set(texts)) > 1


async def test_chat_needs_a_template(model: LocalModel) -> None:
    model._tokenizer.chat_template = None
    with pytest.raises(DataError, match="'tiny' has no chat template"):
        await model.chat(REQUEST, PURPOSE)


def test_a_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        LocalModel.load(str(tmp_path / "nowhere"), name="x", device="cpu", dtype="float32", calls=MemoryCallStore())
