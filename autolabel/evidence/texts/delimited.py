"""CSV and TSV with a header line, quoted as Python's csv module and spreadsheets write them."""

import csv
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import closing

from autolabel.config import TextSource
from autolabel.errors import DataError
from autolabel.evidence.texts.records import MAX_RECORD_BYTES, Rows, TextFile, listed
from autolabel.evidence.texts.streams import numbered_lines, too_long, without_compression

UNIT = "row"
CSV_SUFFIXES = (".csv",)
TSV_SUFFIXES = (".tsv", ".tab")

# The limit is one for the whole process; the default of 131,072 characters refuses ordinary documents.
csv.field_size_limit(MAX_RECORD_BYTES)


class _Lines:
    """Decoded lines for the csv reader, which may ask for many for one row: their sum is what has to be limited."""

    def __init__(self, file: TextFile, lines: Iterator[tuple[int, bytes]]) -> None:
        self._file, self._lines = file, lines
        self.number = 0
        self.row_bytes = 0

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        self.number, line = next(self._lines)
        self.row_bytes += len(line)
        if self.row_bytes > MAX_RECORD_BYTES:
            raise too_long(self._file, f"line {self.number} (a row that began before it)")
        try:
            return line.decode("utf-8-sig" if self.number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            place = f"'{self._file.path}' line {self.number}"
            raise DataError(f"{place} is not UTF-8 (byte {error.start} of the line); convert the file") from None


def rows(file: TextFile, source: TextSource, columns: Collection[str] | None) -> Rows:
    """Every row below the header with its number from 1; blank lines are passed over.

    Raises:
        DataError: the header has a column twice or another delimiter, a row has another number of fields or ends within
            quotes, the file is not UTF-8, or a row is too long.
    """
    delimiter = source.delimiter or ("\t" if _is_tsv(file, source) else ",")
    with closing(numbered_lines(file)) as numbered:
        lines = _Lines(file, numbered)
        filled = (cells for cells in _cells(csv.reader(lines, delimiter=delimiter, strict=True), lines, file) if cells)
        header = next(filled, None)
        if header is None:
            return
        _check_header(header, file, source.delimiter)
        for number, cells in enumerate(filled, 1):
            if len(cells) != len(header):
                raise DataError(
                    f"'{file.path}' row {number} (line {lines.number}) has {len(cells)} fields, the header has {len(header)} "
                    f"({listed(header)}); quote fields that hold {delimiter!r}, or set delimiter"
                )
            yield number, dict(zip(header, cells, strict=True))


def _is_tsv(file: TextFile, source: TextSource) -> bool:
    return source.format == "tsv" or (source.format == "auto" and without_compression(file.name).endswith(TSV_SUFFIXES))


def _cells(reader: Iterator[list[str]], lines: _Lines, file: TextFile) -> Iterator[list[str]]:
    while True:
        lines.row_bytes = 0
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise DataError(f"'{file.path}' line {lines.number} cannot be read as CSV: {_why(error)}") from None
        if cells is None:
            return
        yield cells


def _why(error: csv.Error) -> str:
    if "new-line" in str(error):
        return "a carriage return stands outside quotes; where lines end in it alone, convert the line ends, else quote the field"
    return f'{error}; a field that holds quotes must be quoted with each " doubled, or convert the file to JSON lines'


def _check_header(header: list[str], file: TextFile, delimiter: str | None) -> None:
    twice = [name for name, times in Counter(header).items() if times > 1]
    if twice:
        raise DataError(f"'{file.path}' has the column {listed(twice)} more than once; give each column a name of its own")
    other = next((mark for mark in (";", "\t", "|", ",") if len(header) == 1 and mark in header[0]), None)
    if other and delimiter is None:
        raise DataError(
            f"'{file.path}' has one column, {listed(header)}; its fields seem to be separated by {other!r}: set delimiter"
        )
