"""Changes of what plants do at chosen places of a text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True, slots=True)
class Intervention:
    """A change of one plant's activity."""

    plant: int
    kind: Literal["set", "ablate", "scale"]
    value: float = 0.0
    """`set`: the activity, in the concept's own units. `scale`: the factor."""
    positions: tuple[int, ...] | None = None
    """Where, from the BOS on, negative ones from the end; None: everywhere."""


def changed(activity: torch.Tensor, interventions: Sequence[Intervention]) -> torch.Tensor:
    """Activity, shape (batch, n, n_plants), after interventions in their order.

    Raises:
        ValueError: one names a plant or a position that there is not, or a kind that is none.
    """
    found = activity.double().clone()
    _, n, n_plants = found.shape
    for one in interventions:
        if not 0 <= one.plant < n_plants:
            raise ValueError(f"there is no plant {one.plant}; the plants are 0 to {n_plants - 1}")
        positions = range(n) if one.positions is None else one.positions
        beyond = [position for position in positions if not -n <= position < n]
        if beyond:
            raise ValueError(f"there is no position {beyond[0]}; the text has {n} tokens, BOS included")
        places = torch.tensor(list(positions), dtype=torch.int64)
        if one.kind == "scale":
            found[:, places, one.plant] *= one.value
        elif one.kind in ("set", "ablate"):
            found[:, places, one.plant] = one.value if one.kind == "set" else 0.0
        else:
            raise ValueError(f"'{one.kind}' is no kind of intervention; the kinds are set, ablate and scale")
    return found
