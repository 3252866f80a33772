"""A person draws a sample, two raters answer, and the result is read."""

import csv
import json
import re
from pathlib import Path

import pytest

from autolabel.report.audit_answers import FORMAT
from autolabel.store.connection import Database
from autolabel.store.maintenance import check
from tests.audits import N_TRUSTED, audited_database
from tests.cli.commands import Shell
from tests.store.builders import rows


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return audited_database(tmp_path)


def answers_of_ann(db: Path) -> list[dict[str, object]]:
    """Trusted labels are right, all others wrong: what an attentive rater might say of this database."""
    items = rows(db, "SELECT item_number, kind, feature_index FROM audit_items ORDER BY item_number")
    return [
        {"item": row["item_number"], "verdict": "right" if row["kind"] == "label" and row["feature_index"] < N_TRUSTED else "wrong"}
        for row in items
    ]


def test_a_sample_is_drawn_judged_by_two_and_shown(db: Path, tmp_path: Path, shell: Shell) -> None:
    form, table = tmp_path / "audit.html", tmp_path / "audit.csv"
    assert shell("audit", "draw", "--db", db, "--n", 16, "--out", form)[0] == 0
    assert shell("audit", "draw", "--db", db, "--n", 16, "--out", table)[0] == 0
    (audit,) = rows(db, "FROM audits")
    assert audit["n_items"] == 16, "the same labels and seed are the same audit, whatever form it takes"
    assert f'data-audit="{audit["audit_id"]}"' in form.read_text(encoding="utf-8")

    ann = tmp_path / "ann.json"
    ann.write_text(json.dumps({"format": FORMAT, "audit_id": audit["audit_id"], "answers": answers_of_ann(db)}))
    assert shell("audit", "take", ann, "--db", db, "--rater", "Ann")[0] == 0
    code, out, _ = shell("audit", "show", "--db", db)
    assert code == 0
    assert "one rater only" in out

    filled = list(csv.DictReader(table.read_text(encoding="utf-8-sig").splitlines()))
    verdicts = [answer["verdict"] for answer in answers_of_ann(db)]
    first_trusted = verdicts.index("right")
    with (tmp_path / "bob.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(filled[0]))
        writer.writeheader()
        for place, (row, verdict) in enumerate(zip(filled, verdicts, strict=True)):
            writer.writerow(row | {"verdict": "too broad" if place == first_trusted else verdict, "note": "-"})
    assert shell("audit", "take", tmp_path / "bob.csv", "--db", db, "--rater", "Bob")[0] == 0

    code, out, _ = shell("audit", "show", "--db", db, "--audit", audit["audit_id"][:8])
    assert code == 0
    assert re.search(r"trusted: 0\.14 \[0\.0\d, 0\.\d\d\] of 7 \(7 drawn of 8\)", out), out
    assert "all that are not trusted, by group size: 1.00" in out
    assert "rater Ann: trusted labels fail 0.00" in out
    assert "rater Bob: trusted labels fail 0.14" in out
    assert "called right of the checks 0.00 [0.00, 0.66] of 2" in out
    assert re.search(r"agreement of Ann and Bob \(Cohen's kappa, right or not\): 0\.\d\d \[", out)
    assert "Krippendorff's alpha" in out
    assert re.search(r"p_correct against the verdicts on 14 labels: Brier 0\.\d{3}", out)
    assert len(rows(db, "SELECT * FROM audit_results WHERE rater = 'Bob' AND failed")) == 10
    assert check(Database(db)) == []
    assert {row["status"] for row in rows(db, "SELECT status FROM runs WHERE command LIKE 'audit%'")} == {"done"}


def test_what_is_wrong_is_refused_and_nothing_is_stored(db: Path, tmp_path: Path, shell: Shell) -> None:
    assert "is written as .html or .csv" in shell.refused("audit", "draw", "--db", db, "--out", tmp_path / "audit.pdf")
    assert "does not exist" in shell.refused("audit", "draw", "--db", tmp_path / "gone.duckdb", "--out", tmp_path / "a.html")
    assert "holds no audit" in shell.refused("audit", "show", "--db", db)
    assert shell("audit", "draw", "--db", db, "--n", 16, "--out", tmp_path / "audit.csv")[0] == 0
    unfilled = shell.refused("audit", "take", tmp_path / "audit.csv", "--db", db, "--rater", "Ann")
    assert "audit.csv': items without a verdict: 1, 2, 3" in unfilled
    assert unfilled.endswith("nothing was stored")
    assert "--rater is expected to be a name" in shell.refused("audit", "take", tmp_path / "audit.csv", "--db", db, "--rater", " ")
    other = tmp_path / "other.csv"
    other.write_text("audit_id,item,verdict\nbeef,1,right\n")
    assert "holds no audit 'beef'" in shell.refused("audit", "take", other, "--db", db, "--rater", "Ann")
    assert rows(db, "FROM audit_answers") == []


def test_a_second_file_of_the_same_rater_needs_replace(db: Path, tmp_path: Path, shell: Shell) -> None:
    assert shell("audit", "draw", "--db", db, "--n", 16, "--out", tmp_path / "a.html")[0] == 0
    (audit,) = rows(db, "FROM audits")
    path = tmp_path / "ann.json"
    path.write_text(json.dumps({"format": FORMAT, "audit_id": audit["audit_id"], "answers": answers_of_ann(db)}))
    assert shell("audit", "take", path, "--db", db, "--rater", "Ann")[0] == 0
    assert "has answered audit" in shell.refused("audit", "take", path, "--db", db, "--rater", " Ann ")
    assert rows(db, "SELECT status FROM runs WHERE command = 'audit take' ORDER BY started_utc")[-1]["status"] == "failed"
    assert shell("audit", "take", path, "--db", db, "--rater", "Ann", "--replace")[0] == 0


def test_fewer_labels_than_wanted_are_said(db: Path, tmp_path: Path, shell: Shell) -> None:
    code, _, err = shell("audit", "draw", "--db", db, "--n", 400, "--out", tmp_path / "a.html")
    assert code == 0
    assert "47 items in place of 400" in err
