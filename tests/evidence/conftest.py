from pathlib import Path

import pytest

from autolabel.config import SubjectSettings
from autolabel.evidence.subject import Subject
from tests.fakes import tiny_model_and_tokenizer


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_and_tokenizer(tmp_path_factory.mktemp("subject"))


@pytest.fixture(scope="session")
def subject_settings(model_folder: Path) -> SubjectSettings:
    return SubjectSettings(model=str(model_folder), dtype="float32", device="cpu", context_tokens=96, batch_contexts=4)


@pytest.fixture(scope="session")
def subject(subject_settings: SubjectSettings) -> Subject:
    return Subject.load(subject_settings)
