"""Level 1 as the command runs it, on a tiny model: plant, train, match, label without an LLM, recognise."""

import asyncio
from pathlib import Path

import numpy as np
import pytest

from autolabel.config import TrainSettings
from autolabel.planted.planting import PlantingSettings
from autolabel.store.connection import Database
from autolabel.store.maintenance import check
from autolabel.store.run_store import RunStore
from autolabel.truth.bank import Meaning, groups
from autolabel.truth.planted import PlantedMeaning, PlantedResults, markdown, planted_concepts, run_planted
from autolabel.truth.predicates import Words
from tests.fakes import FakeEmbedder

MEANINGS = [
    PlantedMeaning(Meaning(label, Words(words)))
    for label, words in {"dog or puppy": ("dog", "puppy"), "boat or ferry": ("boat", "ferry"), "hill": ("hill",)}.items()
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planted-bench")


@pytest.fixture(scope="module")
def results(train_settings: TrainSettings, folder: Path) -> PlantedResults:
    planting = PlantingSettings(strength=(0.8, 1.0), n_components=4)
    with RunStore.open(folder / "planted.duckdb", "run") as store:
        store.start_run("bench planted", {}, "hash", 0)
        found = asyncio.run(run_planted(train_settings, MEANINGS, planting, folder, store, FakeEmbedder(), lambda _: None))
        store.finish_run("done")
    return found


def test_what_was_planted_is_found_labelled_and_recognised(results: PlantedResults) -> None:
    assert sorted(results.labels) == [0, 1, 2]
    assert all(label.status == "ok" for label in results.labels.values())
    assert results.right == {0: True, 1: True, 2: True}


def test_the_table_says_what_became_of_each(results: PlantedResults) -> None:
    text = markdown(results)
    for meaning in MEANINGS:
        assert f"| {meaning.label} |" in text
    assert "recovered_share 1.0" in text


def test_evidence_and_labels_are_stored(results: PlantedResults, folder: Path) -> None:
    database = Database(folder / "planted.duckdb")
    assert check(database) == []
    with database.read() as connection:
        labels = {text for (text,) in connection.execute("SELECT text FROM labels").fetchall()}
    assert labels == {label.text for label in results.labels.values()}


def test_a_meaning_fires_on_the_token_in_which_its_word_begins() -> None:
    meaning = PlantedMeaning(Meaning("dogs", Words(("dog",))))
    text = "A dog, a Dog and dogs"
    bounds = np.array([0, 1, 3, 5, 6, 8, 12, 16, 21], dtype=np.int32)
    assert meaning.activations(text, bounds).tolist() == [0, 1, 0, 0, 0, 1, 0, 0]
    assert meaning.activations("", np.array([0], dtype=np.int32)).tolist() == []


def test_planted_concepts_bring_the_groups_above_them() -> None:
    concepts = planted_concepts(30, 0)
    labels = [concept.label for concept in concepts]
    assert len(labels) == len(set(labels)) == 30
    assert {group.label for group in groups()} & set(labels)
    assert labels == [concept.label for concept in planted_concepts(30, 0)]
    assert labels != [concept.label for concept in planted_concepts(30, 1)]
