"""The page holds what the database holds and nothing that acts: structure is checked with a parser, not by eye."""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping
from html.parser import HTMLParser
from pathlib import Path

import pytest

from autolabel.report.page import render_html
from autolabel.store.connection import Database
from tests.store import builders as b

VOID = {"meta", "input"}
Make = Callable[[Mapping[str, list[b.Row]]], Path]


class Page(HTMLParser):
    """Tags, attributes and text of a page; fails on tags that do not nest."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes another tag"

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def page(path: Path, **options: int) -> tuple[str, Page]:
    html = render_html(Database(path), **options).decode()  # type: ignore[arg-type]
    return html, Page(html)


def test_what_a_card_says(database: Path) -> None:
    html, parsed = page(database)
    text = " ".join("".join(parsed.text).split())
    assert parsed.tags.count("article") == 3
    assert html.index('id="f0"') < html.index('id="f1"') < html.index('id="f2"')
    assert (
        "0.90 [0.80, 1.00] label_score, n = 60, 1 unanswered; ▲ labels of 2 other features: mean 0.08, range 0.05 to 0.10" in text
    )
    assert "fuzzing AUROC 0.80 [0.70, 0.90] n = 60, 1 unanswered" in text
    assert "The judge was right on 1 of 1 firing tiles, 2 of 2 random silent tiles." in text
    assert "explain, big-1 (asked for big); shown 1 train window" in text
    assert "unparsable: the reply is empty" in text
    assert "1 feature: no label has been chosen yet." in text
    assert "1 feature never fired in 200 tiles" in text
    assert ("title", "activation 5.5") in parsed.attributes


def test_a_label_like_any_other_is_called_so(make: Make) -> None:
    rows = dict(b.scored_rows(0, 0.1))
    path = make(
        {
            "saes": [b.sae(d_sae=1)],
            "corpora": [b.corpus()],
            "evidence_sets": [b.evidence_set()],
            "features": [b.feature(0)],
            **rows,
        }
    )
    assert "Not distinguishable from a label of another feature" in page(path)[0]


def test_an_unscored_label_is_not_a_zero(database: Path) -> None:
    b.add(
        database,
        labels=[b.label(5)],
        choices=[b.choice(5, "label-5-a")],
        scores=[b.score(5, "label-5-a", "label_score", None, reason="only 6 firing tiles")],
    )
    html, parsed = page(database)
    card = html[html.index('id="f5"') :]
    assert "no score" in card
    assert "only 6 firing tiles" in card
    assert "label_score, n" not in card[: card.index("</article>")]
    assert parsed.tags.count("article") == 4


def test_text_is_data(hostile: Path) -> None:
    html, parsed = page(hostile)
    assert parsed.tags.count("script") == parsed.tags.count("style") == 1
    assert "img" not in parsed.tags
    assert not any(name.startswith("on") or name == "style" for name, _ in parsed.attributes)
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x0b-\x1f]", html)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert '<span class="sign">\\u{202E}</span>' in html
    assert "{{ 7*7 }}" in html
    assert parsed.tags.count("article") == 1


def test_it_asks_for_nothing_and_runs_only_what_is_shipped(hostile: Path) -> None:
    html, parsed = page(hostile)
    policy = next(value for name, value in parsed.attributes if name == "content" and value and "default-src" in value)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        body = html.split(f"<{tag}>")[1].split(f"</{tag}>")[0]
        digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    links = [value for name, value in parsed.attributes if name in ("src", "href", "action", "srcset", "xlink:href")]
    assert all(value and value.startswith("#") for value in links)


def test_links_lead_somewhere(database: Path) -> None:
    _, parsed = page(database)
    ids = [value for name, value in parsed.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for name, value in parsed.attributes if name == "href" and value} <= set(ids)
    assert {value for name, value in parsed.attributes if name in ("for", "aria-labelledby")} <= set(ids)
    assert ("lang", "en") in parsed.attributes


@pytest.mark.parametrize(
    ("most", "says"), [(1, "The first 1 of 3 labelled features are shown; 2 are left out"), (0, "all left out")]
)
def test_what_is_left_out_is_said(database: Path, most: int, says: str) -> None:
    html, parsed = page(database, max_features=most)
    assert says in html
    assert parsed.tags.count("article") == most


def test_nothing_labelled(empty: Path) -> None:
    html, _ = page(empty)
    assert "No feature is labelled." in html
    assert "No label has a score yet." in html


def test_only_failures(failed: Path) -> None:
    html, parsed = page(failed)
    assert "refused: the model would not &lt;i&gt;say&lt;/i&gt;" in html
    assert "no label beat its nulls" in html
    assert "article" not in parsed.tags


def test_the_same_database_gives_the_same_page(database: Path) -> None:
    assert render_html(Database(database)) == render_html(Database(database))
