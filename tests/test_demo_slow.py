"""The demo as its readers run it: real model, real text, the shipped SAE."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

D_SAE = 4096


def autolabel(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from autolabel.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def one(db: Path, sql: str) -> int:
    with duckdb.connect(str(db), read_only=True) as connection:
        ((value,),) = connection.execute(sql).fetchall()
    return int(value)


@pytest.mark.slow
def test_the_demo_labels_real_features_and_a_second_run_asks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    out = tmp_path / "demo"
    db = out / "labels.duckdb"
    first = autolabel("demo", "--fetch", "--out", out)
    assert first.returncode == 0, first.stderr
    rows = [line for line in first.stdout.splitlines() if line.lstrip("│┃| ").split(" ")[0].isdigit()]
    assert len(rows) >= 24, first.stdout
    assert (out / "report.html").stat().st_size > 10_000
    assert autolabel("db", "check", "--db", db).returncode == 0
    assert one(db, "SELECT count(*) FROM features") == D_SAE
    assert one(db, "SELECT count(*) FROM feature_labels WHERE status = 'labelled' AND label_score IS NOT NULL") >= 20
    attempts = one(db, "SELECT count(*) FROM llm_attempts")
    assert attempts > 0
    second = autolabel("demo", "--out", out)
    assert second.returncode == 0, second.stderr
    assert one(db, "SELECT count(*) FROM llm_attempts") == attempts
