"""A sparse autoencoder in the one canonical form that every file format is read into."""

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import torch

from autolabel.hashing import content_id


class SparseActivations(NamedTuple):
    """Activations greater than 0, one entry each, sorted by token and then feature."""

    tokens: torch.Tensor
    """Row of the input, int64, shape (n_active,)."""
    features: torch.Tensor
    """Feature index, int64, shape (n_active,)."""
    values: torch.Tensor
    """Activation, float32, shape (n_active,)."""


@dataclass(frozen=True)
class SparseCoder:
    """An SAE: f = activation((x − b_dec) W_enc + b_enc), x̂ = f W_dec + b_dec."""

    W_enc: torch.Tensor
    """(d_model, d_sae)"""
    b_enc: torch.Tensor
    """(d_sae,)"""
    W_dec: torch.Tensor
    """(d_sae, d_model)"""
    b_dec: torch.Tensor
    """(d_model,)"""
    architecture: Literal["topk", "relu"]
    k: int | None
    """Active features per token, for `topk`."""
    hookpoint: str
    """Module of the subject model whose output it reads."""
    name: str
    format: str
    subject_model: str
    advertised_l0: float | None = None
    """Mean number of active features its own settings speak of."""
    config: dict[str, Any] = field(default_factory=dict)
    """Its own settings, as found."""

    @property
    def d_model(self) -> int:
        """Width of the activations it reads."""
        return self.W_enc.shape[0]

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return self.W_enc.shape[1]

    @property
    def weights_hash(self) -> str:
        """sha256 over the four weights in float32."""
        digest = hashlib.sha256()
        for tensor in (self.W_enc, self.b_enc, self.W_dec, self.b_dec):
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return digest.hexdigest()

    def sae_id(self, subject_identity: str) -> str:
        """The id of these features: weights, rule, hookpoint and subject model."""
        return content_id("sae", [self.weights_hash, self.architecture, self.k, self.hookpoint, subject_identity])

    def encode(self, x: torch.Tensor) -> SparseActivations:
        """The active features of activations `x`, shape (n_tokens, d_model)."""
        pre = torch.addmm(self.b_enc, x - self.b_dec, self.W_enc)
        if self.architecture == "topk":
            assert self.k is not None
            values, features = pre.topk(self.k, dim=1, sorted=False)
            features, order = features.sort(dim=1)
            values = values.gather(1, order)
            tokens, places = (values > 0).nonzero(as_tuple=True)
            return SparseActivations(tokens, features[tokens, places], values[tokens, places])
        tokens, features = (pre > 0).nonzero(as_tuple=True)
        return SparseActivations(tokens, features, pre[tokens, features])

    def decode(self, code: SparseActivations, n_tokens: int) -> torch.Tensor:
        """The reconstruction, shape (n_tokens, d_model)."""
        reconstruction = self.b_dec.expand(n_tokens, -1).clone()
        return reconstruction.index_add_(0, code.tokens, self.W_dec[code.features] * code.values[:, None])
