from dataclasses import replace
from typing import Any

import pytest

from autolabel.errors import DataError
from autolabel.evidence.corpus import Document
from autolabel.evidence.subject import Subject
from autolabel.planted.causes import Kind
from autolabel.planted.installing import causal_world
from autolabel.planted.interventions import Intervention
from autolabel.planted.planting import PlantingSettings

WORDS = {"dogs": ["walk"], "boats": ["sail"], "hills": ["high"]}
EFFECTS: list[tuple[Kind, float]] = [("causal", 0.5), ("inert", 0.0), ("promotes_other", 1.0)]
FEW = PlantingSettings(n_components=4, seed=2)


def test_what_the_truth_says_is_what_happens(subject: Subject, documents: list[Document], concepts: list[Any]) -> None:
    world = causal_world(subject, "layers.0", concepts, WORDS, documents, 96, FEW, EFFECTS, "layers.2")
    token_ids = world.passage("the dog ran over the hill").token_ids
    plain = world.log_probs(token_ids).log_probs[0, -1]
    truth = world.truth()
    assert sorted(row["kind"] for row in truth) == ["causal", "inert", "promotes_other"]
    for row in truth:
        change = Intervention(row["plant"], "set", row["natural_maximum"])
        found = world.log_probs(token_ids, interventions=[change]).log_probs[0, -1]
        (target,) = row["target_token_ids"]
        assert (found - plain)[target].item() == pytest.approx(row["delta"], abs=1e-5)
        assert (row["layer"], row["read"]) == ("layers.0", "layers.2")


def test_a_concept_that_never_fires_is_refused(subject: Subject, documents: list[Document], concepts: list[Any]) -> None:
    never = replace(concepts[0], label="never", words=("zebra",))
    with pytest.raises(DataError, match="'never' fires nowhere in the text"):
        causal_world(subject, "layers.0", [*concepts, never], WORDS | {"never": ["the"]}, documents[:20], 96, FEW)
