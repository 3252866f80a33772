"""Which column of a table is the text and which the id; decided once per source, on its first records."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from autolabel.config import TextSource
from autolabel.errors import DataError
from autolabel.evidence.texts.records import MAX_RECORD_BYTES, Origin, RawText, Row, cleaned, listed
from autolabel.evidence.texts.streams import too_long

SAMPLE_RECORDS = 20
"""Records that are looked at to find the text column …"""
SAMPLE_CHARACTERS = 16 * 1024**2
"""… or fewer, once they hold so much: all of them are in memory at once."""
TEXT_NAMES = ("text", "content", "body", "document", "passage", "sentence", "article", "raw_content", "markdown", "story")
"""Column names that are taken for the text, in this order, in any case."""
ID_NAMES = ("id", "_id", "doc_id", "document_id", "docid", "uid", "uuid", "guid")
"""Column names that are taken for the id, likewise."""
MAX_ID_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns that are read."""

    text: str
    id: str | None
    """`None` when documents are named by their place."""
    id_was_asked_for: bool = False

    @property
    def wanted(self) -> tuple[str, ...]:
        """Names, for a reader that can leave the others out."""
        return (self.text,) if self.id in (None, self.text) else (self.text, str(self.id))


def named_columns(source: TextSource) -> Columns | None:
    """The columns where the settings name both, so that no record need be looked at."""
    if source.text_column is None or source.id_column is None:
        return None
    return Columns(source.text_column, source.id_column, True)


def first_records(rows: Iterator[Row]) -> list[Row]:
    """The records that decide which columns are read. Lists, objects and bytes are empty in them: only their type counts."""
    found: list[Row] = []
    n_characters = 0
    for number, record in islice(rows, SAMPLE_RECORDS):
        small = {name: type(value)() if isinstance(value, list | dict | bytes) else value for name, value in record.items()}
        found.append((number, small))
        n_characters += sum(len(name) + (len(value) if isinstance(value, str) else 0) for name, value in small.items())
        if n_characters >= SAMPLE_CHARACTERS:
            break
    return found


def choose_columns(source: TextSource, sample: Sequence[Row], path: str) -> Columns:
    """The columns the settings name, else those that the first records suggest.

    Raises:
        DataError: no column, or more than one, could be the text.
    """
    records = [record for _, record in sample]
    text = source.text_column or _text_column(records, path)
    return Columns(text, source.id_column or _id_column(records), source.id_column is not None)


def _text_column(records: Sequence[Mapping[str, object]], path: str) -> str:
    names = list(dict.fromkeys(name for record in records for name in record))
    values = {name: [record.get(name) for record in records] for name in names}
    possible = [name for name in names if all(value is None or isinstance(value, str) for value in values[name])]
    for known in TEXT_NAMES:
        for name in possible:
            if name.lower() == known:
                return name
    lengths = {name: sum(len(value) for value in values[name] if isinstance(value, str)) for name in possible}
    ranked = sorted((name for name in possible if lengths[name]), key=lambda name: lengths[name], reverse=True)
    if not ranked:
        typed = listed(f"{name}: {'/'.join(sorted({type(v).__name__ for v in values[name]}))}" for name in names)
        raise DataError(f"'{path}' has no column that holds text (it holds {typed}); set text_column")
    if len(ranked) > 1 and lengths[ranked[0]] < 2 * lengths[ranked[1]]:
        raise DataError(f"'{path}' has several columns that could be the text ({listed(ranked)}); set text_column to one of them")
    return ranked[0]


def _id_column(records: Sequence[Mapping[str, object]]) -> str | None:
    for known in ID_NAMES:
        for name in dict.fromkeys(name for record in records for name in record):
            if name.lower() == known:
                found = [_as_id(record.get(name)) for record in records]
                if None not in found and len(set(found)) == len(found):
                    return name
    return None


def _as_id(value: object) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    shown = cleaned(str(value))
    return shown if 0 < len(shown) <= MAX_ID_CHARACTERS else None


def texts_of(rows: Iterable[Row], columns: Columns, origin: Origin, unit: str) -> Iterator[RawText]:
    """The documents of a table; records whose text is null or empty are passed over.

    Raises:
        DataError: a record lacks a column, or holds something other than text in it.
    """
    n_before = 0
    for number, record in rows:
        if columns.text not in record:
            raise lacks_column(origin, f"{unit} {number}", columns.text, "text_column", record)
        text = record[columns.text]
        if text is None or text == "":
            continue
        if not isinstance(text, str):
            raise DataError(
                f"'{origin.path}' {unit} {number} holds {type(text).__name__} in '{columns.text}', expected text; "
                f"set text_column (columns: {listed(record)})"
            )
        if len(text) > MAX_RECORD_BYTES:
            raise too_long(origin, f"{unit} {number}", n_before)
        n_before += 1
        yield RawText(cleaned(text), _id_of(record, columns, origin, f"{unit} {number}") or f"{origin.name}:{number}")


def _id_of(record: Mapping[str, object], columns: Columns, origin: Origin, place: str) -> str | None:
    if columns.id is None:
        return None
    if columns.id_was_asked_for and columns.id not in record:
        raise lacks_column(origin, place, columns.id, "id_column", record)
    value = record.get(columns.id)
    found = _as_id(value)
    if columns.id_was_asked_for and found is None and value not in (None, ""):
        raise DataError(
            f"'{origin.path}' {place} holds no id in '{columns.id}', expected an integer or a text of at most "
            f"{MAX_ID_CHARACTERS} characters; set id_column"
        )
    return found


def lacks_column(origin: Origin, place: str, column: str, setting: str, found: Iterable[object]) -> DataError:
    """What to say of a record or a file without the column."""
    where = f"'{origin.path}' {place}".rstrip()
    return DataError(f"{where} has no column '{column}' (it holds {listed(found)}); set {setting}")
