"""The lines of Neuronpedia's activation exports: each is one feature in one context. No more than a line is held at a time."""

import gzip
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import DataError
from autolabel.evidence.sources.base import MAX_FEATURES
from autolabel.evidence.texts.records import cleaned

FIRST_TOKENS = frozenset({"<bos>", "<s>", "<|endoftext|>", "<|begin_of_text|>", "<|startoftext|>", "[CLS]"})
"""What stands before the text of a context and is left out of it."""
_MAX_LINE_BYTES = 1 << 24


@dataclass(frozen=True, slots=True)
class Line:
    """A feature in a context."""

    path: Path
    number: int
    """Place of the line in the file, from 1."""
    origin: tuple[str | None, str | None]
    """Model and source as Neuronpedia names them."""
    feature: int
    tokens: list[str]
    values: NDArray[np.float32]

    @property
    def where(self) -> str:
        """File and number of the line, for messages."""
        return f"'{self.path}' line {self.number}"

    @property
    def name(self) -> str:
        """File and number of the line, to find it again."""
        return f"{self.path.name}:{self.number}"


def export_lines(path: Path) -> Iterator[Line]:
    """Yield the lines of `batch-{N}.jsonl` or `.jsonl.gz`.

    Raises:
        DataError: the file is truncated or no gzip, or a line is no activation.
    """
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            for number, content in enumerate(_limited(path, file), 1):
                if content.strip():
                    yield _line(content, path, number)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"'{path}' is truncated or no gzip file ({error}); fetch it again") from None
    except OSError as error:
        raise DataError(f"cannot read '{path}': {error.strerror}") from None


def _limited(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    while content := file.readline(_MAX_LINE_BYTES + 1):
        if len(content) > _MAX_LINE_BYTES:
            raise DataError(f"'{path}' has a line of more than {_MAX_LINE_BYTES >> 20} MiB, which is no activation; fetch it again")
        yield content


def _line(content: bytes, path: Path, number: int) -> Line:
    where = f"'{path}' line {number}"
    try:
        record = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not JSON ({error}); fetch the file again") from None
    if not isinstance(record, dict) or (missing := {"index", "tokens", "values"} - record.keys()):
        found = f"lacks {', '.join(sorted(missing))}" if isinstance(record, dict) else f"is a {type(record).__name__}"
        raise DataError(f"{where} {found}; expected an activation with index, tokens and values, as Neuronpedia exports it")
    index, tokens, values = str(record["index"]), record["tokens"], _numbers(record["values"])
    if not re.fullmatch(r"\d{1,8}", index, re.ASCII) or int(index) >= MAX_FEATURES:
        raise DataError(f"{where}: index {index[:40]!r} is no feature number from 0 to {MAX_FEATURES - 1}")
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise DataError(f"{where}: tokens must be a list of texts")
    if values is None or len(values) != len(tokens):
        found = "no list of numbers" if values is None else f"{len(values)} numbers"
        raise DataError(f"{where}: values are {found}, expected {len(tokens)}, one for each token")
    origin = record.get("modelId"), record.get("layer")
    if not all(isinstance(part, str | None) for part in origin):
        raise DataError(f"{where}: modelId and layer must be text")
    model, layer = (part and cleaned(part) for part in origin)
    start = int(bool(tokens) and tokens[0] in FIRST_TOKENS)
    return Line(path, number, (model, layer), int(index), tokens[start:], values[start:])


def _numbers(values: Any) -> NDArray[np.float32] | None:
    try:
        numbers = np.array(values) if isinstance(values, list) else None
    except (ValueError, OverflowError):
        return None
    if numbers is None or numbers.ndim != 1 or (numbers.dtype.kind not in "iuf" and len(numbers)):
        return None
    with np.errstate(over="ignore"):  # what is too large becomes inf and is refused as such
        return numbers.astype(np.float32)
