"""What LLM calls will cost, for reading: every number beside its error and where it comes from."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from autolabel.report.numbers import money
from autolabel.report.terminal import grid

if TYPE_CHECKING:
    from autolabel.pipeline.costs import CostEstimate, CostRow

_NAMES = ("stage", "model", "calls", "input tokens", "output tokens", "at most", "money", "at most", "time")


def print_estimate(out: Console, estimate: "CostEstimate") -> None:
    """A row for each stage and model, the totals, and where the numbers come from."""
    if not estimate.rows:
        out.print("nothing is left to ask an LLM")
        return
    rows = [[row.stage, row.model, *_cells(row)] for row in estimate.rows]
    out.print(grid(_NAMES, [*rows, ["all", "", *_cells(estimate.total)]], right=range(2, len(_NAMES))))
    for line in _sources(estimate):
        out.print(Text(line))


def summary(estimate: "CostEstimate") -> str:
    """The totals in one line."""
    if not estimate.rows:
        return "nothing is left to ask an LLM"
    calls, tokens, output, longest, cost, worst, time = _cells(estimate.total)
    if estimate.total.usd is not None:
        cost += f" ({worst} at most)"
    return f"{calls} calls, {tokens} input and {output} output tokens ({longest} at most), {cost}, {time}"


def _cells(of: "CostRow") -> list[str]:
    return [
        _about(of.calls, of.calls_error),
        _about(of.input_tokens, of.input_error),
        f"{of.output_tokens:,.0f}",
        f"{of.worst_output_tokens:,.0f}",
        money(of.usd),
        money(of.worst_usd),
        _duration(of.seconds),
    ]


def _about(amount: float, error: float) -> str:
    share = error / amount if amount else 0.0
    return f"{amount:,.0f}" + (f" ± {share:.0%}" if share >= 0.005 else "")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "time unknown"
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:,.0f} s" if seconds >= 1 else "1 s"


def _sources(estimate: "CostEstimate") -> Iterable[str]:
    rows = estimate.rows
    yield f"Input tokens: {_by_source((row.stage, row.input_source) for row in rows)}."
    yield f"Output tokens: {_by_source((row.stage, row.output_source) for row in rows)}; at most, when every reply is as long as allowed."
    yield f"Prices: {_by_source((row.model, row.price_source) for row in rows)}; nothing is taken off for prompts that are cached."
    if estimate.n_looked_at < estimate.n_features:
        yield f"Scaled from {estimate.n_looked_at:,} of {estimate.n_features:,} features; --exact looks at all of them."
    yield "Counted as if every reply could be used and every judge passed its trial: replies that cannot be used are asked for again."
    if any(row.usd is None and not row.is_own for row in rows):
        yield "Write a price that is unknown into a TOML file and name that in the settings: [budget] prices."
    if any(row.seconds is None for row in rows):
        yield "Times are unknown until calls to an endpoint and model were timed, and in batches."


def _by_source(named: Iterable[tuple[str, str]]) -> str:
    found: dict[str, list[str]] = {}
    for name, source in dict.fromkeys(named):
        found.setdefault(source, []).append(name)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{source} ({', '.join(names)})" for source, names in found.items())
