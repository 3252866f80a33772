from pathlib import Path

import pytest

from autolabel.errors import ConfigError, StoreError
from autolabel.report import reading
from autolabel.report.summary import load_summary, median
from autolabel.store.connection import Database
from tests.store import builders as b


def test_counts_and_headline(database: Path) -> None:
    db = Database(database)
    evidence = reading.chosen_set(db, None)
    summary = load_summary(db, evidence, reading.feature_labels(db, evidence["evidence_set_id"]))
    assert summary.statuses == {"labelled": 3, "abstained": 0, "failed": 1, "pending": 1, "silent": 1, "too_few": 0}
    assert (summary.n_alive, summary.n_scored, summary.n_near_copies) == (5, 3, 20)
    (headline,) = summary.headlines
    assert (headline.scorer, headline.judge, headline.answer_mode) == ("detection", "judge-1", "probability")
    assert (headline.median.value, headline.median.low, headline.median.n) == (0.6, None, 3)
    assert (headline.above_nulls.value, headline.above_nulls.n) == (1.0, 3)
    assert sum(bin_.n_alive for bin_ in headline.bins) == 5
    assert summary.cost_usd == pytest.approx(0.04)


@pytest.mark.parametrize(("n", "low"), [(5, None), (6, 1.0), (20, 6.0)])
def test_median_has_an_interval_from_six_values(n: int, low: float | None) -> None:
    figure = median(float(i) for i in range(1, n + 1))
    assert figure.low == low
    assert figure.low is None or (figure.high or 0) == n + 1 - figure.low


def test_no_median_of_nothing() -> None:
    assert median([]).value is None


def test_judges_are_not_averaged_with_one_another(database: Path) -> None:
    score = b.score(5, "label-5-a", "label_score", 0.5, judge="judge-2")
    b.add(
        database,
        labels=[b.label(5)],
        choices=[b.choice(5, "label-5-a")],
        predictions=[b.prediction(5, "label-5-a", "w-test-0", 0.9)],
        scores=[score],
    )
    db = Database(database)
    evidence = reading.chosen_set(db, None)
    summary = load_summary(db, evidence, reading.feature_labels(db, evidence["evidence_set_id"]))
    assert [(h.judge, len(h.scores)) for h in summary.headlines] == [("judge-1", 3), ("judge-2", 1)]


def test_an_sae_is_named_when_there_are_several(database: Path) -> None:
    b.add(
        database,
        saes=[b.sae(sae_id="other", name="second", d_sae=1)],
        evidence_sets=[b.evidence_set(evidence_set_id="evidence-2", sae_id="other")],
        features=[b.feature(0, evidence_set_id="evidence-2", sae_id="other")],
    )
    db = Database(database)
    assert reading.chosen_set(db, "second")["sae_id"] == reading.chosen_set(db, "oth")["sae_id"] == "other"
    with pytest.raises(ConfigError, match=r"holds 2 SAEs; pass --sae with one of: other \(second\), sae-1 \(toy\)"):
        reading.chosen_set(db, None)
    with pytest.raises(ConfigError, match="--sae 'none' fits 0 SAEs"):
        reading.chosen_set(db, "none")


def test_no_evidence(make: object) -> None:
    with pytest.raises(StoreError, match="holds no evidence; collect some"):
        reading.chosen_set(Database(make({})), None)  # type: ignore[operator]
