"""The fixtures of `tests/data/sae` and how far from their libraries we are.

`python -m tests.evidence.sae.cases` prints the table of docs/sae-formats.md.
"""

import json
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from autolabel.evidence.sae import SparseCoder, load_sae

DATA = Path(__file__).parents[2] / "data" / "sae"
TOLERANCE = 1e-5
HEADER = "| format | architecture | expectation from | active | activations differ by | reconstruction differs by | equal |"


class Case(NamedTuple):
    case: str
    format: str
    architecture: str
    folder: str
    made_by: str

    @property
    def path(self) -> Path:
        return DATA / self.folder

    def load(self) -> SparseCoder:
        return load_sae(str(self.path))

    def expected(self) -> dict[str, torch.Tensor]:
        return load_file(DATA / "cases" / self.case / "expected.safetensors")


CASES = [Case(**case) for case in json.loads((DATA / "cases.json").read_text())]
BY_NAME = {case.case: case for case in CASES}


class Difference(NamedTuple):
    n_active: int
    activations: float
    reconstruction: float

    @property
    def equal(self) -> bool:
        return max(self.activations, self.reconstruction) <= TOLERANCE


def dense(coder: SparseCoder, x: torch.Tensor) -> torch.Tensor:
    code = coder.encode(x)
    acts = torch.zeros(len(x), coder.d_sae)
    acts[code.tokens, code.features] = code.values
    return acts


def difference(case: Case) -> Difference:
    coder, expected = case.load(), case.expected()
    code, out = coder.reconstruct(expected["x"])
    acts = dense(coder, expected["x"])
    return Difference(len(code.values), (acts - expected["acts"]).abs().max().item(), (out - expected["out"]).abs().max().item())


def row(case: Case) -> tuple[str, str]:
    """A line of the table up to its numbers, and the numbers."""
    found = difference(case)
    numbers = f"{found.activations:.0e} | {found.reconstruction:.0e} | {'yes' if found.equal else 'NO'} |"
    return f"| {case.format} | {case.architecture} | {case.made_by} | {found.n_active} |", numbers


def copied(tmp_path: Path, case: str) -> Path:
    """A copy of a case's folder that may be spoiled; its name and those of the folders above it stay."""
    source = BY_NAME[case].path
    root = DATA / "cases" / case
    shutil.copytree(root, tmp_path / case)
    return tmp_path / case / source.relative_to(root)


def edit(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text())
    for name, value in changes.items():
        *parents, last = name.split("__")
        target = content
        for parent in parents:
            target = target[parent]
        target[last] = value
    path.write_text(json.dumps(content))


def edit_tensors(path: Path, **changes: torch.Tensor | None) -> None:
    tensors = load_file(path) | changes
    save_file({name: tensor.contiguous() for name, tensor in tensors.items() if tensor is not None}, path)


if __name__ == "__main__":
    print("\n".join([HEADER, "|---" * 7 + "|", *(" ".join(row(case)) for case in CASES)]))  # noqa: T201
