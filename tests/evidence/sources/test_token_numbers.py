"""No two tokens of a source share a number, and none depends on the order in which tokens are met."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.evidence.sources import token_numbers
from autolabel.evidence.sources.token_numbers import TokenNumbers, plain_number
from autolabel.evidence.sources.tokens import TokenReader
from tests.evidence.sources.layouts import batches, opened, write
from tests.evidence.sources.test_delphi_cache import HOOKPOINT, MADE, cache
from tests.evidence.sources.test_neuronpedia_export import export, line, published


def settled(pieces: list[bytes]) -> TokenNumbers:
    numbers = TokenNumbers()
    for piece in pieces:
        numbers.of(piece)
    numbers.settle()
    return numbers


@pytest.fixture
def few_numbers(monkeypatch: pytest.MonkeyPatch) -> Callable[[bytes], int]:
    """Five plain numbers, the last two of all among them, so that nearly all tokens have to move, some beyond the end."""

    def plain(piece: bytes) -> int:
        return [0, 1, 2, (1 << 31) - 2, (1 << 31) - 1][sum(piece) % 5]

    monkeypatch.setattr(token_numbers, "plain_number", plain)
    return plain


def test_tokens_of_a_large_vocabulary_are_told_apart() -> None:
    pieces = [f" token{i}".encode() for i in range(128_000)]
    plain = list(map(plain_number, pieces))
    assert len(set(plain)) < len(plain)  # the case is a real one
    found = list(map(settled(pieces).of, pieces))
    assert len(set(found)) == len(found)
    assert sum(ours != theirs for ours, theirs in zip(found, plain, strict=True)) == len(plain) - len(set(plain))


@given(st.lists(st.binary(max_size=3), unique=True, max_size=40), st.randoms(use_true_random=False), st.integers(1, 50))
def test_numbers_do_not_depend_on_order_or_repetition(pieces: list[bytes], random: object, tidy_at: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(token_numbers, "plain_number", lambda piece: sum(piece) % 3)
        forward = settled(pieces)
        patch.setattr(token_numbers, "_TIDY_AT", tidy_at)
        random.shuffle(shuffled := pieces * 3)  # type: ignore[attr-defined]
        backward = settled(shuffled)
        found = [forward.of(piece) for piece in pieces]
        assert found == [backward.of(piece) for piece in pieces]
    assert len(set(found)) == len(pieces)
    assert all(0 <= number < 1 << 31 for number in found)


def test_the_first_by_hash_keeps_the_number(few_numbers: Callable[[bytes], int]) -> None:
    pieces = [bytes([5 * i]) for i in range(6)]
    numbers = settled(pieces)
    first = min(pieces, key=token_numbers.hash_of_piece)
    assert numbers.of(first) == few_numbers(first) == 0
    assert sorted(numbers.of(piece) for piece in pieces) == [0, 1, 2, 3, 4, 5]


def test_numbers_at_the_end_move_on_from_zero(few_numbers: Callable[[bytes], int]) -> None:
    pieces = [bytes([5 * i + 4]) for i in range(3)]
    numbers = settled(pieces)
    assert sorted(numbers.of(piece) for piece in pieces) == [0, 1, (1 << 31) - 1]


def test_tokens_are_tidied_up_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_numbers, "_TIDY_AT", 4)
    numbers = TokenNumbers()
    for _ in range(100):
        numbers.of(b"x")
    assert numbers._met is not None
    assert len(numbers._met[0]) <= 5
    numbers.settle()
    numbers.settle()
    assert numbers._met is None
    assert numbers.of(b"x") == plain_number(b"x")


@pytest.mark.usefixtures("few_numbers")
def test_the_tokens_of_a_source_have_numbers_of_their_own_whatever_its_order(tmp_path: Path) -> None:
    texts = [[f" {chr(65 + i)}{j}" for j in range(5)] for i in range(6)]

    def numbers(name: str, order: list[list[str]]) -> dict[str, int]:
        source = opened(write(tmp_path / name, [(i, "a", text) for i, text in enumerate(order)], []), d_sae=1)
        documents = [context.document for skip in (0, 3) for batch in batches(source, 2, skip) for context in batch.contexts]
        found = {
            (document.text[start:end], int(number))
            for document in documents
            for start, end, number in zip(document.bounds[:-1], document.bounds[1:], document.token_ids, strict=True)
        }
        assert len(found) == 30 == len(dict(found))
        assert len({number for _, number in found}) == 30
        return dict(found)

    assert numbers("forward", texts) == numbers("backward", texts[::-1])


def test_numbers_fit_into_an_int32() -> None:
    assert TokenReader("text").read(["a", "b"]).token_ids.dtype == np.int32


@pytest.mark.usefixtures("few_numbers")
@pytest.mark.parametrize("kind", ["delphi", "neuronpedia"])
def test_the_tokens_of_foreign_files_have_numbers_of_their_own(tmp_path: Path, kind: str) -> None:
    lines = [[line("0", [f" {number}:{i}" for i in range(20)], [1.0] * 20)] for number in range(2)]
    source = cache(MADE / HOOKPOINT) if kind == "delphi" else published(export(tmp_path / "s", *lines))
    documents = [context.document for batch in batches(source) for context in batch.contexts]
    found = {
        (document.text[start:end], int(number))
        for document in documents
        for start, end, number in zip(document.bounds[:-1], document.bounds[1:], document.token_ids, strict=True)
        if document.text[start:end].isascii() and end > start
    }
    assert len(found) == len(dict(found)) == len({number for _, number in found}) >= 30
