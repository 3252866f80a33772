"""MLP neurons in place of an SAE's features: each neuron gives two, one for either sign of its activation."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

import torch
from transformers.pytorch_utils import Conv1D

from autolabel.errors import DataError
from autolabel.evidence.sae.coder import content_bytes
from autolabel.evidence.sae.interface import SparseActivations
from autolabel.evidence.sae.selecting import above, largest
from autolabel.hashing import content_id

FORMAT = "neurons"


@dataclass(frozen=True)
class NeuronCoder:
    """Reads the vector that enters an MLP's down projection. Feature 2i is the positive part of neuron i, feature 2i + 1 the
    negative part; their directions are + and − the column of the down projection, so that together they make its output.
    """

    down_proj: torch.Tensor
    """(d_out, n_neurons): the weight of an `nn.Linear`; that of GPT-2's `Conv1D` is its transpose."""
    hookpoint: str
    """The input of the down projection, as `layers.3.mlp.down_proj:input`."""
    subject_model: str
    k: int | None = None
    """Keep the k neurons with the largest |activation| of each token; None: all that are not 0."""
    bias: torch.Tensor | None = None
    """(d_out,): the bias of the down projection."""
    hookpoint_out: str | None = None
    """The output of the down projection; None: `hookpoint` without `:input`."""
    config: dict[str, Any] = field(default_factory=dict)

    architecture = "neurons"
    format = FORMAT
    advertised_l0 = None
    prepend_bos = None

    @classmethod
    def of_module(cls, module: torch.nn.Module, hookpoint: str, subject_model: str, k: int | None = None) -> Self:
        """The neurons that a down projection, an `nn.Linear` or GPT-2's `Conv1D`, reads at `hookpoint`.

        Raises:
            DataError: the module is neither, its weights are quantised or offloaded, or `k` is not between 1 and the number of neurons.
        """
        weight = getattr(module, "weight", None)
        if not isinstance(module, torch.nn.Linear | Conv1D) or not isinstance(weight, torch.Tensor):
            raise DataError(
                f"'{hookpoint}' belongs to a {type(module).__name__}; neurons are read where a linear down projection reads them, "
                'for example at "layers.3.mlp.down_proj:input"'
            )
        if weight.is_meta:
            raise DataError(
                f"the weights of '{hookpoint}' are offloaded to another place than where they run; neurons need them in memory: leave out "
                "[subject] device_map, or use a machine on which this layer fits"
            )
        if not weight.is_floating_point():
            raise DataError(f"the weights of '{hookpoint}' are quantised ({weight.dtype}); load the model without quantization")
        weight = weight.detach() if isinstance(module, torch.nn.Linear) else weight.detach().T
        bias = getattr(module, "bias", None)
        return cls(weight, hookpoint, subject_model, k, bias.detach() if isinstance(bias, torch.Tensor) else None)

    def __post_init__(self) -> None:
        if self.k is not None and not 1 <= self.k <= self.d_in:
            raise DataError(f"[sae] k = {self.k}; expected between 1 and the {self.d_in} neurons of '{self.hookpoint}'")
        if self.hookpoint_out is None:
            object.__setattr__(self, "hookpoint_out", self.hookpoint.removesuffix(":input"))

    @property
    def name(self) -> str:
        """What the neurons are called in reports."""
        return f"neurons of {self.hookpoint.removesuffix(':input')}"

    @property
    def d_in(self) -> int:
        """Number of neurons."""
        return self.down_proj.shape[1]

    @property
    def d_out(self) -> int:
        """Width of the residual stream."""
        return self.down_proj.shape[0]

    @property
    def d_sae(self) -> int:
        """Number of features: two per neuron."""
        return 2 * self.d_in

    @property
    def device(self) -> torch.device:
        """Where its weights lie and its results come out."""
        return self.down_proj.device

    @cached_property
    def W_dec(self) -> torch.Tensor:  # noqa: N802
        """What each feature writes, shape (d_sae, d_out)."""
        columns = self.down_proj.detach().to(torch.float32).T
        return torch.stack([columns, -columns], dim=1).reshape(self.d_sae, self.d_out)

    @cached_property
    def weights_hash(self) -> str:
        """sha256 over the down projection, its bias and k."""
        digest = hashlib.sha256(f"neurons {self.k}\n".encode())
        for tensor in (self.down_proj, self.bias):
            digest.update(b"" if tensor is None else content_bytes(tensor))
        return digest.hexdigest()

    def sae_id(self, subject_identity: str) -> str:
        """The id of these features: weights, k, hookpoint and subject model."""
        return content_id("sae", [self.weights_hash, self.architecture, self.k, self.hookpoint, subject_identity])

    def to(self, device: torch.device | str) -> Self:
        """The same neurons with their weights on `device`."""
        return replace(self, down_proj=self.down_proj.to(device), bias=None if self.bias is None else self.bias.to(device))

    @torch.no_grad()
    def encode(self, x: torch.Tensor) -> SparseActivations:
        """The active features of `x`, shape (n_tokens, n_neurons): no product, so a token never depends on the others."""
        x = x.to(self.device, torch.float32).contiguous()
        if len(x) == 0:
            none = torch.empty(0, dtype=torch.int64, device=self.device)
            return SparseActivations(none, none, torch.empty(0, device=self.device))
        size = x.abs()
        tokens, neurons, values = above(size, 0.0) if self.k is None else largest(size, self.k)
        negative = (x[tokens, neurons] < 0).to(torch.int64)
        return SparseActivations(tokens, 2 * neurons + negative, values)

    @torch.no_grad()
    def decode(self, code: SparseActivations, n_tokens: int) -> torch.Tensor:
        """What the active features write together, shape (n_tokens, d_out); with all of them, the output of the down projection."""
        dense = torch.zeros((n_tokens, self.d_in), device=self.device)
        signs = 1.0 - 2.0 * (code.features % 2)
        dense[code.tokens, code.features // 2] = code.values * signs
        written = dense @ self.down_proj.detach().to(torch.float32).T
        return written if self.bias is None else written + self.bias

    def reconstruct(self, x: torch.Tensor) -> tuple[SparseActivations, torch.Tensor]:
        """The active features of `x` and what they write."""
        code = self.encode(x)
        return code, self.decode(code, len(x))
