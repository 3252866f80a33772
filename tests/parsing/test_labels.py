"""Labels as LLMs dress them, and what is no label."""

import pytest

from autolabel.errors import ModelResponseError
from autolabel.parsing import parse_label


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("dogs and cats", "dogs and cats"),
        ("\n\n  Label: dogs.\nbecause of", "dogs"),
        ("- dogs", "dogs"),
        ("1. dogs", "dogs"),
        ("**Label:** *dogs*", "dogs"),
        ("“Dogs”", "Dogs"),
        ("```\ndogs\n```", "dogs"),
        ('the word "dog"', 'the word "dog"'),
        ('"dog" and "cat"', '"dog" and "cat"'),
        ('closing quotation marks "', 'closing quotation marks "'),
        ("the << operator", "the << operator"),
        ("do\u202egs\x07 and\tcats", "dogs and cats"),
        ("ellipses such as ...", "ellipses such as ..."),
        ("1871", "1871"),
    ],
)
def test_labels_lose_their_dress_only(text: str, label: str) -> None:
    assert parse_label(text) == label


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("", "unparsable"),
        (' "" ', "unparsable"),
        ("x" * 201, "unparsable"),
        ("The <<dog>> ran", "unparsable"),
        ("Does not fire: the dog", "unparsable"),
        ("I'm sorry, but I can't help with that.", "refused"),
        ("I cannot", "refused"),
        ("As an AI language model", "refused"),
    ],
)
def test_what_is_no_label(text: str, status: str) -> None:
    with pytest.raises(ModelResponseError) as caught:
        parse_label(text)
    assert caught.value.status == status
