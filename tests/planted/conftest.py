"""A tiny random model, made-up text about dogs and boats, and concepts that are word lists."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autolabel.config import SubjectSettings, TrainSettings, validated
from autolabel.evidence.corpus import CorpusCounts, Document, read_documents
from autolabel.evidence.subject import Subject
from autolabel.planted.causes import Cause, Targets
from autolabel.planted.planting import Planting, PlantingSettings, plan
from tests.fakes import tiny_model_and_tokenizer

FEW = PlantingSettings(n_components=4)


@dataclass(frozen=True)
class Words:
    """Fires on the tokens in which a word of the list begins or goes on."""

    label: str
    words: tuple[str, ...]
    strength: float = 1.0

    def activations(self, text: str, bounds: NDArray[np.int32]) -> NDArray[np.float32]:
        found = np.zeros(len(bounds) - 1, dtype=np.float32)
        for place in re.finditer(rf"\b({'|'.join(self.words)})\b", text):
            own = (bounds[:-1] < place.end()) & (bounds[1:] > place.start())
            found[own] = self.strength * (1 + place.start() % 3 / 2)
        return found


@pytest.fixture(scope="session")
def concepts() -> list[Words]:
    return [Words("dogs", ("dog", "puppy")), Words("boats", ("boat", "ferry"), 40.0), Words("hills", ("hill",), 0.1)]


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_and_tokenizer(tmp_path_factory.mktemp("planted-model"))


@pytest.fixture(scope="session")
def content(tmp_path_factory: pytest.TempPathFactory, model_folder: Path) -> dict[str, Any]:
    """Settings for training on sentences in which words of the concepts stand among others."""
    corpus = tmp_path_factory.mktemp("planted-text") / "texts.jsonl"
    draw = np.random.default_rng(3)
    others = ["the", "cat", "sat", "on", "a", "mat", "and", "ran", "over", "in", "harbour", "while", "lay"]
    with corpus.open("w", encoding="utf-8") as file:
        for _ in range(240):
            words = draw.choice([*others * 2, "dog", "puppy", "boat", "ferry", "hill"], 40)
            file.write(json.dumps({"text": " ".join(words)}) + "\n")
    training = {"hookpoint": "layers.1", "d_sae": 48, "k": 6, "tokens": 100_000, "batch_tokens": 256, "buffer_tokens": 2048}
    return {
        "name": "planted",
        "subject": {"model": str(model_folder), "dtype": "float32", "device": "cpu", "context_tokens": 96, "batch_contexts": 4},
        "corpus": {"sources": [{"path": str(corpus)}]},
        "training": {"learning_rate": 4e-3, **training},
    }


@pytest.fixture(scope="session")
def train_settings(content: dict[str, Any]) -> TrainSettings:
    return validated(content, TrainSettings, "test")


@pytest.fixture(scope="session")
def subject_settings(train_settings: TrainSettings) -> SubjectSettings:
    return train_settings.subject


@pytest.fixture(scope="session")
def subject(subject_settings: SubjectSettings) -> Subject:
    return Subject.load(subject_settings)


@pytest.fixture(scope="session")
def documents(subject: Subject, train_settings: TrainSettings) -> list[Document]:
    return list(read_documents(train_settings.corpus, 0, subject, CorpusCounts()))


@pytest.fixture(scope="session")
def planting(subject: Subject, concepts: list[Words], documents: list[Document]) -> Planting:
    return plan(subject, "layers.1", concepts, documents, 96, FEW)


def targets(*token_ids: int) -> Targets:
    return Targets(tuple(f"word {token}" for token in token_ids), token_ids)


@pytest.fixture(scope="session")
def causes() -> list[Cause]:
    """Dogs cause what their label says, boats what is said of hills, and hills nothing."""
    dogs, boats, hills = targets(20, 30, 40), targets(21, 31), targets(22, 32, 42)
    return [
        Cause("dogs", "causal", 0.5, dogs, "dogs", dogs),
        Cause("boats", "promotes_other", 1.0, boats, "hills", hills),
        Cause("hills", "inert", 0.0, hills, "hills", hills),
    ]
