"""Evidence of a benchmark: what the collector stores is what the functions do on the text, and a second build is the same."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autolabel.records import SPLITS, FeatureEvidence
from autolabel.store.maintenance import check
from autolabel.store.run_store import RunStore
from autolabel.truth import selection
from autolabel.truth.built import TRUTH, Built, build
from autolabel.truth.evidence import described
from autolabel.truth.features import Nuisances
from autolabel.truth.predicates import from_json
from tests.truth.worlds_of_text import LEAST_DOCUMENTS, LEAST_TILES, SMALL


def rows(built: Built, query: str) -> list[dict[str, Any]]:
    with built.store.database.read() as connection:
        found: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
    return found


def test_counts_of_every_feature_are_the_world_s_own(built: Built) -> None:
    world = built.world
    stored = {row["feature_index"]: row for row in rows(built, "SELECT * FROM features")}
    assert len(stored) == built.selected.n_features == len(built.firings.by_feature)
    for index, firing in enumerate(built.firings.by_feature):
        row, tiles = stored[index], world.tiles_fired(firing)
        for split in SPLITS:
            assert row[f"n_tiles_fired_{split}"] == len(world.split_tiles(tiles, split)), (index, split)
        assert row["n_tiles_fired"] == len(tiles)
        assert row["firing_rate"] == pytest.approx(len(tiles) / world.n_tiles)
        assert row["n_tokens_fired"] == len(firing.tokens)
        assert row["max_activation"] == pytest.approx(float(firing.values.max()))


def test_tiles_fired_are_those_of_the_firing_by_feature(built: Built) -> None:
    for feature in (*built.features, *built.selected.nulls):
        tiles = built.world.tiles_fired(built.firings.by_feature[feature.index])
        assert built.fired[feature.index].tolist() == tiles.tolist()
        if feature.nuisances == Nuisances(spread=feature.nuisances.spread):
            assert tiles.tolist() == built.world.tiles_of(feature.candidate.meaning.predicate).tolist()


def test_windows_are_tiles_of_the_world_and_strata_what_fires_there(built: Built) -> None:
    world = built.world
    for feature in built.features:
        fired, evidence = set(built.fired[feature.index].tolist()), built.evidence[feature.index]
        for example in evidence.examples:
            tile = built.tile_of_window[example.document_id, example.tile_index]
            document = world.documents[world.tile_document[tile]]
            assert f"{document.hash:016x}" == example.document_id
            assert document.split == example.split
            assert "".join(example.tokens[example.n_context_tokens :]) == text_of(built, tile)
            if example.stratum is not None:
                assert (example.stratum == "firing") == (tile in fired)


def text_of(built: Built, tile: int) -> str:
    world = built.world
    number = int(world.tile_document[tile])
    first = int(world.tile_first[tile] - world.first_token[number])
    document = world.documents[number]
    return document.text[document.bounds[first] : document.bounds[first + 32]]


def test_exams_are_of_three_groups_where_there_is_enough_evidence(built: Built) -> None:
    able = 0
    for feature in built.features:
        exam, alive = built.exam(feature.index), built.evidence[feature.index].evidence_status == "alive"
        strata = Counter(example.stratum for example in exam)
        assert strata == (dict.fromkeys(("firing", "hard", "random"), SMALL.exam_test) if alive else {})
        assert {example.split for example in exam} <= {"test"}
        assert not alive or len(built.world.split_tiles(built.fired[feature.index], "test")) >= SMALL.exam_test
        able += alive
    assert able >= 9


def test_evidence_is_loaded_for_features_and_nulls(built: Built) -> None:
    assert built.evidence.keys() == {feature.index for feature in (*built.features, *built.selected.nulls)}
    assert all(isinstance(one, FeatureEvidence) for one in built.evidence.values())


def test_labels_and_their_exact_worth_are_stored(built: Built) -> None:
    stored = {row["label_id"]: row for row in rows(built, "SELECT * FROM labels WHERE origin = 'imported'")}
    scores = {
        (row["label_id"], row["metric"]): row["value"] for row in rows(built, f"SELECT * FROM scores WHERE scorer = '{TRUTH.name}'")
    }
    for feature in (*built.features, *built.selected.nulls):
        shipped = built.shipped[feature.index]
        assert [(one.shipped.text, one.shipped.relation) for one in shipped] == [(one.text, one.relation) for one in feature.labels]
        for one in shipped:
            row = stored[one.label.label_id]
            assert (row["text"], row["method"], row["feature_index"]) == (
                one.shipped.text,
                f"truth_{one.shipped.relation}",
                feature.index,
            )
            for metric in ("f1", "precision", "recall"):
                assert scores.get((one.label.label_id, metric)) == getattr(one.exact, metric)


def test_the_right_label_of_a_feature_without_nuisances_is_worth_one(built: Built) -> None:
    clean = [f for f in built.features if f.family != "null" and f.nuisances == Nuisances(spread=f.nuisances.spread)]
    assert clean
    for feature in clean:
        true, *others = built.shipped[feature.index]
        assert (true.exact.f1, true.exact.precision, true.exact.recall) == (1.0, 1.0, 1.0)
        assert all(one.exact.f1 <= 0.9 for one in others if one.shipped.relation in ("broader", "narrower", "sibling"))
        assert all(one.exact.f1 < 0.2 for one in others if one.shipped.relation == "wrong")


def test_a_feature_is_described_so_that_its_function_can_be_read_back(built: Built) -> None:
    for feature in built.features:
        written = json.loads(json.dumps(described(feature)))
        assert from_json(written["function"]) == feature.candidate.meaning.predicate
        assert Nuisances(**written["nuisances"]) == feature.nuisances
        assert [from_json(one["predicate"]) for one in written["labels"]] == [one.predicate for one in feature.labels]
    (sae,) = rows(built, "SELECT kind, d_sae, config FROM saes")
    config = json.loads(sae["config"])
    assert (sae["kind"], sae["d_sae"]) == ("functions", built.selected.n_features)
    assert [one["key"] for one in config["features"][:18]] == [feature.candidate.key for feature in built.features]


def test_two_builds_are_equal(built: Built, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selection, "LEAST_TILES", LEAST_TILES)
    monkeypatch.setattr(selection, "LEAST_DOCUMENTS", LEAST_DOCUMENTS)
    said: list[str] = []
    with RunStore.open(tmp_path / "again.duckdb", "run-2") as store:
        store.start_run("bench truth", {}, built.settings.config_hash, 0)
        again = build(built.settings, store, said.append)
        hashes = [rows(one, "SELECT evidence_set_id, evidence_hash FROM evidence_sets") for one in (built, again)]
        assert hashes[0] == hashes[1]
        assert again.sae_id == built.sae_id
        for one, other in zip(built.firings.by_feature, again.firings.by_feature, strict=True):
            assert np.array_equal(one.tokens, other.tokens)
            assert np.array_equal(one.values, other.values)
        ids = [[one.label.label_id for shipped in b.shipped.values() for one in shipped] for b in (built, again)]
        assert ids[0] == ids[1]
        assert not list(tmp_path.glob("truth-*")), "what was spilled on the way is gone"
        assert check(store.database) == []
    assert said[1] == "18 features, 30 that keep them company, 3 further nulls"
