"""The report as Markdown: the summary and one table of labels."""

from collections.abc import Iterable, Sequence

from autolabel.report.contents import Contents, load_contents
from autolabel.report.numbers import NONE, count, decimal, interval, money, percent, significant
from autolabel.report.reading import Row
from autolabel.report.summary import Headline
from autolabel.report.text import visible_markdown as text
from autolabel.store.connection import Database

MAX_UNSCORED = 500


def render_markdown(db: Database, *, sae: str | None = None, max_features: int = 200) -> bytes:
    """The report about one SAE's newest evidence, with at most `max_features` labels."""
    contents = load_contents(db, sae, max_features)
    lines = [*_summary(contents), "", *_labels(contents), "", *_unscored(contents)]
    return ("\n".join(lines) + "\n").encode()


def _summary(contents: Contents) -> list[str]:
    summary, evidence = contents.summary, contents.summary.evidence
    counts = ", ".join(f"{n:,} {status.replace('_', ' ')}" for status, n in summary.statuses.items())
    return [
        f"# Feature labels of {text(evidence['sae_name'])}",
        "",
        "`label_score` says how well a label predicts, on held-out test tiles, where its feature fires: 0 is chance, 1 is perfect. "
        "Nulls are labels of other features on the same tiles. Brackets hold 95% intervals.",
        "",
        *_control(evidence),
        f"- Features: {len(contents.labels):,} ({summary.n_alive:,} alive); {counts}",
        *(f"- {_headline(headline, summary.n_alive)}" for headline in summary.headlines),
        *([] if summary.headlines else ["- No label has a score yet."]),
        f"- Evidence: {evidence['n_tokens']:,} tokens, {evidence['n_tiles']:,} tiles ({evidence['n_tiles_train']:,} train, "
        f"{evidence['n_tiles_validation']:,} validation, {evidence['n_tiles_test']:,} test); "
        f"{summary.n_near_copies:,} test tiles, feature by feature, passed over as near-copies",
        f"- SAE: FVU {significant(evidence['fvu'])}, L0 {significant(evidence['l0'])}",
        f"- Unseen by the labeler: {evidence['unseen_by_labeler']}; by the SAE: {evidence['unseen_by_sae']}; "
        f"by the subject model: {evidence['unseen_by_subject']}",
        f"- Spent: {money(summary.cost_usd)}, {count(summary.llm_tokens, 'LLM token')}",
    ]


def _control(evidence: Row) -> list[str]:
    if evidence["control"] is None:
        return []
    said = "the weights of the model's blocks are in random order, so these scores say what labels get where nothing was learnt"
    return [f"**This is a control ({text(evidence['control'].replace('_', ' '))}): {said}.**", ""]


def _headline(headline: Headline, n_alive: int) -> str:
    above = headline.above_nulls
    nulls = (
        f"{percent(above.value)} [{percent(above.low)}, {percent(above.high)}] of {count(above.n or 0, 'label')} surely above nulls"
        if above.value is not None
        else "no nulls were scored"
    )
    return (
        f"{text(headline.scorer)} judged by {text(headline.judge)} ({headline.answer_mode}): median label_score "
        f"{headline.median.text} over {count(len(headline.scores), 'label')} of {count(n_alive, 'alive feature')}; {nulls}"
    )


def _labels(contents: Contents) -> list[str]:
    left_out = len(contents.ranked) - len(contents.shown)
    note = f"The first {len(contents.shown):,} of {len(contents.ranked):,} labelled features; {left_out:,} are left out (`--max-features`)."
    names = (
        "feature",
        "label",
        "label_score",
        "nulls: mean (n)",
        "lift over nulls",
        "beyond one token",
        "AUROC by detection",
        "judge",
    )
    head = ["## Labels", "", *([note, ""] if left_out else [])]
    return [*head, *(_table(names, map(_label_cells, contents.shown)) if contents.shown else ["No label to show."])]


def _label_cells(row: Row) -> list[str]:
    scored = row["label_score"] is not None
    score = interval(row["label_score"], row["label_score_low"], row["label_score_high"])
    return [
        str(row["feature_index"]),
        text(row["label"]),
        score if scored else f"{NONE} ({text(row['label_score_reason'])})",
        f"{decimal(row['null_score'])} ({row['n_nulls']})",
        *(interval(row[name], row[f"{name}_low"], row[f"{name}_high"]) for name in ("lift_null", "beyond_token", "detection")),
        f"{text(row['judge'])} ({text(row['headline_scorer'])}, {row['answer_mode']})" if row["judge"] else NONE,
    ]


def _unscored(contents: Contents) -> list[str]:
    if not contents.unscored:
        return ["## Failed or without a score", "", "None."]
    listed = contents.unscored[:MAX_UNSCORED]
    rows = ([str(item.row["feature_index"]), item.row["status"].replace("_", " "), text(item.reason)] for item in listed)
    left_out = len(contents.unscored) - len(listed)
    note = [f"{left_out:,} more are left out.", ""] if left_out else []
    return ["## Failed or without a score", "", *note, *_table(("feature", "status", "why"), rows)]


def _table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_line(names), _line(["---"] * len(names)), *map(_line, rows)]


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
