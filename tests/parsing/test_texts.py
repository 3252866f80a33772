"""Texts as LLMs number and dress them; what is no text is left out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autolabel.errors import ModelResponseError
from autolabel.parsing import parse_texts

TEXTS = ["The hive hummed.", "She said: wait."]


@pytest.mark.parametrize(
    "reply",
    [
        "1. The hive hummed.\n2. She said: wait.",
        "1) The hive hummed.\n\n2) She said: wait.\n",
        "Here are two sentences.\n1. The hive hummed.\n2. She said: wait.\nI hope this helps!",
        "- The hive hummed.\n- She said: wait.",
        '1: "The hive hummed."\n2: “She said: wait.”',
        "**1.** The **hive** hummed.\n**2.** She said:\twait.",
        "```\n1. The hive hummed.\n2. She said: wait.\n```",
        "The hive hummed.\nShe said: wait.",
        "Texts:\nThe hive hummed.\nShe said: wait.",
        "1. The hive hummed.\n2. The hive hummed.\n3. ...\n4. She said: wait.",
        f"1. {'x' * 401}\n2. The hive hummed.\n3. She said: wait.\n4.",
    ],
)
def test_texts_lose_their_dress_only(reply: str) -> None:
    assert parse_texts(reply, 5) == TEXTS


def test_no_more_texts_than_asked() -> None:
    assert parse_texts("1. The hive hummed.\n2. She said: wait.", 1) == TEXTS[:1]


def test_a_text_may_sound_like_a_refusal() -> None:
    assert parse_texts("1. I'm sorry about the hive.", 1) == ["I'm sorry about the hive."]


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ("", "unparsable"),
        ("```\n```", "unparsable"),
        ("Here are the texts:", "unparsable"),
        ("1. ...\n2. ---", "unparsable"),
        ("x" * 401, "unparsable"),
        ("I cannot help with that.", "refused"),
    ],
)
def test_a_reply_without_a_text(reply: str, status: str) -> None:
    with pytest.raises(ModelResponseError) as caught:
        parse_texts(reply, 5)
    assert caught.value.status == status


@given(st.lists(st.from_regex(r"[A-Z][a-z]{0,9}( [a-z]{1,9}){1,9}\.", fullmatch=True), min_size=1, max_size=9, unique=True))
def test_numbered_texts_come_back(texts: list[str]) -> None:
    assert parse_texts("\n".join(f"{number}. {text}" for number, text in enumerate(texts, 1)), len(texts)) == texts
