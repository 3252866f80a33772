import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from autolabel.cli import app
from tests.store.builders import add, choice, make_database


@pytest.fixture(scope="module")
def _filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("database"))


@pytest.fixture
def database(_filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(_filled, tmp_path / "labels.duckdb"))


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(app, ["db", *arguments], catch_exceptions=False)
    return result.exit_code, result.stdout, result.stderr


def test_check(database: Path) -> None:
    assert run("check", "--db", str(database)) == (0, "", f"{database}: nothing wrong\n")
    add(database, choices=[choice(5, "label-nobody-made")])
    code, out, _ = run("check", "--db", str(database))
    assert code == 1
    assert "choices whose label_id labels does not hold" in out


def test_schema_of_a_file_and_of_a_new_database(database: Path) -> None:
    assert run("schema") == run("schema", "--db", str(database))
    assert "view feature_labels: one row per feature" in run("schema")[1]


def test_migrate_creates_and_keeps(tmp_path: Path) -> None:
    path = tmp_path / "new.duckdb"
    assert run("migrate", "--db", str(path)) == (
        0,
        f"{path}: applied m001_initial, m002_llm_engine, m003_evidence_engine, m004_scores\n",
        "",
    )
    assert run("migrate", "--db", str(path)) == (0, f"{path}: up to date\n", "")


def test_diff(database: Path, tmp_path: Path) -> None:
    other = Path(shutil.copy(database, tmp_path / "other.duckdb"))
    assert run("diff", str(database), str(other)) == (0, "", "no differences\n")
    add(other, choices=[choice(5, None, "uninterpretable")])
    assert run("diff", str(database), str(other))[:2] == (1, "choices: 0 rows only in the first, 1 only in the second\n")
