"""What some SAEs do to their input before they encode it, and how it is undone on their output."""

from dataclasses import dataclass
from typing import Literal

import torch

Normalisation = Literal["none", "constant_norm_rescale", "layer_norm", "scalar", "centre"]
"""`constant_norm_rescale`: every row gets the norm √d. `layer_norm`: mean 0 and standard deviation 1 (n − 1 in the divisor) per row.
`scalar`: one factor for all. `centre`: mean 0 per row, as in a model whose writing weights were centred."""

_LAYER_NORM_EPSILON = 1e-5
_SMALLEST_NORM = 1e-30


@dataclass(frozen=True, slots=True)
class Undo:
    """The way back from a normalised row y: y · factor + shift."""

    factor: torch.Tensor | float = 1.0
    """A number or shape (rows, 1)."""
    shift: torch.Tensor | float = 0.0
    """A number or shape (rows, 1)."""

    def apply(self, y: torch.Tensor) -> torch.Tensor:
        """The rows `y`, shape (rows, d), on the scale that the input had."""
        return y * self.factor + self.shift


def normalise(
    x: torch.Tensor, how: Normalisation, input_scale: float = 1.0, output_scale: float | None = None
) -> tuple[torch.Tensor, Undo]:
    """Normalise the rows of `x`, shape (rows, d), and say how to undo it.

    A row of zeros stays zero. `scalar` multiplies by `input_scale`, and its undoing divides by `output_scale` (or `input_scale`).
    """
    if how == "none":
        return x, Undo()
    if how == "scalar":
        return x * input_scale, Undo(1.0 / (input_scale if output_scale is None else output_scale))
    if how == "constant_norm_rescale":
        factor = x.shape[1] ** 0.5 / x.norm(dim=1, keepdim=True).clamp(min=_SMALLEST_NORM)
        return x * factor, Undo(1.0 / factor)
    mean = x.mean(dim=1, keepdim=True)
    if how == "centre":
        return x - mean, Undo(shift=mean)
    deviation = (x - mean).std(dim=1, keepdim=True)
    return (x - mean) / (deviation + _LAYER_NORM_EPSILON), Undo(deviation, mean)
