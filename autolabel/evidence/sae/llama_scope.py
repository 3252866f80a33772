"""Llama Scope: the first release (`hyperparams.json`, `checkpoints/final.safetensors`), R1-Distill and what llamascopium 2 writes
(`config.json`, `sae_weights.safetensors`).

Which of the recipes in use we follow, since they disagree on how many features are active: the input is multiplied by
s_in = √d / (mean norm of the input over their data set), and the output divided by s_out, likewise. If their settings say
`sparsity_include_decoder_norm`, which is their default, a feature is active where pre · ‖W_D‖ exceeds the threshold, and its value
is pre. The threshold of the first release is in the units of the unnormalised output: times s_out it lies between 1.7 and 2.1 in five
published settings files, a transcoder's among them, while threshold and norms differ by a factor of seven.
"""

from pathlib import Path
from typing import Any

import torch

from autolabel.errors import DataError
from autolabel.evidence.sae.coder import SparseCoder
from autolabel.evidence.sae.fields import Fields
from autolabel.evidence.sae.files import Tensors, open_safetensors, read_json
from autolabel.evidence.sae.naming import full_name

FORMAT = "llama_scope"
FIRST_WEIGHTS_FILE, FIRST_CONFIG_FILE = "checkpoints/final.safetensors", "hyperparams.json"
WEIGHTS_FILE, CONFIG_FILE = "sae_weights.safetensors", "config.json"

_LOG_THRESHOLDS = ("log_jumprelu_threshold", "activation_function.log_jumprelu_threshold")


def load_first(folder: Path) -> SparseCoder:
    """Read an SAE of the first release.

    Raises:
        DataError: a file cannot be used.
    """
    return _load(folder, FIRST_CONFIG_FILE, FIRST_WEIGHTS_FILE)


def load(folder: Path) -> SparseCoder:
    """Read an SAE of a later release, or one that llamascopium wrote.

    Raises:
        DataError: a file cannot be used.
    """
    return _load(folder, CONFIG_FILE, WEIGHTS_FILE)


def _load(folder: Path, config_file: str, weights_file: str) -> SparseCoder:
    path = folder / config_file
    cfg = Fields(path, read_json(path))
    act_fn = _act_fn(cfg)
    tensors = open_safetensors(folder / weights_file)
    weights = _weights(cfg, tensors)
    d_in, d_sae = weights["W_enc"].shape
    into = cfg.text("hook_point_in")
    out = cfg.text("hook_point_out") or into
    by_norm = cfg.flag("sparsity_include_decoder_norm", default=True)
    scaling = _scaling(cfg, tensors, d_in, into, out)
    thresholds = _thresholds(cfg, tensors, d_sae, scaling.get("output_scale", 1.0)) if act_fn == "jumprelu" else None
    if thresholds is not None and by_norm:
        thresholds = thresholds / weights["W_dec"].norm(dim=1).clamp(min=1e-30)
    return SparseCoder(
        **weights,
        architecture=act_fn,
        k=cfg.k("top_k", d_sae) if act_fn == "topk" else None,
        threshold=thresholds,
        decoder_norm="select" if act_fn == "topk" and by_norm else "none",
        hookpoint=into,
        hookpoint_out=out if out != into else None,
        name=full_name(folder),
        format=FORMAT,
        subject_model=cfg.text("model_name", "unknown"),
        advertised_l0=cfg.number("top_k") if act_fn == "topk" or config_file == FIRST_CONFIG_FILE else None,
        config={**cfg.content, "activation_scale": "raw"},
        subtract_b_dec=cfg.flag("apply_decoder_bias_to_pre_encoder"),
        prepend_bos=True,
        **scaling,
    )


def _act_fn(cfg: Fields) -> Any:
    """Their activation function, once settings under which the tensors mean something else are ruled out."""
    if cfg.text("sae_type", "sae") != "sae":
        raise cfg.wrong("sae_type", "sae; cross-coders and the like read several hookpoints at once")
    if cfg.flag("use_glu_encoder"):
        raise cfg.wrong("use_glu_encoder", "false")
    act_fn = cfg.text("act_fn", "relu").lower()
    if act_fn == "batchtopk":
        raise cfg.wrong("act_fn", "relu, jumprelu or topk; convert it to jumprelu, since batch top-k depends on the other tokens")
    if act_fn not in ("relu", "jumprelu", "topk"):
        raise cfg.wrong("act_fn", "relu, jumprelu or topk")
    return act_fn


def _weights(cfg: Fields, tensors: Tensors) -> dict[str, Any]:
    """The four weights under either of the names they have had."""
    modern = not tensors.shapes.keys().isdisjoint({"W_E", "W_D"})
    if modern:
        d_in, d_sae = tensors.matrix_shape("W_E")
    else:
        d_sae, d_in = tensors.matrix_shape("encoder.weight")
    cfg.agree("d_model", d_in)
    cfg.agree("d_sae", d_sae)
    if cfg.get("expansion_factor") is not None and cfg.get("d_sae") is None and cfg.positive("expansion_factor") * d_in != d_sae:
        raise cfg.wrong("expansion_factor", f"{d_sae / d_in:g}, which the tensors have")
    bias = "b_D" if modern else "decoder.bias"
    if modern:
        matrices = {"W_enc": tensors.take("W_E", d_in, d_sae), "W_dec": tensors.take("W_D", d_sae, d_in)}
    else:
        matrices = {
            "W_enc": tensors.take_transposed("encoder.weight", d_in, d_sae),
            "W_dec": tensors.take_transposed("decoder.weight", d_sae, d_in),
        }
    return {
        **matrices,
        "b_enc": tensors.take("b_E" if modern else "encoder.bias", d_sae),
        "b_dec": tensors.take(bias, d_in) if cfg.flag("use_decoder_bias", default=True) else torch.zeros(d_in),
    }


def _scaling(cfg: Fields, tensors: Tensors, d_model: int, into: str, out: str) -> dict[str, Any]:
    """How input and output are normalised."""
    how = cfg.text("norm_activation", "dataset-wise")
    if how in ("none", "inference"):
        return {}
    if how == "token-wise" and into == out:
        return {"normalisation": "constant_norm_rescale"}
    if how != "dataset-wise":
        raise cfg.wrong("norm_activation", "dataset-wise, inference, or token-wise where input and output hook are the same")
    root = float(d_model) ** 0.5
    return {
        "normalisation": "scalar",
        "input_scale": root / _mean_norm(cfg, tensors, "in", into),
        "output_scale": root / _mean_norm(cfg, tensors, "out", out),
    }


def _mean_norm(cfg: Fields, tensors: Tensors, side: str, hook: str) -> float:
    """The mean norm of activations over their data set, from the settings or from a tensor named after the hook."""
    tensor = f"dataset_average_activation_norm.{hook}"
    if tensor in tensors.shapes:
        norm = tensors.take_number(tensor)
        if norm <= 0:
            raise DataError(f"'{tensors.path}': '{tensor}' is {norm}, expected a number greater than 0")
        return norm
    return cfg.positive(f"dataset_average_activation_norm.{side}")


def _thresholds(cfg: Fields, tensors: Tensors, d_sae: int, output_scale: float) -> torch.Tensor:
    """Thresholds on the scale of the normalised activations, shape (d_sae,)."""
    for name in _LOG_THRESHOLDS:
        if name in tensors.shapes:
            logs = tensors.take(name, d_sae) if tensors.shapes[name] == (d_sae,) else torch.tensor(tensors.take_number(name))
            return logs.clamp(max=80.0).exp().expand(d_sae).clone()
    threshold = cfg.number("jump_relu_threshold")
    if threshold is None or threshold < 0:
        raise cfg.wrong("jump_relu_threshold", f"a number of at least 0, or a tensor {_LOG_THRESHOLDS[0]} in {tensors.path.name}")
    return torch.full((d_sae,), threshold * output_scale)
