import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.hashing import canonical_json, combine, content_id, document_hash, mix, normalised, text_hash

WORDS = st.integers(0, 2**64 - 1)


def test_ids_do_not_depend_on_the_order_of_keys() -> None:
    assert content_id("label", {"a": 1, "b": [2]}) == content_id("label", {"b": [2], "a": 1})


def test_ids_differ_by_kind_and_by_value() -> None:
    assert len({content_id("a", 1), content_id("b", 1), content_id("a", 2), content_id("a", "1"), content_id("a", None)}) == 5


def test_an_id_is_the_same_on_every_machine() -> None:
    assert content_id("label", {"text": "naïve", "n": 1.5}) == "d4765889816909e4b78784576877586b"


def test_nan_has_no_id() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical_json(float("nan"))


def test_prompt_hashes_ignore_windows_line_ends() -> None:
    assert text_hash("a\r\nb") == text_hash("a\nb") != text_hash("a b")
    assert text_hash("").startswith("sha256:")


@given(st.text(), st.text(alphabet=" \t\n\u00a0", min_size=1))
def test_white_space_and_case_do_not_make_another_document(text: str, blank: str) -> None:
    assert document_hash(blank + text.upper().lower().replace(" ", blank) + blank) == document_hash(text.upper().lower())
    assert normalised(normalised(text)).split() == normalised(normalised(text)).split()


@given(st.lists(WORDS, min_size=1, max_size=50, unique=True))
def test_mix_is_a_bijection(words: list[int]) -> None:
    assert len(set(mix(np.array(words, dtype=np.uint64)).tolist())) == len(words)


@given(WORDS, WORDS)
def test_combine_is_the_same_for_numbers_and_arrays(a: int, b: int) -> None:
    one = int(combine(3, a, b))
    many = combine(3, np.array([a, a], dtype=np.uint64), np.array([b, b], dtype=np.uint64))
    assert many.tolist() == [one, one]
    assert a == b or int(combine(a, b)) != int(combine(b, a))


def test_combine_broadcasts_and_takes_signed_arrays() -> None:
    assert combine(1, np.arange(3)[:, None].astype(np.uint64), np.arange(2).astype(np.uint64)).shape == (3, 2)
    assert combine(np.array([-1])).tolist() == combine(np.array([2**64 - 1], dtype=np.uint64)).tolist()


def test_every_bit_of_a_combination_is_fair() -> None:
    words = combine(5, np.arange(20_000, dtype=np.uint64))
    bits = (words[:, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    assert np.abs(bits.mean(0) - 0.5).max() < 0.02
