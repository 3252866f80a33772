"""The report as one HTML file that needs nothing else.

The invariant: whatever the database holds, the page has the structure of its templates: every value is escaped, the policy in its head
forbids the network and admits only the style and the script shipped here, by their hash, and no value reaches either of them.
"""

import base64
import hashlib
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from autolabel._version import __version__
from autolabel.report import charts, numbers
from autolabel.report.cards import Card, load_cards
from autolabel.report.contents import Contents, load_contents
from autolabel.report.reading import Row
from autolabel.report.text import visible, visible_html
from autolabel.store.connection import Database

MAX_UNSCORED = 500
"""Features without a score that are listed one by one; the rest are counted."""


def render_html(db: Database, *, sae: str | None = None, max_features: int = 200) -> bytes:
    """The page about one SAE's newest evidence, with the cards of at most `max_features` features."""
    with db.read():
        contents = load_contents(db, sae, max_features)
        cards = load_cards(db, contents.summary.evidence["evidence_set_id"], contents.shown)
    return _fill(contents, cards).encode()


def _fill(contents: Contents, cards: Sequence[Card]) -> str:
    style, script = _shipped("page.css"), _shipped("page.js")
    summary = contents.summary
    headline = summary.headlines[0] if summary.headlines else None
    comparable = [
        row for row in contents.labels if headline and _judged_by(row) == (headline.scorer, headline.judge, headline.answer_mode)
    ]
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            version=__version__,
            style=Markup(style),
            script=Markup(script),
            style_hash=_policy_hash(style),
            script_hash=_policy_hash(script),
            contents=contents,
            summary=summary,
            evidence=summary.evidence,
            headline=headline,
            cards=cards,
            linked={card.index for card in cards},
            histogram=charts.histogram(headline.scores, headline.nulls) if headline else None,
            scatter=charts.scatter(comparable) if headline else None,
            max_unscored=MAX_UNSCORED,
        )
    )


def _judged_by(row: Row) -> tuple[str, str, str]:
    return (row["headline_scorer"], row["judge"], row["answer_mode"])


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("autolabel.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "text": visible_html,
        "plain": visible,
        "decimal": numbers.decimal,
        "significant": numbers.significant,
        "percent": numbers.percent,
        "money": numbers.money,
        "status": lambda status: status.replace("_", " "),
    }
    environment.globals |= {"charts": charts, "count": numbers.count}
    return environment


def _shipped(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _policy_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
