"""What features do on written texts: the same as on collected ones, whatever the company, and only for the model and SAE they came from."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from autolabel.config import SaeSettings, SubjectSettings
from autolabel.errors import DataError
from autolabel.evidence import text_features
from autolabel.evidence.coders import open_coder
from autolabel.evidence.sae import SparseCoder, native
from autolabel.evidence.subject import Subject
from autolabel.evidence.text_features import MAX_TEXT_CHARACTERS, TextFeatures

D_SAE = 24
TEXTS = [
    "the dog ran over the hill",
    "a cat sat on the mat and the boat lay in the harbour",
    "rain",
    "She asked: where is the boat?",
]


@pytest.fixture(scope="module")
def coder(subject: Subject) -> SparseCoder:
    directions = torch.nn.functional.normalize(torch.randn(D_SAE, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    return SparseCoder(
        W_enc=directions.T.clone(),
        b_enc=torch.zeros(D_SAE),
        W_dec=directions,
        b_dec=torch.zeros(32),
        architecture="relu",
        k=None,
        hookpoint="layers.1",
        name="directions",
        format=native.FORMAT,
        subject_model="tiny",
    )


def features(subject: Subject, coder: SparseCoder, settings: SubjectSettings, norm_limit: float = 1e6) -> TextFeatures:
    return TextFeatures(subject, coder, settings, norm_limit)


def plainly(subject: Subject, coder: SparseCoder, text: str) -> np.ndarray:
    """The largest activations of one text, run alone after the first token."""
    ids = subject.encode(text)[0].tolist()
    x = subject.activations(torch.tensor([[subject.first_token_id, *ids]]), "layers.1")[0, 1:]
    found: np.ndarray = torch.relu(x @ coder.W_enc + coder.b_enc).max(dim=0).values.numpy()
    return found


def test_they_are_what_the_model_and_the_coder_give(
    subject: Subject, coder: SparseCoder, subject_settings: SubjectSettings
) -> None:
    found = features(subject, coder, subject_settings).feature_activations(TEXTS)
    assert (found.shape, found.dtype) == ((4, D_SAE), np.float32)
    for row, text in zip(found, TEXTS, strict=True):
        np.testing.assert_allclose(row, plainly(subject, coder, text), atol=1e-4)


def test_the_company_of_a_text_changes_nothing(subject: Subject, coder: SparseCoder, subject_settings: SubjectSettings) -> None:
    together = features(subject, coder, subject_settings).feature_activations(TEXTS * 3)
    for row, text in enumerate(TEXTS * 3):
        alone = features(subject, coder, subject_settings).feature_activations([text])
        np.testing.assert_array_equal(together[row], alone[0])


def test_a_text_longer_than_a_context_is_all_read(subject: Subject, coder: SparseCoder, subject_settings: SubjectSettings) -> None:
    reader = features(subject, coder, subject_settings)
    long = " ".join(["the dog ran over the hill"] * 40)
    assert len(subject.encode(long)[0]) > 2 * subject_settings.context_tokens
    end = reader.feature_activations([long + " rain in the harbour", long])
    assert (end[0] != end[1]).any(), "what stands at the end counts"


def test_outliers_of_norm_and_the_first_token_count_for_nothing(
    subject: Subject, coder: SparseCoder, subject_settings: SubjectSettings
) -> None:
    ids = subject.encode(TEXTS[1])[0].tolist()
    norms = subject.activations(torch.tensor([[subject.first_token_id, *ids]]), "layers.1")[0, 1:].norm(dim=1)
    limit = float(norms.sort().values[-3:-1].mean())
    found = features(subject, coder, subject_settings, limit).feature_activations([TEXTS[1]])[0]
    x = subject.activations(torch.tensor([[subject.first_token_id, *ids]]), "layers.1")[0, 1:][norms <= limit]
    assert len(x) == len(ids) - 2
    np.testing.assert_allclose(found, torch.relu(x @ coder.W_enc).max(dim=0).values.numpy(), atol=1e-4)
    nothing = features(subject, coder, subject_settings, 1e-9).feature_activations([TEXTS[1]])
    assert not nothing.any()


def test_no_text_and_empty_texts_have_no_activations(
    subject: Subject, coder: SparseCoder, subject_settings: SubjectSettings
) -> None:
    reader = features(subject, coder, subject_settings)
    assert reader.feature_activations([]).shape == (0, D_SAE)
    found = reader.feature_activations(["", TEXTS[0], ""])
    assert not found[[0, 2]].any()
    np.testing.assert_array_equal(found[1], reader.feature_activations([TEXTS[0]])[0])


def test_a_known_text_is_not_run_again_and_few_are_remembered(
    subject: Subject, coder: SparseCoder, subject_settings: SubjectSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = features(subject, coder, subject_settings)
    ran: list[str] = []
    document = reader._document
    monkeypatch.setattr(reader, "_document", lambda number, text: (ran.append(text), document(number, text))[1])
    first = reader.feature_activations(TEXTS)
    np.testing.assert_array_equal(reader.feature_activations([TEXTS[2], TEXTS[0]]), first[[2, 0]])
    assert ran == TEXTS
    monkeypatch.setattr(text_features, "REMEMBERED", 30)
    for number in range(20):
        reader.feature_activations([f"{number} dogs"])
    assert reader._n_known == sum(len(own) for own, _ in reader._known.values()) <= 30 + D_SAE
    np.testing.assert_array_equal(reader.feature_activations(TEXTS), first)


def test_threads_wait_for_each_other(subject: Subject, coder: SparseCoder, subject_settings: SubjectSettings) -> None:
    reader = features(subject, coder, subject_settings)
    expected = features(subject, coder, subject_settings).feature_activations(TEXTS)
    found: dict[int, np.ndarray] = {}

    def work(number: int) -> None:
        found[number] = reader.feature_activations(TEXTS[number:])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(4):
        np.testing.assert_array_equal(found[number], expected[number:])


def test_special_tokens_in_a_text_are_text(subject: Subject, coder: SparseCoder, subject_settings: SubjectSettings) -> None:
    found = features(subject, coder, subject_settings).feature_activations(["<eos>", "the <|assistant|> dog"])
    assert found.any(axis=1).all()
    assert len(subject.encode("<eos>")[0]) > 1


@pytest.mark.parametrize("limit", [0.0, -1.0, float("nan")])
def test_a_limit_that_is_none_is_refused(
    subject: Subject, coder: SparseCoder, subject_settings: SubjectSettings, limit: float
) -> None:
    with pytest.raises(DataError, match="expected a number above 0"):
        features(subject, coder, subject_settings, limit)


def test_a_text_that_is_a_book_is_refused(subject: Subject, coder: SparseCoder, subject_settings: SubjectSettings) -> None:
    with pytest.raises(DataError, match=f"expected at most {MAX_TEXT_CHARACTERS}"):
        features(subject, coder, subject_settings).feature_activations(["dog", "dog " * MAX_TEXT_CHARACTERS])


def test_only_the_source_of_the_evidence_is_loaded(
    subject: Subject, coder: SparseCoder, subject_settings: SubjectSettings, tmp_path: Path
) -> None:
    native.save(tmp_path / "sae", coder)
    native.save(tmp_path / "other", replace(coder, b_enc=coder.b_enc + 0.5))
    sae = SaeSettings(path=str(tmp_path / "sae"))
    sae_id = open_coder(sae, subject).sae_id(subject.identity)
    loaded = TextFeatures.load(subject_settings, sae, sae_id, 1e6)
    in_memory = features(subject, coder, subject_settings).feature_activations(TEXTS)
    np.testing.assert_allclose(loaded.feature_activations(TEXTS), in_memory, atol=0.02)
    with pytest.raises(DataError, match="name the model and the SAE that the evidence comes from"):
        TextFeatures.load(subject_settings, SaeSettings(path=str(tmp_path / "other")), sae_id, 1e6)
