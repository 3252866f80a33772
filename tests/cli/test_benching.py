"""`bench truth` and `bench planted`: what the options mean, and what is refused before anything is read."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from autolabel import parts
from autolabel.cli import app
from autolabel.cli.benching import FAMILIES
from autolabel.config import TrainSettings, TruthSettings
from autolabel.errors import AutolabelError
from autolabel.truth import running
from autolabel.truth.bench import Results
from autolabel.truth.built import Built
from autolabel.truth.features import FAMILIES as ALL_FAMILIES
from tests.truth.conftest import built

__all__ = ["built"]


@pytest.fixture
def asked(built: Built, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[TruthSettings]:
    """The settings of every benchmark that is run, none of which does anything."""
    found: list[TruthSettings] = []

    def run(settings: TruthSettings, say: Any, record: Path | None = None) -> Results:
        found.append(settings)
        return Results(built, seconds={"build": 1.0})

    monkeypatch.setattr(running, "run_bench", run)
    monkeypatch.setenv("AUTOLABEL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "parts" / "all-minilm-l6-v2").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return found


def bench(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["bench", *map(str, arguments)])


def test_the_families_of_the_command_are_all_there_are() -> None:
    assert tuple(FAMILIES.split(",")) == ALL_FAMILIES


def test_own_text_needs_the_encoder_alone(asked: list[TruthSettings], tmp_path: Path) -> None:
    done = bench("truth", "--corpus", "mine.txt", "--n", 12, "--families", "words, null", "--seed", 3, "--no-checks")
    assert done.exit_code == 0, done.output
    (settings,) = asked
    assert (settings.n, settings.families, settings.seed, settings.checks) == (12, ["words", "null"], 3, False)
    assert [source.path for source in settings.corpus.sources] == ["mine.txt"]
    assert "# TruthBench, seed 0" in done.output


def test_a_part_for_likelihood_is_asked_for_and_a_model_of_the_hub_is_not(asked: list[TruthSettings]) -> None:
    done = bench("truth", "--corpus", "mine.txt", "--likelihood-model", "part:smollm2-135m-instruct")
    assert isinstance(done.exception, AutolabelError)
    assert "smollm2-135m-instruct" in str(done.exception)
    assert bench("truth", "--corpus", "mine.txt", "--likelihood-model", "some/model").exit_code == 0
    assert [settings.local.likelihood_model for settings in asked] == ["some/model"]


def test_the_shipped_text_is_asked_for_by_name(asked: list[TruthSettings], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOLABEL_CACHE", str(tmp_path / "empty"))
    done = bench("truth")
    assert isinstance(done.exception, AutolabelError)
    for name in parts.NEEDED_BY["autolabel bench truth"]:
        assert name in str(done.exception)
    assert "`autolabel bench truth --fetch`" in str(done.exception)
    assert asked == []


def test_an_llm_is_named_whole_or_not_at_all(asked: list[TruthSettings]) -> None:
    done = bench("truth", "--corpus", "mine.txt", "--llm-model", "some-model")
    assert isinstance(done.exception, AutolabelError)
    assert "--llm-base-url and --llm-model belong together" in str(done.exception)
    assert asked == []


def test_an_llm_of_ones_own(asked: list[TruthSettings]) -> None:
    url = "http://127.0.0.1:9/v1"
    done = bench("truth", "--corpus", "mine.txt", "--llm-base-url", url, "--llm-model", "m", "--llm-name", "here", "--max-calls", 5)
    assert done.exit_code == 0, done.output
    llm = asked[0].llm
    assert llm is not None
    assert (llm.base_url, llm.model, llm.name, llm.tiles_per_prompt) == (url, "m", "here", 1)
    assert asked[0].budget.max_calls == 5


def test_tables_go_to_a_file_and_numbers_to_another(asked: list[TruthSettings], tmp_path: Path) -> None:
    done = bench("truth", "--corpus", "mine.txt", "--out", tmp_path / "t.md", "--leaderboard", tmp_path / "l.json")
    assert done.exit_code == 0, done.output
    assert (tmp_path / "t.md").read_text(encoding="utf-8").startswith("# TruthBench, seed 0")
    compared = bench("truth", "--corpus", "mine.txt", "--compare", tmp_path / "l.json")
    assert compared.exit_code == 0
    assert "as in the leaderboard" in compared.output
    worse = (tmp_path / "l.json").read_text(encoding="utf-8").replace('"evidence_set_id": "', '"evidence_set_id": "0')
    (tmp_path / "l.json").write_text(worse, encoding="utf-8")
    differing = bench("truth", "--corpus", "mine.txt", "--compare", tmp_path / "l.json")
    assert differing.exit_code == 1
    assert "another benchmark" in differing.output


@pytest.mark.parametrize("option", ["--out", "--record", "--leaderboard"])
def test_a_file_in_no_folder_is_refused_before_the_work(asked: list[TruthSettings], tmp_path: Path, option: str) -> None:
    done = bench("truth", "--corpus", "mine.txt", option, tmp_path / "nowhere" / "x")
    assert isinstance(done.exception, AutolabelError)
    assert "there is no folder" in str(done.exception)
    assert asked == []


def test_planted_concepts_of_a_strength_that_is_none_are_refused() -> None:
    done = bench("planted", "--low", 2, "--high", 1)
    assert isinstance(done.exception, AutolabelError)
    assert "--low 2 exceeds --high 1" in str(done.exception)


def test_planted_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOLABEL_CACHE", str(tmp_path))
    (tmp_path / "parts" / "all-minilm-l6-v2").mkdir(parents=True)
    found: list[tuple[TrainSettings, int, tuple[float, float]]] = []

    def run(settings: TrainSettings, n: int, strength: tuple[float, float], folder: Path, encoder: str, say: Any) -> Any:
        found.append((settings, n, strength))
        raise AutolabelError("enough")

    monkeypatch.setattr(running, "run_planted_bench", run)
    done = bench("planted", "--subject", "some/model", "--corpus", "mine.txt", "--concepts", 4, "--tokens", 1000, "--seed", 2)
    assert str(done.exception) == "enough"
    ((settings, n, strength),) = found
    assert (settings.subject.model, settings.training.tokens, settings.seed) == ("some/model", 1000, 2)
    assert (n, strength) == (4, (1.0, 1.5))
