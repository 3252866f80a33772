import pytest

from autolabel.report.numbers import Figure, count, decimal, interval, money, percent, significant


@pytest.mark.parametrize(
    ("value", "text"), [(None, "–"), (0.8349, "0.83"), (-0.3, "−0.30"), (-0.001, "0.00"), (1.0, "1.00"), (0.0, "0.00")]
)
def test_decimal(value: float | None, text: str) -> None:
    assert decimal(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "–"), (0.00461234, "0.00461"), (0, "0"), (1234567, "1,230,000"), (1e-9, "1e-09"), (-2.5, "-2.5"), (100, "100")],
)
def test_significant(value: float | None, text: str) -> None:
    assert significant(value) == text


def test_a_figure_without_a_value_says_why() -> None:
    assert Figure(None, reason="6 of 10 tiles").text == "–"
    assert Figure(None, reason="6 of 10 tiles").basis == "not scored: 6 of 10 tiles"
    assert Figure.of(None, "no nulls").basis == "not scored: no nulls"


def test_a_figure_carries_its_interval_and_n() -> None:
    figure = Figure(0.5, 0.25, 0.75, n=60, n_failed=2)
    assert (figure.text, figure.basis) == ("0.50 [0.25, 0.75]", "n = 60, 2 unanswered")


def test_words() -> None:
    assert interval(0.5, None, None) == "0.50"
    assert percent(0.0046) == "0.46%"
    assert (money(None), money(0.0), money(0.0123), money(12.3)) == ("price unknown", "$0.00", "$0.012", "$12.30")
    assert (count(1, "tile"), count(1200, "tile")) == ("1 tile", "1,200 tiles")
