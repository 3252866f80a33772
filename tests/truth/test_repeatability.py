"""How repeatable scores are, told from scores that are made up."""

import numpy as np

from autolabel.truth.agreement_table import markdown
from autolabel.truth.repeatability import ALL_JUDGES, NEAR, TRUE, TURNS, Repeatability, agreements

FEATURES = 40


def made_up(noise: float) -> np.ndarray:
    """Scores of (feature, label, judge, half, draw): what belongs to the feature, and noise beside it."""
    generator = np.random.default_rng(0)
    own = generator.normal(size=(FEATURES, 2, 1, 1, 1))
    return np.asarray(own + noise * generator.normal(size=(FEATURES, 2, 2, 2, 2)))


def test_scores_that_hang_on_the_feature_alone_agree_and_noise_does_not() -> None:
    for noise, low, high in ((0.1, 0.95, 1.0), (1.0, 0.3, 0.7), (20.0, -0.2, 0.2)):
        row = next(row for row in agreements(made_up(noise), ["a", "b"]) if (row.labels, row.judge) == (TURNS, ALL_JUDGES))
        assert row.single.value is not None
        assert low <= row.single.value <= high
        assert row.mean.value is not None
        assert row.mean.value >= row.single.value


def test_a_judge_on_another_scale_agrees_all_the_same() -> None:
    scores = made_up(0.1)
    scores[:, :, 1] = 5 * scores[:, :, 1] + 3
    row = next(row for row in agreements(scores, ["a", "b"]) if (row.labels, row.judge) == (TRUE, ALL_JUDGES))
    assert row.single.value is not None
    assert row.single.value > 0.95


def test_every_choice_of_labels_has_a_row_for_each_judge_and_for_all() -> None:
    rows = agreements(made_up(0.5), ["a", "b"])
    assert [(row.labels, row.judge) for row in rows] == [
        (labels, judge) for labels in (TURNS, TRUE, NEAR) for judge in ("a", "b", ALL_JUDGES)
    ]
    assert [row.judge for row in agreements(made_up(0.5)[:, :, :1], ["a"])] == ["a", "a", "a"]


def test_the_table_says_whether_the_target_is_reached() -> None:
    for noise, verdict in ((0.1, "is reached"), (1.0, "is missed")):
        found = Repeatability(0, (10, 12), 1, 2, {"a": "one", "b": "two"}, agreements(made_up(noise), ["a", "b"]))
        text = markdown(found, [])
        assert verdict in text
        assert "1 features without an exam in every place and 2 without a score" in text


def test_with_one_judge_nothing_is_said_of_the_target() -> None:
    found = Repeatability(0, (10, 12), 0, 0, {"a": "one"}, agreements(made_up(0.1)[:, :, :1], ["a"]))
    assert "says nothing of the target" in markdown(found, [])
