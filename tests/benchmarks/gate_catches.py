"""What the load gate says to an SAE that was loaded wrongly: SmolLM2 and the demo SAE, one mistake at a time.

    python -m tests.benchmarks.gate_catches

Needs the parts of the demo (`autolabel demo --fetch`); takes two or three minutes on two cores. Exits 1 when a mistake is not caught,
is not called by its name, or an SAE that was loaded rightly is refused.
"""

import argparse
import pickle
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from autolabel.config import Settings, read_settings
from autolabel.errors import DataError
from autolabel.evidence.corpus import Document
from autolabel.evidence.fit import Sample, sample
from autolabel.evidence.gate import measure, require_pass
from autolabel.evidence.sae import SparseCoder, load_sae
from autolabel.evidence.sae.native import CONFIG_FILE, WEIGHTS_FILE
from autolabel.evidence.subject import Subject
from autolabel.evidence.survey import Survey
from autolabel.resources import resource_dir
from tests.benchmarks.measuring import show

DEMO = resource_dir("data") / "demo-sae"
HOOKPOINT, MLP = "layers.12", "layers.12.mlp"
PASSES = "passes"
SPRUNG = "sprung"
"""What the code in the pickle would leave behind."""


@dataclass(frozen=True)
class Case:
    """A way to load an SAE, and words that must be in what is said of it."""

    name: str
    load: Callable[[], SparseCoder]
    wanted: str


def main() -> int:
    """How many cases did not go as they should."""
    settings = read_settings(resource_dir("data") / "demo.toml", Settings)
    assert settings.subject is not None
    assert settings.corpus is not None
    subject = Subject.load(settings.subject)
    survey = Survey(settings.corpus, settings.seed, subject, settings.subject.context_tokens)
    texts = survey.gate_documents(subject)
    other = (document for _, document in survey.documents(subject) if document.split == "train")
    tokens = sample(subject, [HOOKPOINT, MLP], islice(other, 400), settings.subject.context_tokens, n_tokens=4096)
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for case in [*mistakes(load_sae(str(DEMO)), tokens), *damaged_files(Path(folder))]:
            said = verdict(subject, case.load, texts, settings.subject.context_tokens)
            rows.append([case.name, "as it should" if case.wanted in said else "WRONG", said])
            sys.stderr.write(f"{case.name}\n")
        if (Path(folder) / SPRUNG).exists():
            rows[-1][1:] = ["WRONG", "the code in the pickle ran"]
    show(f"{subject.name}, {len(texts)} test documents, {subject.number_format}", ["SAE", "goes", "what is said"], rows)
    return sum(row[1] == "WRONG" for row in rows)


def verdict(subject: Subject, load: Callable[[], SparseCoder], texts: list[Document], context_tokens: int) -> str:
    """What a user is told."""
    try:
        coder = load()
        report = measure(subject, coder, texts, context_tokens)
        require_pass(report, coder.name)
    except DataError as error:
        return str(error)
    return f"{PASSES}: FVU {report.fvu:.3f}, L0 {report.l0:.1f}"


def mistakes(demo: SparseCoder, tokens: Sample) -> Iterator[Case]:
    """The demo SAE, and SAEs in closed form, loaded rightly and with one mistake each."""
    usable = {place: tokens.tokens[place][tokens.usable([place])] for place in (HOOKPOINT, MLP)}
    mlp, square = components(usable[MLP], MLP), components(usable[HOOKPOINT], HOOKPOINT)
    plain = replace(demo, b_enc=demo.b_enc - demo.b_dec @ demo.W_enc, subtract_b_dec=False)
    here = 'set [sae] hookpoint = "layers.12"'
    yield Case("as it was trained", lambda: demo, PASSES)
    for layer in (11, 13, 8, 16, 24):
        yield Case(f"wrong layer: {layer} instead of 12", lambda at=layer: replace(demo, hookpoint=f"layers.{at}"), here)
    yield Case("residual stream read as MLP", lambda: replace(demo, hookpoint="blocks.12.hook_mlp_out"), here)
    yield Case("components of an MLP", lambda: mlp, PASSES)
    yield Case("MLP read as residual stream", lambda: replace(mlp, hookpoint=HOOKPOINT), 'set [sae] hookpoint = "layers.12.mlp"')
    yield Case("components, square", lambda: square, PASSES)
    yield Case("encoder transposed", lambda: replace(square, W_enc=square.W_enc.T.contiguous()), "it fits with W_enc transposed")
    yield Case("decoder transposed", lambda: replace(square, W_dec=square.W_dec.T.contiguous()), "it fits with W_dec transposed")
    yield Case("b_dec not to be subtracted", lambda: plain, PASSES)
    yield Case("b_dec subtracted all the same", lambda: replace(plain, subtract_b_dec=True), "it fits with b_dec not subtracted")
    yield Case("b_dec not subtracted", lambda: replace(demo, subtract_b_dec=False), "it fits with b_dec subtracted")
    yield Case("mean plus sink", lambda: mean_and_sink(demo, tokens), "little but the mean and the sink")
    yield Case("top-k rule forgotten", lambda: replace(demo, architecture="relu"), "where its settings say 32; check [sae]")
    yield Case("always silent", lambda: replace(demo, architecture="relu", b_enc=demo.b_enc - 1e6), "no feature fires")


def components(x: torch.Tensor, hookpoint: str) -> SparseCoder:
    """Square: both directions of the first half of the principal components, of which a token gets the 96 largest."""
    mean = x.mean(0)
    half = torch.linalg.svd(x - mean, full_matrices=False)[2][: x.shape[1] // 2]
    W_dec = torch.cat([half, -half])
    return SparseCoder(
        W_enc=W_dec.T.contiguous(),
        b_enc=torch.zeros(len(W_dec)),
        W_dec=W_dec,
        b_dec=mean,
        architecture="topk",
        k=96,
        hookpoint=hookpoint,
        name="components",
        format="autolabel",
        subject_model="smollm2-135m-instruct",
        advertised_l0=96.0,
    )


def mean_and_sink(demo: SparseCoder, tokens: Sample) -> SparseCoder:
    """One feature, for the direction from the mean to the BOS position; the mean is b_dec."""
    mean = tokens.tokens[HOOKPOINT].mean(0)
    sink = torch.nn.functional.normalize((tokens.first[HOOKPOINT] - mean).mean(0, keepdim=True), dim=1)
    W_enc, W_dec = sink.T.contiguous(), sink
    along = (tokens.tokens[HOOKPOINT] - mean) @ sink[0]
    threshold = along.quantile(0.9).reshape(1)
    rule = {"architecture": "relu", "k": None, "advertised_l0": None}
    return replace(demo, W_enc=W_enc, b_enc=-threshold, W_dec=W_dec, b_dec=mean, **rule)  # type: ignore[arg-type]


def damaged_files(folder: Path) -> Iterator[Case]:
    """Files of the demo SAE that were damaged or made to do harm."""
    nan, cut, turned, code = (folder / name for name in ("nan-row", "cut-off", "turned", "code"))
    weights = load_file(DEMO / WEIGHTS_FILE)
    for place in (nan, cut, turned, code):
        place.mkdir()
    for place in (nan, cut, turned):
        (place / CONFIG_FILE).write_bytes((DEMO / CONFIG_FILE).read_bytes())
    W_dec = weights["W_dec"].clone()
    W_dec[7] = float("nan")
    save_file({**weights, "W_dec": W_dec}, nan / WEIGHTS_FILE)
    save_file({**weights, "W_enc": weights["W_enc"].T.contiguous()}, turned / WEIGHTS_FILE)
    (cut / WEIGHTS_FILE).write_bytes((DEMO / WEIGHTS_FILE).read_bytes()[:1_000_000])
    (code / "config.json").write_text(
        '{"trainer": {"dict_class": "AutoEncoderTopK", "layer": 12, "submodule_name": "resid_post_layer_12"}}'
    )
    (code / "ae.pt").write_bytes(pickle.dumps(Trap(folder / SPRUNG)))
    yield Case("file with the encoder transposed", lambda: load_sae(str(turned)), "shape")
    yield Case("file with a row of NaN", lambda: load_sae(str(nan)), "NaN")
    yield Case("file cut off", lambda: load_sae(str(cut)), "truncated")
    yield Case("pickle with code", lambda: load_sae(str(code)), "ae.pt")


class Trap:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self._path,)


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    sys.exit(main() > 0)
