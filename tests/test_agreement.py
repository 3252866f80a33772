import numpy as np
import pytest

from autolabel.agreement import cohen_kappa, krippendorff_alpha

COHEN = [("yes", "yes")] * 20 + [("yes", "no")] * 5 + [("no", "yes")] * 10 + [("no", "no")] * 15


def test_kappa_of_a_textbook_table() -> None:
    found = cohen_kappa(COHEN)
    assert found.value == pytest.approx(0.4)
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.25
    assert found.high > 0.55


def test_alpha_of_krippendorffs_example() -> None:
    """Four raters, twelve units, values missing: nominal alpha .743 (Krippendorff, 2011, computing alpha-reliability)."""
    raters = ["1 2 3 3 2 1 4 1 2 . . .", "1 2 3 3 2 2 4 1 2 5 . 3", ". 3 3 3 2 3 4 2 2 5 1 .", "1 2 3 3 2 4 4 1 2 5 1 ."]
    items = [[value for value in unit if value != "."] for unit in zip(*(rater.split() for rater in raters), strict=True)]
    found = krippendorff_alpha(items)
    assert found.value == pytest.approx(0.743, abs=5e-4)
    assert found.n == 11, "a unit that one rater judged says nothing"


def test_alpha_of_two_raters_is_near_kappa() -> None:
    assert krippendorff_alpha(COHEN).value == pytest.approx(0.4, abs=0.02)


def test_chance_is_nought() -> None:
    generator = np.random.default_rng(0)
    pairs = [tuple(row) for row in generator.choice(["a", "b", "c"], size=(600, 2)).tolist()]
    for found in (cohen_kappa(pairs), krippendorff_alpha(pairs)):
        assert found.value == pytest.approx(0, abs=0.08)
        assert found.low is not None
        assert found.high is not None
        assert found.low < 0 < found.high


def test_perfect_agreement_still_has_a_width() -> None:
    few, many = (cohen_kappa([("a", "a"), ("b", "b")] * n) for n in (5, 100))
    assert few.value == many.value == 1
    assert few.low is not None
    assert many.low is not None
    assert few.low < many.low < 1


@pytest.mark.parametrize(
    ("pairs", "why"), [([], "at least two items"), ([("a", "a")], "at least two items"), ([("a", "a")] * 9, "same verdict")]
)
def test_nothing_to_tell(pairs: list[tuple[str, str]], why: str) -> None:
    for found in (cohen_kappa(pairs), krippendorff_alpha(pairs)):
        assert found.value is None
        assert found.reason is not None
        assert why in found.reason


def test_items_that_one_rater_judged_say_nothing_of_agreement() -> None:
    assert krippendorff_alpha([*COHEN, ("yes",), ("no",)]).value == krippendorff_alpha(COHEN).value
