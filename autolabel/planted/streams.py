"""Hooks that change the residual stream where it enters or leaves a module."""

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.hooks import RemovableHandle

Edit = Callable[[torch.Tensor], torch.Tensor]
"""From hidden states, shape (batch, tokens, d), to those that take their place."""


def edit_output(module: torch.nn.Module, edit: Edit) -> RemovableHandle:
    """Change what a module puts out, the first of a tuple, before any other hook on it reads or changes that."""

    def hook(_module: torch.nn.Module, _inputs: object, output: Any) -> Any:
        if isinstance(output, tuple):
            return (edit(output[0]), *output[1:])
        return edit(output)

    return module.register_forward_hook(hook, prepend=True)


def edit_input(module: torch.nn.Module, edit: Edit) -> RemovableHandle:
    """Change the hidden states that go into a module, given by place or by name, before any hook on it that is already there."""

    def hook(_module: torch.nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if inputs:
            return (edit(inputs[0]), *inputs[1:]), named
        return inputs, named | {"hidden_states": edit(named["hidden_states"])}

    return module.register_forward_pre_hook(hook, with_kwargs=True, prepend=True)
