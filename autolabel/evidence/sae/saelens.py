"""SAEs of the SAELens library: `cfg.json` and `sae_weights.safetensors`, of version 6 and of older ones."""

import re
from pathlib import Path
from typing import Any

from autolabel.errors import DataError
from autolabel.evidence.sae.coder import Architecture, SparseCoder
from autolabel.evidence.sae.fields import Fields
from autolabel.evidence.sae.files import Tensors, open_safetensors, read_json
from autolabel.evidence.sae.naming import full_name
from autolabel.evidence.sae.scaling import Normalisation

FORMAT = "saelens"
WEIGHTS_FILE, CONFIG_FILE, SPARSITY_FILE = "sae_weights.safetensors", "cfg.json", "sparsity.safetensors"

_ARCHITECTURES: dict[str, Architecture] = {
    "standard": "relu",
    "topk": "topk",
    "jumprelu": "jumprelu",
    "batchtopk": "jumprelu",
    "matryoshka_batchtopk": "jumprelu",
    "gated": "gated",
    "transcoder": "relu",
    "skip_transcoder": "relu",
    "jumprelu_transcoder": "jumprelu",
    "jumprelu_skip_transcoder": "jumprelu",
}
"""Their name of an architecture → ours; batch top-k SAEs are saved with a threshold."""
_OLD_NAMES = {"hook_point": "hook_name", "hook_point_head_index": "hook_head_index", "activation_fn_str": "activation_fn"}
_METADATA = ("model_name", "hook_name", "hook_name_out", "hook_head_index", "prepend_bos", "model_from_pretrained_kwargs")
_WRITTEN = re.compile(r"hook_(resid_pre|resid_mid|resid_post|mlp_out|attn_out|embed)$")
"""Hooks on what is written to the residual stream: the mean of each token is taken off if the model's writing weights were centred."""


def load(folder: Path) -> SparseCoder:
    """Read an SAE.

    Raises:
        DataError: a file cannot be used, or the SAE computes something that autolabel does not.
    """
    path = folder / CONFIG_FILE
    cfg = Fields(path, _in_new_form(read_json(path)))
    theirs = cfg.text("architecture", "standard")
    if theirs not in _ARCHITECTURES:
        raise cfg.wrong("architecture", f"one of {', '.join(_ARCHITECTURES)}; others compute something autolabel does not")
    _refuse_variants(cfg)
    tensors = open_safetensors(folder / WEIGHTS_FILE)
    _refuse_scaling_factor(tensors)
    d_in, d_sae = tensors.matrix_shape("W_enc")
    cfg.agree("d_in", d_in)
    cfg.agree("d_sae", d_sae)
    transcoder, skip = theirs.endswith("transcoder"), "skip" in theirs
    d_out = tensors.matrix_shape("W_dec")[1] if transcoder else d_in
    if transcoder:
        cfg.agree("d_out", d_out)
    architecture = _ARCHITECTURES[theirs]
    gated = architecture == "gated"
    normalisation, scale = _normalisation(cfg)
    by_norm = architecture == "topk" and cfg.flag("rescale_acts_by_decoder_norm")
    hookpoint_out = cfg.text("metadata.hf_hook_name_out") or cfg.text("metadata.hook_name_out")
    if transcoder and not hookpoint_out:
        raise cfg.wrong("metadata.hook_name_out", "the hook whose activations this transcoder predicts")
    return SparseCoder(
        W_enc=tensors.take("W_enc", d_in, d_sae),
        b_enc=tensors.take("b_mag" if gated else "b_enc", d_sae),
        W_dec=tensors.take("W_dec", d_sae, d_out),
        b_dec=tensors.take("b_dec", d_out),
        architecture=architecture,
        k=cfg.k("k", d_sae) if architecture == "topk" else None,
        threshold=tensors.take("threshold", d_sae) if architecture == "jumprelu" else None,
        b_gate=tensors.take("b_gate", d_sae) if gated else None,
        r_mag=tensors.take("r_mag", d_sae) if gated else None,
        W_skip=tensors.take("W_skip", d_out, d_in) if skip else None,
        hookpoint=cfg.text("metadata.hf_hook_name") or cfg.text("metadata.hook_name"),
        hookpoint_out=hookpoint_out if transcoder else None,
        name=full_name(folder),
        format=FORMAT,
        subject_model=cfg.text("metadata.model_name", "unknown"),
        advertised_l0=_advertised_l0(folder, cfg, architecture, d_sae),
        config={**cfg.content, "activation_scale": "times decoder norm" if by_norm else "raw"},
        subtract_b_dec=not transcoder and cfg.flag("apply_b_dec_to_input", default=True),
        decoder_norm="scale" if by_norm else "none",
        normalisation=normalisation,
        input_scale=scale,
        prepend_bos=cfg.optional_flag("metadata.prepend_bos"),
    )


def _in_new_form(content: dict[str, Any]) -> dict[str, Any]:
    """Settings in the form that version 6 writes, whichever version wrote them."""
    if isinstance(content.get("metadata"), dict):
        return content
    flat = {_OLD_NAMES.get(name, name): value for name, value in content.items()}
    flat.setdefault("prepend_bos", True)
    arguments = flat.get("activation_fn_kwargs")
    if flat.get("activation_fn") == "topk" and isinstance(arguments, dict):
        flat |= {"architecture": "topk", "k": arguments.get("k")}
    old = flat.get("normalize_activations")
    if old is None or isinstance(old, bool):
        flat["normalize_activations"] = "expected_average_only_in" if old else "none"
    return {**flat, "metadata": {name: flat.get(name) for name in _METADATA}}


def _refuse_variants(cfg: Fields) -> None:
    """Refuse settings of old versions under which the same tensors mean something else."""
    if cfg.text("activation_fn", "relu") not in ("relu", "topk"):
        raise cfg.wrong("activation_fn", "relu or topk")
    if cfg.flag("finetuning_scaling_factor"):
        raise cfg.wrong("finetuning_scaling_factor", "false; autolabel does not apply factors of fine-tuning")
    if cfg.get("metadata.hook_head_index") is not None:
        raise cfg.wrong("metadata.hook_head_index", "none; autolabel reads whole modules, not single heads")


def _refuse_scaling_factor(tensors: Tensors) -> None:
    """A `scaling_factor` of ones is a remnant without effect; any other would change every activation."""
    shape = tensors.shapes.get("scaling_factor")
    if shape is not None and not bool((tensors.take("scaling_factor", *shape) == 1).all()):
        raise DataError(f"'{tensors.path}': 'scaling_factor' is not all ones; autolabel does not apply factors of fine-tuning")


def _normalisation(cfg: Fields) -> tuple[Normalisation, float]:
    """How the input is normalised, and its factor where it is one number."""
    how = cfg.text("normalize_activations", "none")
    if cfg.flag("metadata.model_from_pretrained_kwargs.center_writing_weights") and _WRITTEN.search(cfg.text("metadata.hook_name")):
        if how != "none":
            raise cfg.wrong("normalize_activations", "none where the writing weights were centred")
        return "centre", 1.0
    if how in ("none", "layer_norm", "constant_norm_rescale"):
        return how, 1.0  # type: ignore[return-value]
    if how == "expected_average_only_in":
        if cfg.get("norm_scaling_factor") is None:
            raise cfg.wrong("norm_scaling_factor", "the factor of this SAE; SAELens' list of pretrained SAEs has it, add it here")
        return "scalar", cfg.positive("norm_scaling_factor")
    if how == "constant_scalar_rescale":
        return "scalar", cfg.positive("activation_normalization_factor")
    raise cfg.wrong("normalize_activations", "none, layer_norm, constant_norm_rescale, constant_scalar_rescale or a folded SAE")


def _advertised_l0(folder: Path, cfg: Fields, architecture: Architecture, d_sae: int) -> float | None:
    """k, else the sum of the firing frequencies, kept as decimal logarithms in a file of their own."""
    if architecture == "topk":
        return float(cfg.k("k", d_sae))
    if not (folder / SPARSITY_FILE).is_file():
        return None
    frequencies = open_safetensors(folder / SPARSITY_FILE).take("sparsity", d_sae)
    return float((10.0 ** frequencies.clamp(max=0)).sum())
