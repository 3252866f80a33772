"""The files of a delphi cache: one per range of latents, each with all tokens; read from their mappings, a slice at a time."""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from autolabel.errors import DataError
from autolabel.evidence.sources.base import MAX_FEATURES
from autolabel.evidence.sources.files import require_length
from autolabel.evidence.sources.reading import Entries

_NAME = re.compile(r"(\d{1,9})_(\d{1,9})\.safetensors")
_CHUNK_ENTRIES = 1 << 16


@dataclass(frozen=True, slots=True)
class CacheFile:
    """Activations of the latents `first` to `last`, and the tokens; tensors that are read when they are sliced."""

    path: Path
    first: int
    last: int
    locations: Any
    activations: Any
    tokens: Any

    @property
    def shape(self) -> tuple[int, int]:
        """Rows of tokens and tokens in each."""
        n_rows, n_tokens = self.tokens.get_shape()
        return n_rows, n_tokens

    def token_ids(self, first: int, n: int) -> NDArray[np.int64]:
        """Token ids of at most `n` rows, shape (n, tokens)."""
        part: NDArray[np.int64] = self.tokens[first : min(first + n, self.shape[0])].astype(np.int64)
        return part

    def entries(self, first_row: int) -> Iterator[tuple[NDArray[np.int64], Entries]]:
        """The activations from a row on, some at a time, with their rows, which ascend.

        Raises:
            DataError: rows do not ascend, or a latent is not of the file's range.
        """
        n_entries = int(self.locations.get_shape()[0])
        start = bisect_left(range(n_entries), first_row, key=self._row) if first_row else 0
        previous = first_row
        for first in range(start, n_entries, _CHUNK_ENTRIES):
            end = min(first + _CHUNK_ENTRIES, n_entries)
            rows, positions, latents = self.locations[first:end].astype(np.int64).T
            steps = np.diff(rows, prepend=previous)
            if (steps < 0).any():
                row = rows[np.argmax(steps < 0)]
                raise DataError(
                    f"'{self.path}': locations are not sorted, row {row} comes after a later one; write the cache again"
                )
            beyond = np.flatnonzero((latents < 0) | (latents > self.last - self.first))
            if len(beyond):
                raise DataError(
                    f"'{self.path}', row {rows[beyond[0]]}: latent {self.first + latents[beyond[0]]} is not within the {self.first} to "
                    f"{self.last} of the file's name; restore the name that delphi gave it"
                )
            previous = int(rows[-1])
            with np.errstate(over="ignore"):  # what is too large becomes inf and is refused as such
                values = self.activations[first:end].astype(np.float32)
            yield rows, Entries(rows, positions, latents + self.first, values)

    def _row(self, entry: int) -> int:
        return int(self.locations[entry : entry + 1][0, 0])


def cache_paths(folder: Path, n_splits: Any) -> list[Path]:
    """The files of a cache by range of latents, of which none may be missing: its latents would count as silent.

    Raises:
        DataError: there are no such files, or one is missing.
    """
    ranges = sorted((int(name[1]), int(name[2]), path) for path in folder.iterdir() if (name := _NAME.fullmatch(path.name)))
    if not ranges:
        within = sorted(path.name for path in folder.iterdir() if path.is_dir() and any(path.glob("*_*.safetensors")))
        hint = f"one of its hookpoints, {', '.join(within[:8])}" if within else "the folder of one hookpoint within `latents`"
        raise DataError(f"'{folder}' holds no files like 0_6552.safetensors; name {hint}")
    expected = 0
    for first, last, path in ranges:
        if first != expected or last < first:
            raise DataError(
                f"'{path}' follows latent {expected - 1}, expected a file '{expected}_….safetensors'; copy all files of the cache"
            )
        expected = last + 1
    if isinstance(n_splits, int) and n_splits != len(ranges):
        raise DataError(
            f"'{folder}' holds {len(ranges)} files, its config.json says n_splits = {n_splits}; copy all files of the cache"
        )
    if expected > MAX_FEATURES:
        raise DataError(
            f"'{ranges[-1][2]}' is named for latent {expected - 1}, at most {MAX_FEATURES - 1} is possible; correct the name"
        )
    return [path for _, _, path in ranges]


def open_cache_file(path: Path) -> CacheFile:
    """Open a file and check what it holds; no tensor is read.

    Raises:
        DataError: it is truncated, lacks a tensor, or one has the wrong shape or type.
    """
    first, last = map(int, path.stem.split("_"))
    try:
        file: Any = safe_open(path, framework="np")
        names = set(file.keys())
        if missing := {"locations", "activations"} - names:
            raise DataError(f"'{path}' lacks the tensor '{min(missing)}'; it holds {', '.join(sorted(names)) or 'nothing'}")
        if "tokens" not in names:
            raise DataError(f"'{path}' holds no tokens; make the cache with save_splits(…, save_tokens=True)")
        cache = CacheFile(path, first, last, *(file.get_slice(name) for name in ("locations", "activations", "tokens")))
    except (SafetensorError, OSError) as error:
        raise DataError(f"'{path}' cannot be read ({error}); it is truncated or no safetensors file") from None
    _require_shapes(cache)
    return cache


def _require_shapes(cache: CacheFile) -> None:
    tensors = (cache.locations, cache.activations, cache.tokens)
    shapes, kinds = [tuple(tensor.get_shape()) for tensor in tensors], [tensor.get_dtype() for tensor in tensors]
    fitting = len(shapes[0]) == 2 and shapes[0][1] == 3 and shapes[1] == shapes[0][:1] and len(shapes[2]) == 2
    if not fitting or kinds[0][0] not in "UI" or kinds[1] not in ("F16", "F32", "F64") or kinds[2][0] not in "UI":
        found = ", ".join(f"{kind} {shape}" for kind, shape in zip(kinds, shapes, strict=True))
        raise DataError(
            f"'{cache.path}': locations, activations and tokens are {found}; expected whole numbers (n, 3), floating point (n,) and "
            "whole numbers (rows, tokens), as delphi's save_splits writes them"
        )
    require_length(f"'{cache.path}': each row", shapes[2][1])
