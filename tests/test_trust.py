import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autolabel.errors import DataError
from autolabel.trust import FORMAT, MODEL_SIGNALS, TrustModel, load_models, p_correct, read_models, signals_of


def model(name: str = "embedding", threshold: float | None = 0.9, **changes: Any) -> TrustModel:
    n = len(MODEL_SIGNALS[name])
    given: dict[str, Any] = {
        "name": name,
        "signals": MODEL_SIGNALS[name],
        "centres": (0.2,) * n,
        "scales": (0.1,) * n,
        "coefficients": (-1.0, *(1.0,) * n),
        "draws": tuple((-1.0 + shift, *(1.0 + shift / 2,) * n) for shift in np.linspace(-0.5, 0.5, 41).tolist()),
        "threshold": threshold,
    }
    return TrustModel(**(given | changes))


def score(scorer: str, metric: str, value: float | None, **changes: Any) -> dict[str, Any]:
    row = {"scorer": scorer, "metric": metric, "value": value, "answer_mode": "probability", "judge_status": "admitted"}
    return row | {"split": "test", "part": None, "is_null": False} | changes


def test_a_model_is_a_logistic_of_its_standardised_signals() -> None:
    found = model().estimate({"embedding label_score": 0.4}, 60)
    assert found.value == pytest.approx(1 / (1 + np.exp(-1.0)))
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    assert found.n == 60
    assert model().probabilities(np.array([[0.4], [0.2]])).tolist() == pytest.approx([1 / (1 + np.exp(-1)), 1 / (1 + np.exp(1))])


@pytest.mark.parametrize("value", [-1e9, -0.5, 0.0, 0.5, 1.0, 1e9])
def test_probabilities_never_leave_their_range_and_always_have_a_width(value: float) -> None:
    found = model().estimate({"embedding label_score": value}, 60)
    assert found.low is not None
    assert found.high is not None
    assert 0 <= found.low < found.high <= 1


def test_a_better_score_is_never_less_probable() -> None:
    said = [model().estimate({"embedding label_score": value}, 60).value for value in np.linspace(-0.5, 1, 31).tolist()]
    assert said == sorted(said, key=float)  # type: ignore[arg-type]
    assert said[0] != said[-1]


def test_the_first_model_whose_signals_are_all_known_speaks() -> None:
    models = (model("rule"), model("detection"), model("embedding"))
    embedding = {"embedding label_score": 0.3}
    detection = embedding | {"detection label_score": 0.3}
    rule = {"rule label_score": 0.5, "rule auroc": 0.8}
    for known, name in ((embedding, "embedding"), (detection, "detection"), (detection | rule, "rule")):
        chosen, _ = p_correct(known, 60, models)
        assert chosen is not None
        assert chosen.name == name


@pytest.mark.parametrize(("known", "words"), [({}, r"\(none\)"), ({"detection label_score": 0.9}, r"\(detection label_score\)")])
def test_too_few_signals_say_nothing_and_why(known: dict[str, float], words: str) -> None:
    chosen, found = p_correct(known, 0, (model("detection"), model("embedding")))
    assert chosen is None
    assert found.value is None
    assert found.reason is not None
    assert re.search(words, found.reason)


def test_signals_are_the_newest_scores_of_the_whole_exam_by_fit_judges() -> None:
    assert signals_of(
        [
            score("embedding", "label_score", 0.1),
            score("embedding", "label_score", 0.2),
            score("embedding", "label_score", 0.9, part="random"),
            score("embedding", "label_score", 0.9, is_null=True),
            score("embedding", "label_score", 0.9, split="validation"),
            score("detection", "label_score", 0.9, answer_mode="binary"),
            score("detection", "label_score", None, judge_status="judge_unfit"),
            score("fuzzing", "label_score", 0.9),
        ]
    ) == {"embedding label_score": 0.2}


def test_a_score_that_is_gone_is_no_signal_any_more() -> None:
    assert signals_of([score("embedding", "label_score", 0.1), score("embedding", "label_score", None)]) == {}


@pytest.mark.parametrize(
    ("precision", "recall", "f1"), [(0.5, 1.0, 2 / 3), (0.8, 0.8, 0.8), (0.0, 0.0, 0.0), (None, 0.8, None), (0.8, None, None)]
)
def test_population_f1_is_the_harmonic_mean_of_what_the_corpus_says(
    precision: float | None, recall: float | None, f1: float | None
) -> None:
    found = signals_of([score("rule", "population_precision", precision), score("rule", "population_recall", recall)])
    assert found.get("rule population_f1") == (None if f1 is None else pytest.approx(f1))


def test_the_id_follows_from_everything_that_decides() -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"threshold": None},
        {"centres": (0.3,)},
        {"coefficients": (0.0, 1.0)},
        {"draws": ((0.0, 1.0),)},
    ]
    assert len({model(**change).model_id for change in changes}) == len(changes)


def content(**changes: Any) -> dict[str, Any]:
    one = {
        "name": "embedding",
        "signals": ["embedding label_score"],
        "centres": [0.2],
        "scales": [0.1],
        "coefficients": [-1.0, 1.0],
        "draws": [[-1.0, 1.0], [-0.5, 1.5]],
        "threshold": None,
    }
    return {"format": FORMAT, "models": [one | changes]}


def test_models_are_read_in_the_order_in_which_they_are_asked(tmp_path: Path) -> None:
    path = tmp_path / "trust.json"
    rule = content()["models"][0] | {"name": "rule_population", "signals": ["rule population_f1"], "threshold": 0.9}
    path.write_text(json.dumps(content() | {"models": [*content()["models"], rule]}))
    assert [(one.name, one.threshold) for one in read_models(path)] == [("rule_population", 0.9), ("embedding", None)]


BAD: dict[str, tuple[str, str]] = {
    "no JSON": ("{", "Expecting"),
    "another format": (json.dumps({"format": "x", "models": []}), "its format is 'x'"),
    "no object": ("[]", "TypeError"),
    "deep": ("[" * 100_000, "RecursionError"),
    "signals unknown": (json.dumps(content(signals=["beauty"])), "does not know"),
    "a slope below 0": (json.dumps(content(coefficients=[0.0, -1.0])), "negative coefficient"),
    "a draw too short": (json.dumps(content(draws=[[0.0, 1.0], [0.0]])), "other numbers than one for each"),
    "no draws": (json.dumps(content(draws=[])), "other numbers than one for each"),
    "NaN": (json.dumps(content(centres=[float("nan")])), "not finite"),
    "an infinite threshold": (json.dumps(content(threshold=float("inf"))), "not finite"),
    "a scale of 0": (json.dumps(content(scales=[0.0])), "scales that are not above 0"),
    "text for a number": (json.dumps(content(centres=["x"])), "could not convert"),
    "a part missing": (json.dumps({"format": FORMAT, "models": [{"name": "embedding"}]}), "KeyError"),
}


@pytest.mark.parametrize(("text", "words"), BAD.values(), ids=BAD)
def test_files_that_are_no_models_are_refused(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "trust.json"
    path.write_text(text)
    with pytest.raises(DataError) as refused:
        read_models(path)
    assert words in str(refused.value)
    assert str(path) in str(refused.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="write it anew with `autolabel bench trust`"):
        read_models(tmp_path / "gone.json")


def test_the_shipped_models_are_sound() -> None:
    models = load_models()
    assert [one.name for one in models] == list(MODEL_SIGNALS)
    for one in models:
        assert len(one.draws) == 100
        best, worst = (dict.fromkeys(one.signals, value) for value in (1.0, 0.0))
        high, low = one.estimate(best, 60), one.estimate(worst, 60)
        assert high.value is not None
        assert low.value is not None
        assert low.value < 0.5 < high.value
        assert one.threshold is None or low.value < one.threshold < high.value
