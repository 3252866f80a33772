"""A whole dictionary of features as it is read, and which scores are there already."""

from pathlib import Path

import pytest

from autolabel.errors import StoreError
from autolabel.store.connection import Database
from autolabel.store.dictionary import load_dictionary, stored_scores
from tests.store.builders import SAE, add, evidence_set, feature, sae, score

HERE = "evidence-9"


def test_every_feature_has_its_place(database: Path) -> None:
    features = [
        feature(4, evidence_set_id=HERE, firing_threshold=2.5, evidence_status="dense"),
        feature(1, evidence_set_id=HERE),
        feature(0, evidence_set_id=HERE, evidence_status="too_few"),
    ]
    db = add(database, evidence_sets=[evidence_set(evidence_set_id=HERE, gate={"norm_limit": 12.5})], features=features)
    found = load_dictionary(db, HERE)
    assert (found.sae_id, found.d_sae, found.norm_limit) == (SAE, 6, 12.5)
    assert found.alive.tolist() == [False, True, False, False, False, False]
    assert found.thresholds.tolist() == [0, 0, 0, 0, 2.5, 0]


@pytest.mark.parametrize("gate", [None, {"fvu": 0.3}, {"norm_limit": None}, {"norm_limit": "far"}])
def test_where_no_limit_was_measured_there_is_none(database: Path, gate: object) -> None:
    db = add(database, evidence_sets=[evidence_set(evidence_set_id=HERE, gate=gate)])
    assert load_dictionary(db, HERE).norm_limit is None


def test_a_set_that_is_not_there_or_too_wide_for_its_sae_is_refused(database: Path) -> None:
    with pytest.raises(StoreError, match="holds no evidence set nowhere"):
        load_dictionary(Database(database), "nowhere")
    sets = [evidence_set(evidence_set_id=HERE, sae_id="narrow")]
    db = add(database, saes=[sae(sae_id="narrow", d_sae=3)], evidence_sets=sets, features=[feature(3, evidence_set_id=HERE)])
    with pytest.raises(StoreError, match="holds feature 3, but its SAE has 3 features"):
        load_dictionary(db, HERE)


def test_scores_that_are_there(database: Path) -> None:
    db = add(database, scores=[score(0, "label-0-a", "hit_rate", 0.5, score_id=name) for name in ("s-1", "s-2")])
    assert stored_scores(db, ["s-2", "s-3"]) == {"s-2"}
    assert stored_scores(db, []) == set()
