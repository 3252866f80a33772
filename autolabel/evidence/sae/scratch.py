"""Memory for the dense values of a block, used again and again: fresh pages cost a tenth of the product they are to hold."""

import math
import threading

import torch


class Scratch(threading.local):
    """One piece of memory per purpose and thread, which grows when more is asked for."""

    def __init__(self) -> None:
        self._kept: dict[str, torch.Tensor] = {}

    def take(self, purpose: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """A tensor of this shape with arbitrary content, which is overwritten when `purpose` is next asked for."""
        kept, n = self._kept.get(purpose), math.prod(shape)
        if kept is None or len(kept) < n or kept.dtype != dtype or kept.device != device:
            # Made under inference mode, it could not be written to outside it.
            with torch.inference_mode(False):
                kept = self._kept[purpose] = torch.empty(n, dtype=dtype, device=device)
        return kept[:n].view(shape)


SCRATCH = Scratch()
