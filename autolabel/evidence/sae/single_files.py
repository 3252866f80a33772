"""SAEs that are one file without settings, whose name and repository say the rest: Goodfire's and Qwen Scope's."""

import re
from pathlib import Path

from autolabel.errors import DataError
from autolabel.evidence.sae.coder import SparseCoder
from autolabel.evidence.sae.files import open_torch
from autolabel.evidence.sae.naming import full_name

GOODFIRE, QWEN_SCOPE = "goodfire", "qwen_scope"
GOODFIRE_FILE = re.compile(r"(?P<model>[\w.\-]+)-SAE-l(?P<layer>\d{1,4})\.pth?")
QWEN_SCOPE_FILE = re.compile(r"layer(?P<layer>\d{1,4})\.sae\.pt")

_QWEN_REPOSITORY = re.compile(r"SAE-Res-(?P<model>[\w.\-]+?)-W\d+K-L0_(?P<k>\d{1,6})(?!\d)")


def load_goodfire(path: Path) -> SparseCoder:
    """Read `MODEL-SAE-lLAYER.pth`: ReLU over the residual stream after a layer, b_dec not subtracted.

    Raises:
        DataError: the file cannot be used.
    """
    named = GOODFIRE_FILE.fullmatch(path.name)
    assert named is not None
    tensors = open_torch(path)
    d_sae, d_in = tensors.matrix_shape("encoder_linear.weight")
    return SparseCoder(
        W_enc=tensors.take_transposed("encoder_linear.weight", d_in, d_sae),
        b_enc=tensors.take("encoder_linear.bias", d_sae),
        W_dec=tensors.take_transposed("decoder_linear.weight", d_sae, d_in),
        b_dec=tensors.take("decoder_linear.bias", d_in),
        architecture="relu",
        k=None,
        hookpoint=f"blocks.{named['layer']}.hook_resid_post",
        name=full_name(path),
        format=GOODFIRE,
        subject_model=f"meta-llama/{named['model']}",
        config={"activation_scale": "raw"},
        subtract_b_dec=False,
        prepend_bos=True,
    )


def load_qwen_scope(path: Path) -> SparseCoder:
    """Read `layerN.sae.pt`: top-k over the residual stream after layer N, b_dec not subtracted; the repository's name says k.

    Raises:
        DataError: the file cannot be used, or nothing in its path says k.
    """
    named, repository = QWEN_SCOPE_FILE.fullmatch(path.name), _QWEN_REPOSITORY.search(path.absolute().as_posix())
    assert named is not None
    if repository is None:
        raise DataError(f"nothing says the k of '{path}'; keep it in a folder named as its repository, SAE-Res-MODEL-W…K-L0_K")
    tensors = open_torch(path)
    d_sae, d_in = tensors.matrix_shape("W_enc")
    k = int(repository["k"])
    if not 1 <= k <= d_sae:
        raise DataError(f"the path of '{path}' says k = {k}, expected between 1 and d_sae = {d_sae}")
    return SparseCoder(
        W_enc=tensors.take_transposed("W_enc", d_in, d_sae),
        b_enc=tensors.take("b_enc", d_sae),
        W_dec=tensors.take_transposed("W_dec", d_sae, d_in),
        b_dec=tensors.take("b_dec", d_in),
        architecture="topk",
        k=k,
        hookpoint=f"blocks.{named['layer']}.hook_resid_post",
        name=full_name(path, local_parts=2),
        format=QWEN_SCOPE,
        subject_model=f"Qwen/{repository['model']}",
        advertised_l0=float(k),
        config={"activation_scale": "raw"},
        subtract_b_dec=False,
    )
