"""The subject model: text in, dense activations of one module out, and not a layer more than needed."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from autolabel.config import SubjectSettings
from autolabel.errors import DataError
from autolabel.hashing import content_id
from autolabel.parts import locate


class _Captured(Exception):
    """Thrown by the hook to end the forward pass once the activations are there."""


class Subject:
    """A causal language model of which one module's output is read."""

    def __init__(self, model: torch.nn.Module, tokenizer: object, name: str, device: torch.device) -> None:
        self._model = model
        self._tokenizer: object = tokenizer
        self.name = name
        self.device = device
        first_token = getattr(tokenizer, "bos_token_id", None)
        if first_token is None:
            first_token = getattr(tokenizer, "eos_token_id", None)
        if first_token is None:
            raise DataError(f"the tokenizer of '{name}' has neither a BOS nor an EOS token to start a context with")
        self.first_token_id: int = first_token

    @classmethod
    def load(cls, settings: SubjectSettings) -> "Subject":
        """Load a subject model from a folder or by hub name.

        Raises:
            DataError: it cannot be loaded, with the reason in one line.
        """
        where = locate(settings.model)
        try:
            device = torch.device(
                ("cuda" if torch.cuda.is_available() else "cpu") if settings.device == "auto" else settings.device
            )
            with quiet_transformers():
                tokenizer = AutoTokenizer.from_pretrained(where)
                model = AutoModelForCausalLM.from_pretrained(where, dtype=getattr(torch, settings.dtype))
            model = model.to(device).eval()
        except (OSError, ValueError, KeyError, RuntimeError, AssertionError, ImportError, SafetensorError) as error:
            why = " ".join(str(error).split())[:300]
            raise DataError(f"cannot load the subject model '{settings.model}' on '{settings.device}': {why}") from None
        if not getattr(tokenizer, "is_fast", False):
            raise DataError(
                f"the tokenizer of '{settings.model}' cannot tell which characters a token covers; a fast one is needed"
            )
        return cls(model, tokenizer, settings.model.removeprefix("part:"), device)

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self._model.config.hidden_size)  # type: ignore[union-attr, arg-type]

    @property
    def identity(self) -> str:
        """Hash of the model's name and architecture, the same on any machine."""
        config = self._model.config.to_dict()  # type: ignore[union-attr, operator]
        kept = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "intermediate_size")
        return content_id("subject", [self.name.rstrip("/").rsplit("/", 1)[-1], {key: config.get(key) for key in kept}])

    def hookpoints(self) -> list[str]:
        """Names of the modules whose output can be read: every decoder layer and its direct parts."""
        pattern = re.compile(r"(.*\.)?(layers|h|blocks)\.\d+(\.[a-z_]+)?")
        return [name for name, _ in self._base.named_modules() if pattern.fullmatch(name)]

    def encode(self, text: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Token ids and character boundaries of `text`, in which special tokens are ordinary text (see `corpus.Tokenizer`)."""
        encoded = self._tokenizer(  # type: ignore[operator]
            text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
        )
        offsets = np.asarray(encoded.offset_mapping, dtype=np.int32).reshape(-1, 2)
        bounds = np.empty(len(offsets) + 1, dtype=np.int32)
        bounds[0] = 0
        bounds[-1] = len(text)
        bounds[1:-1] = np.maximum.accumulate(np.minimum(offsets[1:, 0], offsets[:-1, 1]))
        return np.asarray(encoded.input_ids, dtype=np.int32), bounds

    @torch.inference_mode()
    def activations(self, token_ids: torch.Tensor, hookpoint: str) -> torch.Tensor:
        """Output of `hookpoint`, shape (batch, tokens, d_model), float32.

        `token_ids`, shape (batch, tokens), are padded on the right; attention is causal, so padding changes nothing to its left.

        Raises:
            DataError: the model has no such module; the message lists some it has.
        """
        captured: list[torch.Tensor] = []

        def capture(_module: torch.nn.Module, _inputs: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
            captured.append(output[0] if isinstance(output, tuple) else output)
            raise _Captured

        handle = self._module(hookpoint).register_forward_hook(capture)
        try:
            self._base(token_ids.to(self.device), use_cache=False)
        except _Captured:
            return captured[0].float()
        finally:
            handle.remove()
        raise DataError(f"the module '{hookpoint}' of '{self.name}' is never run in a forward pass; choose another hookpoint")

    def require_hookpoint(self, hookpoint: str) -> None:
        """Refuse a hookpoint that the model does not have.

        Raises:
            DataError: the model has no such module; the message lists those it has.
        """
        self._module(hookpoint)

    @property
    def _base(self) -> torch.nn.Module:
        prefix = getattr(self._model, "base_model_prefix", "")
        base: torch.nn.Module = getattr(self._model, prefix, self._model) if prefix else self._model
        return base

    def _module(self, hookpoint: str) -> torch.nn.Module:
        modules: dict[str, torch.nn.Module] = dict(self._base.named_modules())
        name = hookpoint.removeprefix(f"{getattr(self._model, 'base_model_prefix', '')}.")
        if name in modules and name:
            return modules[name]
        layers = [n for n in self.hookpoints() if n.rsplit(".", 1)[-1].isdigit()]
        parts = sorted({n.rsplit(".", 1)[-1] for n in self.hookpoints()} - {n.rsplit(".", 1)[-1] for n in layers})
        known = f"its hookpoints are {layers[0]} … {layers[-1]}" if layers else f"it has {', '.join(list(modules)[1:9])}, …"
        raise DataError(
            f"'{self.name}' has no module '{hookpoint}'; {known}" + (f" and within each {', '.join(parts)}" if parts else "")
        )


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep the loading bars and advice of transformers off the terminal."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        transformers_logging.enable_progress_bar()
