"""The subject model: text in, dense activations of any places in it out, and not a layer more than needed."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging as transformers_logging

from autolabel.config import SubjectSettings
from autolabel.errors import DataError
from autolabel.evidence.capture import capture
from autolabel.evidence.corpus import Context
from autolabel.evidence.hooks import Hookpoint, in_other_layers, in_same_layer, reads_text, resolve
from autolabel.evidence.permuting import CONTROL, permute_blocks
from autolabel.evidence.placement import device_of, dtype_of, input_device, loading_arguments, number_format, placed
from autolabel.hashing import content_id
from autolabel.parts import locate

WEIGHTS_KEY = "subject_weights"
"""Under which an SAE's record says that the model it was trained on had its weights permuted."""


class Subject:
    """A causal language model of which the activations at some hookpoints are read."""

    def __init__(
        self,
        model: torch.nn.Module,
        tokenizer: object,
        name: str,
        device: torch.device,
        number_format: str | None = None,
        permutation_seed: int | None = None,
    ) -> None:
        self._model = model
        self._tokenizer: object = tokenizer
        self.name = name
        self.device = device
        """Where token ids go; what a hookpoint yields lies where the module runs, which differs when several devices share a model."""
        self.number_format = number_format or str(next(model.parameters()).dtype).removeprefix("torch.")
        """Number format of the forward pass, and of the weights where that differs: `bfloat16`, `bfloat16, 8bit`."""
        self.permutation_seed = permutation_seed
        """What order the weights of the blocks are in; None as they were trained."""
        first_token = getattr(tokenizer, "bos_token_id", None)
        if first_token is None:
            first_token = getattr(tokenizer, "eos_token_id", None)
        if first_token is None:
            raise DataError(f"the tokenizer of '{name}' has neither a BOS nor an EOS token to start a context with")
        self.first_token_id: int = first_token
        self._resolved: dict[str, Hookpoint] = {}

    @classmethod
    def load(cls, settings: SubjectSettings) -> "Subject":
        """Load a subject model from a folder or by hub name; as a control, with its weights permuted.

        Raises:
            DataError: it cannot be loaded, with the reason in one line, or its weights cannot be permuted.
        """
        where = locate(settings.model)
        try:
            device = device_of(settings)
            dtype = dtype_of(settings, device)
            arguments = loading_arguments(settings, device, dtype)
            with quiet_transformers():
                tokenizer = AutoTokenizer.from_pretrained(where)
                model = AutoModelForCausalLM.from_pretrained(where, **arguments)
            model = placed(model, arguments, device).eval()
            name = _prepared(model, settings)
            device = input_device(model, device)
        except DataError:
            raise
        except Exception as error:  # tokenizers raises it bare for a damaged tokenizer.json or one of a later version
            why = " ".join(str(error).split())[:300]
            raise DataError(f"cannot load the subject model '{settings.model}' on '{settings.device}': {why}") from None
        if not getattr(tokenizer, "is_fast", False):
            raise DataError(
                f"the tokenizer of '{settings.model}' cannot tell which characters a token covers; a fast one is needed"
            )
        return cls(model, tokenizer, name, device, number_format(settings, dtype), settings.permutation_seed)

    @property
    def language_model(self) -> torch.nn.Module:
        """The whole model, from token ids to logits."""
        return self._model

    @property
    def d_model(self) -> int:
        """Width of the residual stream."""
        return int(self._config.hidden_size)

    @property
    def identity(self) -> str:
        """Hash of the model's name and architecture, and of how its weights are permuted if they are; the same on any machine."""
        config = self._config.to_dict()
        kept = ("model_type", "hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "intermediate_size")
        permuted = [] if self.permutation_seed is None else [self.permutation_seed]
        return content_id("subject", [self.name.rstrip("/").rsplit("/", 1)[-1], {key: config.get(key) for key in kept}, *permuted])

    @property
    def control(self) -> str | None:
        """What evidence from this model is a control for; None when it is the model that is meant."""
        return None if self.permutation_seed is None else CONTROL

    @property
    def weights_record(self) -> dict[str, Any]:
        """What files made from this model say of its weights: nothing unless they are permuted."""
        return {} if self.permutation_seed is None else {WEIGHTS_KEY: "permuted", "permutation_seed": self.permutation_seed}

    def require_weights_of(self, record: Mapping[str, Any], what: str) -> None:
        """Refuse `what`, made from a model of which files say `record`, where this model's weights are not in that order.

        Raises:
            DataError: one is permuted and the other is not, or they are permuted differently.
        """
        keys = (WEIGHTS_KEY, "permutation_seed")
        made, here = ([found.get(key) for key in keys] for found in (record, self.weights_record))
        if made != here:
            said, own = (f"weights permuted by seed {seed}" if kind else "weights as they are" for kind, seed in (made, here))
            raise DataError(
                f"{what} was made from a model with {said}, and this run's has {own}; a control needs an SAE of its own: "
                "`autolabel train` with the same [subject] makes one (docs/controls.md)"
            )

    def hookpoints(self) -> list[str]:
        """Names of the modules whose output can be read: every decoder layer and its direct parts."""
        pattern = re.compile(r"(.*\.)?(layers|h|blocks)\.\d+(\.[a-z_]+)?")
        return [name for name in self._module_names if pattern.fullmatch(name) and reads_text(name)]

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

    def activations(self, token_ids: torch.Tensor, hookpoint: str) -> torch.Tensor:
        """What is at `hookpoint`, shape (batch, tokens, d), float32; see `capture`.

        Raises:
            DataError: the model has no such place; the message lists some it has.
        """
        return self.capture(token_ids, [hookpoint])[hookpoint].float()

    def capture(self, token_ids: torch.Tensor, hookpoints: Sequence[str]) -> dict[str, torch.Tensor]:
        """What is at each of `hookpoints`, by the names given, from one forward pass that ends at the last of them.

        `token_ids`, shape (batch, tokens), are padded on the right; attention is causal, so padding changes nothing to its left.
        Each answer, shape (batch, tokens, d), is in the model's number format and where the model made it.

        Raises:
            DataError: the model has no such place; the message lists some it has. Or no vector for each token is there.
        """
        points = {name: self.resolve(name) for name in hookpoints}
        found = capture(self._base, token_ids.to(self.device), list(points.values()))
        for name, point in points.items():
            if point not in found:
                raise DataError(f"the module '{name}' of '{self.name}' is never run in a forward pass; choose another hookpoint")
            if found[point].dim() != 3 or found[point].shape[:2] != token_ids.shape:
                shape = tuple(found[point].shape)
                raise DataError(f"'{name}' of '{self.name}' yields a tensor of shape {shape}, not a vector for each token")
        return {name: found[point] for name, point in points.items()}

    def capture_contexts(
        self, contexts: Sequence[Context], token_ids: torch.Tensor, first: int, hookpoints: Sequence[str]
    ) -> dict[str, torch.Tensor]:
        """What `capture` gives, for a batch of which it is known what text it is; a model that acts on text replaces this method.

        Row i of `token_ids` holds the tokens of context i from column `first` on; what is beyond them, and beyond the contexts, is padding.
        """
        return self.capture(token_ids, hookpoints)

    def readable(self, hookpoints: Sequence[str]) -> list[str]:
        """Those of `hookpoints` at which a forward pass yields a vector for each token."""
        token_ids = torch.full((2, 2), self.first_token_id)

        def can_be_read(names: Sequence[str]) -> bool:
            try:
                return bool(self.capture(token_ids, names))
            except DataError:
                return False

        return list(hookpoints) if can_be_read(hookpoints) else [name for name in hookpoints if can_be_read([name])]

    def resolve(self, hookpoint: str) -> Hookpoint:
        """The place that a name from an SAE's files or from the settings means in this model.

        Raises:
            DataError: the model has no such place; the message lists those it has.
        """
        if hookpoint not in self._resolved:
            self._resolved[hookpoint] = self._resolve(hookpoint)
        return self._resolved[hookpoint]

    def require_hookpoint(self, hookpoint: str) -> None:
        """Refuse a hookpoint that the model does not have.

        Raises:
            DataError: the model has no such place; the message lists those it has.
        """
        self.resolve(hookpoint)

    def module_at(self, hookpoint: str) -> torch.nn.Module:
        """The module whose input or output a hookpoint is.

        Raises:
            DataError: the model has no such place.
        """
        return self._base.get_submodule(self.resolve(hookpoint).module)

    def other_layers(self, hookpoint: str) -> list[Hookpoint]:
        """The same place in every other layer."""
        return in_other_layers(self.resolve(hookpoint), self._module_names)

    def same_layer(self, hookpoint: str) -> list[Hookpoint]:
        """Other places of the same layer."""
        return in_same_layer(self.resolve(hookpoint), self._config.model_type, self._module_names)

    @property
    def _config(self) -> Any:
        """Of the part that reads text."""
        return self._model.config.get_text_config()  # type: ignore[union-attr, operator]

    @property
    def _base(self) -> torch.nn.Module:
        prefix = getattr(self._model, "base_model_prefix", "")
        base: torch.nn.Module = getattr(self._model, prefix, self._model) if prefix else self._model
        return base

    @cached_property
    def _module_names(self) -> dict[str, None]:
        return dict.fromkeys(name for name, _ in self._base.named_modules() if name)

    def _resolve(self, hookpoint: str) -> Hookpoint:
        found = resolve(hookpoint, self._config.model_type, self._module_names)
        if found is not None:
            return found
        layers = [n for n in self.hookpoints() if n.rsplit(".", 1)[-1].isdigit()]
        parts = sorted({n.rsplit(".", 1)[-1] for n in self.hookpoints()} - {n.rsplit(".", 1)[-1] for n in layers})
        known = f"its hookpoints are {layers[0]} … {layers[-1]}" if layers else f"it has {', '.join([*self._module_names][:8])}, …"
        raise DataError(
            f"'{self.name}' has no module '{hookpoint}'; {known}" + (f" and within each {', '.join(parts)}" if parts else "")
        )


def _prepared(model: torch.nn.Module, settings: SubjectSettings) -> str:
    """Permute the weights if the settings say so; what the model is then called."""
    name = settings.model.removeprefix("part:")
    if settings.weights != "permuted":
        return name
    if settings.permutation_seed is None:
        raise DataError('weights = "permuted" needs a seed here; give permutation_seed, or settings of a run, whose seed counts')
    permute_blocks(model, settings.permutation_seed)
    return f"{name} with permuted weights"


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
