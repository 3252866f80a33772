"""What the rest of autolabel asks of a source of features over one hookpoint: an SAE, a transcoder, neurons."""

from typing import Any, NamedTuple, Protocol, Self

import torch


class SparseActivations(NamedTuple):
    """Activations greater than 0, one entry each, sorted by token and then feature."""

    tokens: torch.Tensor
    """Row of the input, int64, shape (n_active,)."""
    features: torch.Tensor
    """Feature index, int64, shape (n_active,)."""
    values: torch.Tensor
    """Activation, float32, shape (n_active,)."""


class Coder(Protocol):
    """A source of features. Its attributes never change."""

    @property
    def name(self) -> str:
        """What it is called in reports."""

    @property
    def format(self) -> str:
        """The format of its files, or `neurons`."""

    @property
    def architecture(self) -> str:
        """How it decides which features are active."""

    @property
    def subject_model(self) -> str:
        """The model it was made for, as its files call it."""

    @property
    def k(self) -> int | None:
        """Active features per token, where that number is fixed."""

    @property
    def config(self) -> dict[str, Any]:
        """Its own settings, as found."""

    @property
    def advertised_l0(self) -> float | None:
        """Mean number of active features its own settings speak of."""

    @property
    def prepend_bos(self) -> bool | None:
        """Whether its training contexts began with BOS; None: unknown."""

    @property
    def hookpoint(self) -> str:
        """Where its input is read."""

    @property
    def hookpoint_out(self) -> str | None:
        """Where what it reconstructs is found; None: at `hookpoint`."""

    @property
    def d_in(self) -> int:
        """Width of the activations it reads."""

    @property
    def d_out(self) -> int:
        """Width of what it reconstructs."""

    @property
    def d_sae(self) -> int:
        """Number of features."""

    @property
    def device(self) -> torch.device:
        """Where its weights lie and its results come out."""

    @property
    def W_dec(self) -> torch.Tensor:  # noqa: N802
        """Directions the features write, shape (d_sae, d_out)."""

    @property
    def weights_hash(self) -> str:
        """Hash of everything that changes an activation."""

    def sae_id(self, subject_identity: str) -> str:
        """The id of these features on a subject model."""

    def to(self, device: torch.device | str) -> Self:
        """The same on another device."""

    def encode(self, x: torch.Tensor) -> SparseActivations:
        """The active features of activations, shape (n_tokens, d_in)."""

    def decode(self, code: SparseActivations, n_tokens: int) -> torch.Tensor:
        """What active features write together, shape (n_tokens, d_out)."""

    def reconstruct(self, x: torch.Tensor) -> tuple[SparseActivations, torch.Tensor]:
        """The active features and what they make of the input, shape (n_tokens, d_out)."""
