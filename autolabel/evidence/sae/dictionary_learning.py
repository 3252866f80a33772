"""SAEs of the dictionary_learning library: `ae.pt`, the state of a module, and `config.json` that names the module's class."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from autolabel.evidence.sae.coder import Architecture, SparseCoder
from autolabel.evidence.sae.fields import Fields
from autolabel.evidence.sae.files import Tensors, open_torch, read_json
from autolabel.evidence.sae.naming import full_name, is_module_path

FORMAT = "dictionary_learning"
WEIGHTS_FILE, CONFIG_FILE = "ae.pt", "config.json"


@dataclass(frozen=True, slots=True)
class _Class:
    """How one of their classes computes, and what it calls its tensors."""

    architecture: Architecture
    subtract_b_dec: bool
    b_dec: str
    b_enc: str = "encoder.bias"
    linear: bool = True
    """Whether the matrices are weights of `nn.Linear`, the transposes of ours."""


_CLASSES = {
    "AutoEncoder": _Class("relu", True, "bias"),
    "AutoEncoderNew": _Class("relu", False, "decoder.bias"),
    "AutoEncoderTopK": _Class("topk", True, "b_dec"),
    "BatchTopKSAE": _Class("jumprelu", True, "b_dec"),
    "MatryoshkaBatchTopKSAE": _Class("jumprelu", True, "b_dec", "b_enc", linear=False),
    "GatedAutoEncoder": _Class("gated", True, "decoder_bias", "mag_bias"),
    "JumpReluAutoEncoder": _Class("jumprelu", False, "b_dec", "b_enc", linear=False),
}
_HOOKS = {
    "resid_post": "hook_resid_post",
    "resid_pre": "hook_resid_pre",
    "mlp_out": "mlp.hook_out",
    "attn_out": "attn.hook_out",
    "attention_out": "attn.hook_out",
}
"""The library reads modules' own outputs, where some models have a norm between them and the residual stream."""
_SUBMODULE = re.compile(r"(?P<kind>[a-z_]+?)_layer_(?P<layer>\d{1,4})")


def load(folder: Path) -> SparseCoder:
    """Read an SAE. Decoders are taken as they are: the library's own loader may give them norm 1, which rescales activations.

    Raises:
        DataError: a file cannot be used, or the class is unknown.
    """
    path = folder / CONFIG_FILE
    cfg = Fields(path, read_json(path))
    name = cfg.text("trainer.dict_class")
    if name not in _CLASSES:
        raise cfg.wrong("trainer.dict_class", f"one of {', '.join(_CLASSES)}")
    kind = _CLASSES[name]
    tensors = open_torch(folder / WEIGHTS_FILE)
    if kind.linear:
        d_sae, d_in = tensors.matrix_shape("encoder.weight")
    else:
        d_in, d_sae = tensors.matrix_shape("W_enc")
    cfg.agree("trainer.activation_dim", d_in)
    cfg.agree("trainer.dict_size", d_sae)
    take = tensors.take_transposed if kind.linear else tensors.take
    gated = kind.architecture == "gated"
    return SparseCoder(
        W_enc=take("encoder.weight" if kind.linear else "W_enc", d_in, d_sae),
        b_enc=tensors.take(kind.b_enc, d_sae),
        W_dec=take("decoder.weight" if kind.linear else "W_dec", d_sae, d_in),
        b_dec=tensors.take(kind.b_dec, d_in),
        architecture=kind.architecture,
        k=_k(cfg, tensors, d_sae) if kind.architecture == "topk" else None,
        threshold=_threshold(tensors, d_sae) if kind.architecture == "jumprelu" else None,
        b_gate=tensors.take("gate_bias", d_sae) if gated else None,
        r_mag=tensors.take("r_mag", d_sae) if gated else None,
        hookpoint=_hookpoint(cfg),
        name=full_name(folder, local_parts=2),
        format=FORMAT,
        subject_model=cfg.text("trainer.lm_name", "unknown"),
        advertised_l0=cfg.number("trainer.k") if cfg.get("trainer.k") is not None else cfg.number("trainer.target_l0"),
        config={**cfg.content, "activation_scale": "raw"},
        subtract_b_dec=kind.subtract_b_dec,
    )


def _k(cfg: Fields, tensors: Tensors, d_sae: int) -> int:
    """k as the settings state it, which the file must not contradict."""
    k = cfg.k("trainer.k", d_sae)
    if "k" in tensors.shapes and tensors.take_number("k") != k:
        raise cfg.wrong("trainer.k", f"{tensors.take_number('k'):g}, the k kept in {WEIGHTS_FILE}")
    return k


def _threshold(tensors: Tensors, d_sae: int) -> torch.Tensor:
    """One threshold per feature; batch top-k SAEs keep a single one, negative while it was never set."""
    if tensors.shapes.get("threshold") == (d_sae,):
        return tensors.take("threshold", d_sae)
    return torch.full((d_sae,), tensors.take_number("threshold"))


def _hookpoint(cfg: Fields) -> str:
    """Where the SAE reads, as far as layer and submodule say it; empty when they do not."""
    if cfg.text("buffer.io", "out") != "out":
        return ""
    submodule = cfg.text("trainer.submodule_name")
    found = _SUBMODULE.fullmatch(submodule)
    if found and found["kind"] in _HOOKS:
        return f"blocks.{found['layer']}.{_HOOKS[found['kind']]}"
    return submodule if is_module_path(submodule) and "." in submodule else ""
