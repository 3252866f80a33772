import shutil
from pathlib import Path

import pytest

from tests.pipeline import world


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, an SAE and a text."""
    folder = tmp_path_factory.mktemp("world")
    world.build(folder)
    return folder


@pytest.fixture(scope="session")
def _collected(built: Path) -> Path:
    db = built / "collected.duckdb"
    world.run(world.settings(built, db), world.Server(), ("collect",))
    return db


@pytest.fixture
def collected(_collected: Path, tmp_path: Path) -> Path:
    """A database of its own with evidence and nothing else."""
    return Path(shutil.copy(_collected, tmp_path / "labels.duckdb"))


@pytest.fixture(scope="session")
def _finished(_collected: Path, built: Path) -> tuple[Path, world.Server, world.Quiet]:
    db = Path(shutil.copy(_collected, built / "finished.duckdb"))
    server, watcher = world.Server(), world.Quiet()
    world.run(world.settings(built, db), server, world.ALL, watcher)
    return db, server, watcher


@pytest.fixture
def finished(_finished: tuple[Path, world.Server, world.Quiet], tmp_path: Path) -> Path:
    """A database of its own after an unbroken run."""
    return Path(shutil.copy(_finished[0], tmp_path / "finished.duckdb"))


@pytest.fixture(scope="session")
def unbroken(_finished: tuple[Path, world.Server, world.Quiet]) -> Path:
    """The database of the unbroken run, to compare with."""
    return _finished[0]


@pytest.fixture(scope="session")
def asked(_finished: tuple[Path, world.Server, world.Quiet]) -> list[str]:
    """The bodies of all requests of the unbroken run."""
    return _finished[1].answered
