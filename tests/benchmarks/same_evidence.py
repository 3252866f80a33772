"""The same evidence whatever the order, the shards, the restarts and the workers; and how little the shape of batches changes.

    python -m tests.benchmarks.same_evidence [--tokens 30000] [--dtype bfloat16]

SmolLM2-135M and the demo SAE on real text. The first table holds an evidence hash per way of collecting; the second holds, across
batch shapes, the largest relative difference of an activation that fires in both, how many fire in one only, and the share of the
uniform samples' windows that are the same.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from autolabel.config import Settings, read_settings
from autolabel.evidence.collect import Collection
from autolabel.evidence.collector import Collector
from autolabel.evidence.corpus import source_texts
from autolabel.evidence.finishing import Evidence, Source, finished_tables
from autolabel.evidence.shards import gather_shard
from autolabel.evidence.spill import Spill
from autolabel.resources import resource_dir
from tests.benchmarks.measuring import show

DOCUMENT_TOKENS = 200


def write_corpus(path: Path, n_tokens: int, seed: int | None = None) -> Path:
    """The beginning of the demo's text as JSON lines, in its own order or shuffled."""
    settings = read_settings(resource_dir("data") / "demo.toml", Settings)
    texts: list[str] = []
    sources = sorted(settings.corpus_or_refuse.sources, key=lambda source: source.path, reverse=True)
    for source in sources[:2]:
        own: list[str] = []
        for text in source_texts([source], settings.seed):
            own.append(text.raw.text[:4000])
            if sum(map(len, own)) > 4.5 * n_tokens / 2:
                break
        texts += own
    if seed is not None:
        random.Random(seed).shuffle(texts)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


def settings_of(folder: Path, corpus: Path, dtype: str, **changes: Any) -> Settings:
    """The demo's model and SAE over `corpus`, documents of at most 200 tokens."""
    overrides = {"db": str(folder / "labels.duckdb"), "subject.dtype": dtype, "corpus.document_tokens": DOCUMENT_TOKENS}
    overrides |= {"corpus.sources": [{"path": str(corpus), "name": "text"}], "engine.checkpoint_batches": 4}
    return read_settings(resource_dir("data") / "demo.toml", Settings, overrides | changes)


def collected(settings: Settings, folder: Path, report: Callable[[int], None] = lambda tokens: None) -> Evidence:
    """One collection."""
    collection = Collection(settings, folder)
    collection.gate(force=True)
    (evidence,) = collection.run(report)
    return evidence


def in_shards(settings: Settings, folder: Path, n_shards: int) -> str:
    """Collect every shard for itself, merge the last into the first, and so on."""
    collection = Collection(settings, folder)
    collection.gate(force=True)
    one = collection.sets[0]
    collectors = [Collector(one.coder.d_sae, settings.evidence, settings.seed, Spill(folder / str(i))) for i in range(n_shards)]
    for number, collector in enumerate(collectors):
        given = [(one.coder, one.norm_limit, collector)]
        place = (number, n_shards, 0)
        gather_shard(settings, collection._subject, collection._survey, given, place, None, lambda tokens: None)
    for collector in reversed(collectors[1:]):
        collectors[0].merge(collector)
    return finished_tables(one.evidence_set_id, Source(one.sae_id, one.coder.W_dec), collectors[0], folder / "tables")[1]


def killed(settings: Settings, folder: Path) -> str:
    """Kill a collection with SIGKILL in the middle, twice, and go on."""
    for reports in (7, 11):
        command = [sys.executable, "-m", "tests.benchmarks.same_evidence", "--child", settings.model_dump_json()]
        done = subprocess.run([*command, "--folder", str(folder), "--reports", str(reports)], check=False)
        assert done.returncode == -signal.SIGKILL, done.returncode
    return str(collected(settings, folder).evidence_set["evidence_hash"])


def activations(evidence: Evidence) -> dict[tuple[str, int, int], float]:
    """Every activation in the background sample, by window, feature and token at the peak."""
    found: dict[tuple[str, int, int], float] = {}
    for row in evidence.tables["windows"].to_pylist():
        for feature, value, peak in zip(row["fired_features"] or [], row["fired_max"] or [], row["fired_peak"] or [], strict=True):
            found[row["window_id"], feature, peak] = value
    return found


def samples(evidence: Evidence) -> set[tuple[int, str]]:
    """Feature and window of all uniform samples."""
    rows = evidence.tables["examples"].select(["feature_index", "window_id", "kind"]).to_pylist()
    return {(row["feature_index"], row["window_id"]) for row in rows if row["kind"] == "firing"}


def compared(one: Evidence, other: Evidence) -> list[Any]:
    """How two collections with batches of other shapes differ."""
    first, second = activations(one), activations(other)
    both = first.keys() & second.keys()
    relative = [abs(first[key] - second[key]) / max(abs(first[key]), abs(second[key])) for key in both]
    mine, theirs = samples(one), samples(other)
    return [
        len(both),
        max(relative),
        float(np.median(relative)),
        1 - len(both) / len(first.keys() | second.keys()),
        len(mine & theirs) / len(mine | theirs),
    ]


def main() -> int:
    """Collect in every way, print both tables; 1 when a hash differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=30_000)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--child")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--reports", type=int)
    given = parser.parse_args()
    if given.child:
        left = [given.reports]

        def count_down(tokens: int) -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        collected(Settings.model_validate_json(given.child), given.folder, count_down)
        return 1
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        corpus = write_corpus(folder / "text.jsonl", given.tokens)
        shuffled = write_corpus(folder / "shuffled.jsonl", given.tokens, seed=1)
        base = settings_of(folder, corpus, given.dtype)
        plain = collected(base, folder / "plain")
        hashes = {"one pass": str(plain.evidence_set["evidence_hash"])}
        hashes["documents shuffled"] = str(
            collected(settings_of(folder, shuffled, given.dtype), folder / "shuffled").evidence_set["evidence_hash"]
        )
        for n_shards in (1, 2, 5):
            hashes[f"{n_shards} shards merged"] = in_shards(base, folder / f"shards-{n_shards}", n_shards)
        hashes["killed twice with SIGKILL, resumed"] = killed(base, folder / "killed")
        on_ray = settings_of(folder, corpus, given.dtype, **{"engine.kind": "ray", "engine.workers": 2, "engine.shards": 4})
        hashes["Ray, 2 workers, 4 shards"] = str(collected(on_ray, folder / "ray").evidence_set["evidence_hash"])
        title = f"{plain.evidence_set['n_tokens']:,} tokens, {given.dtype}"
        show(
            title,
            ["collected by", "evidence hash", "same"],
            [[way, h[:16], "yes" if h == hashes["one pass"] else "no"] for way, h in hashes.items()],
        )
        rows = []
        for batch in (1, 32):
            other = collected(settings_of(folder, corpus, given.dtype, **{"subject.batch_contexts": batch}), folder / f"b{batch}")
            rows.append([f"{batch} against 8", *compared(plain, other)])
        header = [
            "batch of",
            "activations in both",
            "largest relative difference",
            "median",
            "share in one only",
            "share of sampled windows the same",
        ]
        show("across batch shapes", header, rows)
    return int(len(set(hashes.values())) > 1)


if __name__ == "__main__":
    sys.exit(main())
