"""One feature in the terminal.

The invariant: text is escaped as it is for judges, so `<<` and `>>` around a token can only be our marks.
"""

from collections.abc import Iterable
from itertools import groupby

from rich.console import Console
from rich.text import Text

from autolabel.rendering import escape
from autolabel.report.cards import Card
from autolabel.report.examples import Piece, Shown
from autolabel.report.numbers import NONE, Figure, count, decimal, interval, money, percent, significant
from autolabel.report.terminal import grid, pairs
from autolabel.report.text import visible


def print_card(out: Console, card: Card) -> None:
    """Everything known about a feature, for reading."""
    row = card.row
    out.print(Text(f"feature {card.index} of {visible(row['sae_name'])}", style="bold"))
    label = Text(visible(row["label"]), style="bold") if row["label"] is not None else Text("no label", style="dim")
    out.print(pairs([("label", label), *_about(card), *_scores(card), *_provenance(card)]))
    if card.scores:
        _heading(out, "other scores on the same test tiles")
        out.print(grid(("scorer", "metric", "value", "chance", "judge", "rests on"), _score_lines(card), right=(2, 3)))
    if card.facts["top_tokens"]:
        _heading(out, "tokens it fires on")
        tokens = ((visible(t["token"]), percent(t["share"]), str(t["n"])) for t in card.facts["top_tokens"][:10])
        out.print(grid(("token", "share of activation", "n"), tokens, right=(1, 2)))
    _print_windows(out, "where it fires most strongly (train)", card.strongest)
    _print_windows(out, "where it fires, from strong to weak", card.firing)
    _print_windows(out, f"test tiles where it {card.silent_title}", card.not_firing)


def _about(card: Card) -> Iterable[tuple[str, Text | str]]:
    row, facts = card.row, card.facts
    verdict = f", {row['verdict']}" if row["verdict"] not in (None, row["status"]) else ""
    yield "status", f"{row['status']}{verdict} (evidence: {row['evidence_status']})"
    if card.reason:
        yield "why", visible(card.reason)
    yield (
        "fires in",
        f"{percent(row['firing_rate'])} of tiles (at most {percent(facts['firing_rate_high'])}; {count(row['n_tiles_fired'], 'tile')}, "
        f"{count(facts['n_tokens_fired'], 'token')}, {count(facts['n_contexts_fired'], 'context')})",
    )
    threshold = f"; counts as firing above {significant(facts['firing_threshold'])}" if facts["firing_threshold"] > 0 else ""
    yield "activation", f"largest {significant(row['max_activation'])}, mean {significant(facts['mean_activation'])}{threshold}"


def _scores(card: Card) -> Iterable[tuple[str, Text | str]]:
    if card.row["label"] is None:
        return
    yield "label_score", _figure(card.label_score)
    null = card.null
    nulls = f"mean {decimal(null.value)}, range {decimal(null.low)} to {decimal(null.high)}, {count(null.n or 0, 'other label')}"
    yield "nulls", nulls if null.value is not None else f"{NONE} ({null.reason})"
    not_apart = "; not distinguishable from a label of another feature" if card.like_another_label else ""
    yield "lift_null", _figure(card.lift_null) + not_apart
    yield "beyond_token", _figure(card.beyond_token)
    for tally in card.tallies:
        unanswered = f", {tally.n_unanswered} unanswered" if tally.n_unanswered else ""
        yield f"{tally.stratum} tiles", f"judge right on {tally.n_right} of {tally.n_judged}{unanswered}"
    if card.is_tuned:
        yield "tuned", f"{card.row['test_reads']} labels were scored on its test tiles; they no longer count as unseen"


def _provenance(card: Card) -> Iterable[tuple[str, Text | str]]:
    decision, row = card.decision, card.row
    if decision is None:
        return
    score = f" (validation score {decimal(decision['validation_score'])})" if decision["validation_score"] is not None else ""
    yield (
        "decision",
        f"{decision['verdict']}: {visible(decision['reason'])}{score}, by {decision['chosen_by']} {decision['choice_run_id']}",
    )
    if decision["label_id"] is not None:
        model = f", {visible(decision['model_served'])}" if decision["model_served"] else ""
        yield "made by", f"{decision['method']}{model} ({decision['origin']}); shown {count(decision['n_shown'], 'train window')}"
    if decision["prompt_hash"]:
        name = f"{decision['prompt_role']}.v{decision['prompt_version']} " if decision["prompt_role"] else ""
        yield "prompt", f"{name}{decision['prompt_hash']}"
    if row["judge"]:
        yield "judge", f"{visible(row['judge'])} ({row['headline_scorer']}, {row['answer_mode']})"
    seen = ", ".join(f"{who}: {row[f'unseen_by_{who}']}" for who in ("labeler", "sae", "subject"))
    yield "unseen by", seen
    yield "cost", f"{money(row['cost_usd'])}, {count(row['llm_tokens'], 'LLM token')}; test reads {row['test_reads']}"


def _score_lines(card: Card) -> Iterable[tuple[str, ...]]:
    for s in card.scores:
        value = interval(s.figure.value, s.figure.low, s.figure.high)
        yield (s.scorer, s.metric, value, decimal(s.chance), f"{visible(s.judge)} ({s.answer_mode})", visible(s.figure.basis))


def _figure(figure: Figure) -> str:
    return f"{figure.text}  {visible(figure.basis)}"


def _heading(out: Console, title: str) -> None:
    out.print()
    out.print(Text(title, style="bold"))


def _print_windows(out: Console, title: str, items: Iterable[Shown]) -> None:
    items = tuple(items)
    if not items:
        return
    _heading(out, title)
    for item in items:
        out.print(_line(item), soft_wrap=True)
        out.print(Text("    " + _caption(item), style="dim"), soft_wrap=True)


def _line(item: Shown) -> Text:
    line = Text("  ")
    for is_active, run in groupby(item.pieces, key=lambda piece: piece.strength > 0):
        line.append("<<" if is_active else "")
        for piece in run:
            line.append(escape(piece.text), style=_style(piece))
        line.append(">>" if is_active else "")
    return line


def _style(piece: Piece) -> str:
    if piece.strength:
        return "bold reverse" if piece.strength > 5 else "bold"
    return "dim" if piece.is_context else ""


def _caption(item: Shown) -> str:
    example, judgement = item.example, item.judgement
    parts = [item.kind]
    if example.max_activation > 0:
        parts.append(f"activation {significant(example.max_activation)}")
    if example.quantile is not None:
        parts.append(f"tenth {example.quantile + 1} of 10")
    if judgement is not None:
        verdict = "" if judgement.right is None else f", {'right' if judgement.right else 'WRONG'}"
        parts.append(f"judge: {judgement.said}{verdict}")
    return " · ".join(parts)
