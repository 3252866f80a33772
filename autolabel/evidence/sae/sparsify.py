"""SAEs and transcoders of the sparsify library: `cfg.json` and `sae.safetensors` in a folder named after the module they read."""

import re
from contextlib import suppress
from pathlib import Path

from autolabel.errors import DataError
from autolabel.evidence.sae.coder import Architecture, SparseCoder
from autolabel.evidence.sae.fields import Fields
from autolabel.evidence.sae.files import open_safetensors, read_json
from autolabel.evidence.sae.naming import full_name, is_module_path

FORMAT = "sparsify"
WEIGHTS_FILE, CONFIG_FILE = "sae.safetensors", "cfg.json"

_SEED_FOLDER = re.compile(r"seed\d+")
_ARCHITECTURES: dict[str, Architecture] = {"topk": "topk", "groupmax": "groupmax"}


def load(folder: Path) -> SparseCoder:
    """Read an SAE; a transcoder reads the input of its module and predicts the output.

    Raises:
        DataError: a file cannot be used.
    """
    path = folder / CONFIG_FILE
    cfg = Fields(path, read_json(path))
    activation = cfg.text("activation", "topk")
    if activation not in _ARCHITECTURES:
        raise cfg.wrong("activation", "topk or groupmax")
    if cfg.flag("signed"):
        raise cfg.wrong("signed", "false; early versions could keep negative activations, which autolabel does not")
    transcode, skip = cfg.flag("transcode"), cfg.flag("skip_connection")
    tensors = open_safetensors(folder / WEIGHTS_FILE)
    d_sae, d_in = tensors.matrix_shape("encoder.weight")
    cfg.agree("d_in", d_in)
    if cfg.get("num_latents"):
        cfg.agree("num_latents", d_sae)
    k = cfg.k("k", d_sae)
    if activation == "groupmax" and d_sae % k:
        raise cfg.wrong("k", f"a divisor of d_sae = {d_sae}, since groupmax cuts the features into k equal groups")
    module = _module(folder)
    return SparseCoder(
        W_enc=tensors.take_transposed("encoder.weight", d_in, d_sae),
        b_enc=tensors.take("encoder.bias", d_sae),
        W_dec=tensors.take("W_dec", d_sae, d_in),
        b_dec=tensors.take("b_dec", d_in),
        W_skip=tensors.take("W_skip", d_in, d_in) if skip else None,
        architecture=_ARCHITECTURES[activation],
        k=k,
        hookpoint=f"{module}:input" if module and transcode else module,
        hookpoint_out=module if transcode else None,
        name=full_name(folder),
        format=FORMAT,
        subject_model=_subject_model(folder),
        advertised_l0=float(k),
        config={**cfg.content, "activation_scale": "raw"},
        subtract_b_dec=not transcode,
    )


def _module(folder: Path) -> str:
    """The module after which the folder is named; empty when the name is none."""
    folder = folder.absolute()
    if _SEED_FOLDER.fullmatch(folder.name):
        folder = folder.parent
    return folder.name if is_module_path(folder.name) and ("." in folder.name or "embed" in folder.name) else ""


def _subject_model(folder: Path) -> str:
    """What the training settings, in a folder above, call the model; any other file of that name says nothing."""
    for parent in list(folder.absolute().parents)[:2]:
        path = parent / "config.json"
        if path.is_file():
            with suppress(DataError):
                return Fields(path, read_json(path)).text("model", "unknown")
    return "unknown"
