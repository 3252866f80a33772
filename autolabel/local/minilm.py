"""Sentence embeddings: the mean of a small encoder's token states, at unit length.

The invariant is that padding weighs nothing, so a text's vector does not depend on what shares its batch beyond rounding.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from autolabel.errors import DataError

BATCH = 32
MAX_TOKENS = 256
"""Longer texts are cut; the encoder was trained on at most as many."""


class SentenceEncoder:
    """An `Embedder`. It caches nothing: embedding again is cheaper than storing vectors."""

    def __init__(self, model: Any, tokenizer: Any, name: str) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._name = name

    @classmethod
    def load(cls, folder: str, *, name: str, device: str = "cpu") -> "SentenceEncoder":
        """Load an encoder from a folder or hub name.

        Raises:
            DataError: there is no such model.
        """
        transformers_logging.disable_progress_bar()
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            model = AutoModel.from_pretrained(folder, dtype=torch.float32)
        except (OSError, ValueError) as error:
            raise DataError(f"cannot load '{folder}' as a sentence encoder: {error}") from error
        return cls(model.to(device), tokenizer, name)

    @property
    def model_id(self) -> str:
        """Names the model in stored rows."""
        return self._name

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors, shape (n_texts, d)."""
        vectors = [np.zeros((0, self._model.config.hidden_size), dtype=np.float32)]
        vectors += [self._embed(texts[start : start + BATCH]) for start in range(0, len(texts), BATCH)]
        return np.concatenate(vectors)

    @torch.inference_mode()
    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        inputs = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=MAX_TOKENS, split_special_tokens=True, return_tensors="pt"
        ).to(self._model.device)
        states = self._model(**inputs).last_hidden_state  # (n_texts, n_tokens, d)
        weights = inputs["attention_mask"].unsqueeze(-1).to(states.dtype)
        means = (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        unit: NDArray[np.float32] = torch.nn.functional.normalize(means, dim=-1).cpu().numpy()
        return unit
