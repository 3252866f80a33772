"""The form of an audit: one HTML file that needs nothing else, or a CSV file for people who prefer a spreadsheet.

The invariant: text of a corpus and labels are data: they cannot act as markup, reach the network, or be run by a spreadsheet.
"""

import base64
import csv
import hashlib
import io
from collections.abc import Mapping
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from autolabel._version import __version__
from autolabel.records import Example
from autolabel.report.auditing import N_WINDOWS
from autolabel.report.examples import Piece, shown
from autolabel.report.text import visible, visible_html
from autolabel.store.auditing import VERDICTS, Audit

Windows = Mapping[int, tuple[Example, ...]]
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render_html(audit: Audit, windows: Windows) -> bytes:
    """The form as a page; answers are saved from it as JSON or CSV."""
    style, script = _shipped("audit.css"), _shipped("audit.js")
    environment = Environment(
        loader=PackageLoader("autolabel.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["text"] = visible_html
    page = environment.get_template("audit.html.j2").render(
        version=__version__,
        style=Markup(style),
        script=Markup(script),
        style_hash=_policy_hash(style),
        script_hash=_policy_hash(script),
        audit_id=audit.audit_id,
        n_windows=N_WINDOWS,
        verdicts=VERDICTS,
        items=[_shown_item(item.number, item.text, windows[item.feature_index]) for item in audit.items],
    )
    return page.encode()


def render_csv(audit: Audit, windows: Windows) -> bytes:
    """The form as a table, one row an item; `verdict` and `note` are to be filled in. Active tokens stand between << and >>."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL)
    sides = [f"{name}_{i}" for name in ("fires", "silent") for i in range(1, N_WINDOWS + 1)]
    writer.writerow(["audit_id", "item", "label", *sides, "verdict", "note"])
    for item in audit.items:
        own = windows[item.feature_index]
        cells = [[_marked(example) for example in own if example.fires is fires] for fires in (True, False)]
        padded = [text for side in cells for text in (*side, *[""] * (N_WINDOWS - len(side)))]
        writer.writerow([inert(cell) for cell in (audit.audit_id, str(item.number), visible(item.text), *padded, "", "")])
    return ("\ufeff" + buffer.getvalue()).encode()


def inert(cell: str) -> str:
    """A cell that no spreadsheet runs as a formula: one that begins like a formula gets an apostrophe before it."""
    return f"'{cell}" if cell.lstrip(" ").startswith(_FORMULA) else cell


def _shown_item(number: int, label: str, windows: tuple[Example, ...]) -> dict[str, Any]:
    return {
        "number": number,
        "label": label,
        "firing": [_pieces(example) for example in windows if example.fires],
        "silent": [_pieces(example) for example in windows if not example.fires],
    }


def _pieces(example: Example) -> tuple[Piece, ...]:
    return shown(example, example.max_activation).pieces


def _marked(example: Example) -> str:
    return "".join(f"<<{visible(piece.text)}>>" if piece.strength else visible(piece.text) for piece in _pieces(example))


def _shipped(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
