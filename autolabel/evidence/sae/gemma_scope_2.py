"""Gemma Scope 2: `params.safetensors` with lower-case names, and `config.json` that names the hooks of the transformers model."""

from pathlib import Path

from autolabel.evidence.sae.coder import SparseCoder
from autolabel.evidence.sae.fields import Fields
from autolabel.evidence.sae.files import open_safetensors, read_json
from autolabel.evidence.sae.naming import full_name

FORMAT = "gemma_scope_2"
WEIGHTS_FILE, CONFIG_FILE = "params.safetensors", "config.json"


def load(folder: Path) -> SparseCoder:
    """Read an SAE or transcoder: jump-ReLU, b_dec not subtracted, no normalisation, with a linear path if it is affine.

    Raises:
        DataError: a file cannot be used.
    """
    path = folder / CONFIG_FILE
    cfg = Fields(path, read_json(path))
    if cfg.text("architecture") != "jump_relu":
        raise cfg.wrong("architecture", "jump_relu")
    tensors = open_safetensors(folder / WEIGHTS_FILE)
    d_in, d_sae = tensors.matrix_shape("w_enc")
    _, d_out = tensors.matrix_shape("w_dec")
    into, out = cfg.text("hf_hook_point_in"), cfg.text("hf_hook_point_out")
    affine = cfg.flag("affine_connection")
    return SparseCoder(
        W_enc=tensors.take("w_enc", d_in, d_sae),
        b_enc=tensors.take("b_enc", d_sae),
        W_dec=tensors.take("w_dec", d_sae, d_out),
        b_dec=tensors.take("b_dec", d_out),
        threshold=tensors.take("threshold", d_sae),
        W_skip=tensors.take_transposed("affine_skip_connection", d_out, d_in) if affine else None,
        architecture="jumprelu",
        k=None,
        hookpoint=into,
        hookpoint_out=out if out and out != into else None,
        name=full_name(folder, local_parts=2),
        format=FORMAT,
        subject_model=_subject_model(cfg.text("model_name", "unknown")),
        advertised_l0=cfg.number("l0") if isinstance(cfg.get("l0"), int | float) else None,
        config={**cfg.content, "activation_scale": "raw"},
        subtract_b_dec=False,
        prepend_bos=True,
    )


def _subject_model(theirs: str) -> str:
    """The hub name of the model they call, say, `gemma-v3-1b-pt`; that of 270m has no `-pt`."""
    if theirs == "unknown":
        return theirs
    name = theirs.replace("-v3", "-3")
    name = name.removesuffix("-pt") if "270m" in name else name
    return name if "/" in name else f"google/{name}"
