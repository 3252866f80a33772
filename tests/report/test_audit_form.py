import csv
import io
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

from autolabel.records import Example
from autolabel.report.audit_form import inert, render_csv, render_html
from autolabel.report.auditing import draw_audit
from autolabel.store.auditing import VERDICTS, Audit
from autolabel.store.connection import Database
from tests.audits import HOSTILE, audited_database

Drawn = tuple[Audit, dict[int, tuple[Example, ...]]]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Drawn:
    return draw_audit(Database(audited_database(tmp_path_factory.mktemp("audited"), HOSTILE)), 16, 0)


class Tags(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attributes)))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


def test_labels_and_text_are_inert_and_nothing_is_loaded(drawn: Drawn) -> None:
    page = render_html(*drawn).decode()
    tags = Tags(page)
    assert len(tags.of("script")) == 1
    assert "alert(1)</script>" not in page
    assert "&lt;/script&gt;" in page
    assert not any("src" in attributes or "href" in attributes for _, attributes in tags.found)
    (policy,) = (meta["content"] for meta in tags.of("meta") if meta.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none';")


def test_the_form_shows_every_item_and_nothing_that_tells_what_to_think(drawn: Drawn) -> None:
    audit, _ = drawn
    page = render_html(*drawn).decode()
    tags = Tags(page)
    assert [article["data-item"] for article in tags.of("article")] == [str(item.number) for item in audit.items]
    assert len([one for one in tags.of("input") if one["type"] == "radio"]) == len(VERDICTS) * len(audit.items)
    assert not any("checked" in attributes for attributes in tags.of("input"))
    shown = re.sub(r"<style>.*?</style>|<script>.*?</script>", "", page, flags=re.DOTALL)
    for item in audit.items:
        assert item.label_id not in shown
        assert item.p_correct is None or str(item.p_correct) not in shown
    assert not re.search(r"trusted|score|p_correct|check|quantile", shown)
    assert shown.count("<mark>") > len(audit.items)


def test_the_table_holds_the_same_and_runs_nothing(drawn: Drawn) -> None:
    audit, windows = drawn
    content = render_csv(audit, windows)
    assert content.startswith(b"\xef\xbb\xbf")
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert [row["item"] for row in rows] == [str(item.number) for item in audit.items]
    assert list(rows[0]) == [
        "audit_id",
        "item",
        "label",
        *(f"{s}_{i}" for s in ("fires", "silent") for i in range(1, 9)),
        "verdict",
        "note",
    ]
    for row in rows:
        assert row["label"].startswith("'=HYPERLINK(")
        assert "<<" in row["fires_1"]
        assert (row["verdict"], row["note"]) == ("", "")
        assert not any(cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t")) for cell in row.values())


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "  =1"])
def test_cells_like_formulas_get_an_apostrophe(cell: str) -> None:
    assert inert(cell) == f"'{cell}"


def test_other_cells_are_as_they_are() -> None:
    assert [inert(cell) for cell in ("pets", "a=b", "", "'quoted'")] == ["pets", "a=b", "", "'quoted'"]


@pytest.mark.skipif(shutil.which("node") is None, reason="no JavaScript engine here")
def test_the_script_saves_what_is_read_back(tmp_path: Path) -> None:
    script = (Path(__file__).parents[2] / "autolabel/report/audit.js").read_text()
    probe = tmp_path / "probe.js"
    probe.write_text(PAGE + script + '\nhandlers["save-json"](); handlers["save-csv"](); console.log(JSON.stringify(saved));')
    done = subprocess.run(["node", str(probe)], capture_output=True, text=True, check=True, timeout=30)
    as_json, as_csv = json.loads(done.stdout)
    assert json.loads(as_json)["answers"] == [{"item": 1, "verdict": "right", "note": '=cmd "x"'}]
    assert as_csv == 'audit_id,item,verdict,note\r\n"abc","1","right","\'=cmd ""x"""\r\n'


PAGE = """
const saved = [], handlers = {};
const item = { dataset: { item: "1" }, querySelector: (s) => s.includes("radio") ? { value: "right" } : { value: '=cmd "x"' } };
const main = { dataset: { audit: "abc" }, querySelectorAll: () => [item], addEventListener: () => {} };
const element = (id) => ({ addEventListener: (_, f) => { handlers[id] = f; } });
globalThis.document = { getElementById: (id) => id === "audit" ? main : element(id), createElement: () => ({ click() {} }) };
globalThis.window = { addEventListener: () => {} };
globalThis.Blob = class { constructor(parts) { saved.push(parts[0]); } };
globalThis.URL = { createObjectURL: () => "" };
"""
