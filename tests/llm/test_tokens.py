"""Counting tokens: a bound that holds, estimates that say how wrong they may be, and servers and tokenizers that know."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import DataError
from autolabel.llm.server_counter import ServerCounter
from autolabel.llm.tokens import DEFAULT_ERROR, default_tokens, fit, input_bound, input_bytes
from autolabel.local.tokenizing import TOKENS_PER_MESSAGE, TokenizerCounter
from autolabel.records import Message
from tests.fakes import tiny_model_and_tokenizer

TALK = (Message("system", "Say what you see."), Message("user", "a naïve café 🛶"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_and_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def counter(folder: Path) -> TokenizerCounter:
    return TokenizerCounter.load(str(folder))


def test_bytes_are_those_of_utf_8() -> None:
    assert input_bytes(TALK) == len("Say what you see.") + 19


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_the_bound_holds_for_any_text(contents: list[str]) -> None:
    messages = [Message("user", content.encode("utf-8", "replace").decode()) for content in contents]
    n_bytes = input_bytes(messages)
    bound = input_bound(messages)
    assert bound >= n_bytes + 8 * len(messages) + 75
    assert input_bound(messages, {"type": "array"}) == bound + len('{"type":"array"}')


def test_the_bound_holds_for_a_tokenizer_of_single_bytes(counter: TokenizerCounter) -> None:
    messages = [Message("user", "\x00\x01ÿ€🛶" * 20), Message("assistant", "zq" * 30), Message("user", "")]
    assert counter.count(messages) <= input_bound(messages)


def test_a_tokenizer_counts_what_its_template_renders(counter: TokenizerCounter) -> None:
    tokenizer = counter._tokenizer
    rendered = "<|system|>Say what you see.\n<|user|>a naïve café 🛶\n<|assistant|>"
    assert counter.is_exact
    assert counter.count(TALK) == len(tokenizer(rendered, add_special_tokens=False)["input_ids"])


@pytest.mark.parametrize("template", [None, "{{ raise_exception('System role not supported') }}"])
def test_without_a_template_that_works_contents_are_counted(folder: Path, template: str | None) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = template
    counter = TokenizerCounter(tokenizer)
    assert not counter.is_exact
    contents = [len(tokenizer(message.content, add_special_tokens=False)["input_ids"]) for message in TALK]
    assert counter.count(TALK) == sum(contents) + 2 * TOKENS_PER_MESSAGE


def test_a_tokenizer_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot load a tokenizer from '.*nothing'.*leave out llm\.tokenizer"):
        TokenizerCounter.load(str(tmp_path / "nothing"))


def test_english_prompts_have_about_a_quarter_of_a_token_per_byte() -> None:
    text = "The council voted to widen the cycle path along the canal. " * 40
    assert default_tokens([Message("user", text)]) == pytest.approx(0.26 * len(text) + 4)
    assert 0.2 < DEFAULT_ERROR < 0.3


def test_a_fit_gives_back_what_was_counted_and_is_surer_the_more_was() -> None:
    counted = [(1000, 260 + i % 5) for i in range(50)]
    few, many = fit(counted[:5]), fit(counted)
    assert many.tokens(many.mean_bytes) == pytest.approx(sum(tokens for _, tokens in counted) / 50)
    assert many.error(many.mean_bytes) < few.error(few.mean_bytes) < 10
    assert many.error(3000) > 0.05 * 1900, "far from what was counted the slope may be wrong"
    with pytest.raises(ValueError, match="no request was counted"):
        fit([])


@given(
    st.floats(min_value=0.19, max_value=0.28),
    st.integers(min_value=1, max_value=40),
    st.integers(min_value=600, max_value=6000),
    st.integers(min_value=600, max_value=6000),
)
def test_the_error_of_a_fit_covers_texts_of_another_length(slope: float, n: int, here: int, there: int) -> None:
    counted = [(here, round(40 + slope * here))] * n
    found = fit(counted)
    assert abs(found.tokens(there) - (40 + slope * there)) <= found.error(there) + 1


Handler = Callable[[httpx2.Request], httpx2.Response]


@pytest.fixture
def asked() -> list[tuple[str, dict[str, Any]]]:
    return []


def server_counter(asked: list[tuple[str, dict[str, Any]]], answers: dict[str, Any], base_url: str) -> ServerCounter:
    def answer(request: httpx2.Request) -> httpx2.Response:
        path, content = request.url.path, json.loads(request.content)
        asked.append((path, content))
        found = answers.get(path)
        if callable(found):
            found = found(content)
        if isinstance(found, Exception):
            raise found
        return httpx2.Response(404, text="no") if found is None else httpx2.Response(200, json=found)

    return ServerCounter(base_url, "m", httpx2.AsyncClient(transport=httpx2.MockTransport(answer)))


def llama_cpp() -> dict[str, Any]:
    """Answers every /tokenize, with no tokens where it finds no content."""
    return {
        "/apply-template": {"prompt": "<s>rendered"},
        "/tokenize": lambda content: {"tokens": list(range(17)) if content.get("content") == "<s>rendered" else []},
    }


def failing() -> Iterator[Any]:
    yield httpx2.ConnectError("refused")
    yield ["no object"]
    yield {"count": "many"}


async def test_vllm_counts_messages(asked: list[tuple[str, dict[str, Any]]]) -> None:
    counter = server_counter(asked, {"/tokenize": {"count": 42, "max_model_len": 8192, "tokens": []}}, "http://llm.test/v1/")
    assert await counter.count(TALK) == 42
    turns = [{"role": "system", "content": TALK[0].content}, {"role": "user", "content": TALK[1].content}]
    assert asked == [("/tokenize", {"model": "m", "messages": turns})]


async def test_llama_cpp_counts_its_own_rendering(asked: list[tuple[str, dict[str, Any]]]) -> None:
    counter = server_counter(asked, llama_cpp(), "http://llm.test")
    assert await counter.count(TALK) == 17
    assert [path for path, _ in asked] == ["/tokenize", "/apply-template", "/tokenize"]


async def test_an_address_below_a_path_is_kept(asked: list[tuple[str, dict[str, Any]]]) -> None:
    counter = server_counter(asked, {"/proxy/tokenize": {"count": 1}}, "http://llm.test/proxy/v1")
    assert await counter.count(TALK) == 1


@pytest.mark.parametrize("answer", [None, *failing()])
async def test_a_server_that_cannot_count_stops_nobody(answer: Any, asked: list[tuple[str, dict[str, Any]]]) -> None:
    counter = server_counter(asked, {"/tokenize": answer, "/apply-template": answer}, "http://llm.test/v1")
    assert await counter.count(TALK) is None
