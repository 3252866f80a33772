"""Where the work stands, counted from the database, for the terminal."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from autolabel.report import reading
from autolabel.report.numbers import interval, money
from autolabel.report.reading import Row
from autolabel.report.summary import STATUSES
from autolabel.report.terminal import grid, pairs
from autolabel.report.text import visible
from autolabel.store.connection import Database

MAX_RUNS = 10


def print_status(out: Console, db: Database) -> None:
    """Features by status for each SAE, the stages, the judges, LLM calls with their cost, and the newest runs."""
    with db.read():
        for evidence in reading.current_sets(db):
            _print_set(out, db, evidence)
        _print_rows(
            out, "judges", ("scorer", "judge", "answers", "verdict", "AUROC [95%]", "n", "unanswered"), _judges(db), (4, 5, 6)
        )
        _print_rows(
            out, "LLM attempts", ("stage", "status", "attempts", "input tokens", "output tokens", "cost"), _calls(db), (2, 3, 4, 5)
        )
        _print_rows(out, "runs, newest first", ("run", "command", "status", "started (UTC)", "took", "message"), _runs(db), (4,))


def waiting_rows(path: Path) -> bool:
    """Whether rows of a run wait beside the database: of one at work now, or of one that was killed."""
    journals = (path.with_name(path.name + end) for end in (".journal", ".journal.draining"))
    return any(journal.exists() and journal.stat().st_size > 0 for journal in journals)


def _print_set(out: Console, db: Database, evidence: Row) -> None:
    labels = reading.feature_labels(db, evidence["evidence_set_id"])
    counts = {status: sum(row["status"] == status for row in labels) for status in STATUSES}
    scored = [row for row in labels if row["label_score"] is not None]
    control = f", a control ({evidence['control'].replace('_', ' ')})" if evidence["control"] else ""
    out.print(
        Text(
            f"{visible(evidence['sae_name'])} ({evidence['sae_id'][:12]}) over {visible(evidence['corpus_name'])}{control}",
            style="bold",
        )
    )
    n_alive = sum(row["evidence_status"] in ("alive", "dense") for row in labels)
    out.print(
        pairs(
            [
                ("features", f"{len(labels):,}, {n_alive:,} alive"),
                *((status.replace("_", " "), f"{n:,}") for status, n in counts.items()),
                ("with a test score", f"{len(scored):,}{_mode_counts(scored)}"),
                *_stages(db, evidence["evidence_set_id"]),
            ]
        )
    )
    out.print()


def _mode_counts(scored: list[Row]) -> str:
    judges = sorted({(row["headline_scorer"], row["judge"], row["answer_mode"]) for row in scored})
    return "".join(f"; {scorer} by {visible(judge)} ({mode})" for scorer, judge, mode in judges)


def _stages(db: Database, evidence_set_id: str) -> list[tuple[str, str]]:
    named = {"labels": "label attempts", "choices": "choices", "predictions": "test answers"}
    found = reading.rows(
        db,
        "SELECT stage, outcome, count(*) AS n FROM ("
        "SELECT 'labels' AS stage, status AS outcome FROM labels WHERE evidence_set_id = $id AND origin = 'run' UNION ALL "
        "SELECT 'choices', verdict FROM current_choices WHERE evidence_set_id = $id UNION ALL "
        "SELECT 'predictions', scorer || ' ' || status FROM predictions WHERE evidence_set_id = $id AND split = 'test'"
        ") GROUP BY ALL ORDER BY stage, outcome",
        id=evidence_set_id,
    )
    return [
        (name, ", ".join(f"{row['n']:,} {row['outcome']}" for row in found if row["stage"] == stage) or "none")
        for stage, name in named.items()
    ]


def _judges(db: Database) -> list[list[str]]:
    return [
        [
            row["scorer"],
            visible(row["judge"]),
            row["answer_mode"],
            row["verdict"],
            interval(row["auroc"], row["low"], row["high"]),
            str(row["n"]),
            str(row["n_failed"]),
        ]
        for row in reading.calibrations(db)
    ]


def _calls(db: Database) -> list[list[str]]:
    found = reading.rows(
        db,
        "SELECT stage, status, count(*) AS n, coalesce(sum(prompt_tokens), 0)::BIGINT AS sent, "
        "coalesce(sum(completion_tokens), 0)::BIGINT AS answered, coalesce(sum(cost_usd), 0) AS cost, "
        "count(*) FILTER (status = 'ok' AND cost_usd IS NULL) AS n_unknown "
        "FROM llm_attempts GROUP BY GROUPING SETS ((stage, status), ()) ORDER BY stage NULLS LAST, status",
    )
    return [
        [
            row["stage"] or "all",
            row["status"] or "",
            f"{row['n']:,}",
            f"{row['sent']:,}",
            f"{row['answered']:,}",
            money(None if row["n_unknown"] else row["cost"]),
        ]
        for row in found
        if row["n"]
    ]


def _runs(db: Database) -> list[list[str]]:
    found = reading.rows(
        db,
        "SELECT run_id, command, status, started_utc, coalesce(message, '') AS message, "
        "date_diff('second', started_utc, finished_utc) AS seconds FROM runs ORDER BY started_utc DESC, run_id LIMIT $n",
        n=MAX_RUNS,
    )
    return [
        [
            row["run_id"][:12],
            row["command"],
            row["status"],
            row["started_utc"].strftime("%Y-%m-%d %H:%M:%S"),
            "" if row["seconds"] is None else _duration(row["seconds"]),
            visible(row["message"]),
        ]
        for row in found
    ]


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3_600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"


def _print_rows(out: Console, title: str, names: tuple[str, ...], rows: list[list[str]], right: tuple[int, ...]) -> None:
    if not rows:
        return
    out.print(Text(title, style="bold"))
    out.print(grid(names, rows, right=right))
    out.print()
