"""How much of the time of a collection is the model's: tokens/s up to stored evidence ÷ tokens/s of bare forward and encode.

    python -m tests.benchmarks.collecting [--tokens 200000] [--d-sae 4096] [--rounds 3]

Both run over the same contexts of the same text in the same batches, alternating in one process: SmolLM2-135M and the demo SAE, or a
random TopK SAE of another width. *Bare* is the forward pass cut off at the hookpoint, and the encoder; *collect* is `autolabel
collect` from settings to rows in DuckDB, the loading of the model left out on both sides.
"""

import argparse
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any
from unittest.mock import patch

import torch

from autolabel.config import Settings, read_settings
from autolabel.evidence import batches, collect, subject
from autolabel.evidence.collector import Collector
from autolabel.evidence.exams import ExamBuilder
from autolabel.evidence.kept import Kept
from autolabel.evidence.sae import SparseCoder, load_sae, native
from autolabel.evidence.state import Checkpoint
from autolabel.evidence.survey import Survey
from autolabel.evidence.tables import EvidenceTables
from autolabel.pipeline.running import run_stages
from autolabel.resources import resource_dir
from autolabel.store.run_store import RunStore
from tests.benchmarks.measuring import show

STAGES: dict[str, tuple[Any, str]] = {
    "read and hash text": (Survey, "__init__"),
    "load gate": (collect.Collection, "gate"),
    "forward": (subject.Subject, "capture"),
    "encode": (SparseCoder, "encode"),
    "collector": (Collector, "add"),
    "checkpoints": (Checkpoint, "save"),
    "sort what was kept": (Kept, "__init__"),
    "draw exams": (ExamBuilder, "_draw"),
    "make rows": (EvidenceTables, "_hashed"),
    "store rows": (RunStore, "insert_evidence"),
}


DEMO_TOKENS = 192_000
"""About what the demo's own shares of its text amount to."""


class Silent:
    """A watcher that is told everything and says nothing."""

    def stage(self, name: str, total: int) -> None: ...

    def advance(self, done: int) -> None: ...

    def say(self, text: str) -> None: ...


def settings_of(folder: Path, tokens: int, d_sae: int) -> Settings:
    """The demo's settings over about so many tokens of its text; of another width than the demo SAE's, with a random SAE."""
    path = "demo-sae"
    demo = load_sae(path)
    if d_sae != demo.d_sae:
        path = str(folder / "sae")
        native.save(folder / "sae", random_sae(demo, d_sae))
    overrides = {"db": str(folder / "labels.duckdb"), "sae.path": path}
    settings = read_settings(resource_dir("data") / "demo.toml", Settings, overrides)
    corpus = settings.corpus_or_refuse
    scale = tokens / DEMO_TOKENS
    sources = [source.model_copy(update={"share": min(source.share * scale, 1.0)}) for source in corpus.sources]
    return settings.model_copy(update={"corpus": corpus.model_copy(update={"sources": sources})})


def random_sae(like: SparseCoder, d_sae: int) -> SparseCoder:
    """Random directions, k = 32."""
    generator = torch.Generator().manual_seed(0)
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, like.d_in, generator=generator), dim=1)
    weights = {"W_enc": W_dec.T.contiguous(), "b_enc": torch.zeros(d_sae), "W_dec": W_dec, "b_dec": like.b_dec}
    return SparseCoder(
        **weights, architecture="topk", k=32, hookpoint=like.hookpoint, name="random", format="autolabel", subject_model=""
    )


def bare(settings: Settings, model: subject.Subject, coder: SparseCoder) -> tuple[int, float]:
    """Tokens, and seconds of forward and encode, over the batches of the corpus, which are made beforehand."""
    shape = settings.subject_or_refuse
    survey = Survey(settings.corpus_or_refuse, settings.seed, model, shape.context_tokens)
    documents = [document for _, document in survey.documents(model)]
    prepared = list(batches._prepared(model.first_token_id, iter(documents), shape.context_tokens, shape.batch_contexts))
    _encode(model, coder, prepared[0].token_ids)
    start = perf_counter()
    for batch in prepared:
        _encode(model, coder, batch.token_ids)
    return sum(len(document.token_ids) for document in documents), perf_counter() - start


def _encode(model: subject.Subject, coder: SparseCoder, token_ids: torch.Tensor) -> None:
    found = model.capture(token_ids, [coder.hookpoint])[coder.hookpoint]
    coder.encode(found[:, 1:].float().flatten(0, 1))


@contextmanager
def timed(spent: Counter[str]) -> Iterator[None]:
    """Inside, the seconds spent in each stage are added up."""
    with ExitStack() as stack:
        for name, (owner, method) in STAGES.items():
            stack.enter_context(patch.object(owner, method, _timing(getattr(owner, method), name, spent)))
        yield


def _timing(function: Callable[..., Any], name: str, spent: Counter[str]) -> Callable[..., Any]:
    @wraps(function)
    def measured(*given: Any, **named: Any) -> Any:
        start = perf_counter()
        found = function(*given, **named)
        if hasattr(found, "__next__"):
            found = list(found)
        spent[name] += perf_counter() - start
        return found

    return measured


def main() -> None:
    """Alternate, and print the ratio and where the time goes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--d-sae", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    rows, spent, total = [], Counter[str](), 0.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = settings_of(folder, given.tokens, given.d_sae)
        model = subject.Subject.load(settings.subject_or_refuse)
        coder = load_sae(settings.saes[0].path)
        for number in range(given.rounds):
            tokens, bare_s = bare(settings, model, coder)
            db = folder / f"{number}.duckdb"
            with patch.object(subject.Subject, "load", lambda *_: model), timed(spent):
                start = perf_counter()
                changed = settings.model_copy(update={"db": str(db)})
                run_stages(changed, ("collect",), Silent(), command="collect", force=True)
                collect_s = perf_counter() - start
            total += collect_s
            rows.append([number + 1, tokens / bare_s, tokens / collect_s, bare_s / collect_s])
    show(
        f"{given.d_sae:,} features, {tokens:,} tokens, {torch.get_num_threads()} threads",
        ["round", "bare, tokens/s", "collect, tokens/s", "collect ÷ bare"],
        rows,
    )
    sys.stdout.write(f"\nmedian of the ratios: {median(row[-1] for row in rows):.3f}\n")
    spent["other"] = total - sum(spent.values())
    show("where a collection's time goes", ["stage", "share"], [[stage, seconds / total] for stage, seconds in spent.most_common()])


if __name__ == "__main__":
    main()
