"""Numbers that a reply lists: named ones count, and anything else is no list."""

import pytest

from autolabel.errors import ModelResponseError
from autolabel.parsing import named_numbers


@pytest.mark.parametrize(
    ("reply", "named"), [("1, 3", {1, 3}), ("1, 2 and 4.", {1, 2, 4}), ("None", set()), ("None.\n", set()), ("2, 99", {2})]
)
def test_numbers_that_are_named(reply: str, named: set[int]) -> None:
    assert named_numbers(reply, 4) == [number in named for number in (1, 2, 3, 4)]


@pytest.mark.parametrize("reply", ["Examples 1 and 3", "1; 3", "-1", "1.5", "²"])
def test_anything_else_is_no_list(reply: str) -> None:
    with pytest.raises(ModelResponseError, match="no list of numbers"):
        named_numbers(reply, 4)
