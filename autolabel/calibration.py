"""The shipped solved examples on which a judge is tried before its answers count.

Labels of many kinds, each with texts that fit and texts that do not, in the form in which scorers meet real evidence. The invariant is that
they depend on no model, corpus or run, and that none occurs in a prompt, so a judge's verdict means the same everywhere.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autolabel.errors import DataError
from autolabel.hashing import content_id
from autolabel.records import Example, ExampleKind, Stratum
from autolabel.resources import resource_dir

FILE = "calibration.v1.jsonl"
_TOKEN = re.compile(r"\s*(?:\w+|[^\w\s])|\s+$")
_KINDS: dict[Stratum, ExampleKind] = {"firing": "firing", "hard": "lookalike", "random": "background"}


@dataclass(frozen=True, slots=True)
class CalibrationCase:
    """One label with texts of which it is known whether they fit; `Example.fires` says which do."""

    label: str
    examples: tuple[Example, ...]


def load_calibration_items(path: Path | None = None) -> tuple[CalibrationCase, ...]:
    """The shipped cases, in the file's order.

    Raises:
        DataError: a line is malformed, or marks a text that it does not hold.
    """
    path = path or resource_dir("data") / FILE
    grouped: dict[str, list[Example]] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            item = json.loads(line)
            grouped.setdefault(item["label"], []).append(_example(item))
        except (ValueError, KeyError) as error:
            raise DataError(f"line {number} of {path} is no calibration item: {error}") from None
    return tuple(CalibrationCase(label, tuple(examples)) for label, examples in grouped.items())


def _example(item: dict[str, Any]) -> Example:
    text, stratum = item["text"], item["stratum"]
    if item["answer"] != (stratum == "firing"):
        raise ValueError(f"answer {item['answer']} contradicts stratum '{stratum}'")
    starts = tuple(match.start() for match in _TOKEN.finditer(text))
    marked = _marked(text, starts, item["marked"])
    fires = marked if item["answer"] else ()
    return Example(
        window_id=content_id("calibration", item),
        document_id=content_id("calibration document", text),
        source_document_id=content_id("calibration document", text),
        tile_index=0,
        split="test",
        kind=_KINDS[stratum],
        stratum=stratum,
        text=text,
        token_starts=starts,
        n_context_tokens=0,
        positions=fires,
        activations=(1.0,) * len(fires),
        max_activation=1.0 if fires else 0.0,
        in_exam=True,
        mark_positions=marked,
    )


def _marked(text: str, starts: tuple[int, ...], substrings: list[str]) -> tuple[int, ...]:
    """The tokens that together make up an occurrence of one of the substrings."""
    ends = (*starts[1:], len(text))
    first = {end - len(text[start:end].lstrip()): i for i, (start, end) in enumerate(zip(starts, ends, strict=True))}
    last = {end: i for i, end in enumerate(ends)}
    marked: set[int] = set()
    for substring in substrings:
        places = [match.start() for match in re.finditer(re.escape(substring), text)]
        spans = [(first[p], last[p + len(substring)]) for p in places if p in first and p + len(substring) in last]
        if not spans:
            raise ValueError(f"{substring!r} is not among the words of {text!r}")
        marked.update(i for start, end in spans for i in range(start, end + 1))
    if not marked:
        raise ValueError(f"nothing is marked in {text!r}")
    return tuple(sorted(marked))
