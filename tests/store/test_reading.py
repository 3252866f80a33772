from dataclasses import replace
from pathlib import Path

import pytest

from autolabel.errors import ConfigError, StoreError
from autolabel.records import SPLITS
from autolabel.store.connection import Database
from autolabel.store.migrations import migrate
from autolabel.store.reading import (
    alive_features,
    calibration,
    co_firing,
    existing_predictions,
    latest_evidence_set,
    load_chosen_labels,
    load_current_choices,
    load_feature_evidence,
    load_firing_rates,
    load_labels,
    score_ids,
    stored_labels,
)
from autolabel.store.selection import select_features
from tests.store.builders import CONFIG, EVIDENCE, SAE, add, at, choice, evidence_set, feature, label, prediction, sae, window


@pytest.fixture
def db(database: Path) -> Database:
    return Database(database)


def test_the_latest_evidence_set(db: Database, tmp_path: Path) -> None:
    assert latest_evidence_set(db) == latest_evidence_set(db, SAE) == EVIDENCE
    newer = [evidence_set(evidence_set_id="other", sae_id="sae-2", created_utc=at(9))]
    add(db.path, saes=[sae(sae_id="sae-2")], evidence_sets=newer)
    assert latest_evidence_set(db) == "other"
    assert latest_evidence_set(db, SAE) == EVIDENCE
    with pytest.raises(StoreError, match="no evidence for SAE nobody; collect some"):
        latest_evidence_set(db, "nobody")
    migrate(tmp_path / "empty.duckdb")
    with pytest.raises(StoreError, match="holds no evidence; collect"):
        latest_evidence_set(Database(tmp_path / "empty.duckdb"))


def test_evidence_comes_back_as_it_was_stored(db: Database) -> None:
    found = load_feature_evidence(db, EVIDENCE, [4, 0])
    assert list(found) == [0, 4]
    zero, four = found[0], found[4]
    assert (zero.sae_id, zero.evidence_status, zero.firing_rate, zero.max_activation) == (SAE, "alive", 0.1, 9.5)
    assert (four.evidence_status, four.max_activation, four.examples) == ("silent", 0.0, ())
    assert [(e.split, e.kind, e.sample_rank) for e in zero.examples] == [
        ("train", "strongest", 0),
        ("validation", "firing", 0),
        ("validation", "background", 1),
        ("test", "firing", 0),
        ("test", "background", 1),
        ("test", "background", 2),
    ]
    strongest = zero.examples[0]
    assert strongest.positions == (3, 4)
    assert strongest.activations == (2.5, 5.5)
    assert strongest.tokens[6] == "<<down>> "
    assert strongest.fires
    assert not zero.examples[2].fires
    assert len(zero.exam("test")) == 3
    with pytest.raises(StoreError, match="no feature 77, 78"):
        load_feature_evidence(db, EVIDENCE, [1, 78, 77])


def test_evidence_of_one_split(db: Database) -> None:
    everything = load_feature_evidence(db, EVIDENCE, [0, 4])
    for split in SPLITS:
        found = load_feature_evidence(db, EVIDENCE, [0, 4], split)
        assert found[0].examples == everything[0].of(split) != ()
        assert found[4] == everything[4]


def test_firing_rates(db: Database) -> None:
    assert load_firing_rates(db, EVIDENCE) == {0: 0.1, 1: 0.02, 2: 0.3, 3: 0.05, 4: 0.0, 5: 0.004}
    assert load_firing_rates(db, "nowhere") == {}


def test_features_that_fire_together(db: Database) -> None:
    """0 fires in three background tiles, 1 in two of them and alone in another; what is kept as evidence alone does not count."""
    fired = [[0, 1, 5], [0, 1], [0], [1]]
    background = [
        window(f"bg{i}", "test", fired_features=tiles, fired_max=[1.0] * len(tiles), fired_peak=[2] * len(tiles))
        for i, tiles in enumerate(fired)
    ]
    add(db.path, windows=background)
    assert co_firing(db, EVIDENCE, [0, 3], range(9), above=0.0) == {0: {1: 2 / 4, 5: 1 / 3}}
    assert co_firing(db, EVIDENCE, [0, 5], range(9), above=1 / 3) == {0: {1: 2 / 4}}
    assert co_firing(db, EVIDENCE, [0], [5], above=0.0) == {0: {5: 1 / 3}}, "only those asked about"
    assert co_firing(db, "nowhere", [0], range(9), above=0.0) == {}


def test_alive_features(db: Database) -> None:
    assert alive_features(db, EVIDENCE) == [0, 1, 2, 3, 5]


def test_labels_come_back(db: Database) -> None:
    predicate = {"kind": "tokens", "weights": {" dog": 1.0}}
    add(db.path, labels=[label(5, predicate=predicate)])
    failed, lookup = load_labels(db, EVIDENCE, [5, 3])
    assert (failed.feature_index, failed.status, failed.text, failed.error) == (3, "unparsable", None, "the reply is empty")
    assert (lookup.predicate, lookup.shown_window_ids) == (predicate, ("w-train",))


def test_labels_in_force_are_light(db: Database) -> None:
    rule = {"kind": "tokens", "weights": {" dog": 1.0}}
    by_hand = label(5, predicate=rule, origin="human", author="somebody")
    add(db.path, labels=[by_hand], choices=[choice(5, "label-5-a", chosen_by="human"), choice(3, None, "failed")])
    found = load_chosen_labels(db, EVIDENCE)
    assert {feature: kept.label_id for feature, kept in found.items()} == {i: f"label-{i}-a" for i in (0, 1, 2, 5)}
    (whole,) = load_labels(db, EVIDENCE, [5])
    assert found[5] == replace(whole, predicate=None, shown_window_ids=())
    assert stored_labels(db, ["label-0-a", "nobody", "label-3-a"]) == {"label-0-a", "label-3-a"}


def test_choices_come_back(db: Database) -> None:
    add(db.path, choices=[choice(5, None, "uninterpretable", reason="no pattern")])
    found = load_current_choices(db, EVIDENCE)
    assert {index: kept.label_id for index, kept in found.items()} == {0: "label-0-a", 1: "label-1-a", 2: "label-2-a", 5: None}
    assert (found[5].verdict, found[5].reason, found[0].validation_score) == ("uninterpretable", "no pattern", 0.8)


def test_predictions_come_back(db: Database) -> None:
    refused = prediction(0, "label-0-a", "w-val-0", None, status="refused", error="no", split="validation")
    add(db.path, predictions=[refused])
    found = existing_predictions(db, EVIDENCE)
    own = found["label-0-a", 0, "detection", CONFIG, "test"]
    assert [(p.window_id, p.value) for p in own] == [("w-test-0", 0.9), ("w-test-1", 0.2), ("w-test-2", 0.1)]
    assert found["label-0-a", 0, "detection", CONFIG, "validation"][0].status == "refused"
    assert {key[1] for key in existing_predictions(db, EVIDENCE, [1])} == {1}
    assert existing_predictions(db, EVIDENCE, []) == {}
    by_split = [existing_predictions(db, EVIDENCE, [0, 1], split) for split in ("train", "validation", "test")]
    assert [{key[4] for key in found} for found in by_split] == [set(), {"validation"}, {"test"}]
    assert by_split[1] | by_split[2] == existing_predictions(db, EVIDENCE, [0, 1])


def test_scores_and_calibrations(db: Database) -> None:
    assert len(score_ids(db)) == 27
    row = {
        "calibration_id": "k", "scorer": "detection", "judge": "j", "answer_mode": "binary", "config_hash": "c", "auroc": 0.9,
        "low": 0.8, "high": 0.95, "n": 40, "n_failed": 0, "verdict": "admitted",
    }  # fmt: skip
    add(db.path, calibrations=[row])
    found = calibration(db, "k")
    assert found is not None
    assert (found.auroc, found.verdict, found.true_positive_rate) == (0.9, "admitted", None)
    assert calibration(db, "unknown") is None


def test_selecting_features(db: Database) -> None:
    assert select_features(db, EVIDENCE) == [0, 1, 2, 3, 5]
    assert select_features(db, EVIDENCE, features=" 5, 0-2,4 ,1") == [0, 1, 2, 4, 5]
    assert select_features(db, EVIDENCE, where="status = 'labelled' AND label_score > 0.5 -- good ones") == [0, 1]
    assert select_features(db, EVIDENCE, features="1-3", where="status = 'labelled'") == [1, 2]


@pytest.mark.parametrize(
    ("selection", "words"),
    [
        ({"features": "6"}, "no feature 6; the SAE has d_sae = 6 features, 0 to 5"),
        ({"features": "0-99"}, "no feature 99"),
        ({"features": "3-1"}, "ends before it begins"),
        ({"features": "-1"}, "neither an index nor a range"),
        ({"features": "1,,2"}, "neither an index"),
        ({"features": ""}, "neither an index"),
        ({"where": "no_such = 1"}, "no_such"),
        ({"where": "true) OR (true"}, "more than one expression"),
        ({"where": "1 = 1; DROP TABLE labels"}, "cannot be parsed"),
        ({"where": "label = (SELECT content FROM read_text('/etc/hostname'))"}, "disabled by configuration"),
        ({"where": "label_score = $x"}, "cannot be run"),
        ({"where": "false"}, "no feature is selected"),
        ({"sample": 0}, "expected at least 1"),
    ],
)
def test_selections_that_cannot_be(db: Database, selection: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        select_features(db, EVIDENCE, **selection)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_a_condition_sees_its_own_evidence_set_only(db: Database) -> None:
    other = [feature(i, evidence_set_id="other", sae_id="sae-2") for i in range(9)]
    sets = [evidence_set(evidence_set_id="other", sae_id="sae-2")]
    add(db.path, saes=[sae(sae_id="sae-2", d_sae=9)], evidence_sets=sets, features=other)
    assert select_features(db, EVIDENCE, where="true") == [0, 1, 2, 3, 5]
    assert len(select_features(db, "other", where="true")) == 9
    with pytest.raises(StoreError, match="no features of evidence set nowhere"):
        select_features(db, "nowhere")


def test_a_sample_is_spread_over_firing_rates(db: Database) -> None:
    rates = [0.2] * 90 + [0.01] * 8 + [0.0005] * 2
    many = [feature(i, evidence_set_id="many", sae_id="sae-2", firing_rate=rate) for i, rate in enumerate(rates)]
    add(
        db.path,
        saes=[sae(sae_id="sae-2", d_sae=100)],
        evidence_sets=[evidence_set(evidence_set_id="many", sae_id="sae-2")],
        features=many,
    )
    six = select_features(db, "many", sample=6, seed=1)
    assert [sum(low <= index < high for index in six) for low, high in ((0, 90), (90, 98), (98, 100))] == [2, 2, 2]
    assert six == select_features(db, "many", sample=6, seed=1)
    assert six != select_features(db, "many", sample=6, seed=2)
    assert set(six) < set(select_features(db, "many", sample=30, seed=1))
    assert select_features(db, "many", sample=1_000) == list(range(100))
