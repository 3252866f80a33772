"""SAEs that truly fit a place in a tiny model, in closed form: signed principal components of what is there."""

import torch

from autolabel.evidence.corpus import Document
from autolabel.evidence.fit import sample
from autolabel.evidence.sae import SparseCoder
from autolabel.evidence.subject import Subject

D_MODEL = 32


def fitted(subject: Subject, texts: list[Document], hookpoint: str = "layers.1", subtract_b_dec: bool = True) -> SparseCoder:
    """Square, with 2i and 2i + 1 the two directions of component i: the 8 largest leave some 15% of the variance."""
    x = sample(subject, [hookpoint], texts, 96).tokens[hookpoint]
    mean = x.mean(0)
    _, _, V = torch.linalg.svd(x - mean, full_matrices=False)
    half = V[: D_MODEL // 2]
    W_dec = torch.cat([half, -half])
    return SparseCoder(
        W_enc=W_dec.T.clone(),
        b_enc=torch.zeros(D_MODEL) if subtract_b_dec else -mean @ W_dec.T,
        W_dec=W_dec,
        b_dec=mean,
        architecture="topk",
        k=8,
        hookpoint=hookpoint,
        name="fitted",
        format="autolabel",
        subject_model="tiny",
        advertised_l0=8.0,
        subtract_b_dec=subtract_b_dec,
    )


def transcoder(subject: Subject, texts: list[Document], layer: int) -> SparseCoder:
    """From what enters a layer's MLP to what comes out of it: signed principal components in, least squares out."""
    places = f"layers.{layer}.mlp:input", f"layers.{layer}.mlp"
    x, y = (sample(subject, places, texts, 96).tokens[place] for place in places)
    mean = x.mean(0)
    _, _, V = torch.linalg.svd(x - mean, full_matrices=False)
    W_enc = torch.cat([V, -V]).T
    code = ((x - mean) @ W_enc).relu()
    W_dec = torch.linalg.lstsq(code, y - y.mean(0)).solution
    return SparseCoder(
        W_enc=W_enc,
        b_enc=-mean @ W_enc,
        W_dec=W_dec,
        b_dec=y.mean(0),
        architecture="relu",
        k=None,
        hookpoint=places[0],
        hookpoint_out=places[1],
        subtract_b_dec=False,
        name="transcoder",
        format="autolabel",
        subject_model="tiny",
    )
