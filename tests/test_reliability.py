import numpy as np
import pytest

from autolabel.reliability import area_under_risk_coverage, brier, calibration_error, reliability, risk_coverage

SAID, SO = [0.9, 0.9, 0.8, 0.1, 0.1], [True, True, False, False, True]


def test_brier_and_bins() -> None:
    assert brier(SAID, SO) == pytest.approx((0.01 + 0.01 + 0.64 + 0.01 + 0.81) / 5)
    low, middle, high = reliability(SAID, SO)
    assert (low.low, low.n, low.said, low.seen, low.weight) == (0.1, 2, pytest.approx(0.1), 0.5, pytest.approx(0.4))
    assert (middle.low, middle.seen) == (0.8, 0.0)
    assert (high.high, high.n, high.seen) == (1.0, 2, 1.0)
    assert calibration_error(SAID, SO) == pytest.approx(0.4 * 0.4 + 0.2 * 0.8 + 0.4 * 0.1)


def test_probabilities_that_are_true_have_little_error_and_others_much() -> None:
    generator = np.random.default_rng(0)
    said = generator.random(5000)
    so = generator.random(5000) < said
    honest, boastful = calibration_error(said, so), calibration_error(said**0.3, so)
    assert honest is not None
    assert boastful is not None
    assert honest < 0.03 < 0.15 < boastful


def test_risk_falls_as_the_doubtful_are_set_aside() -> None:
    assert risk_coverage(SAID, SO) == [
        (pytest.approx(0.4), 0.0),
        (pytest.approx(0.6), pytest.approx(1 / 3)),
        (pytest.approx(1.0), pytest.approx(2 / 5)),
    ]
    assert area_under_risk_coverage(SAID, SO) == pytest.approx(0.2 * 1 / 3 + 0.4 * 2 / 5)
    assert area_under_risk_coverage([0.5] * 5, SO) == pytest.approx(2 / 5), "useless probabilities leave the overall risk"


def test_a_weight_of_two_is_the_case_twice() -> None:
    twice = (SAID + SAID[:1], SO + SO[:1])
    weights = [2, 1, 1, 1, 1]
    for measure in (brier, calibration_error, area_under_risk_coverage):
        assert measure(SAID, SO, weights) == pytest.approx(measure(*twice))


def test_order_changes_nothing() -> None:
    for measure in (brier, calibration_error, area_under_risk_coverage):
        assert measure(SAID[::-1], SO[::-1]) == pytest.approx(measure(SAID, SO))


def test_no_cases_have_no_numbers() -> None:
    assert brier([], []) is None
    assert calibration_error([], []) is None
    assert area_under_risk_coverage([], []) is None
    assert reliability([], []) == []


@pytest.mark.parametrize(
    ("said", "so", "weights"),
    [
        ([1.1], [True], None),
        ([float("nan")], [True], None),
        ([0.5], [2], None),
        ([0.5], [True, False], None),
        ([0.5], [True], [0.0]),
        ([0.5], [True], [float("inf")]),
        ([0.5], [True], [1.0, 1.0]),
    ],
)
def test_what_cannot_be_is_refused(said: list[float], so: list[float], weights: list[float] | None) -> None:
    with pytest.raises(ValueError, match="expected"):
        brier(said, so, weights)
