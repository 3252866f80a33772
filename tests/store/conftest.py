"""One filled database, copied for each test that wants it."""

import shutil
from pathlib import Path

import pytest

from tests.store.builders import make_database


@pytest.fixture(scope="session")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("filled"))


@pytest.fixture
def database(_filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(_filled, tmp_path / "labels.duckdb"))
