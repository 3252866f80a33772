"""The whole of level 1 on a tiny model: what is planted is found again by an SAE that was never told of it, and so is its evidence."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autolabel.config import Settings, SubjectSettings, TrainSettings, validated
from autolabel.errors import DataError
from autolabel.evidence.batches import run_contexts, usable_tokens
from autolabel.evidence.collect import Collection
from autolabel.evidence.corpus import Document
from autolabel.planted.matching import match
from autolabel.planted.observing import observe
from autolabel.planted.planting import PlantingSettings
from autolabel.planted.training import Planted, plant_and_train
from autolabel.sampling import TILE_TOKENS

STRONG = PlantingSettings(strength=(0.8, 1.0), n_components=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planted-sae")


@pytest.fixture(scope="module")
def planted(train_settings: TrainSettings, concepts: list[Any], folder: Path) -> Planted:
    return plant_and_train(train_settings, concepts, STRONG, folder / "sae", lambda report: None)


def test_every_concept_is_recovered_far_above_chance(planted: Planted) -> None:
    assert [found.concept for found in planted.matches] == ["dogs", "boats", "hills"]
    assert planted.summary.recovered_share == 1
    assert planted.summary.mean_cosine is not None
    assert planted.summary.mean_cosine > planted.summary.chance_cosine + 0.25
    for found in planted.matches:
        assert found.recall is not None
        assert found.recall > 0.9
        assert found.n_tokens > 50
    assert planted.gate.problems() == []
    rows = json.loads(json.dumps(planted.rows(), allow_nan=False))
    assert len({row["direction_hash"] for row in rows}) == 3


def test_directions_that_were_not_planted_are_not_recovered(
    planted: Planted, documents: list[Document], subject_settings: SubjectSettings
) -> None:
    """The same SAE asked for the same concepts along other directions: cosines are those of chance."""
    other = replace(planted.planting, directions=planted.planting.directions.roll(1, dims=1))
    observed = observe(planted.subject, planted.coder, documents, subject_settings, planted.gate.norm_limit, 2000)
    _, summary = match(planted.coder.W_dec, other, observed)
    assert summary.recovered_share < 1
    assert summary.mean_cosine is not None
    assert summary.mean_cosine == pytest.approx(summary.chance_cosine, abs=0.15)


def test_what_is_observed_is_what_the_collector_sees(
    planted: Planted, documents: list[Document], subject_settings: SubjectSettings
) -> None:
    limit = planted.gate.norm_limit
    observed = observe(planted.subject, planted.coder, documents[:9], subject_settings, limit, 10**9)
    batches = list(run_contexts(planted.subject, "layers.1", documents[:9], 96, 4, limit))
    n_tokens = sum(len(usable_tokens(batch)) for batch in batches)
    contexts = [context for batch in batches for context in batch.contexts]
    assert observed.features.shape == (n_tokens, 48)
    assert observed.truth.shape == (n_tokens, 3)
    assert observed.tiles.shape == (sum(context.n_tiles for context in contexts), n_tokens)
    assert observed.tiles.sum(axis=1).max() == TILE_TOKENS
    every = np.concatenate([planted.planting.activations.of(document).toarray() for document in documents[:9]])
    assert observed.truth.sum() == pytest.approx(every.sum(), rel=1e-4)
    code = planted.coder.encode(usable_tokens(batches[0]))
    first = observed.features[: len(usable_tokens(batches[0]))].tocoo()
    assert (first.row.tolist(), first.col.tolist()) == (code.tokens.tolist(), code.features.tolist())
    few = observe(planted.subject, planted.coder, documents[:9], subject_settings, limit, 10)
    assert few.truth.shape[0] == len(usable_tokens(batches[0]))
    with pytest.raises(DataError, match="there is no usable token"):
        observe(planted.subject, planted.coder, [], subject_settings, limit, 10)


def test_evidence_of_the_planted_model_comes_from_the_ordinary_collector(
    planted: Planted, folder: Path, content: dict[str, Any]
) -> None:
    small = {"strongest": 4, "firing_train": 20, "firing_validation": 20, "firing_test": 40, "background_train": 100}
    small |= {"background_validation": 100, "background_test": 100, "exam_validation": 10, "exam_test": 20}
    given = {"subject": content["subject"], "corpus": content["corpus"], "sae": {"path": str(folder / "sae")}, "evidence": small}
    settings = validated(given, Settings, "test")
    collection = Collection(settings, folder / "work", subject=planted.subject)
    assert collection.evidence_set_id != Collection(settings, folder / "work").evidence_set_id
    (evidence,) = collection.run(lambda tokens: None)
    assert evidence.sae["subject_model"] == planted.subject.name
    dogs = planted.matches[0].feature
    windows = evidence.tables["windows"].to_pandas().set_index("window_id")
    examples = evidence.tables["examples"].to_pandas()
    strongest = examples[(examples.feature_index == dogs) & (examples.kind == "strongest")]
    texts = [windows.loc[window].text for window in strongest.window_id]
    assert len(texts) == 4
    assert all("dog" in text or "puppy" in text for text in texts)
