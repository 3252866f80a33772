"""Sentence vectors of a tiny random encoder: unit length, and none the wiser for what shares their batch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizerFast

from autolabel.errors import DataError
from autolabel.local.minilm import BATCH, SentenceEncoder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> SentenceEncoder:
    folder = tmp_path_factory.mktemp("encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "dog", "cat", "ran", "sat", "[", "]", "sep"]
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        initializer_range=0.5,
    )
    BertModel(config).save_pretrained(folder)
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return SentenceEncoder.load(str(folder), name="tiny-encoder")


def test_vectors_have_unit_length_and_do_not_depend_on_their_batch(encoder: SentenceEncoder) -> None:
    texts = ["the dog ran", "the cat sat the cat sat the cat sat", "", "dog"] * (BATCH // 2)
    together = encoder.embed(texts)
    assert together.shape == (len(texts), 16)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    alone = np.concatenate([encoder.embed([text]) for text in texts[:4]])
    np.testing.assert_allclose(together[:4], alone, atol=1e-5)
    assert encoder.model_id == "tiny-encoder"


def test_mean_pooling_matches_a_plain_forward(encoder: SentenceEncoder) -> None:
    inputs = encoder._tokenizer("the dog ran", return_tensors="pt")
    with torch.inference_mode():
        mean = encoder._model(**inputs).last_hidden_state[0].mean(dim=0).numpy()
    np.testing.assert_allclose(encoder.embed(["the dog ran"])[0], mean / np.linalg.norm(mean), atol=1e-5)


def test_no_texts_give_no_vectors(encoder: SentenceEncoder) -> None:
    assert encoder.embed([]).shape == (0, 16)


def test_long_texts_are_cut(encoder: SentenceEncoder) -> None:
    np.testing.assert_allclose(encoder.embed(["dog " * 300]), encoder.embed(["dog " * 400]), atol=1e-5)


def test_a_missing_encoder_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        SentenceEncoder.load(str(tmp_path / "nowhere"), name="x")
