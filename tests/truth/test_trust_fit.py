import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from autolabel.errors import DataError
from autolabel.trust import read_models
from autolabel.truth import trust_fit
from autolabel.truth.trust_cases import Case
from autolabel.truth.trust_fit import THRESHOLDS, logistic_fit, train, trusted_threshold, wrong_bound
from autolabel.truth.trust_worth import markdown, worth
from autolabel.truth.trusting import differences, fit_all, read_file, write

FAMILIES = ("words", "form", "place", "gated")
SIGNAL = "rule population_f1"


@pytest.fixture(autouse=True)
def _few_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trust_fit, "N_DRAWS", 5)


def rules(n: int, seed: int = 0, noise: float = 0.05) -> list[Case]:
    """Rules whose measured F1 is their exact one and a little noise."""
    generator = np.random.default_rng(seed)
    found = []
    for place in range(n):
        f1 = float(generator.random())
        measured = min(max(f1 + noise * float(generator.normal()), 0.0), 1.0)
        found.append(Case(f"0:{place}", FAMILIES[place % 4], "rule", f1, {SIGNAL: measured}))  # type: ignore[arg-type]
    return found


def shipped(n: int, seed: int = 0) -> list[Case]:
    """A right label, a near-miss and two wrong ones of each feature, under an encoder that tells them a little."""
    generator = np.random.default_rng(seed)
    found = []
    for place in range(n):
        for source, f1, centre in (("true", 1.0, 0.5), ("broader", 0.4, 0.4), ("wrong", 0.0, 0.0), ("wrong", 0.1, 0.0)):
            known = {"embedding label_score": centre + 0.2 * float(generator.normal())}
            found.append(Case(f"0:{place}", FAMILIES[place % 4], source, f1, known))  # type: ignore[arg-type]
    return found


def test_a_fit_finds_the_slope_that_made_the_outcomes() -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(20_000, 2))
    right = generator.random(20_000) < 1 / (1 + np.exp(0.5 - 1.5 * x[:, 0]))
    fit = logistic_fit(x, right, np.ones(20_000))
    assert fit == pytest.approx([-0.5, 1.5, 0.0], abs=0.06)


def test_a_signal_that_speaks_against_itself_is_not_listened_to() -> None:
    x = np.linspace(-1, 1, 200)[:, None]
    assert logistic_fit(x, x[:, 0] < 0, np.ones(200))[1] == 0.0


def test_outcomes_that_a_signal_splits_perfectly_have_a_finite_slope() -> None:
    x = np.linspace(-1, 1, 200)[:, None]
    assert 1 < logistic_fit(x, x[:, 0] > 0, np.ones(200))[1] < 100


def test_weights_count_as_so_many_cases() -> None:
    x, right = np.array([[0.0], [1.0], [0.5]]), np.array([False, True, False])
    twice = logistic_fit(x[[0, 1, 2, 2]], right[[0, 1, 2, 2]], np.ones(4))
    assert logistic_fit(x, right, np.array([1.0, 1.0, 2.0])) == pytest.approx(twice, abs=1e-5)


def test_good_signals_earn_a_threshold_and_bad_ones_do_not() -> None:
    good, bad = train("rule_population", rules(600)), train("rule_population", rules(600, noise=2.0))
    assert good is not None
    assert bad is not None
    assert good.model.threshold is not None
    assert bad.model.threshold is None
    kept = good.held_out >= good.model.threshold
    assert (~good.right[kept]).mean() <= 0.05
    assert worth(good)["auroc"] > 0.95 > worth(bad)["auroc"]


def test_a_family_has_no_part_in_what_is_said_of_it() -> None:
    """Where one family's outcomes are turned round, what is said of that family stays as it was, and of the others changes."""
    cases = rules(400)
    turned = [replace(case, f1=1 - case.f1) if case.family == "words" else case for case in cases]
    first, other = train("rule_population", cases), train("rule_population", turned)
    assert first is not None
    assert other is not None
    own = np.array([case.family == "words" for case in cases])
    assert first.held_out[own] == pytest.approx(other.held_out[own])
    assert np.abs(first.held_out[~own] - other.held_out[~own]).max() > 0.05


def test_fits_are_the_same_every_time() -> None:
    first, again = train("rule_population", rules(100)), train("rule_population", rules(100))
    assert first is not None
    assert again is not None
    assert first.model == again.model
    assert len(set(first.model.draws)) == 5


def test_right_labels_are_half_of_each_features_weight_and_near_misses_most_of_the_rest() -> None:
    found = train("embedding", shipped(8))
    assert found is not None
    assert found.weights[:4].tolist() == pytest.approx([0.5, 0.35, 0.075, 0.075])
    assert found.weights.sum() == pytest.approx(8)


def test_labels_of_labelers_share_a_features_weight() -> None:
    cases = [*rules(8), *(replace(case, source="lexical") for case in rules(2, seed=1))]
    found = train("rule_population", cases)
    assert found is not None
    assert found.weights.tolist() == pytest.approx([0.5, 0.5, *[1.0] * 6, 0.5, 0.5])


def test_rules_that_cannot_be_estimated_are_counted_and_other_labels_that_nobody_asked_about_are_not() -> None:
    silent = [replace(case, feature=f"1:{i}", known={}) for i, case in enumerate(rules(3))]
    found = train("rule_population", [*rules(20), *silent, *shipped(3)])
    assert found is not None
    assert (found.n_without, found.n_features, len(found.cases)) == (3, 23, 20)
    asked = train("embedding", [*shipped(8), replace(shipped(1)[0], feature="1:1", known={})])
    assert asked is not None
    assert (asked.n_without, asked.n_features) == (0, 8)


@pytest.mark.parametrize("cases", [[], [case for case in rules(50) if case.f1 < 0.5]])
def test_what_cannot_be_fitted_is_none(cases: list[Case]) -> None:
    assert train("rule_population", cases) is None


def test_the_bound_is_clopper_and_pearsons() -> None:
    n = 100
    names, weights, kept = [str(i) for i in range(n)], np.ones(n), np.ones(n, dtype=bool)
    right = np.arange(n) >= 2
    assert wrong_bound(kept, right, weights, names)[0] == pytest.approx(0.0616, abs=5e-4)
    assert wrong_bound(kept, np.ones(n, dtype=bool), weights, names) == (pytest.approx(1 - 0.05**0.01), True)
    same = ["a"] * 50 + names[50:]
    assert wrong_bound(kept, right, weights, same)[0] > 0.08, "labels of one feature are one trial"
    uneven = np.where(np.arange(n) < 50, 0.01, 1.0)
    assert wrong_bound(kept, np.ones(n, dtype=bool), uneven, names)[1] is False, "weights make 51 trials of 100 labels"
    assert wrong_bound(~kept, right, weights, names) == (1.0, False)


def test_thresholds_are_tried_from_above_until_one_fails() -> None:
    names = [str(i) for i in range(400)]
    said = np.repeat([0.97, 0.87, 0.77, 0.67], 100)
    weights, right = np.ones(400), np.ones(400, dtype=bool)
    assert trusted_threshold(said, right, weights, names) == THRESHOLDS[0]
    right[200:230] = False  # between .75 and .8: 30 of the first 300
    assert trusted_threshold(said, right, weights, names) == 0.8


def test_a_failure_among_the_best_is_not_made_good_by_those_below() -> None:
    names, said = [str(i) for i in range(400)], np.repeat([0.97, 0.87, 0.77, 0.67], 100)
    right = np.arange(400) >= 4
    assert wrong_bound(said >= 0.65, right, np.ones(400), names)[0] < 0.05
    assert trusted_threshold(said, right, np.ones(400), names) is None


def test_too_few_to_pass_is_no_failure() -> None:
    names = [str(i) for i in range(140)]
    said = np.repeat([0.97, 0.87], [40, 100])
    assert trusted_threshold(said, np.ones(140, dtype=bool), np.ones(140), names) == THRESHOLDS[0]
    assert trusted_threshold(said[:40], np.ones(40, dtype=bool), np.ones(40), names[:40]) is None


def test_a_file_of_models_is_written_read_compared_and_shown(tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    content = fit_all([{"seed": 0}], [*rules(300), *shipped(40)])
    write(path, content)
    assert [model.name for model in read_models(path)] == ["rule_population", "embedding"]
    assert read_models(path)[0].draws == tuple(tuple(draw) for draw in content["models"][0]["draws"])
    assert differences(read_file(path), content) == []
    assert len(path.read_text().splitlines()) < 600, "a draw has a line of its own, not a line for each number"
    table = markdown(content)
    assert "| `rule_population` | 300 (300) |" in table
    assert "| `embedding` | 160 (40) |" in table


def test_differences_are_named_and_small_ones_are_not(tmp_path: Path) -> None:
    content = fit_all([{"seed": 0}], rules(600))
    changed = json.loads(json.dumps(content))
    changed["models"][0]["worth"]["auroc"] += 0.1
    changed["models"][0]["worth"]["brier"] += 0.001
    changed["models"][0]["threshold"] = None
    changed["fitted_on"][0]["seed"] = 7
    found = differences(content, changed)
    assert len(found) == 3
    assert any(line.startswith("models, models 0, worth, auroc: ") for line in found)


def test_no_cases_are_no_models() -> None:
    with pytest.raises(DataError, match="no label of this benchmark has the signals"):
        fit_all([], [])


def test_another_file_is_not_compared(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(DataError, match="cannot use"):
        read_file(tmp_path / "x.json")
