from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import pre_tokenizers

from autolabel.evidence.sources.tokens import BPE_ALPHABET, TokenReader, TokenStyle, detect_style, token_bytes

LETTERS = {byte: letter for letter, byte in BPE_ALPHABET.items()}


def bpe(piece: bytes) -> str:
    return "".join(LETTERS[bytes([byte])] for byte in piece)


def cut(text: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(min(at, len(text)) for at in cuts), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def test_the_alphabet_is_that_of_byte_level_bpe() -> None:
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    text = "".join(map(chr, range(256))) + "é ‘🐕’\n"
    pieces, _ = level.pre_tokenize_str(text)[0]
    assert token_bytes(pieces, "bpe") == text.encode()
    assert len(set(BPE_ALPHABET.values())) == 256


@given(st.text(), st.lists(st.integers(0, 200), max_size=12))
def test_any_text_cut_anywhere_into_bytes_reads_back_whole(text: str, cuts: list[int]) -> None:
    pieces = cut(text.encode(), cuts)
    read = TokenReader("bpe").read([bpe(piece) for piece in pieces])
    assert read.text == text
    assert len(read.bounds) == len(pieces) + 1
    assert (read.bounds[0], read.bounds[-1]) == (0, len(text))
    starts = np.cumsum([0, *(len(character.encode()) for character in text)])[:-1]
    ends = np.cumsum([0, *map(len, pieces)])
    for token, (first, last) in enumerate(pairwise(ends)):
        owned = [character for character, at in zip(text, starts, strict=True) if first <= at < last]
        assert read.text[read.bounds[token] : read.bounds[token + 1]] == "".join(owned)


def test_a_split_character_belongs_to_its_first_token() -> None:
    dog = "🐕".encode()
    read = TokenReader("sentencepiece").read(["▁a", *(f"<0x{byte:02X}>" for byte in dog), "s"])
    assert read.text == " a🐕s"
    assert read.bounds.tolist() == [0, 2, 3, 3, 3, 3, 4]


def test_bytes_that_are_no_text_are_replaced_one_by_one() -> None:
    read = TokenReader("bpe").read([bpe(b"\x80 x"), bpe(b"\xf0\x9f"), bpe(b" y")])
    assert read.text == "\N{REPLACEMENT CHARACTER} x\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER} y"
    assert read.bounds.tolist() == [0, 3, 5, 7]


def test_equal_tokens_have_equal_numbers_in_any_style_and_on_any_machine() -> None:
    written: list[tuple[TokenStyle, str]] = [("text", " dog"), ("bpe", "Ġdog"), ("sentencepiece", "▁dog")]
    numbers = [TokenReader(style).read([token]).token_ids for style, token in written]
    assert [number.tolist() for number in numbers] == [[401923348]] * 3
    assert numbers[0].dtype == np.int32
    assert (
        TokenReader("text").read(["a", "b", "a"]).token_ids.tolist()[::2] == TokenReader("bpe").read(["a", "a"]).token_ids.tolist()
    )


def test_the_memory_of_tokens_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.evidence.sources.tokens._MOST_KNOWN", 3)
    reader = TokenReader("text")
    assert reader.read(list("abcdefga")).text == "abcdefga"
    assert len(reader._known) <= 3


def test_long_tokens_are_read_but_not_remembered() -> None:
    reader = TokenReader("text")
    for _ in range(2):
        assert reader.read(["a" * 256, "b" * 257]).bounds.tolist() == [0, 256, 513]
    assert list(reader._known) == ["a" * 256]


@pytest.mark.parametrize(
    ("tokens", "style"),
    [
        (["The", "Ġdog", "Ċ", "Ġran", "    "], "bpe"),
        (["▁The", "▁dog", "\n", "s"], "sentencepiece"),
        (["The", " dog", " ran", "Ġ"], "text"),
        (["Ġur", " il-", " Ġnien", " kbir"], "text"),
        (["a", "b"], "text"),
        ([], "text"),
        (["", "Ġa"], "bpe"),
    ],
)
def test_the_style_is_told_from_blanks(tokens: list[str], style: TokenStyle) -> None:
    assert detect_style(tokens) == style


def test_leftovers_of_the_bpe_alphabet_are_mended_where_asked() -> None:
    tokens = [" don", "âĢĻ", "t", " łódź", "é", "Ã©"]
    assert TokenReader("text", mend=True).read(tokens).text == " don’t łódźéé"
    assert TokenReader("text").read(tokens).text == "".join(tokens)
    assert TokenReader("bpe", mend=True).read(["Ġa", "Ã©"]).text == " aé"


def test_surrogates_that_no_text_holds_are_replaced() -> None:
    read = TokenReader("text").read(["a\ud800", "b"])
    assert (read.text, read.bounds.tolist()) == ("a?b", [0, 2, 3])
