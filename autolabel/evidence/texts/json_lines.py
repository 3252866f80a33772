"""JSON lines: an object per line, its fields are the columns."""

import json
from collections.abc import Collection

from autolabel.config import TextSource
from autolabel.errors import DataError
from autolabel.evidence.texts.records import Rows, TextFile
from autolabel.evidence.texts.streams import numbered_lines

UNIT = "line"
SUFFIXES = (".jsonl", ".ndjson", ".jsonlines", ".json")


def rows(file: TextFile, source: TextSource, columns: Collection[str] | None) -> Rows:
    """Every object with its line number; blank lines are passed over.

    Raises:
        DataError: a line is no JSON object, is not UTF-8 or is too long.
    """
    for number, line in numbered_lines(file):
        if line.strip():
            yield number, _record(line, file, number)


def _record(line: bytes, file: TextFile, number: int) -> dict[str, object]:
    place = f"'{file.path}' line {number}"
    try:
        record = json.loads(line.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DataError(f"{place} is not UTF-8 (byte {error.start} of the line); convert the file") from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"{place} is not JSON: {error.msg} at character {error.pos}; expected an object per line (jq -c writes one)"
        ) from None
    except ValueError as error:
        raise DataError(f"{place} cannot be read as JSON: {error}") from None
    except RecursionError:
        raise DataError(f"{place} is nested too deeply to be a document; remove the line") from None
    if not isinstance(record, dict):
        raise DataError(
            f"{place} holds {type(record).__name__}, expected a JSON object; write one object per line (jq -c '.[]' does that)"
        )
    return record
