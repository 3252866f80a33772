import csv
import io
import json
from pathlib import Path

import pyarrow.parquet
import pytest
from typer.testing import CliRunner

from autolabel.cli import app
from autolabel.errors import ConfigError
from tests.store.builders import add as add_rows
from tests.store.builders import label, make_database

NASTY = "[red]x[/red] \x1b[31m\n\u202e <b>"


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = make_database(tmp_path_factory.mktemp("query"))
    add_rows(path, labels=[label(5, text=NASTY)])
    return path


def run(database: Path, sql: str, *options: str) -> tuple[bytes, str]:
    result = CliRunner().invoke(app, ["query", sql, "--db", str(database), *options], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout_bytes, result.stderr


def test_a_table_rounds_and_shows_null_as_a_dash(database: Path) -> None:
    out, _ = run(database, "SELECT 1/3 AS third, NULL AS nothing, 7 AS whole, [0.123456] AS list")
    assert out.decode().splitlines()[2].split() == ["0.3333", "–", "7", "[0.1235]"]


def test_text_in_a_table_is_data(database: Path) -> None:
    out, _ = run(database, "SELECT text FROM labels WHERE feature_index = 5")
    assert "[red]x[/red] \\u{001B}[31m↵\\u{202E} <b>" in out.decode()
    assert "\x1b" not in out.decode()


def test_json_and_csv_are_exact(database: Path) -> None:
    sql = "SELECT text, 1/3 AS third, NULL AS nothing FROM labels WHERE feature_index = 5"
    assert json.loads(run(database, sql, "--format", "json")[0]) == [{"text": NASTY, "third": 1 / 3, "nothing": None}]
    header, row = csv.reader(io.StringIO(run(database, sql, "--format", "csv")[0].decode(), newline=""))
    assert (header, row[0], float(row[1]), row[2]) == (["text", "third", "nothing"], NASTY, 1 / 3, "")


def test_parquet_to_a_file_and_to_a_pipe(database: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.parquet"
    piped, _ = run(database, "SELECT 42 AS x", "--format", "parquet")
    run(database, "SELECT 42 AS x", "--format", "parquet", "--out", str(out))
    assert pyarrow.parquet.read_table(io.BytesIO(piped)).to_pylist() == pyarrow.parquet.read_table(out).to_pylist() == [{"x": 42}]


def test_a_table_to_a_file(database: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows.txt"
    assert run(database, "SELECT 42 AS x", "--out", str(out))[0] == b""
    assert "42" in out.read_text()


def test_truncation_is_said_on_stderr(database: Path) -> None:
    out, err = run(database, "SELECT * FROM range(10)", "--max-rows", "3", "--format", "csv")
    assert out == b'"range"\n0\n1\n2\n'
    assert "only the first 3 rows are shown; there are more, pass --max-rows" in err
    assert run(database, "SELECT * FROM range(3)", "--max-rows", "3")[1] == ""


@pytest.mark.parametrize(
    ("sql", "options", "says"),
    [
        ("DELETE FROM labels", [], "expected one that reads"),
        ("SELECT * FROM read_text('/etc/passwd')", [], "cannot be run"),
        ("SELECT count(*) FROM range(100000000) a, range(100000000) b", ["--timeout", "0.05"], "longer than 0.05 s"),
        ("SELECT 1", ["--out", "no/such/folder/x", "--format", "csv"], "cannot be written"),
    ],
)
def test_what_is_refused(database: Path, sql: str, options: list[str], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        run(database, sql, *options)


def test_a_wide_result_is_shown_a_row_at_a_time(database: Path) -> None:
    from rich.console import Console

    from autolabel.report.terminal import print_rows
    from autolabel.store.sandbox import query

    console = Console(file=io.StringIO(), width=80)
    print_rows(console, query(database, "SELECT * FROM feature_labels LIMIT 2").table)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "row 2" in text
    assert [line.split() for line in text.splitlines() if line.startswith("label_score ")] == [
        ["label_score", "0.9"],
        ["label_score", "0.6"],
    ]
