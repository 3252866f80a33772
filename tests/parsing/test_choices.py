"""Choices as LLMs dress them; a number that is no option is an error."""

import pytest

from autolabel.errors import ModelResponseError
from autolabel.parsing import parse_choice


@pytest.mark.parametrize("text", ["7", " 7\n", "7.", "(7)", "**7**", "Option 7: boats", "The answer is 7, because 2 is broader."])
def test_the_first_number_is_the_choice(text: str) -> None:
    assert parse_choice(text, 10) == 7


@pytest.mark.parametrize(
    ("text", "n", "status", "message"),
    [
        ("", 10, "unparsable", "no number from 0 to 9"),
        ("seven", 10, "unparsable", "no number from 0 to 9"),
        ("10", 10, "unparsable", "chooses 10 where a number from 0 to 9"),
        ("07", 10, "unparsable", "chooses 07"),
        ("-1", 10, "unparsable", "chooses -1"),
        ("1.5", 10, "unparsable", r"chooses 1\.5"),
        ("4", 4, "unparsable", "chooses 4 where a number from 0 to 3"),
        ("9" * 500, 10, "unparsable", "chooses 9{20} where"),
        ("I'm sorry, but I can't say 7.", 10, "refused", "declines"),
    ],
)
def test_what_is_no_choice(text: str, n: int, status: str, message: str) -> None:
    with pytest.raises(ModelResponseError, match=message) as caught:
        parse_choice(text, n)
    assert caught.value.status == status
