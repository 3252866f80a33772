import csv
import io
import json
from pathlib import Path

import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from autolabel.cli import app
from autolabel.cli.reporting import print_labels
from autolabel.errors import ConfigError, StoreError
from tests.store.builders import make_database


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_database(tmp_path_factory.mktemp("reporting"))


def run(*arguments: str) -> tuple[bytes, str]:
    result = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout_bytes, result.stderr


def test_status(database: Path) -> None:
    out, err = run("status", "--db", str(database))
    found = {tuple(line.split()) for line in out.decode().splitlines()}
    assert {("labelled", "3"), ("failed", "1"), ("silent", "1"), ("pending", "1"), ("too", "few", "0")} <= found
    assert ("label", "unparsable", "1", "100", "10", "$0.01") in found
    assert ("all", "4", "400", "40", "$0.04") in found
    assert "3 labelled" in out.decode()
    assert err == ""


def test_status_says_that_rows_wait(database: Path, tmp_path: Path) -> None:
    copy = tmp_path / "labels.duckdb"
    copy.write_bytes(database.read_bytes())
    (tmp_path / "labels.duckdb.journal").write_text("{}\n")
    assert "rows wait in" in run("status", "--db", str(copy))[1]


def test_show_a_labelled_feature(database: Path) -> None:
    text = run("show", "0", "--db", str(database))[0].decode()
    assert "words about pets, 0a" in text
    assert "0.90 [0.80, 1.00]  n = 60, 1 unanswered" in text
    assert "mean 0.08, range 0.05 to 0.10, 2 other labels" in text
    assert "explain.v1 sha256:p" in text
    assert "the dog and <<the cat >>sat \\<\\<down\\>\\> \\<b\\>here\\</b\\>" in text
    assert "random tile · judge: probability 0.20, right" in text


@pytest.mark.parametrize(
    ("feature", "says"),
    [("3", "unparsable: the reply is empty"), ("4", "it never fired"), ("5", "no label has been chosen yet")],
)
def test_show_says_why_there_is_no_label(database: Path, feature: str, says: str) -> None:
    text = run("show", feature, "--db", str(database))[0].decode()
    assert "no label" in text
    assert says in text


def test_show_refuses_a_feature_outside_the_sae(database: Path) -> None:
    with pytest.raises(ConfigError, match="there is no feature 6; SAE toy has d_sae = 6 features, 0 to 5"):
        run("show", "6", "--db", str(database))


def test_rows_are_those_of_the_view(database: Path, tmp_path: Path) -> None:
    query = json.loads(
        run("query", "SELECT * FROM feature_labels ORDER BY feature_index", "--db", str(database), "--format", "json")[0]
    )
    lines = run("report", "--db", str(database), "--format", "jsonl")[0].decode().splitlines()
    assert [json.loads(line) for line in lines] == query
    rows = list(csv.DictReader(io.StringIO(run("report", "--db", str(database), "--format", "csv", "--sae", "toy")[0].decode())))
    assert [row["label"] for row in rows] == [row["label"] or "" for row in query]
    out = tmp_path / "labels.parquet"
    assert run("report", "--db", str(database), "--format", "parquet", "--out", str(out))[1] == f"wrote {out}\n"
    assert pyarrow.parquet.read_table(out)["label_score"].to_pylist() == [row["label_score"] for row in query]


def test_pages(database: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    run("report", "--db", str(database), "--out", str(out), "--max-features", "1")
    assert out.read_text().startswith("<!doctype html>")
    assert run("report", "--db", str(database), "--format", "md")[0].startswith(b"# Feature labels of toy\n")


def test_labels_surely_good_first(database: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_labels(database)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:5]] == ["0", "1", "2"]
    assert "words about pets, 0a 0.90 [0.80, 1.00] 0.08 (2) 0.85 [0.75, 0.95] 10% explain" in " ".join(lines[2].split())
    assert lines[5] == "3 features labelled, 1 failed, 1 pending, 1 silent"


def test_no_database() -> None:
    with pytest.raises(StoreError, match="does not exist"):
        run("status", "--db", "no-such.duckdb")
