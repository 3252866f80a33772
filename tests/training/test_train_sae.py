"""Training from settings with a random model; the spy sees every activation that reaches the trainer."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import autolabel.train_sae as module
from autolabel.config import TrainSettings, validated
from autolabel.errors import DataError
from autolabel.evidence.batches import run_contexts
from autolabel.evidence.corpus import CorpusCounts, Document, read_documents
from autolabel.evidence.sae import load_sae
from autolabel.evidence.subject import Subject
from autolabel.train_sae import train_sae
from autolabel.training import Progress
from tests.fakes import tiny_model_and_tokenizer


def content(folder: Path, model: Path, n: int = 200, **training: Any) -> dict[str, Any]:
    corpus = folder / "texts.jsonl"
    lines = [f"the dog ran over hill {i} and the cat sat on the mat while boat {i * i} lay in the harbour" for i in range(n)]
    corpus.write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    defaults = {"hookpoint": "layers.1", "d_sae": 64, "k": 8, "tokens": 12_000, "batch_tokens": 128, "buffer_tokens": 1024}
    return {
        "name": "spied on",
        "subject": {"model": str(model), "dtype": "float32", "device": "cpu", "context_tokens": 96, "batch_contexts": 4},
        "corpus": {"sources": [{"path": str(corpus)}]},
        "training": {"learning_rate": 4e-3, **defaults, **training},
    }


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model_and_tokenizer(tmp_path_factory.mktemp("model"))


def test_no_test_document_is_ever_trained_on(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = validated(content(tmp_path, model), TrainSettings, "test")
    run: list[Document] = []
    real = run_contexts

    def spy(subject: Subject, hookpoint: str, documents: list[Document], *rest: Any) -> Iterator[Any]:
        run.extend(documents)
        return real(subject, hookpoint, documents, *rest)

    monkeypatch.setattr(module, "run_contexts", spy)
    reports: list[Progress] = []
    gate = train_sae(settings, tmp_path / "sae", reports.append)
    everything = list(read_documents(settings.corpus, settings.seed, Subject.load(settings.subject), CorpusCounts()))
    test = {document.hash for document in everything if document.split == "test"}
    assert test
    assert {document.hash for document in run} == {document.hash for document in everything} - test
    assert reports[-1].fvu < reports[0].fvu
    assert gate.fvu < 0.8
    assert gate.l0 == pytest.approx(8, abs=1)
    sae = load_sae(str(tmp_path / "sae"))
    assert (sae.name, sae.k, sae.d_sae, sae.hookpoint) == ("spied on", 8, 64, "layers.1")
    assert sae.config["left_out_split"] == "test"
    assert sae.config["split_shares"] == settings.corpus.shares
    assert sae.config["sources"]["texts"]["documents"] == len(everything)


def test_an_sae_of_a_permuted_model_is_trained_and_measured_on_it(model: Path, tmp_path: Path) -> None:
    given = content(tmp_path, model)
    given["subject"]["weights"] = "permuted"
    settings = validated(given, TrainSettings, "test")
    gate = train_sae(settings, tmp_path / "permuted", lambda report: None)
    plain = train_sae(validated(content(tmp_path, model), TrainSettings, "test"), tmp_path / "plain", lambda report: None)
    sae, real = load_sae(str(tmp_path / "permuted")), load_sae(str(tmp_path / "plain"))
    assert gate.fvu < 0.8
    assert gate.fvu != plain.fvu
    assert (sae.config["subject_weights"], sae.config["permutation_seed"]) == ("permuted", 0)
    assert sae.subject_model == f"{real.subject_model} with permuted weights"
    assert "subject_weights" not in real.config


def test_too_little_text_is_refused_in_words(model: Path, tmp_path: Path) -> None:
    settings = validated(content(tmp_path, model, batch_tokens=16_000, buffer_tokens=32_000), TrainSettings, "test")
    with pytest.raises(DataError, match=r"the text yields \d+ activations, fewer than one batch of 16000; add text or lower"):
        train_sae(settings, tmp_path / "sae", lambda report: None)
    assert not (tmp_path / "sae").exists()


def test_a_small_corpus_and_a_wrong_hookpoint_are_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"split holds .* documents, at least 20 are needed"):
        train_sae(validated(content(tmp_path, model, n=30), TrainSettings, "test"), tmp_path / "sae", lambda report: None)
    with pytest.raises(DataError, match=r"has no module 'layers\.12'"):
        train_sae(
            validated(content(tmp_path, model, hookpoint="layers.12"), TrainSettings, "test"), tmp_path / "sae", lambda r: None
        )
