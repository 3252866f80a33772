"""The benchmark's results as Markdown: one table of labelers, one of scorers, and what lies behind them."""

from collections.abc import Sequence

from autolabel.truth.bank import NEAR_KINDS
from autolabel.truth.bench import Results
from autolabel.truth.label_table import LabelerRow
from autolabel.truth.resampling import Measured
from autolabel.truth.score_table import ScorerRow

DASH = "–"
_SHORT = {"context_dropped": "context"}


def markdown(results: Results) -> str:
    """Everything that was measured."""
    parts = [_heading(results)]
    if results.labelers:
        parts += ["## Labelers", _labelers(results.labelers), "### Recovery by family", _families(results.labelers)]
    if results.scorers:
        parts += [
            "## Scorers",
            _scorers(results.scorers),
            "### Right label above near-misses, by family",
            _scorer_families(results.scorers),
        ]
    if results.coverage:
        parts += ["## Intervals", _coverage(results)]
    if results.discoveries:
        parts += ["## Features about nothing", _discoveries(results)]
    if results.costs:
        parts += ["## What protocols cost", _costs(results)]
    if results.leak:
        parts += ["## What a leak is worth", _leak(results)]
    return "\n\n".join(parts) + "\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; numbers stand to the right."""
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join([" --- ", *[" ---: "] * (len(header) - 1)]) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def number(measured: Measured | None, interval: bool = True) -> str:
    """`.82 [.75, .88]`."""
    if measured is None or measured.value is None:
        return DASH
    shown = _short(measured.value)
    if not interval or measured.low is None or measured.high is None:
        return shown
    return f"{shown} [{_short(measured.low)}, {_short(measured.high)}]"


def _short(value: float) -> str:
    return f"{value:.2f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:.2f}"


def _heading(results: Results) -> str:
    world, selected, settings = results.built.world, results.built.selected, results.built.settings
    families = ", ".join(f"{family} {sum(f.family == family for f in selected.features)}" for family in settings.families)
    return (
        f"# TruthBench, seed {settings.seed}\n\n{len(selected.features)} features ({families}) on {world.n_tokens:,} tokens of text, "
        f"{world.n_tiles:,} tiles, {len(world.documents):,} documents; evidence `{results.built.evidence_set_id[:12]}`.\n"
        "Intervals are 95%, over features."
    )


def _labelers(rows: Sequence[LabelerRow]) -> str:
    referees = list(dict.fromkeys(referee for row in rows for referee in row.recovery))
    header = ["labeler", "features", *(f"recovery@10 ({referee})" for referee in referees), "F1 of its rule", "F1 as mapped"]
    header += ["generation", "concepts", "abstains on nulls", "on others", "failed", "tokens a feature", "of them cached"]
    return table(
        header,
        [
            [
                row.name,
                str(row.n),
                *(number(row.recovery.get(referee)) for referee in referees),
                number(row.rule_f1),
                number(row.mapped_f1),
                number(row.generation),
                number(row.concept_recall),
                _with_n(row.abstention),
                _with_n(row.false_abstention),
                str(row.n_failed),
                _tokens(row.tokens, row.n),
                _cached(row.tokens),
            ]
            for row in rows
        ],
    )


def _families(rows: Sequence[LabelerRow]) -> str:
    referee = next((referee for row in rows for referee in row.recovery), None)
    if referee is None:
        return "No referee was there."
    families = list(dict.fromkeys(family for row in rows for family in row.recovery_by_family.get(referee, {})))
    found = [(row, row.recovery_by_family[referee]) for row in rows if referee in row.recovery_by_family]
    return table(
        [f"by {referee}", *families],
        [[row.name, *(_with_n(by_family.get(family)) for family in families)] for row, by_family in found],
    )


def _with_n(measured: Measured | None) -> str:
    return DASH if measured is None or measured.value is None else f"{_short(measured.value)} ({measured.n})"


def _scorers(rows: Sequence[ScorerRow]) -> str:
    kinds = (*NEAR_KINDS, "wrong")
    header = [
        "scorer",
        "features",
        "labels",
        *(f"true > {_SHORT.get(kind, kind)}" for kind in kinds),
        "ρ with F1, near-misses",
        "ρ, all",
    ]
    header += [
        "judge AUROC",
        "ECE",
        "answers failed",
        "labels unscored",
        "tokens a label",
        "of them cached",
        "gain per 1,000 tokens",
        "s a label",
    ]
    return table(
        header,
        [
            [
                row.name,
                str(row.n_features),
                str(row.n_pairs),
                *(number(row.beats.get(kind)) for kind in kinds),
                number(row.spearman_near),
                number(row.spearman_all),
                number(row.judgement, interval=False),
                number(row.calibration_error, interval=False),
                str(row.n_failed),
                str(row.n_unscored),
                _tokens(row.tokens, row.n_pairs),
                _cached(row.tokens),
                _gain(row),
                DASH if row.seconds is None or not row.n_pairs else f"{row.seconds / row.n_pairs:.2f}",
            ]
            for row in rows
        ],
    )


def _scorer_families(rows: Sequence[ScorerRow]) -> str:
    families = list(dict.fromkeys(family for row in rows for family in row.beats_by_family))
    return table(
        ["scorer", *families], [[row.name, *(_with_n(row.beats_by_family.get(family)) for family in families)] for row in rows]
    )


def _gain(row: ScorerRow) -> str:
    """How far above chance near-misses are told, for each 1,000 tokens a label costs."""
    near, spent = row.beats.get("near"), row.tokens[0] + row.tokens[2]
    if near is None or near.value is None or not spent or not row.n_pairs:
        return DASH
    return f"{(near.value - 0.5) / (spent / row.n_pairs / 1000):+.3f}"


def _tokens(tokens: tuple[int, int, int], n: int) -> str:
    return f"{(tokens[0] + tokens[2]) / n:,.0f}" if n and any(tokens) else DASH


def _cached(tokens: tuple[int, int, int]) -> str:
    return f"{tokens[1] / tokens[0]:.0%}" if tokens[0] else DASH


def _coverage(results: Results) -> str:
    return table(
        ["judge's noise", "tiles a stratum", "coverage of 95%", "mean width", "bias"],
        [
            [f"{one.noise:g}", str(one.tiles), number(one.covered), _short(one.width), f"{one.bias:+.3f}"]
            for one in results.coverage
        ],
    )


def _discoveries(results: Results) -> str:
    levels = list(results.discoveries[0].at)
    return table(
        ["scorer", "labels", "nulls", "others", *(f"P(p ≤ {level:g})" for level in levels), "false share at FDR .05", "power"],
        [
            [
                one.scorer,
                one.labeler,
                str(one.n_nulls),
                str(one.n_others),
                *(number(one.at[level]) for level in levels),
                DASH if one.false_share is None else _short(one.false_share),
                number(one.power),
            ]
            for one in results.discoveries
        ],
    )


def _costs(results: Results) -> str:
    return table(
        ["protocol", "features", "calls for a label", "tokens", "calls for a score", "tokens"],
        [
            [
                one.protocol,
                str(one.n),
                f"{one.label_calls:.0f}",
                f"{one.label_tokens:,.0f}",
                f"{one.score_calls:.0f}",
                f"{one.score_tokens:,.0f}",
            ]
            for one in results.costs
        ],
    )


def _leak(results: Results) -> str:
    return table(
        ["features", "n", "leaky", "disjoint", "ours", "fall"],
        [
            [one.which, str(one.n), _short(one.leaky), _short(one.disjoint), _short(one.ours), number(one.fall)]
            for one in results.leak
        ],
    )
