"""How much memory a collection takes at 1×, 4× and 16× as much text, from settings to finished tables.

    python -m tests.benchmarks.flat_memory                                the three sizes at 32,768 features
    python -m tests.benchmarks.flat_memory --d-sae 131072 --times 4       one size at 131,072 features

A tiny random model and a random top-k SAE read documents of random words; each size runs in a process of its own, through what
`autolabel collect` runs. What is kept, and so memory, stops growing once the samples of all features are full. The SAE's biases let
its features fire about equally often, so that the first size is there already; how full the samples are is in the table. Exits 1 when
the largest peak is more than 10% above the smallest.
"""

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from autolabel.config import Settings, SubjectSettings, validated
from autolabel.evidence.collect import Collection
from autolabel.evidence.collector import Collector
from autolabel.evidence.firings import FiringBatch
from autolabel.evidence.sae import SparseCoder, native
from autolabel.evidence.subject import Subject
from tests.benchmarks.children import GIB, MIB, peak_rss, this_module, watched
from tests.benchmarks.measuring import show
from tests.fakes import tiny_model_and_tokenizer

K, D_MODEL, HOOKPOINT = 32, 32, "layers.2"
CONTEXT, CALIBRATION_TEXTS = 255, 40
ALWAYS_POSITIVE = 100.0
"""So that k features fire on every token."""
WORDS, WORDS_PER_TEXT = 20_000, 150
TOKENS_PER_WORD = 5.05
"""Measured; a word has two to seven letters, most of which are tokens of their own to the tiny model."""
MOST_GROWTH = 1.1
HEADER = [
    *("tokens", "peak memory GiB", "÷ first", "before the pass GiB", "until collected GiB", "state MiB", "peak spill MiB"),
    *("peak disk MiB", "samples full", "features alive", "tokens/s", "s in all"),
]


def main() -> int:
    """0 when memory is flat."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tokens", type=int, default=500_000, help="tokens of the first size, about")
    parser.add_argument("--d-sae", type=int, default=32_768)
    parser.add_argument("--times", type=int, nargs="+", default=[1, 4, 16], help="sizes, as multiples of the first")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        sys.stdout.write(json.dumps(collected(arguments.child)) + "\n")
        return 0
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        write_settings(Path(folder), arguments.d_sae)
        for times in arguments.times:
            write_texts(Path(folder) / "texts.jsonl", times * arguments.tokens)
            found.append(measured(Path(folder)))
            sys.stderr.write(f"{times}×: {json.dumps(found[-1])}\n")
    rows = [row(one, found[0]) for one in found]
    show(f"{arguments.d_sae:,} features, k = {K}, a tiny random model; evidence settings by default", HEADER, rows)
    peaks = [one["peak"] for one in found]
    return int(max(peaks) > MOST_GROWTH * min(peaks))


def row(found: dict[str, Any], first: dict[str, Any]) -> list[object]:
    """A line of the table."""
    sizes = [found["peak"] / GIB, found["peak"] / first["peak"], found["before"] / GIB, found["collected"] / GIB]
    disk = [found[name] / MIB for name in ("state", "spill", "disk")]
    return [found["tokens"], *sizes, *disk, found["full"], found["alive"], found["tokens"] / found["collecting_s"], found["wall_s"]]


def measured(folder: Path) -> dict[str, Any]:
    """Collect from the texts of `folder` in a process of its own."""
    work = folder / "collection"
    work.mkdir()
    patterns = {"spill": "collection/*/segment-*", "disk": "collection/**/*"}
    seen = watched(this_module("tests.benchmarks.flat_memory", "--child", folder), folder, patterns)
    shutil.rmtree(work)
    found: dict[str, Any] = json.loads(seen.output)
    return found | seen.peak_files | {"peak": max(seen.peak_rss, found["peak"]), "wall_s": seen.wall_s}


class StateWatch:
    """Looks at the collector after every so many batches: the most that its state took, waiting keys included."""

    EVERY = 16

    def __init__(self) -> None:
        self.collector: Collector | None = None
        self.n_bytes = 0
        self._n_batches = 0
        self._add: Callable[[Collector, FiringBatch], None] = Collector.add

    def add(self, collector: Collector, batch: FiringBatch) -> None:
        """In place of `Collector.add`."""
        self._add(collector, batch)
        self.collector = collector
        self._n_batches += 1
        if self._n_batches % self.EVERY == 1:
            self.n_bytes = max(self.n_bytes, collector.state_bytes)

    @property
    def full(self) -> float:
        """Share of the places in the samples of the features that fire which are taken."""
        assert self.collector is not None
        n_alive = int((self.collector.counts.fired > 0).sum())
        samples = self.collector.samples.values()
        return sum(keep.n_kept for keep in samples) / max(n_alive * sum(keep.k for keep in samples), 1)


def collected(folder: Path) -> dict[str, Any]:
    """Collect in this process, to finished tables, and tell what it took."""
    settings = validated(json.loads((folder / "settings.json").read_text()), Settings, "benchmark")
    collection = Collection(settings, folder / "collection")
    collection.gate(force=True)
    begun, before = perf_counter(), peak_rss()
    found: dict[str, Any] = {"before": before}

    def on_tokens(_: int) -> None:
        found.update(collected=peak_rss(), collecting_s=perf_counter() - begun)

    watch = StateWatch()
    with patch.object(Collector, "add", lambda collector, batch: watch.add(collector, batch)):
        (evidence,) = collection.run(on_tokens)
    found.update(peak=peak_rss(), tokens=evidence.evidence_set["n_tokens"], state=watch.n_bytes, full=watch.full)
    alive = sum(batch["evidence_status"].to_pylist().count("alive") for batch in evidence.batches("features"))
    return found | {"alive": alive}


def write_settings(folder: Path, d_sae: int) -> None:
    """A random model, a random SAE of it, and settings."""
    model = {"model": str(tiny_model_and_tokenizer(folder)), "dtype": "float32", "device": "cpu"}
    generator = torch.Generator().manual_seed(0)
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, D_MODEL, generator=generator), dim=1)
    coder = SparseCoder(
        W_enc=W_dec.T.contiguous(),
        b_enc=even_biases(Subject.load(validated(model, SubjectSettings, "benchmark")), W_dec),
        W_dec=W_dec,
        b_dec=torch.zeros(D_MODEL),
        architecture="topk",
        k=K,
        hookpoint=HOOKPOINT,
        name="random",
        format=native.FORMAT,
        subject_model="tiny",
    )
    native.save(folder / "sae", coder, torch.float32)
    settings = {
        "subject": model,
        "sae": {"path": str(folder / "sae")},
        "corpus": {"sources": [{"path": str(folder / "texts.jsonl"), "name": "texts"}]},
    }
    (folder / "settings.json").write_text(json.dumps(settings))


def even_biases(subject: Subject, W_dec: torch.Tensor) -> torch.Tensor:
    """Biases with which the features are among the top k about equally often, judged by some text; shape (d_sae,)."""
    ids = np.concatenate([subject.encode(text)[0] for text in texts(CALIBRATION_TEXTS)])
    contexts = torch.from_numpy(ids[: len(ids) // CONTEXT * CONTEXT].reshape(-1, CONTEXT).astype(np.int64))
    x = torch.cat([subject.activations(some, HOOKPOINT).flatten(0, 1) for some in torch.split(contexts, 8)]).float()
    rank = max(round(K / len(W_dec) * len(x)), 1)
    return ALWAYS_POSITIVE - torch.cat([(some @ x.T).topk(rank, dim=1).values[:, -1] for some in torch.split(W_dec, 2048)])


def texts(n: int) -> Iterator[str]:
    """Random words, 150 each."""
    generator = random.Random(0)
    words = ["".join(generator.choices("abcdefghijklmnopqrstuvwxyz", k=generator.randint(2, 7))) for _ in range(WORDS)]
    return (" ".join(generator.choices(words, k=WORDS_PER_TEXT)) for _ in range(n))


def write_texts(path: Path, n_tokens: int) -> None:
    """About so many tokens of text, a JSON line each."""
    with path.open("w") as file:
        for number, text in enumerate(texts(round(n_tokens / WORDS_PER_TEXT / TOKENS_PER_WORD))):
            file.write(json.dumps({"id": number, "text": text}) + "\n")


if __name__ == "__main__":
    sys.exit(main())
