"""What docs/activation-files.md says is true: its example runs, and its format is what is read and written."""

import re
from pathlib import Path

import duckdb
import pytest
import torch

from autolabel.config import EvidenceSettings
from autolabel.errors import DataError
from autolabel.evidence.collector import Collector
from autolabel.evidence.sources.base import (
    MAX_CONTEXT_BYTES,
    MAX_CONTEXT_TOKENS,
    MAX_FEATURES,
    MAX_TOKEN_BYTES,
    MAX_UNASKED_FEATURES,
)
from autolabel.evidence.sources.files import FEATURE_BYTES
from autolabel.evidence.sources.parquet import ACTIVATION_COLUMNS, CONTEXT_COLUMNS, FORMAT_VERSION
from autolabel.evidence.spill import Spill
from tests.evidence.sources.layouts import SHARES, batches, firings, opened, write

DOCS = (Path(__file__).parents[3] / "docs" / "activation-files.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"^```python\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)
(SQL,) = re.findall(r"^```sql\n(.*?)^```", DOCS, re.MULTILINE | re.DOTALL)


def test_the_example_writes_files_that_can_be_read_and_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with torch.random.fork_rng():
        exec(compile(EXAMPLE, "docs/activation-files.md", "exec"), {})
    source = opened(tmp_path / "my-activations")
    counts = source.counts(0, SHARES)
    assert (source.subject_model, source.d_sae, source.n_contexts) == ("tiny", 64, 200)
    assert min(counts.source_documents_by_split.values()) >= 20
    assert min(counts.tiles_by_split.values()) >= 20
    assert len(firings(batches(source))) > 1000


def test_the_example_is_short() -> None:
    assert len(EXAMPLE.strip().splitlines()) <= 20


def test_the_sql_makes_the_files_from_tables_of_tokens_and_firings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    connection = duckdb.connect()
    connection.execute(
        "CREATE TABLE my_tokens AS SELECT c AS context_id, 'd' AS document_id, p AS position, format(' {}-{}', c, p) AS token "
        "FROM range(7) r(c), range(5) s(p)"
    )
    connection.execute(
        "CREATE TABLE my_firings AS SELECT context_id, 2 AS feature_index, position, (position + 0.5)::FLOAT AS value FROM my_tokens "
        "WHERE position != 3"
    )
    connection.execute(SQL)
    found = firings(batches(opened(tmp_path)))
    assert [entry[1:] for entry in found] == [(f" {c}-{p}", p, 2, p + 0.5) for c in range(7) for p in (0, 1, 2, 4)]


def test_the_numbers_and_columns_are_those_of_the_code() -> None:
    assert f"1 to {MAX_CONTEXT_TOKENS:,}" in DOCS
    assert f"0 to {MAX_FEATURES - 1:,}" in DOCS
    assert DOCS.count(f"at most {MAX_TOKEN_BYTES:,} bytes") == 2
    assert f"{MAX_CONTEXT_BYTES >> 20} MiB together" in DOCS
    assert f"{MAX_UNASKED_FEATURES:,} have to be asked for" in DOCS
    assert DOCS.count(f"about {FEATURE_BYTES / 1000} kB") == 2
    assert f"must be `{FORMAT_VERSION.decode()}`" in DOCS
    for column in CONTEXT_COLUMNS | ACTIVATION_COLUMNS:
        assert re.search(rf"^\|.*\| `{column}` \| [A-Z]+(\[\])? \|", DOCS, re.MULTILINE)


def test_a_feature_takes_the_memory_that_is_said(tmp_path: Path) -> None:
    collector = Collector(4096, EvidenceSettings(), 0, Spill(tmp_path))
    assert collector.state_bytes / 4096 == pytest.approx(FEATURE_BYTES, rel=0.02)


def test_the_sql_of_a_later_version_of_parquet_is_refused_as_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "w", [(i, f"d{i}", [f" {i}:{j}" for j in range(9)]) for i in range(300)], [(0, 0, [0], [1.0])])
    monkeypatch.chdir(folder)
    again = "COPY (SELECT * FROM 'contexts.parquet' ORDER BY context_id) TO 'again.parquet' (FORMAT parquet, PARQUET_VERSION {})"
    before = firings(batches(opened(folder)))
    duckdb.execute(again.format("v1"))
    Path("again.parquet").replace("contexts.parquet")
    assert firings(batches(opened(folder))) == before
    duckdb.execute(again.format("v2"))
    Path("again.parquet").replace("contexts.parquet")
    with pytest.raises(
        DataError, match=r"encoding DELTA_LENGTH_BYTE_ARRAY, expected PLAIN or RLE_DICTIONARY; write version 1 of Parquet"
    ):
        opened(folder)


def test_the_line_that_sorts_is_the_one_of_the_message(tmp_path: Path) -> None:
    rows = [(1, 0, [0], [1.0]), (0, 0, [0], [1.0])]
    folder = write(tmp_path / "w", [(0, "a", [" x"]), (1, "a", [" y"])], rows)
    with pytest.raises(Exception, match=re.escape("COPY (SELECT * FROM 'activations.parquet' ORDER BY context_id)")) as caught:
        batches(opened(folder))
    (line,) = re.findall(r"^ {4}(COPY .*)$", DOCS, re.MULTILINE)
    assert line in str(caught.value)
