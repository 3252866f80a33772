"""Collection from settings with a random model: order of the text changes nothing, and what was done says so."""

import json
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autolabel.config import Settings, SubjectSettings, validated
from autolabel.errors import DataError, GateRefused
from autolabel.evidence.collect import Collection
from autolabel.evidence.finishing import Evidence
from autolabel.evidence.sae import SparseCoder, native
from autolabel.evidence.set_rows import unseen_by_sae
from autolabel.evidence.subject import Subject
from autolabel.records import SPLITS

WORDS = (
    *("the", "dog", "ran", "over", "hill", "and", "cat", "sat", "on", "mat", "boat", "rain", "harbour"),
    *("label", "says", "what", "text", "mentions", "she", "asked", "where", "is"),
)
D_SAE = 48


def texts(n: int = 170) -> list[str]:
    """Texts of one or two blocks; some again with capitals, which counts as the same text, and some with a paragraph of another."""
    generator = random.Random(0)
    plain = [" ".join(generator.choices(WORDS, k=generator.randint(40, 90))) + f" {i}" for i in range(n)]
    return plain + [text.replace("dog", "Dog") for text in plain[::4]] + [f"{plain[i]}\n{plain[i + 1]} " for i in range(1, n // 8)]


@pytest.fixture(scope="module")
def sae(tmp_path_factory: pytest.TempPathFactory, subject: Subject) -> Path:
    """Random directions with the mean of the activations as b_dec: good enough to pass the gate at a high L0."""
    ids, _ = subject.encode(" ".join(texts(20)))
    x = torch.cat([subject.activations(torch.tensor([piece.tolist()]), "layers.1")[0] for piece in (ids[:400], ids[400:800])])
    x = x[x.norm(dim=1) < 10 * x.norm(dim=1).median()]
    _, _, V = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    W_dec = torch.cat([V[:24], -V[:24]])
    folder = tmp_path_factory.mktemp("sae")
    coder = SparseCoder(
        W_enc=W_dec.T.clone(),
        b_enc=torch.zeros(D_SAE),
        W_dec=W_dec,
        b_dec=x.mean(0),
        architecture="topk",
        k=6,
        hookpoint="layers.1",
        name="components",
        format=native.FORMAT,
        subject_model="tiny",
        config={"seed": 0, "split_shares": {"train": 0.35, "validation": 0.2, "test": 0.45}, "left_out_split": "test"},
    )
    native.save(folder, coder)
    return folder


def settings(corpus: Path, sae: Path, subject: SubjectSettings) -> Settings:
    content = {
        "subject": subject.model_dump(),
        "sae": {"path": str(sae)},
        "corpus": {"sources": [{"path": str(corpus), "name": "texts"}], "document_tokens": 200},
        "evidence": {"background_train": 100, "background_validation": 100, "background_test": 120},
    }
    return validated(content, Settings, "test")


def written(path: Path, lines: list[str]) -> Path:
    path.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    return path


def collect(settings: Settings, folder: Path, parent: str | None = None) -> tuple[Collection, Evidence]:
    collection = Collection(settings, folder, parent)
    collection.gate(force=False)
    (evidence,) = collection.run(lambda done: None)
    return collection, evidence


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("corpus") / "texts.jsonl", texts())


@pytest.fixture(scope="module")
def evidence(corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return collect(settings(corpus, sae, subject_settings), tmp_path_factory.mktemp("collection"))[1]


def test_shuffling_the_text_changes_no_row(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, evidence: Evidence, tmp_path: Path
) -> None:
    lines = texts()
    random.Random(5).shuffle(lines)
    shuffled = written(tmp_path / "shuffled.jsonl", lines)
    collection, again = collect(settings(shuffled, sae, subject_settings), tmp_path)
    assert collection.evidence_set_id == evidence.evidence_set["evidence_set_id"]
    assert again.evidence_set["evidence_hash"] == evidence.evidence_set["evidence_hash"]
    assert again.evidence_set == evidence.evidence_set
    assert again.corpus == evidence.corpus
    assert again.corpus["n_duplicates"] > 40


def test_every_feature_has_a_row_and_the_totals_agree(evidence: Evidence) -> None:
    rows = evidence.tables["features"].to_pylist()
    assert [row["feature_index"] for row in rows] == list(range(D_SAE))
    assert {row["evidence_status"] for row in rows} <= {"alive", "silent", "too_few", "dense"}
    assert evidence.evidence_set["n_tiles"] == sum(evidence.evidence_set[f"n_tiles_{split}"] for split in SPLITS)
    assert evidence.evidence_set["n_tokens"] + evidence.evidence_set["n_excluded_tokens"] == evidence.corpus["n_tokens"]
    assert all(row["n_tiles_fired"] == sum(row[f"n_tiles_fired_{split}"] for split in SPLITS) for row in rows)
    assert sum(row["n_tokens_fired"] for row in rows) <= 6 * evidence.evidence_set["n_tokens"]
    assert evidence.sae["sae_id"] == evidence.evidence_set["sae_id"]
    assert evidence.corpus["unseen_by_sae"] == "unknown"


def test_the_windows_of_a_split_come_from_documents_of_that_split(evidence: Evidence) -> None:
    rows = evidence.tables["windows"].to_pylist()
    of = {split: {row["document_id"] for row in rows if row["split"] == split} for split in SPLITS}
    assert all(of.values())
    assert not of["train"] & of["test"]
    assert not of["train"] & of["validation"]
    assert not of["validation"] & of["test"]


def test_other_text_or_another_seed_is_another_set(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, evidence: Evidence, tmp_path: Path
) -> None:
    base = settings(corpus, sae, subject_settings)
    known = evidence.evidence_set["evidence_set_id"]
    assert Collection(base.model_copy(update={"seed": 1}), tmp_path).evidence_set_id != known
    more = settings(written(tmp_path / "more.jsonl", [*texts(), "one more text"]), sae, subject_settings)
    assert Collection(more, tmp_path).evidence_set_id != known


def test_an_sae_that_left_out_the_test_documents_says_so(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path: Path
) -> None:
    base = settings(corpus, sae, subject_settings)
    coder = native.load(sae)
    record = {"seed": 0, "split_shares": base.corpus.shares, "document_tokens": 200, "left_out_split": "test"}
    coder.config.clear()
    coder.config.update(record)
    native.save(tmp_path / "sae", coder)
    known = settings(corpus, tmp_path / "sae", subject_settings)
    assert unseen_by_sae(known, native.load(tmp_path / "sae")) == "yes"
    assert unseen_by_sae(known.model_copy(update={"seed": 1}), native.load(tmp_path / "sae")) == "unknown"


def test_nonsense_is_refused_unless_forced(corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path: Path) -> None:
    coder = native.load(sae)
    native.save(tmp_path / "sae", replace(coder, b_dec=coder.b_dec + 1000))
    collection = Collection(settings(corpus, tmp_path / "sae", subject_settings), tmp_path)
    with pytest.raises(GateRefused):
        collection.gate(force=False)
    with pytest.raises(GateRefused):
        list(collection.run(lambda done: None))
    assert collection.gate(force=True)[0].problems()
    (evidence,) = collection.run(lambda done: None)
    assert evidence.evidence_set["gate_forced"]


def test_a_small_corpus_and_a_wrong_hookpoint_are_refused_before_the_model_runs(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Subject, "activations", lambda *args: pytest.fail("the model was run"))
    few = settings(written(tmp_path / "few.jsonl", texts(30)), sae, subject_settings)
    with pytest.raises(DataError, match=r"split holds .* documents, at least 20 are needed"):
        Collection(few, tmp_path)
    base = settings(corpus, sae, subject_settings)
    with pytest.raises(DataError, match=r"has no module 'layers\.77'"):
        Collection(base.model_copy(update={"sae": base.saes[0].model_copy(update={"hookpoint": "layers.77"})}), tmp_path)
