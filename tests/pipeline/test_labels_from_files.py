"""Two Parquet files in, labels and a report out, and no model in between."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from autolabel.config import Settings, validated
from autolabel.errors import ConfigError
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


def test_other_sections_beside_a_source_are_refused(files: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[source\] stands in place of \[subject\], \[sae\] and \[corpus\]"):
        settings(files, tmp_path / "x.duckdb", sae={"path": "demo-sae"})
    with pytest.raises(ConfigError, match="key 'subject' is missing; key 'sae' is missing"):
        validated({"corpus": {"sources": [{"path": "x"}]}}, Settings, "test")
