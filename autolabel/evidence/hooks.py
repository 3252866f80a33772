"""Names of places in a model: whatever an SAE's files call a hook, one canonical name of our own for it.

A canonical name is a module path relative to the base model, and a side of the module: `layers.12` (its output, the first of a
tuple), `layers.12.mlp.down_proj:input` (the hidden states that go in) or `layers.12.post_attention_layernorm:normalized` (what a norm
makes of its input before its own weight and bias). The invariant: a name means the tensor that its own library reads under it.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

from autolabel.evidence.hook_tables import ALIASES, FAMILIES, GUESSES, LAYER_ALONE

Side = Literal["output", "input", "normalized"]
_SIDES: dict[str, Side] = {
    ":input": "input",
    ":output": "output",
    ":normalized": "normalized",
    ".input": "input",
    ".output": "output",
}
_LAYER = re.compile(r"((?:.*\.)?(?:layers|h|blocks)\.)(\d+)((?:\..*)?)")
_WRAPPERS = ("model", "base_model", "transformer", "gpt_neox", "language_model", "text_model")
"""What may stand before a path relative to the base model, once or several times."""
_OTHER_SENSES = ("vision", "visual", "audio")
"""Parts of a model that reads more than text, whose layers are never meant."""
_SUBMODULE = re.compile(r"(resid_pre|resid_mid|resid_post|resid|mlp_out|mlp|attn_out|attention_out|attn)_(?:layer_)?(\d+)")
"""dictionary_learning's `resid_post_layer_5`, `mlp_3`."""
_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")


@dataclass(frozen=True, slots=True)
class Hookpoint:
    """A place in a model; `str()` of it is the canonical name."""

    module: str
    """Path relative to the base model."""
    side: Side = "output"

    def __str__(self) -> str:
        return self.module if self.side == "output" else f"{self.module}:{self.side}"

    @property
    def layer(self) -> int | None:
        """Number of the layer it lies in; None outside of all."""
        found = _LAYER.fullmatch(self.module)
        return int(found[2]) if found else None


def resolve(name: str, model_type: str, modules: Collection[str]) -> Hookpoint | None:
    """The place that `name` means in a model.

    Args:
        name: a canonical name; a module path with or without the base model's prefix, and with `.input` or `.output` after it or not;
            TransformerLens' name of a hook (`blocks.3.hook_resid_pre`); or dictionary_learning's of a submodule (`resid_post_layer_3`).
        model_type: what the model's config calls its architecture, `llama` for example.
        modules: names of the base model's modules.

    Returns:
        None when the model has no such place.
    """
    return _module(name, modules) or _transformer_lens(name, model_type, modules)


def in_other_layers(point: Hookpoint, modules: Collection[str]) -> list[Hookpoint]:
    """The same place in every other layer, the first layer first; nothing for a place outside of all layers."""
    own = _LAYER.fullmatch(point.module)
    layers = {int(found[2]): name for name in modules if own and (found := _LAYER.fullmatch(name)) and _alike(found, own)}
    others = (replace(point, module=module) for _, module in sorted(layers.items()))
    return [other for other in others if other != point]


def in_same_layer(point: Hookpoint, model_type: str, modules: Collection[str]) -> list[Hookpoint]:
    """The other places of the same layer that have a name; of the first layer for a place outside of all."""
    templates = [template for template in _templates(model_type, modules).values() if "{L}" in template]
    found = (_templated(template, point.layer or 0, modules) for template in templates)
    return [other for other in dict.fromkeys(found) if other is not None and other != point]


def reads_text(module: str) -> bool:
    """Whether a module belongs to the part of a model that reads text, not to one that sees or hears."""
    return not any(sense in module for sense in _OTHER_SENSES)


def _alike(one: re.Match[str], other: re.Match[str]) -> bool:
    return (one[1], one[3]) == (other[1], other[3])


def _module(name: str, modules: Collection[str]) -> Hookpoint | None:
    for suffix, side in (("", "output"), *_SIDES.items()):
        if name.endswith(suffix):
            path = _path(name.removesuffix(suffix), modules)
            if path is not None:
                return Hookpoint(path, side)
    return None


def _path(name: str, modules: Collection[str]) -> str | None:
    """`name` relative to the base model, with what stands before it taken off or, in a model of several senses, put before it."""
    while name not in modules:
        first, _, rest = name.partition(".")
        nested = _stack_prefix(modules) + name
        if nested in modules:
            return nested
        if first not in _WRAPPERS or not rest:
            return None
        name = rest
    return name or None


def _transformer_lens(name: str, model_type: str, modules: Collection[str]) -> Hookpoint | None:
    block, submodule = _BLOCK.fullmatch(name), _SUBMODULE.fullmatch(name)
    if block:
        layer, hook = int(block[1]), block[2]
    elif submodule:
        layer, hook = int(submodule[2]), submodule[1]
    else:
        layer, hook = 0, "hook_embed" if name == "embed" else name
    template = _templates(model_type, modules).get(ALIASES.get(hook, hook))
    if template is None or ("{L}" in template) != bool(block or submodule):
        return None
    return _templated(template, layer, modules)


def _templated(template: str, layer: int, modules: Collection[str]) -> Hookpoint | None:
    return _module(template.replace("{L}", str(layer)), modules)


def _templates(model_type: str, modules: Collection[str]) -> dict[str, str]:
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    telling = ("attn.hook_z", "mlp.hook_post", "hook_mlp_in", "hook_mlp_out", "hook_attn_out", "ln1.hook_normalized")
    candidates = [family for family in GUESSES if all(_templated(family[hook], 0, modules) for hook in telling)]
    alone = [family for family in LAYER_ALONE if _templated(family["hook_resid_post"], 0, modules)]
    return next(iter([*candidates, *alone]), {})


def _stack_prefix(modules: Collection[str]) -> str:
    """What stands before the layers that read text: nothing, or `language_model.` where the model has other senses too."""
    found = (_LAYER.fullmatch(name) for name in modules if reads_text(name))
    stacks = [layer[1] for layer in found if layer and layer[2] == "0" and not layer[3]]
    shortest = min(stacks, key=len, default="")
    return shortest[: shortest.rfind(".", 0, -1) + 1]
