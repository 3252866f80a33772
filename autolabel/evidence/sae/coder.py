"""A sparse autoencoder in the one canonical form that every file format is read into."""

import hashlib
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, Self

import torch

from autolabel.evidence.sae.interface import SparseActivations
from autolabel.evidence.sae.scaling import Normalisation, Undo, normalise
from autolabel.evidence.sae.scratch import SCRATCH
from autolabel.evidence.sae.selecting import Entries, above, largest, largest_of_groups
from autolabel.hashing import canonical_json, content_id

Architecture = Literal["topk", "relu", "jumprelu", "gated", "groupmax"]
DecoderNormRule = Literal["none", "select", "scale"]

BLOCK_BYTES = 128 * 2**20
"""The most that the dense pre-activations of a block may take."""
_CPU_ROWS, _GPU_ROWS = 256, 4096
_EXTRA_TENSORS = ("threshold", "b_gate", "r_mag", "W_skip")


@dataclass(frozen=True)
class SparseCoder:
    """An SAE or transcoder: f = activation((x − b_dec) W_enc + b_enc), x̂ = f W_dec + b_dec, with the variations named below.

    Activations are those of the file's own rule; the decoder's norms are never folded into them.
    """

    W_enc: torch.Tensor
    """(d_in, d_sae)"""
    b_enc: torch.Tensor
    """(d_sae,); for `gated` the bias of the magnitudes."""
    W_dec: torch.Tensor
    """(d_sae, d_out)"""
    b_dec: torch.Tensor
    """(d_out,)"""
    architecture: Architecture
    """`relu`: pre > 0. `jumprelu`: pre > threshold and > 0. `topk`: the k largest, if > 0. `groupmax`: the largest of each of k
    equal runs of features, if > 0. `gated`: x W_enc + b_gate > 0, with the value x W_enc · exp(r_mag) + b_enc, if > 0."""
    k: int | None
    """Active features per token, for `topk` and `groupmax`."""
    hookpoint: str
    """Where its input is read, as its files say it: a TransformerLens name or a module path of the subject model."""
    name: str
    format: str
    subject_model: str
    advertised_l0: float | None = None
    """Mean number of active features its own settings speak of."""
    config: dict[str, Any] = field(default_factory=dict)
    """Its own settings, as found."""
    hookpoint_out: str | None = None
    """Where what it reconstructs is found, for a transcoder; None: at `hookpoint`."""
    subtract_b_dec: bool = True
    """Whether b_dec is taken from the input before encoding."""
    threshold: torch.Tensor | None = None
    """(d_sae,), for `jumprelu`."""
    b_gate: torch.Tensor | None = None
    """(d_sae,), for `gated`."""
    r_mag: torch.Tensor | None = None
    """(d_sae,), for `gated`."""
    W_skip: torch.Tensor | None = None
    """(d_out, d_in): a linear path from the unnormalised input to the output of a skip transcoder."""
    decoder_norm: DecoderNormRule = "none"
    """For `topk`. `select`: the k largest of pre · ‖W_dec‖ are active, with the value pre. `scale`: the same, with the value
    pre · ‖W_dec‖, which decoding divides by the norm again."""
    normalisation: Normalisation = "none"
    """What is done to the input before anything else, and undone on the output."""
    input_scale: float = 1.0
    """Factor on the input, for `scalar`."""
    output_scale: float | None = None
    """Divisor of the output, for `scalar`; None: `input_scale`."""
    prepend_bos: bool | None = None
    """Whether its training contexts began with BOS; None: its files do not say."""

    @property
    def d_in(self) -> int:
        """Width of the activations it reads."""
        return self.W_enc.shape[0]

    @property
    def d_out(self) -> int:
        """Width of what it reconstructs."""
        return self.W_dec.shape[1]

    @property
    def d_sae(self) -> int:
        """Number of features."""
        return self.W_enc.shape[1]

    @property
    def device(self) -> torch.device:
        """Where its weights lie and its results come out."""
        return self.W_enc.device

    @cached_property
    def weights_hash(self) -> str:
        """sha256 over the weights in float32 and, where they are not those of a plain top-k SAE, the rules."""
        digest = hashlib.sha256()
        for tensor in (self.W_enc, self.b_enc, self.W_dec, self.b_dec):
            digest.update(content_bytes(tensor))
        for name in _EXTRA_TENSORS:
            tensor = getattr(self, name)
            if tensor is not None:
                digest.update(f"{name} {list(tensor.shape)}\n".encode())
                digest.update(content_bytes(tensor))
        rules = self.rules()
        if rules:
            digest.update(canonical_json(rules).encode())
        return digest.hexdigest()

    def sae_id(self, subject_identity: str) -> str:
        """The id of these features: weights, rules, hookpoint and subject model."""
        return content_id("sae", [self.weights_hash, self.architecture, self.k, self.hookpoint, subject_identity])

    def to(self, device: torch.device | str) -> Self:
        """The same SAE with its weights on `device`."""
        names = ("W_enc", "b_enc", "W_dec", "b_dec", *_EXTRA_TENSORS)
        moved = {name: getattr(self, name).to(device) for name in names if getattr(self, name) is not None}
        return replace(self, **moved)

    @torch.no_grad()
    def encode(self, x: torch.Tensor) -> SparseActivations:
        """The active features of activations `x`, shape (n_tokens, d_in), on the device of the weights.

        Rows are taken in blocks of one shape, the last one filled up: in a product of fixed shape, what a token yields does
        not depend on the others.
        """
        rows = self._block_rows
        pre = SCRATCH.take("pre-activations", (rows, self.d_sae), torch.float32, self.device)
        parts = []
        for start in range(0, len(x), rows):
            block = x[start : start + rows].to(self.device, torch.float32)
            n = len(block)
            if n < rows:
                block = torch.cat([block, block.new_zeros(rows - n, self.d_in)])
            tokens, features, values = self._active(self._pre_activations(block, pre)[:n])
            parts.append((tokens + start, features, values))
        if not parts:
            none = torch.empty(0, dtype=torch.int64, device=self.device)
            return SparseActivations(none, none, torch.empty(0, device=self.device))
        return SparseActivations(*(torch.cat(column) for column in zip(*parts, strict=True)))

    @torch.no_grad()
    def decode(self, code: SparseActivations, n_tokens: int) -> torch.Tensor:
        """f W_dec + b_dec, shape (n_tokens, d_out); of a normalised input, the normalised output (see `reconstruct`)."""
        values = code.values
        if self.decoder_norm == "scale":
            values = values / self._decoder_norms[code.features]
        starts = torch.searchsorted(code.tokens, torch.arange(n_tokens, device=self.device))
        summed = torch.nn.functional.embedding_bag(
            code.features, self.W_dec, starts, mode="sum", per_sample_weights=values.to(self.W_dec.dtype)
        )
        return summed + self.b_dec

    @torch.no_grad()
    def reconstruct(self, x: torch.Tensor) -> tuple[SparseActivations, torch.Tensor]:
        """The active features of `x`, shape (n_tokens, d_in), and its reconstruction, shape (n_tokens, d_out), on its own scale.

        The normalisation of the input is undone, and what a skip transcoder passes on unencoded is added.
        """
        x = x.to(self.device, torch.float32)
        code = self.encode(x)
        output = self._undo(x).apply(self.decode(code, len(x)))
        return code, output if self.W_skip is None else output + x @ self.W_skip.T

    @property
    def _block_rows(self) -> int:
        at_most = _CPU_ROWS if self.device.type == "cpu" else _GPU_ROWS
        return max(1, min(at_most, BLOCK_BYTES // (4 * self.d_sae)))

    @cached_property
    def _decoder_norms(self) -> torch.Tensor:
        norms: torch.Tensor = torch.linalg.vector_norm(self.W_dec, dim=1)
        return norms

    def _normalised(self, x: torch.Tensor) -> tuple[torch.Tensor, Undo]:
        return normalise(x, self.normalisation, self.input_scale, self.output_scale)

    def _undo(self, x: torch.Tensor) -> Undo:
        """What brings the decoder's output to the scale of the model's activations.

        Statistics of a transcoder's input say nothing of its output, which therefore is left as it is (so does SAELens).
        """
        if self.hookpoint_out is not None and self.normalisation != "scalar":
            return Undo()
        return self._normalised(x)[1]

    def _pre_activations(self, block: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        """x W_enc + b_enc, shape (rows, d_sae), in `out`; for `gated` without the bias."""
        x, _ = self._normalised(block)
        if self.subtract_b_dec:
            x = x - self.b_dec
        if self.architecture == "gated":
            return torch.mm(x, self.W_enc, out=out)
        return torch.addmm(self.b_enc, x, self.W_enc, out=out)

    def _active(self, pre: torch.Tensor) -> Entries:
        """The active entries of a block; `pre` may be overwritten."""
        if self.architecture == "topk":
            return self._active_topk(pre)
        if self.architecture == "groupmax":
            assert self.k is not None
            return largest_of_groups(pre, self.k)
        if self.architecture == "gated":
            assert self.b_gate is not None
            assert self.r_mag is not None
            tokens, features, dots = above(pre, -self.b_gate)
            values = dots * self.r_mag.exp()[features] + self.b_enc[features]
            positive = values > 0
            return tokens[positive], features[positive], values[positive]
        return above(pre, 0.0 if self.threshold is None else self.threshold.clamp(min=0))

    def _active_topk(self, pre: torch.Tensor) -> Entries:
        assert self.k is not None
        if self.decoder_norm == "none":
            return largest(pre, self.k)
        tokens, features, values = largest(pre.mul_(self._decoder_norms), self.k)
        return tokens, features, values / self._decoder_norms[features] if self.decoder_norm == "select" else values

    def rules(self) -> dict[str, Any]:
        """The rules that differ from those of a plain top-k SAE."""
        plain: dict[str, Any] = {"architecture": "topk", "hookpoint_out": None, "subtract_b_dec": True, "decoder_norm": "none"}
        plain |= {"normalisation": "none", "input_scale": 1.0, "output_scale": None}
        return {name: getattr(self, name) for name, usual in plain.items() if getattr(self, name) != usual}


def content_bytes(tensor: torch.Tensor) -> memoryview:
    """The numbers of a tensor in float32, as they are hashed."""
    flat = tensor.detach().cpu().float().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().data
