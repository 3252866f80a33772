"""Gemma Scope 1: `params.npz` alone, in a folder whose path names layer and width, in a repository that names model and site."""

import re
from pathlib import Path

from autolabel.evidence.sae.coder import SparseCoder
from autolabel.evidence.sae.files import open_npz
from autolabel.evidence.sae.naming import full_name, layer_in

FORMAT = "gemma_scope"
WEIGHTS_FILE = "params.npz"

_REPOSITORY = re.compile(r"gemma-scope-(?P<size>\d+b)-(?P<tuning>pt|it)-(?P<site>res|mlp|att|transcoders)")
_HOOKS = {
    "res": ("blocks.{}.hook_resid_post", None),
    "mlp": ("blocks.{}.hook_mlp_out", None),
    "att": ("blocks.{}.attn.hook_z", None),
    "transcoders": ("blocks.{}.ln2.hook_normalized", "blocks.{}.hook_mlp_out"),
}


def load(folder: Path) -> SparseCoder:
    """Read an SAE: jump-ReLU, b_dec not subtracted, no normalisation.

    Raises:
        DataError: the file cannot be used.
    """
    where = folder.absolute().as_posix()
    tensors = open_npz(folder / WEIGHTS_FILE)
    d_in, d_sae = tensors.matrix_shape("W_enc")
    _, d_out = tensors.matrix_shape("W_dec")
    hookpoint, hookpoint_out = _hookpoints(where)
    repository = _REPOSITORY.search(where)
    model = f"google/gemma-2-{repository['size']}" + ("-it" if repository["tuning"] == "it" else "") if repository else "unknown"
    advertised = re.search(r"average_l0_(\d{1,6})", folder.absolute().name)
    return SparseCoder(
        W_enc=tensors.take("W_enc", d_in, d_sae),
        b_enc=tensors.take("b_enc", d_sae),
        W_dec=tensors.take("W_dec", d_sae, d_out),
        b_dec=tensors.take("b_dec", d_out),
        threshold=tensors.take("threshold", d_sae),
        architecture="jumprelu",
        k=None,
        hookpoint=hookpoint,
        hookpoint_out=hookpoint_out,
        name=full_name(folder, local_parts=4),
        format=FORMAT,
        subject_model=model,
        advertised_l0=float(advertised[1]) if advertised else None,
        config={"activation_scale": "raw"},
        subtract_b_dec=False,
        prepend_bos=True,
    )


def _hookpoints(where: str) -> tuple[str, str | None]:
    """The hooks that the path speaks of; empty when it names no repository or layer."""
    repository = _REPOSITORY.search(where)
    if repository is None:
        return "", None
    if repository["site"] == "res" and "/embedding/" in where:
        return "hook_embed", None
    layer = layer_in(where)
    if layer is None:
        return "", None
    into, out = _HOOKS[repository["site"]]
    return into.format(layer), out.format(layer) if out else None
