from pathlib import Path

from autolabel.report.markdown import render_markdown
from autolabel.store.connection import Database


def lines(path: Path, max_features: int = 200) -> list[str]:
    return render_markdown(Database(path), max_features=max_features).decode().splitlines()


def test_labels_and_failures(database: Path) -> None:
    found = lines(database)
    assert (
        "| 0 | words about pets, 0a | 0.90 [0.80, 1.00] | 0.08 (2) | 0.85 [0.75, 0.95] | 0.60 [0.50, 0.70] | 0.90 [0.80, 1.00] "
        in (next(line for line in found if line.startswith("| 0 |")))
    )
    assert "| 3 | failed | unparsable\\: the reply is empty |" in found
    assert "- Features: 6 (5 alive); 3 labelled, 0 abstained, 1 failed, 1 pending, 1 silent, 0 too few" in found


def test_text_is_data(hostile: Path) -> None:
    found = lines(hostile)
    assert not any(line.startswith("# h") or "<script>" in line for line in found)
    cells = {line.replace("\\\\", "").replace("\\|", "").count("|") for line in found if line.startswith("| 0 |")}
    assert cells == {9}


def test_what_is_left_out_is_said(database: Path) -> None:
    assert any("The first 1 of 3 labelled features; 2 are left out" in line for line in lines(database, 1))


def test_nothing_labelled_and_only_failures(empty: Path) -> None:
    assert "No label to show." in lines(empty)
    assert "- No label has a score yet." in lines(empty)


def test_only_failures(failed: Path) -> None:
    assert "| 1 | abstained | no label beat its nulls |" in lines(failed)
