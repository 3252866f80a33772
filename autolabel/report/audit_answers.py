"""Reading what a rater answered, from the JSON or CSV file that the form saves or a spreadsheet writes.

The invariant: nothing in a file is guessed; what cannot be read is refused with the file, the place and what was expected.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from autolabel.errors import DataError
from autolabel.store.auditing import Answer

FORMAT = "autolabel-audit-answers-1"
MOST_BYTES = 16_000_000
MOST_NOTE = 2000
_NEEDED = ("audit_id", "item", "verdict")


def read_answers(path: Path) -> tuple[str, list[Answer]]:
    """The id of the audit, and the answers as written, those without a verdict included.

    Raises:
        DataError: the file is no file of answers.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise DataError(f"cannot read the answers '{path}': {error.strerror or error}") from None
    if len(content) > MOST_BYTES:
        raise DataError(f"'{path}' has more than {MOST_BYTES:,} bytes; answers are far smaller, so this is another file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"'{path}' is not UTF-8 text; save it as UTF-8 CSV, or use the JSON that the form saves") from None
    return _from_json(path, text) if text.lstrip().startswith("{") else _from_csv(path, text)


def _from_json(path: Path, text: str) -> tuple[str, list[Answer]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is not JSON: {error}; save the answers from the form again") from None
    if found.get("format") != FORMAT or not isinstance(found.get("answers"), list):
        raise DataError(f"'{path}' holds no answers to an audit (expected the format '{FORMAT}'); save them from the form again")
    rows = found["answers"]
    if not all(isinstance(row, dict) for row in rows):
        raise DataError(f"'{path}': every answer is expected to be an object with item, verdict and note")
    return _one_audit(path, [{"audit_id": found.get("audit_id"), **row} for row in rows])


def _from_csv(path: Path, text: str) -> tuple[str, list[Answer]]:
    first_line = text.split("\n", 1)[0]
    separator = max(",;\t", key=first_line.count)
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        rows = [row for row in reader if any(isinstance(cell, str) and cell.strip() for cell in row.values())]
    except csv.Error as error:
        raise DataError(f"'{path}' is not CSV: {error}; save it again as CSV") from None
    lacking = [name for name in _NEEDED if name not in (reader.fieldnames or [])]
    if lacking:
        raise DataError(f"'{path}' has no column {', '.join(lacking)}; its first line must name audit_id, item and verdict")
    return _one_audit(path, rows)


def _one_audit(path: Path, rows: Iterable[Mapping[Any, Any]]) -> tuple[str, list[Answer]]:
    answers, audits = [], set()
    for place, row in enumerate(rows, start=1):
        audits.add(_text(row.get("audit_id")))
        answers.append(Answer(_number(path, place, row.get("item")), _verdict(row.get("verdict")), _note(row.get("note"))))
    if len(audits) != 1 or "" in audits:
        named = ", ".join(sorted(repr(audit[:40]) for audit in audits)) or "none"
        raise DataError(
            f"'{path}': expected the answers to one audit, found {named} as audit_id; keep each audit in a file of its own"
        )
    return audits.pop(), answers


def _number(path: Path, place: int, given: Any) -> int:
    text = _text(given)
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        raise DataError(
            f"'{path}', answer {place}: item '{text[:40]}' is no number; expected the number of the item as in the form"
        )
    return int(text)


def _verdict(given: Any) -> str:
    return " ".join(_text(given).replace("_", " ").casefold().split())


def _note(given: Any) -> str | None:
    """A note, without the apostrophe that keeps spreadsheets from running it."""
    text = _text(given)
    if text.startswith("'") and text[1:2] in ("=", "+", "-", "@"):
        text = text[1:]
    return text[:MOST_NOTE] or None


def _text(given: Any) -> str:
    """A cell as text; what is no text or whole number is empty, and characters that UTF-8 cannot hold are replaced."""
    if given is None or isinstance(given, bool | list | dict | float):
        return ""
    return str(given).encode("utf-8", "replace").decode().strip()
