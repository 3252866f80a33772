"""`bench trust`: what is asked for, what is written, and what is refused before the work."""

import json
from pathlib import Path
from typing import Any

import pytest

from autolabel.config import TruthSettings
from autolabel.truth import trust_fit, trusting
from autolabel.truth.trust_cases import Case
from tests.cli.commands import Shell
from tests.truth.test_trust_fit import rules


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[TruthSettings, bool]]:
    """The settings of every benchmark that is built, in place of building it."""
    found: list[tuple[TruthSettings, bool]] = []

    def gather(settings: TruthSettings, say: Any, with_shipped: bool) -> tuple[dict[str, Any], list[Case]]:
        found.append((settings, with_shipped))
        return {"seed": settings.seed}, rules(60, seed=settings.seed)

    monkeypatch.setattr(trusting, "gather", gather)
    monkeypatch.setattr(trust_fit, "N_DRAWS", 3)
    monkeypatch.setenv("AUTOLABEL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "parts" / "all-minilm-l6-v2").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    return found


def test_two_benchmarks_are_built_and_one_file_is_written(asked: list[tuple[TruthSettings, bool]], shell: Shell) -> None:
    code, out, err = shell("bench", "trust", "--corpus", "mine.txt", "--out", "t.json", "--n", 30)
    assert code == 0, err
    assert [(one.seed, one.n, one.replies is not None, shipped) for one, shipped in asked] == [
        (0, 30, True, True),
        (1, 30, False, False),
    ]
    assert len({one.db for one, _ in asked}) == 2
    content = json.loads(Path("t.json").read_text(encoding="utf-8"))
    assert [model["name"] for model in content["models"]] == ["rule_population"]
    assert content["fitted_on"] == [{"seed": 0}, {"seed": 1}]
    assert "| `rule_population` | 120 " in out


def test_a_file_to_compare_with_decides_the_exit_code(asked: list[tuple[TruthSettings, bool]], shell: Shell) -> None:
    assert shell("bench", "trust", "--corpus", "mine.txt", "--out", "t.json")[0] == 0
    code, _, err = shell("bench", "trust", "--corpus", "mine.txt", "--out", "u.json", "--compare", "t.json")
    assert (code, "as in the file compared with" in err) == (0, True)
    content = json.loads(Path("t.json").read_text(encoding="utf-8"))
    content["models"][0]["worth"]["auroc"] = 0.1
    Path("t.json").write_text(json.dumps(content), encoding="utf-8")
    code, _, err = shell("bench", "trust", "--corpus", "mine.txt", "--out", "u.json", "--compare", "t.json")
    assert code == 1
    assert "worth, auroc" in err


def test_what_cannot_be_written_or_compared_is_refused_before_the_work(
    asked: list[tuple[TruthSettings, bool]], shell: Shell
) -> None:
    assert "there is no folder" in shell.refused("bench", "trust", "--corpus", "mine.txt", "--out", "gone/t.json")
    Path("x.json").write_text("{}")
    assert "as trust models" in shell.refused("bench", "trust", "--corpus", "mine.txt", "--compare", "x.json")
    assert asked == []
