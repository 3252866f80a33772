"""What the readers of files hand on: files with a name of their own, numbered records, and texts with an id."""

from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

MAX_RECORD_BYTES = 64 * 1024**2
"""A longer line, row, text or text file is refused unread: no document is of that size, and a small archive can hold one."""
_NAMES_SHOWN = 12
_NAME_CHARACTERS = 40


@dataclass(frozen=True, slots=True)
class RawText:
    """A document as a source holds it."""

    text: str
    """Never empty, without lone surrogates; everything else is as it was, CRLF and control characters included."""
    id: str
    """The document's own id, else `name:number` of its line or row, or the name of its file."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where texts come from: a file or a dataset."""

    name: str
    """Its path within the source, with `/`: what orders, names and identifies it, the same on every machine."""
    path: str
    """Where it lies, for people to read in an error."""


@dataclass(frozen=True, slots=True)
class TextFile(Origin):
    """A file of a source, wherever it lies."""

    open: Callable[[], BinaryIO]


Row = tuple[int, Mapping[str, object]]
"""Number of a record in its file, counted from 1, and the record."""
Rows = Generator[Row, None, None]
"""Records as they are read; closing it closes the file."""


def cleaned(text: str) -> str:
    """`text` with `?` for every lone surrogate, which no tokenizer, database or file takes."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def listed(names: Iterable[object]) -> str:
    """Column names for an error: on one line and not too many, whatever the file calls them."""
    found = list(names)
    rest = f" and {len(found) - _NAMES_SHOWN} more" if len(found) > _NAMES_SHOWN else ""
    return (", ".join(_one_line(str(name)) for name in found[:_NAMES_SHOWN]) or "nothing") + rest


def _one_line(name: str) -> str:
    cut = name if len(name) <= _NAME_CHARACTERS else name[:_NAME_CHARACTERS] + "…"
    return cut if cut and cut.isprintable() else repr(cut)
