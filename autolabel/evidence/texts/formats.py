"""Kinds of text files. A new kind of table is one new module and one line in `FORMATS`."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from autolabel.config import TextSource
from autolabel.errors import DataError
from autolabel.evidence.texts import delimited, json_lines, parquet
from autolabel.evidence.texts.addresses import WEB
from autolabel.evidence.texts.records import Rows, TextFile
from autolabel.evidence.texts.streams import without_compression


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file that holds records."""

    suffixes: tuple[str, ...]
    """Ends of file names, in lower case, before a `.gz` or `.zst`."""
    unit: str
    """What a record is called."""
    rows: Callable[[TextFile, TextSource, Collection[str] | None], Rows]
    """Reads the records of a file; of all columns, or at least of those given."""


FORMATS: dict[str, Format] = {
    "jsonl": Format(json_lines.SUFFIXES, json_lines.UNIT, json_lines.rows),
    "parquet": Format(parquet.SUFFIXES, parquet.UNIT, parquet.rows),
    "csv": Format(delimited.CSV_SUFFIXES, delimited.UNIT, delimited.rows),
    "tsv": Format(delimited.TSV_SUFFIXES, delimited.UNIT, delimited.rows),
}
"""Format name → how to recognise a file and how to read it. Any other file is text, a document by itself."""

_TEXT_SUFFIXES = (".txt", ".md")
"""Of text files on web servers, where every folder can be read too: as its page."""


def format_of(file: TextFile, source: TextSource) -> Format | None:
    """How a file is read; `None` for a text file.

    Raises:
        DataError: a web server calls the file something that does not tell; most often it is a page, not text.
    """
    if source.format != "auto":
        return FORMATS.get(source.format)
    name = without_compression(file.name)
    found = next((one for one in FORMATS.values() if name.endswith(one.suffixes)), None)
    if found is None and file.path.startswith(WEB) and not name.endswith(_TEXT_SUFFIXES):
        raise DataError(
            f"'{file.path}' has a name that does not tell what it holds, and may be a page that lists files; give the address of "
            "each file, or set format where it is one"
        )
    return found
