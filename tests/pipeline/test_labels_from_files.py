"""Two Parquet files in, labels and a report out, and no model in between."""

import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from autolabel.config import Settings, validated
from autolabel.errors import ConfigError, DataError
from autolabel.evidence import from_files
from autolabel.evidence.from_files import FileCollection
from autolabel.evidence.sources import write_activations
from autolabel.evidence.subject import Subject
from autolabel.store.connection import Database
from autolabel.store.maintenance import check
from tests.cli.commands import Shell
from tests.pipeline import world
from tests.pipeline.world import Quiet, Server

WORDS = [f"word{i}" for i in range(60)]
N_FEATURES = 12
"""Feature i fires on the word i, with a strength that depends on its neighbour."""


def contexts() -> Iterator[tuple[int, str, list[str]]]:
    generator = random.Random(3)
    for number in range(700):
        yield number, f"document {number // 2}", [f"{word} " for word in generator.choices(WORDS, k=generator.randint(40, 90))]


def activations() -> Iterator[tuple[int, int, list[int], list[float]]]:
    for number, _, tokens in contexts():
        for feature in range(N_FEATURES):
            positions = [place for place, token in enumerate(tokens) if token == f"word{feature} "]
            if positions:
                yield number, feature, positions, [1.0 + len(tokens[place - 1]) / 10 + place / 100 for place in positions]


@pytest.fixture
def shell(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(monkeypatch, capsys)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("activations")
    write_activations(folder, contexts(), activations())
    return folder


def settings(files: Path, db: Path, **changes: Any) -> Settings:
    shared = world.content(files, db)
    content = {key: shared[key] for key in ("db", "evidence", "llm", "score")}
    content["evidence"] = content["evidence"] | {
        "left_context_tokens": 0
    }  # the judge of this world reads context as if it were tile
    return validated(content | {"source": {"kind": "activations", "path": str(files)}} | changes, Settings, "test")


@pytest.fixture(scope="module")
def labelled(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    db = tmp_path_factory.mktemp("db") / "labels.duckdb"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Subject, "load", lambda *_: pytest.fail("a model was loaded"))
        outcome = world.run(settings(files, db, select={"features": "0-5"}), Server(), stages=world.ALL)
    assert (outcome.n_features, outcome.n_labelled) == (6, 6)
    return db


def rows(db: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(db), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_features_are_labelled_by_the_word_they_fire_on_and_score_high(labelled: Path) -> None:
    found = rows(labelled, "SELECT feature_index, label, label_score FROM feature_labels WHERE label IS NOT NULL ORDER BY ALL")
    assert [feature for feature, _, _ in found] == list(range(6))
    assert all(f'"word{feature}"' in label for feature, label, _ in found)
    assert all(score > 0.9 for _, _, score in found)


def test_what_there_is_no_model_for_is_null(labelled: Path) -> None:
    assert rows(labelled, "SELECT kind, subject_model, hookpoint_in, d_model, d_sae FROM saes") == [
        ("activations", None, None, None, N_FEATURES)
    ]
    assert rows(labelled, "SELECT gate, fvu, l0 FROM evidence_sets") == [(None, None, None)]
    assert rows(labelled, "SELECT count(*) FROM windows WHERE token_ids IS NOT NULL") == [(0,)]
    assert check(Database(labelled)) == []


def test_contexts_of_a_document_stay_in_one_split(labelled: Path) -> None:
    assert rows(
        labelled, "SELECT count(*) FROM (SELECT source_document_id FROM windows GROUP BY ALL HAVING count(DISTINCT split) > 1)"
    ) == [(0,)]
    assert rows(labelled, "SELECT n_source_documents, n_documents FROM corpora") == [(350, 700)]


def test_a_second_run_collects_nothing_and_a_report_can_be_written(
    labelled: Path, files: Path, tmp_path: Path, shell: Shell
) -> None:
    watcher = Quiet()
    world.run(settings(files, labelled, select={"features": "0-5"}), Server(), stages=world.ALL, watcher=watcher)
    assert any("is there already" in line for line in watcher.said)
    report = tmp_path / "report.html"
    code, _, err = shell("report", "--db", labelled, "--format", "html", "--out", report)
    assert code == 0, err
    assert "word3" in report.read_text()


def test_evidence_does_not_depend_on_where_blocks_end(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hash_with(entries: int, contexts: int) -> tuple[str, int]:
        monkeypatch.setattr("autolabel.evidence.sources.cursor.BLOCK_ENTRIES", entries)
        monkeypatch.setattr(from_files, "BATCH_CONTEXTS", contexts)
        batches: list[int] = []
        collection = FileCollection(settings(files, tmp_path / "x.duckdb"), tmp_path / f"{entries}-{contexts}")
        found: str = collection.run(batches.append).evidence_set["evidence_hash"]
        return found, len(batches)

    whole, *others = hash_with(1 << 22, 64), hash_with(90, 64), hash_with(1, 64), hash_with(1 << 22, 1000)
    assert {found for found, _ in others} == {whole[0]}
    assert len({n_batches for _, n_batches in [whole, *others]}) == 4


def exported(folder: Path, lengths: list[int]) -> Path:
    """An export with a context of each length, whose first token makes feature 0 fire."""
    generator = random.Random(0)
    contexts = [[f" {word}" for word in generator.choices(WORDS, k=length)] for length in lengths]
    lines = [{"index": "0", "tokens": tokens, "values": [1.0] + [0.0] * (len(tokens) - 1)} for tokens in contexts]
    folder.mkdir()
    (folder / "batch-0.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_an_export_of_short_contexts_alone_is_refused(tmp_path: Path) -> None:
    source = {"kind": "neuronpedia", "path": str(exported(tmp_path / "short", [31] * 50))}
    with pytest.raises(DataError, match=r"short': no context holds a tile of 32 tokens, .* contexts of 63 tokens always hold one"):
        FileCollection(settings(tmp_path, tmp_path / "x.duckdb", source=source), tmp_path / "work")


def test_an_export_of_one_long_context_gives_windows(tmp_path: Path) -> None:
    source = {"kind": "neuronpedia", "path": str(exported(tmp_path / "one", [31, 31, 63]))}
    collection = FileCollection(settings(tmp_path, tmp_path / "x.duckdb", source=source), tmp_path / "work")
    tables = collection.run(lambda _: None).tables
    assert (tables["features"].num_rows, tables["windows"].num_rows) == (1, 1)
    assert "examples" not in tables


def test_other_sections_beside_a_source_are_refused(files: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[source\] stands in place of \[subject\], \[sae\] and \[corpus\]"):
        settings(files, tmp_path / "x.duckdb", sae={"path": "demo-sae"})
    with pytest.raises(ConfigError, match="key 'subject' is missing; key 'sae' is missing"):
        validated({"corpus": {"sources": [{"path": "x"}]}}, Settings, "test")
