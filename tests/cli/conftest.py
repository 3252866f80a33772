from pathlib import Path
from typing import Any

import pytest

from tests.cli.commands import Make, Shell, toml
from tests.pipeline import world


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, an SAE and a text."""
    folder = tmp_path_factory.mktemp("world")
    world.build(folder)
    return folder


@pytest.fixture
def make(built: Path, tmp_path: Path) -> Make:
    """Writes a settings file over the built world; `changes` replace whole tables."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "settings.toml"
        path.write_text(toml(world.content(built, tmp_path / "labels.duckdb", **changes)))
        return path

    return write
