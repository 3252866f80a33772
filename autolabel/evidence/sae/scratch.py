"""Memory for the dense values of a block, used again and again: fresh pages cost a tenth of the product they are to hold."""

import threading

import torch


class Scratch(threading.local):
    """One tensor per purpose and thread, kept until another shape or device is asked for."""

    def __init__(self) -> None:
        self._kept: dict[str, torch.Tensor] = {}

    def take(self, purpose: str, shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
        """A tensor of this shape with arbitrary content, which is overwritten when `purpose` is next asked for."""
        kept = self._kept.get(purpose)
        if kept is None or kept.shape != shape or kept.dtype != dtype or kept.device != device:
            # Made under inference mode, it could not be written to outside it.
            with torch.inference_mode(False):
                kept = self._kept[purpose] = torch.empty(shape, dtype=dtype, device=device)
        return kept


SCRATCH = Scratch()
