"""Judges compared on the labels that all of them have scored, and scores on one judge's own scale."""

from typing import Any

import numpy as np
import pytest

from autolabel.truth.agreement_table import markdown
from autolabel.truth.one_exam import compared
from autolabel.truth.repeatability import ALL_JUDGES, TRUE, TURNS, Repeatability, agreement
from autolabel.truth.score_table import Pair


def pair(index: int, relation: Any, value: float | None) -> Pair:
    return Pair(index, "words", relation, value, None, None, 1.0)


def test_judges_are_compared_on_what_all_have_scored() -> None:
    generator = np.random.default_rng(0)
    truth = {(i, r): float(generator.uniform()) for i in range(30) for r in ("true", "broader", "wrong")}
    first = [pair(*key, value) for key, value in truth.items()]
    second = [pair(*key, 5 * value + 2) for key, value in truth.items() if key != (3, "broader")]
    third = [pair(i, r, None if i == 7 else float(generator.uniform())) for i, r in truth if r != "wrong"]
    first += [pair(i, "wrong", 0.5) for i in range(30)]  # two wrong labels of a feature cannot be told apart here
    rows = {(row.labels, row.judge): row for row in compared({"a": first, "b": second, "c": third})}
    assert {judge for _, judge in rows} == {"a and b", "a and c", "b and c", ALL_JUDGES}
    assert rows[TRUE, "a and b"].n == 29, "c says nothing of feature 7"
    assert rows[TURNS, "a and b"].single.value == pytest.approx(1)
    unlike = rows[TRUE, "a and c"].single.value
    assert unlike is not None
    assert unlike < 0.5


def test_one_judge_or_one_label_cannot_be_compared() -> None:
    several = [pair(i, "true", i / 10) for i in range(5)]
    assert compared({}) == compared({"a": several}) == []
    assert compared({"a": several[:1], "b": several[:1]}) == []
    assert compared({"a": several, "b": [pair(i, "true", None) for i in range(5)]}) == []


def test_the_table_stands_below_that_of_the_halves() -> None:
    several = [pair(i, "true", i / 10) for i in range(9)]
    text = markdown(Repeatability(0, (1, 1), 0, 0, {}), compared({"a": several, "b": several}))
    assert "Too few features were scored everywhere for any number." in text
    assert text.index("## Judges on the benchmark's own exam") < text.index("| right labels | a and b | 9 | 1.00")


def test_one_judge_alone_is_taken_at_its_word() -> None:
    """A half in which every label scores lower counts against absolute agreement."""
    generator = np.random.default_rng(0)
    scores = generator.uniform(0, 1, (40, 1, 1, 1)) + 0.02 * generator.standard_normal((40, 1, 2, 2))
    scores[:, :, 1] -= 1.0
    found = agreement(TRUE, "alone", scores)
    assert found.single.value is not None
    assert found.single.value < 0.4
    assert found.shares["h"] > 0.5
    assert sum(found.shares.values()) == pytest.approx(1)
