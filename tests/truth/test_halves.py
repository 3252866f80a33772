"""Halves that share no text, draws that differ in nothing but their tiles, and labels scored in every one of them."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from autolabel.cli import app
from autolabel.config import TruthSettings
from autolabel.errors import AutolabelError, DataError
from autolabel.records import Example, FeatureEvidence, Label, Prediction, Purpose
from autolabel.scorers.base import ScorerInfo
from autolabel.store.connection import Database
from autolabel.store.maintenance import check
from autolabel.store.reading import load_feature_evidence
from autolabel.store.run_store import RunStore
from autolabel.truth import resampling, running, selection
from autolabel.truth.features import Candidate, Family, TruthFeature
from autolabel.truth.halves import DRAWS, HALVES, Halves, build_halves, half_of, spread
from autolabel.truth.repeatability import ALL_JUDGES, TURNS, Agreement, Repeatability, measure_repeatability, two_labels
from autolabel.truth.world import World
from tests.truth.worlds_of_text import LEAST_DOCUMENTS, LEAST_TILES, small_settings, write_corpus

PLACES = [(half, draw) for half in range(HALVES) for draw in range(DRAWS)]


@dataclass
class Judge:
    """Knows which tiles fire for the even features and guesses for the odd ones; gives no answer about one of them."""

    name: Any = "embedding"
    silent_on: int | None = None

    @property
    def info(self) -> ScorerInfo:
        return ScorerInfo(self.name, f"fake {self.name}", "rating", needs_calibration=False)

    async def predict(self, labels: Sequence[Label], examples: Sequence[Example], purpose: Purpose) -> list[list[Prediction]]:
        index = purpose.feature_index or 0
        if index == self.silent_on:
            return [[Prediction(e.window_id, None, "failed", "no answer") for e in examples] for _ in labels]
        return [[Prediction(e.window_id, self._value(index, e)) for e in examples] for _ in labels]

    def _value(self, index: int, example: Example) -> float:
        return float(example.fires) if index % 2 == 0 else int(example.window_id[:6], 16) / 2**24


@pytest.fixture(scope="module", autouse=True)
def _small() -> Iterator[None]:
    """Small texts are enough, and few resamples."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(selection, "LEAST_TILES", LEAST_TILES)
        patched.setattr(selection, "LEAST_DOCUMENTS", LEAST_DOCUMENTS)
        patched.setattr(resampling, "N_DRAWS", 60)
        yield


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> TruthSettings:
    folder = tmp_path_factory.mktemp("halves")
    return small_settings(folder, n=12).model_copy(update={"corpus": write_corpus(folder, n_documents=700)})


@pytest.fixture(scope="module")
def store(settings: TruthSettings) -> Iterator[RunStore]:
    with RunStore.open(Path(settings.db), "run-1") as opened:
        opened.start_run("bench repeatability", {}, "config", 0)
        yield opened
        opened.finish_run("done")


@pytest.fixture(scope="module")
def halves(settings: TruthSettings, store: RunStore) -> Halves:
    return build_halves(settings, 4, store, lambda _: None)


@pytest.fixture(scope="module")
def measured(halves: Halves, store: RunStore) -> Repeatability:
    judges = [Judge("embedding"), Judge("likelihood", silent_on=halves.features[0].index)]
    return asyncio.run(measure_repeatability(halves, judges, 0, store, lambda _: None))


def test_the_halves_are_the_whole_and_share_no_source_document(settings: TruthSettings) -> None:
    world = World.read(settings.corpus, settings.seed)
    parts = [half_of(world, half) for half in range(HALVES)]
    sources = [{document.source_hash for document in part.documents} for part in parts]
    assert not sources[0] & sources[1]
    assert sources[0] | sources[1] == {document.source_hash for document in world.documents}
    assert sum(len(part.documents) for part in parts) == len(world.documents)
    assert min(len(part.documents) for part in parts) > 0.4 * len(world.documents)
    assert [part.counts.n_documents for part in parts] == [len(part.documents) for part in parts]


def test_examples_of_one_half_never_come_from_the_other(halves: Halves) -> None:
    own = [
        {e.source_document_id for draw in range(DRAWS) for found in halves.evidence[half, draw].values() for e in found.examples}
        for half in range(HALVES)
    ]
    assert all(own)
    assert not own[0] & own[1]


def test_draws_from_a_half_differ_in_the_tiles_alone(halves: Halves) -> None:
    for half in range(HALVES):
        rates = [{i: e.firing_rate for i, e in halves.evidence[half, draw].items()} for draw in range(DRAWS)]
        assert rates[0] == rates[1]
        for feature in halves.features:
            tiles = [{e.window_id for e in halves.exam((half, draw), feature.index)} for draw in range(DRAWS)]
            assert tiles[0] != tiles[1]


def test_every_feature_has_an_exam_everywhere_and_the_others_are_counted(halves: Halves) -> None:
    assert len(halves.features) == 4
    assert all(halves.exam(place, feature.index) for place in PLACES for feature in halves.features)
    lacking = {i for found in halves.evidence.values() for i, e in found.items() if not e.exam("test")}
    assert halves.n_without == len(lacking)
    assert all(feature.family != "null" for feature in halves.features)


def test_families_take_turns() -> None:
    def feature(index: int, family: Family) -> TruthFeature:
        return TruthFeature(index, Candidate(family, str(index), None, (), {}), None)  # type: ignore[arg-type]

    offered = [feature(i, "words") for i in range(5)] + [feature(i, "topic") for i in range(5, 7)] + [feature(7, "place")]
    assert [one.index for one in spread(offered, 4)] == [0, 1, 5, 7]
    assert spread(offered, 99) == offered


def test_too_little_text_for_two_halves_is_refused(settings: TruthSettings, tmp_path: Path) -> None:
    few = settings.model_copy(update={"corpus": write_corpus(tmp_path, n_documents=140)})
    with RunStore.open(tmp_path / "few.duckdb", "run-1") as store, pytest.raises(DataError, match="at least 20 are needed"):
        build_halves(few, 4, store, lambda _: None)


def test_features_without_an_exam_everywhere_are_refused(
    settings: TruthSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_exam(database: Database, evidence_set_id: str, indices: Sequence[int]) -> dict[int, FeatureEvidence]:
        found = load_feature_evidence(database, evidence_set_id, indices)
        return {index: one if index == 0 else replace(one, examples=()) for index, one in found.items()}

    monkeypatch.setattr("autolabel.truth.halves.load_feature_evidence", one_exam)
    with RunStore.open(tmp_path / "none.duckdb", "run-1") as store:
        store.start_run("bench repeatability", {}, "config", 0)
        with pytest.raises(DataError, match=r"[01] of \d+ features have an exam in both halves .*; use more text"):
            build_halves(settings, 4, store, lambda _: None)
        store.finish_run("failed")


def test_a_feature_takes_its_right_label_and_near_misses_in_turn(halves: Halves) -> None:
    feature = max(halves.features, key=lambda one: len(one.candidate.near))
    pairs = [two_labels(feature, number) for number in range(4)]
    assert all(right.text == feature.label for right, _ in pairs)
    assert {near.relation for _, near in pairs} == set(list(feature.candidate.near)[:4])


def test_a_feature_that_a_judge_leaves_without_a_score_is_left_out_and_counted(halves: Halves, measured: Repeatability) -> None:
    assert measured.n_unscored == 1
    assert {row.n for row in measured.rows} == {len(halves.features) - 1}
    assert (measured.rows[2].labels, measured.rows[2].judge) == (TURNS, ALL_JUDGES)
    assert measured.judges == {"embedding": "fake embedding, rating", "likelihood": "fake likelihood, rating"}


def test_everything_that_was_said_is_kept(halves: Halves, measured: Repeatability, store: RunStore) -> None:
    n = len(halves.features) * 2 * len(PLACES)
    assert measured.n_unscored == 1
    with store.database.read() as connection:
        counts = "SELECT scorer, count(*), count(value) FROM scores WHERE metric = 'label_score' GROUP BY ALL ORDER BY ALL"
        assert connection.execute(counts).fetchall() == [("embedding", n, n), ("likelihood", n, n - 2 * len(PLACES))]
        assert connection.execute("SELECT count(DISTINCT evidence_set_id) FROM predictions").fetchone() == (len(PLACES),)
        assert connection.execute("SELECT count(*) FROM scores WHERE value IS NULL AND n_failed = 0").fetchone() == (0,)
    assert check(store.database) == []


def test_the_command_reads_its_options(measured: Repeatability, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[TruthSettings, int]] = []

    def run(settings: TruthSettings, features: int, say: Any) -> tuple[Repeatability, list[Agreement]]:
        asked.append((settings, features))
        return measured, []

    monkeypatch.setattr(running, "run_repeatability", run)
    monkeypatch.setenv("AUTOLABEL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "cache" / "parts" / "all-minilm-l6-v2").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    command = ["bench", "repeatability", "--corpus", "mine.txt", "--features", "31"]
    missing = CliRunner().invoke(app, command)
    assert isinstance(missing.exception, AutolabelError)
    assert "smollm2-135m-instruct" in str(missing.exception)
    done = CliRunner().invoke(app, [*command, "--likelihood-model", "none", "--out", "tables.md"])
    assert done.exit_code == 0, done.output
    ((settings, features),) = asked
    assert (features, settings.local.likelihood_model, settings.replies) == (31, None, None)
    assert "1 without a score from every judge are left out" in (tmp_path / "tables.md").read_text()
    nowhere = CliRunner().invoke(app, [*command, "--likelihood-model", "none", "--out", "no/tables.md"])
    assert isinstance(nowhere.exception, AutolabelError)
    assert len(asked) == 1
