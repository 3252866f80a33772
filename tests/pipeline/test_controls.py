"""A control beside the real thing in one database: it is labelled, scored and shown when asked for, and never taken for the real one."""

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from autolabel.cli import app
from autolabel.config import Settings
from autolabel.errors import ConfigError, DataError
from autolabel.evidence.sae import native
from autolabel.evidence.subject import Subject
from autolabel.pipeline.estimating import evidence_at_hand
from autolabel.store.connection import Database
from autolabel.store.maintenance import check
from autolabel.store.reading import latest_evidence_set
from tests.pipeline import world
from tests.pipeline.test_end_to_end import one, rows
from tests.pipeline.world import D_SAE, Server

SEED = 0


def control_settings(built: Path, db: Path, sae: Path, **changes: Any) -> Settings:
    subject = world.content(built, db)["subject"] | {"weights": "permuted"}
    return world.settings(built, db, **{"subject": subject, "sae": {"path": str(sae)}} | changes)


@pytest.fixture(scope="module")
def control_sae(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The SAE of the real model with its thresholds measured anew on the permuted one, as if it had been trained on it."""
    settings = world.subject_settings(built / "tiny-model").model_copy(update={"weights": "permuted", "permutation_seed": SEED})
    subject, coder = Subject.load(settings), native.load(built / "sae")
    pieces = [subject.encode(text)[0][:96].tolist() for text in world.texts(80)]
    x = torch.cat([subject.activations(torch.tensor([piece]), "layers.1")[0] for piece in pieces])
    coder.b_dec.copy_(x.median(dim=0).values)
    largest = torch.stack([part.max(dim=0).values for part in ((x - coder.b_dec) @ coder.W_enc).split(32)])
    coder.b_enc.copy_(-largest.quantile(world.FIRING_SHARE, dim=0))
    coder.config.update(subject.weights_record)
    folder = tmp_path_factory.mktemp("control")
    native.save(folder, coder)
    return folder


@pytest.fixture(scope="module")
def _both(unbroken: Path, built: Path, control_sae: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    db = Path(shutil.copy(unbroken, tmp_path_factory.mktemp("both") / "labels.duckdb"))
    world.run(control_settings(built, db, control_sae, select={"sample": 5}), Server(), world.ALL)
    return db


@pytest.fixture
def both(_both: Path, tmp_path: Path) -> Path:
    """A database with a finished run on the model as it is and a finished one on the control."""
    return Path(shutil.copy(_both, tmp_path / "labels.duckdb"))


def control_set(db: Path) -> str:
    return str(one(db, "SELECT evidence_set_id FROM evidence_sets WHERE control = 'random_weights'"))


def test_the_two_never_mix(both: Path, unbroken: Path) -> None:
    everything = "SELECT * EXCLUDE (cost_usd, llm_tokens) FROM feature_labels ORDER BY feature_index"
    assert rows(both, everything) == rows(unbroken, everything)
    assert one(both, "SELECT count(*) FROM control_labels") == D_SAE
    assert rows(both, "SELECT DISTINCT control, evidence_set_id FROM control_labels") == [("random_weights", control_set(both))]
    assert one(both, "SELECT count(DISTINCT sae_id) FROM evidence_sets") == 2, "the same files over another model are another SAE"
    assert rows(both, "SELECT subject_model FROM saes ORDER BY length(subject_model)")[1][0].endswith(" with permuted weights")
    assert check(Database(both)) == []


def test_a_control_is_labelled_and_scored(both: Path) -> None:
    columns = "label, label_score, label_score_low, lift_null, lift_null_low, beyond_token, beyond_token_low, test_reads"
    found = rows(both, f"SELECT {columns} FROM control_labels WHERE status = 'labelled'")
    assert len(found) == 5
    assert all(None not in row for row in found)
    assert all(row[-1] > 0 for row in found)
    stored = "SELECT value FROM scores JOIN current_choices USING (label_id, evidence_set_id, feature_index) "
    stored += (
        "WHERE metric = 'label_score' AND scores.scorer = 'detection' AND split = 'test' AND NOT is_null AND evidence_set_id = "
    )
    assert sorted(row[1] for row in found) == sorted(value for (value,) in rows(both, f"{stored}'{control_set(both)}'"))


def test_the_same_columns_as_those_of_the_real_one(both: Path) -> None:
    named, here = (
        {name for (name, *_) in rows(both, f"DESCRIBE SELECT * EXCLUDE ({left_out}) FROM {view}")}
        for view, left_out in (("feature_labels", "sae_id"), ("control_labels", "sae_id, control"))
    )
    assert here < named


def test_the_settings_find_the_evidence_they_mean(both: Path, built: Path, control_sae: Path) -> None:
    database, real = Database(both), one(both, "SELECT evidence_set_id FROM evidence_sets WHERE control IS NULL")
    assert evidence_at_hand(world.settings(built, both), database) == real
    assert evidence_at_hand(control_settings(built, both, control_sae), database) == control_set(both)
    assert latest_evidence_set(database) == real, "although the control is newer"
    assert latest_evidence_set(database, controls=True) == control_set(both)
    assert latest_evidence_set(database, one(both, "SELECT sae_id FROM evidence_sets WHERE control IS NOT NULL")) == control_set(
        both
    )


def test_a_control_is_never_found_for_the_real_model(collected: Path, built: Path, control_sae: Path) -> None:
    with pytest.raises(ConfigError, match="holds no evidence yet"):
        evidence_at_hand(control_settings(built, collected, control_sae), Database(collected))


def test_a_condition_selects_among_the_features_of_a_control(both: Path, built: Path, control_sae: Path) -> None:
    scored = one(both, "SELECT count(*) FROM control_labels WHERE label_score > 0.05")
    assert 0 < scored < 5
    outcome = world.run(control_settings(built, both, control_sae, select={"where": "label_score > 0.05"}), Server(), world.AFTER)
    assert (outcome.evidence_set_id, outcome.n_features) == (control_set(both), scored)


def test_an_sae_of_the_real_model_is_refused_for_a_control(built: Path, tmp_path: Path, control_sae: Path) -> None:
    with pytest.raises(DataError, match=r"'directions' was made from a model with weights as they are"):
        world.run(control_settings(built, tmp_path / "x.duckdb", built / "sae"), Server(), world.ALL)
    with pytest.raises(DataError, match=r"'directions' was made from a model with weights permuted by seed 0"):
        world.run(world.settings(built, tmp_path / "y.duckdb", sae={"path": str(control_sae)}), Server(), world.ALL)


def test_another_seed_is_another_control(built: Path, tmp_path: Path, control_sae: Path) -> None:
    with pytest.raises(DataError, match="permuted by seed 0, and this run's has weights permuted by seed 1"):
        world.run(control_settings(built, tmp_path / "x.duckdb", control_sae, seed=1), Server(), world.ALL)


def test_reports_show_a_control_when_it_is_named(both: Path) -> None:
    sae_id = str(one(both, "SELECT sae_id FROM evidence_sets WHERE control IS NOT NULL"))

    def run(*arguments: str) -> str:
        result = CliRunner().invoke(app, [*arguments, "--db", str(both)])
        assert result.exit_code == 0, result.output
        return result.output

    named = run("report", "--format", "md", "--sae", sae_id)
    assert "**This is a control (random weights): the weights of the model's blocks are in random order" in named
    assert "control" not in run("report", "--format", "md")
    page = both.parent / "page.html"
    run("report", "--sae", sae_id, "--out", str(page))
    assert "This is a control (random weights)" in page.read_text()
    run("report", "--out", str(page))
    assert "This is a control" not in page.read_text()
    lines = run("report", "--format", "csv", "--sae", sae_id).strip().splitlines()
    assert len(lines) == 1 + D_SAE
    assert run("report", "--format", "csv").count("\n") == 1 + D_SAE, "all labels are those of the model as it is"
    assert "permuted" not in run("show", "0")
    run("show", "0", "--sae", sae_id)
    assert "a control (random weights)" in run("status")
    compared = run("query", "SELECT control, avg(label_score), avg(lift_null), avg(beyond_token) FROM control_labels GROUP BY ALL")
    assert "random_weights" in compared


def test_the_comparison_in_the_docs_runs(both: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "controls.md").read_text(encoding="utf-8")
    (sql,) = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    found = {(weights, metric): n for weights, metric, n, *_ in rows(both, sql)}
    assert set(found) == {(w, m) for w in ("as trained", "permuted") for m in ("label_score", "lift_null", "beyond_token")}
    assert found["as trained", "label_score"] == one(both, "SELECT count(label_score) FROM feature_labels")
    assert found["permuted", "label_score"] == one(both, "SELECT count(label_score) FROM control_labels")
