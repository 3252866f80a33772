"""The labels as one table in the terminal, surely good ones first."""

from rich.console import Console
from rich.text import Text

from autolabel.report.contents import load_contents
from autolabel.report.numbers import NONE, count, decimal, interval, percent
from autolabel.report.reading import Row
from autolabel.report.terminal import grid
from autolabel.report.text import visible
from autolabel.store.connection import Database

NAMES = ("feature", "label", "label_score", "nulls (n)", "lift over nulls", "fires in", "made by", "judge")


def print_labels(out: Console, db: Database, *, sae: str | None = None, max_features: int = 50) -> None:
    """The labels of one SAE with their scores and nulls, and in a line what is not in the table."""
    contents = load_contents(db, sae, max_features)
    if contents.shown:
        out.print(grid(NAMES, map(_cells, contents.shown), right=(0, 2, 3, 4, 5)))
    others = [f"{n:,} {status.replace('_', ' ')}" for status, n in contents.summary.statuses.items() if n and status != "labelled"]
    left_out = len(contents.ranked) - len(contents.shown)
    parts = [
        count(len(contents.ranked), "feature") + " labelled",
        *([f"{left_out:,} of them not shown"] if left_out else []),
        *others,
    ]
    out.print(Text(", ".join(parts), style="dim"))


def _cells(row: Row) -> list[Text | str]:
    nulls = f"{decimal(row['null_score'])} ({row['n_nulls']})" if row["n_nulls"] else NONE
    score = interval(row["label_score"], row["label_score_low"], row["label_score_high"])
    return [
        str(row["feature_index"]),
        visible(row["label"]),
        score if row["label_score"] is not None else f"{NONE} ({visible(row['label_score_reason'])})",
        nulls,
        interval(row["lift_null"], row["lift_null_low"], row["lift_null_high"]),
        percent(row["firing_rate"]),
        row["label_method"],
        f"{row['headline_scorer']}, {row['answer_mode']}" if row["judge"] else NONE,
    ]
