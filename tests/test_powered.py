"""Scores of a judge that is asked about some tiles only: what the cheap scorer adds, and what it must never take away."""

from typing import Any

import numpy as np
import pytest

from autolabel.metrics import label_score
from autolabel.powered import powered_label_score
from autolabel.ranking import Exam

TILES, JUDGED = 60, 14
STRATA = np.repeat(["firing", "hard", "random"], TILES)
DOCUMENTS = np.random.default_rng(3).integers(0, 90, len(STRATA))


def exams(shared: float, n: int = 60) -> Any:
    """A judge and a cheap scorer with errors that are alike to this degree, and what each way of scoring makes of a draw."""
    generator = np.random.default_rng(0)
    for _ in range(n):
        common, own, other = generator.normal(size=(3, len(STRATA)))
        fires = STRATA == "firing"
        judge = fires + np.sqrt(shared) * common + np.sqrt(1 - shared) * own
        cheap = fires + np.sqrt(shared) * common + np.sqrt(1 - shared) * other
        drawn = np.zeros(len(STRATA), dtype=bool)
        for group in range(3):
            drawn[generator.choice(np.arange(group * TILES, (group + 1) * TILES), JUDGED, replace=False)] = True
        exact = (3 * float(Exam.of(STRATA, DOCUMENTS).average_precision(judge)[0]) - 1) / 2
        powered = powered_label_score(judge[drawn], cheap, drawn, STRATA, DOCUMENTS, 0)
        plain = label_score(judge[drawn], STRATA[drawn], DOCUMENTS[drawn], 0)
        yield exact, powered, plain


def errors(shared: float) -> tuple[float, float, float]:
    """Root mean square error with and without the cheap scorer, and the share of intervals that hold the exact score."""
    found = [(p.value - exact, q.value - exact, p.low <= exact <= p.high) for exact, p, q in exams(shared)]
    powered, plain, held = (np.array(column, dtype=float) for column in zip(*found, strict=True))
    return float(np.sqrt((powered**2).mean())), float(np.sqrt((plain**2).mean())), float(held.mean())


def test_a_cheap_scorer_that_errs_alike_steadies_the_score() -> None:
    powered, plain, held = errors(0.9)
    assert powered < 0.7 * plain
    assert held >= 0.9


def test_a_cheap_scorer_that_errs_otherwise_costs_nothing() -> None:
    powered, plain, held = errors(0.0)
    assert powered < 1.1 * plain
    assert held >= 0.9


def test_where_all_tiles_are_judged_the_cheap_scorer_changes_nothing() -> None:
    generator = np.random.default_rng(1)
    judge, cheap = generator.normal(size=(2, len(STRATA)))
    found = powered_label_score(judge, cheap, np.ones(len(STRATA), dtype=bool), STRATA, DOCUMENTS, 0)
    assert found.value == pytest.approx(label_score(judge, STRATA, DOCUMENTS, 0).value)


def test_a_flawless_judge_has_an_interval_with_width() -> None:
    flawless = (STRATA == "firing").astype(float)
    drawn = np.tile(np.arange(TILES) < JUDGED, 3)
    found = powered_label_score(flawless[drawn], flawless, drawn, STRATA, DOCUMENTS, 0)
    assert found.value == pytest.approx(1.0)
    assert found.low is not None
    assert found.low < 0.97


def test_too_few_judged_tiles_give_no_score_and_say_so() -> None:
    drawn = np.tile(np.arange(TILES) < 9, 3)
    found = powered_label_score(np.zeros(27), np.zeros(len(STRATA)), drawn, STRATA, DOCUMENTS, 0)
    assert found.value is None
    assert "9 firing" in str(found.reason)


def test_flags_of_another_length_are_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="expected one for each"):
        powered_label_score([0.0], np.zeros(len(STRATA)), [1], STRATA, DOCUMENTS, 0)
