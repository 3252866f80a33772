"""Memory, disk and time from a stream of activations to every feature's examples: autolabel beside another program, such as delphi.

    python -m tests.benchmarks.beside_delphi --delphi-driver "PYTHON PROGRAM"
    python -m tests.benchmarks.beside_delphi                                  autolabel alone

The stream is random (`streams.write` says what its files hold) and is written once, so that both read the same; each side runs in a
process of its own, one after the other. Nothing of delphi is needed or kept here: `--delphi-driver` is a command that anybody can
write around it, and is run as

    PYTHON PROGRAM STREAM WORK

It reads the files of the folder STREAM (some rows at a time: mapped files count as its memory), keeps all its files in the empty
folder WORK and leaves there what it would leave, and prints as the last line of its output one JSON object with

    name           the program and its version
    collect_s      seconds from the first row read until all activations are where examples are made from
    ready_s        seconds from the first row read until the examples of every feature are ready
    n_ready        features that have enough examples then, by the program's own rule
    n_measured     of how many of them the time was taken, the rest being extrapolated from it; absent when of all
    collected_rss  most memory held until then (`VmHWM`), bytes
    notes          list of sentences on what was and was not done

Memory and disk in all are measured from outside. A driver for delphi fills its LatentCache from the stream through its `run`, saves
with `save_splits`, and times LatentDataset, with its default constructor and sampler, over a sample of latents.
"""

import argparse
import json
import shlex
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa

from autolabel.config import EvidenceSettings
from autolabel.evidence.finishing import Source, finished_tables
from autolabel.evidence.state import Checkpoint, Progress
from tests.benchmarks import streams
from tests.benchmarks.children import GIB, peak_rss, size_of, this_module, watched
from tests.benchmarks.measuring import show

D_SAE, K, SEED = 32_768, 32, 0
CONTEXT_TOKENS = 256
CHECKPOINT_BATCHES = 256
DELPHI_BATCH_ROWS = 32
"""delphi leaves out a last batch that is not full, so there is none."""
OURS = "tests.benchmarks.beside_delphi"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--delphi-driver", help="command to run beside; see the top of this file")
    parser.add_argument(
        "--tokens", type=int, nargs="+", default=[1_050_000, 4_200_000], help="sizes of the stream, rounded to 8,192"
    )
    parser.add_argument("--ours", type=Path, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.ours:
        sys.stdout.write(json.dumps(ours(*arguments.ours)) + "\n")
        return
    rows: list[list[object]] = []
    notes: dict[str, None] = {}
    for n_tokens in arguments.tokens:
        n_rows = max(round(n_tokens / streams.ROW_TOKENS / DELPHI_BATCH_ROWS), 1) * DELPHI_BATCH_ROWS
        sides = measured(streams.Shape(n_rows, D_SAE, K, SEED), arguments.delphi_driver)
        rows += compared(n_rows * streams.ROW_TOKENS, sides)
        notes |= dict.fromkeys(f"{side.name}: {note}" for side in sides for note in side.said.get("notes", []))
    names = [side.name for side in sides]
    title = f"{D_SAE:,} features, {K} on every token, contexts of {streams.ROW_TOKENS} tokens, Zipf exponent 0.7"
    show(title, ["tokens", "activations", "", *names, *(["÷"] if len(names) == 2 else [])], rows)
    sys.stdout.write("\n" + "".join(f"- {note}\n" for note in notes))


@dataclass(frozen=True, slots=True)
class Side:
    """What one program took."""

    said: dict[str, Any]
    """What it printed."""
    peak_rss: int
    peak_disk: int
    last_disk: int

    @property
    def name(self) -> str:
        return str(self.said["name"])


def measured(shape: streams.Shape, driver: str | None) -> list[Side]:
    """Write the stream and run every program on it."""
    commands = [this_module(OURS, "--ours"), *([shlex.split(driver)] if driver else [])]
    with tempfile.TemporaryDirectory() as stream:
        streams.write(Path(stream), shape)
        return [run(command, Path(stream)) for command in commands]


def run(command: Sequence[str], stream: Path) -> Side:
    """Run one program in a folder of its own."""
    with tempfile.TemporaryDirectory() as work:
        seen = watched([*command, str(stream), work], Path(work), {"all": "**/*"})
        said = json.loads(seen.output.splitlines()[-1])
        sys.stderr.write(f"{said}\n")
        left = size_of(Path(work), "**/*")
        return Side(said, seen.peak_rss, max(seen.peak_files["all"], left), left)


def compared(n_tokens: int, sides: Sequence[Side]) -> list[list[object]]:
    """The lines of the table for one stream."""
    lines: list[tuple[str, list[float]]] = [
        ("peak memory until collected, GiB", [side.said["collected_rss"] / GIB for side in sides]),
        ("peak memory in all, GiB", [side.peak_rss / GIB for side in sides]),
        ("peak disk, GiB", [side.peak_disk / GIB for side in sides]),
        ("disk at the end, GiB", [side.last_disk / GIB for side in sides]),
        ("collecting, s", [side.said["collect_s"] for side in sides]),
        ("until all examples are ready, s", [side.said["ready_s"] for side in sides]),
        ("features with enough examples", [side.said["n_ready"] for side in sides]),
    ]
    rows: list[list[object]] = []
    for what, values in lines:
        ratio = [values[1] / values[0]] if len(values) == 2 else []
        rows.append([n_tokens, n_tokens * K, what, *values, *ratio])
    return rows


def ours(stream: Path, work: Path) -> dict[str, Any]:
    """autolabel: collect with checkpoints as it collects from text, then write the tables of every feature's examples."""
    begun = perf_counter()
    source = streams.Stream(stream)
    checkpoint = Checkpoint(work / "collection", "beside-delphi")
    collector, _ = checkpoint.load(source.shape.d_sae, EvidenceSettings(), source.shape.seed)
    for number, batch in enumerate(source.batches(CONTEXT_TOKENS), 1):
        collector.add(batch)
        if number % CHECKPOINT_BATCHES == 0:
            checkpoint.save(collector, Progress(complete_through=number))
    checkpoint.save(collector, Progress(finished=True), compact_factor=1.2)
    collect_s, collected_rss = perf_counter() - begun, peak_rss()
    files, _ = finished_tables("0" * 32, Source("synthetic", None), collector, work / "tables")
    ready_s = perf_counter() - begun
    tables = sum(path.stat().st_size for path in files.values())
    return {
        "name": "autolabel",
        "collect_s": collect_s,
        "ready_s": ready_s,
        "n_ready": sum(batch["evidence_status"].to_pylist().count("alive") for batch in batches(files["features"])),
        "collected_rss": collected_rss,
        "notes": [f"of the disk at the end {tables / GIB:.2f} GiB are the tables, which become rows of the database"],
    }


def batches(path: Path) -> Iterator[pa.RecordBatch]:
    """The rows of a table, some at a time."""
    with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as stream:
        yield from stream


if __name__ == "__main__":
    main()
