"""Reading tensors out of a model while it runs: several places in one forward pass that goes no further than the last of them."""

from collections.abc import Callable, Sequence

import torch
from torch.utils.hooks import RemovableHandle

from autolabel.errors import DataError
from autolabel.evidence.hooks import Hookpoint

Keep = Callable[[torch.Tensor], None]


class _Complete(Exception):
    """Thrown by the hook that has read the last tensor wanted, to end the forward pass."""


@torch.inference_mode()
def capture(base: torch.nn.Module, token_ids: torch.Tensor, points: Sequence[Hookpoint]) -> dict[Hookpoint, torch.Tensor]:
    """Run `base` on `token_ids`, shape (batch, tokens), until every place has been read.

    A tensor, shape (batch, tokens, d), stays on the device and in the number format the model made it in; `normalized` ones are
    float32. A place that the forward pass never comes by is missing from the answer.

    Raises:
        DataError: a norm is asked for that is none, or a module handles no tensor.
    """
    wanted = dict.fromkeys(points)
    found: dict[Hookpoint, torch.Tensor] = {}

    def keeper(point: Hookpoint) -> Keep:
        def keep(tensor: torch.Tensor) -> None:
            found.setdefault(point, tensor)
            if len(found) == len(wanted):
                raise _Complete

        return keep

    handles: list[RemovableHandle] = []
    try:
        for point in wanted:
            handles.append(_hooked(base.get_submodule(point.module), point, keeper(point)))
        base(token_ids, use_cache=False)
    except _Complete:
        return found
    finally:
        for handle in handles:
            handle.remove()
    return found


def _hooked(module: torch.nn.Module, point: Hookpoint, keep: Keep) -> RemovableHandle:
    if point.side == "output":

        def after(_module: torch.nn.Module, _inputs: object, output: object) -> None:
            keep(_tensor(output if isinstance(output, tuple) else (output,), point))

        return module.register_forward_hook(after)
    normalize = _normalizer(module, point) if point.side == "normalized" else None

    def before(_module: torch.nn.Module, inputs: tuple[object, ...], named: dict[str, object]) -> None:
        x = _tensor((*inputs, named.get("hidden_states"), *named.values()), point)
        keep(x if normalize is None else normalize(x))

    return module.register_forward_pre_hook(before, with_kwargs=True)


def _tensor(values: tuple[object, ...], point: Hookpoint) -> torch.Tensor:
    """The first tensor: the hidden states, in every family that is known."""
    for value in values:
        if isinstance(value, torch.Tensor):
            return value
    raise DataError(f"the {point.side} of the module '{point.module}' holds no tensor; choose another hookpoint")


def _normalizer(norm: torch.nn.Module, point: Hookpoint) -> Callable[[torch.Tensor], torch.Tensor]:
    """What the norm does before its weight and bias, in float32: no module puts that out, so it is computed again."""
    kind = type(norm).__name__
    epsilon = getattr(norm, "variance_epsilon", getattr(norm, "eps", None))
    if "Norm" not in kind or epsilon is None:
        raise DataError(f"'{point}' needs a norm, but the module '{point.module}' is a {kind}; choose another hookpoint")
    centred = isinstance(norm, torch.nn.LayerNorm) or "RMS" not in kind

    def normalize(x: torch.Tensor) -> torch.Tensor:
        x = x.float()
        x = x - x.mean(-1, keepdim=True) if centred else x
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + epsilon)

    return normalize
