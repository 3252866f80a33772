"""What was found of repeatability, as Markdown."""

from collections.abc import Sequence

from autolabel.truth.halves import DRAWS, HALVES
from autolabel.truth.repeatability import ALL_JUDGES, TARGET, TURNS, Agreement, Repeatability
from autolabel.truth.tables import DASH, number, table

_EFFECTS = {
    "labels": ("f",),
    "× judge": ("fj",),
    "× half": ("fh", "fjh"),
    "× tiles drawn": ("fhs", "fjhs"),
    "all labels alike": ("j", "h", "hs", "jh", "jhs"),
}
"""Columns of variance, and the effects of `variance.EFFECTS` in each."""


def markdown(found: Repeatability, one_exam: Sequence[Agreement]) -> str:
    """Everything that was measured."""
    judges = "; ".join(f"{scorer} by {judge}" for scorer, judge in found.judges.items())
    sizes = " and ".join(f"{n:,}" for n in found.n_tokens)
    parts = [
        f"# Repeatability of label_score, TruthBench, seed {found.seed}\n\nJudges: {judges}. Halves of {sizes} tokens, no source document in "
        f"both; {DRAWS} draws of tiles from each; the same labels everywhere. {found.n_without} features without an exam in every place and "
        f"{found.n_unscored} without a score from every judge are left out.\nICC: share of variance between labels, absolute agreement; "
        "intervals are 95%, over features."
    ]
    if found.rows:
        parts += [_icc(found.rows), "## Where scores differ", _shares(found.rows), _verdict(found.rows)]
    else:
        parts.append("Too few features were scored everywhere for any number.")
    if one_exam:
        parts += ["## Judges on the benchmark's own exam", _icc(one_exam)]
    return "\n\n".join(parts) + "\n"


def _icc(rows: Sequence[Agreement]) -> str:
    return table(
        ["labels", "judge", "n", "ICC of one score", "ICC of the mean"],
        [[row.labels, row.judge, str(row.n), number(row.single), number(row.mean)] for row in rows],
    )


def _shares(rows: Sequence[Agreement]) -> str:
    return table(
        ["labels", "judge", *_EFFECTS], [[row.labels, row.judge, *(_share(row, of) for of in _EFFECTS.values())] for row in rows]
    )


def _share(row: Agreement, effects: Sequence[str]) -> str:
    known = [row.shares[effect] for effect in effects if effect in row.shares]
    return f"{sum(known):.0%}" if known else DASH


def _verdict(rows: Sequence[Agreement]) -> str:
    """The pre-declared number against its target."""
    row = next((row for row in rows if row.labels == TURNS and row.judge == ALL_JUDGES), None)
    if row is None or row.single.value is None:
        return f"One judge alone says nothing of the target (ICC ≥ {TARGET:g} over judges, {HALVES} halves and {DRAWS} draws)."
    reached = "is reached" if row.single.value >= TARGET else "is missed"
    return f"Target {TARGET:g} for one score over judges, halves and draws {reached}: {number(row.single)}."
