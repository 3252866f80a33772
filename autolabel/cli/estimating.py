"""`estimate` and `spend`: what LLM calls will cost, and what they have cost; and asking before they are made."""

import json
import sys
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from autolabel.cli import options
from autolabel.cli.options import DEFAULT_DB, Config, Db, RowFormat
from autolabel.cli.overriding import settings_with
from autolabel.cli.rows import Format, Out, print_table
from autolabel.errors import ConfigError

if TYPE_CHECKING:
    from autolabel.config import BudgetSettings
    from autolabel.pipeline.costs import CostEstimate


class EstimateFormat(StrEnum):
    """How an estimate is printed."""

    table = "table"
    json = "json"


class By(StrEnum):
    """What spending is added up by."""

    run = "run"
    stage = "stage"
    model = "model"
    feature = "feature"
    day = "day"


_GROUPS = {
    By.run: "run_id, command, run_status",
    By.stage: "stage",
    By.model: "endpoint_id, model_requested, via",
    By.feature: "feature_index",
    By.day: "CAST(started_utc AS DATE) AS day",
}
_SUMS = (
    *("n_attempts", "n_ok", "n_failed", "prompt_tokens", "cached_tokens", "completion_tokens", "reasoning_tokens"),
    *("charged_tokens", "cost_usd", "n_unpriced"),
)


def estimate(
    config: Config,
    db: options.RunDb = None,
    features: options.Features = None,
    where: options.Where = None,
    sample: options.Sample = None,
    llm_base_url: options.BaseUrl = None,
    llm_model: options.Model = None,
    judge_base_url: options.JudgeBaseUrl = None,
    judge_model: options.JudgeModel = None,
    seed: options.Seed = None,
    batch: options.Batch = False,
    exact: Annotated[bool, typer.Option("--exact", help="Look at every feature, not at 200 of them when there are more.")] = False,
    estimate_format: Annotated[
        EstimateFormat, typer.Option("--format", help="table is for reading, json for other programs.")
    ] = EstimateFormat.table,
) -> None:
    """Say what labeling and scoring would still cost: calls, tokens, money and time, by stage and model.

    No LLM is asked anything and nothing is stored; evidence must be there. A server that can count tokens is asked to count some.
    """
    from autolabel.pipeline.estimating import estimate_settings

    settings = settings_with(
        config,
        db=db,
        features=features,
        where=where,
        sample=sample,
        llm_base_url=llm_base_url,
        llm_model=llm_model,
        judge_base_url=judge_base_url,
        judge_model=judge_model,
        seed=seed,
        batch=batch,
    )
    found = estimate_settings(settings, exact=exact)
    if estimate_format is EstimateFormat.json:
        typer.echo(json.dumps(asdict(found) | {"total": asdict(found.total)}, indent=2))
    else:
        from autolabel.report.costs import print_estimate
        from autolabel.report.terminal import console

        print_estimate(console(), found)


def spend(
    db: Db = DEFAULT_DB,
    by: Annotated[By, typer.Option("--by", help="What spending is added up by.")] = By.stage,
    row_format: Format = RowFormat.table,
    out: Out = None,
) -> None:
    """Say what LLM calls have cost: attempts, tokens and money, cached tokens apart.

    Money is that of the attempts with a known price; n_unpriced counts the others.
    """
    from autolabel.store import sandbox

    sums = ", ".join(f"sum({name}) AS {name}" for name in _SUMS)
    started = "(SELECT run_id, started_utc FROM runs)"
    sql = f"SELECT {_GROUPS[by]}, {sums} FROM spend LEFT JOIN {started} USING (run_id) GROUP BY ALL ORDER BY ALL"
    print_table(sandbox.query(db, sql, max_rows=2**31).table, row_format, out)


def ask_before_spending(estimate: "CostEstimate", budget: "BudgetSettings", yes: bool) -> None:
    """Say on stderr what the run will cost; where that is much, go on only if somebody at the terminal, or `yes`, agrees.

    Raises:
        ConfigError: nobody agrees, or nobody is there to ask.
    """
    from autolabel.report.costs import summary

    if not estimate.rows:
        return
    typer.echo(f"estimate: {summary(estimate)}", err=True)
    much = _too_much(estimate, budget)
    if much is None or yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"{much}; pass --yes to go on, or set a limit with --max-usd, --max-tokens or --max-calls")
    typer.echo(f"{much}. Go on? [y/N] ", nl=False, err=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ConfigError("nothing was asked of an LLM; what was collected is kept")


def _too_much(estimate: "CostEstimate", budget: "BudgetSettings") -> str | None:
    """Why somebody has to be asked. A limit that was set is agreed to."""
    usd = estimate.priced_usd if budget.max_usd is None else min(estimate.priced_usd, budget.max_usd)
    if usd > budget.ask_above_usd:
        return f"this may cost ${usd:,.2f}, which is more than budget.ask_above_usd = {budget.ask_above_usd:g}"
    tokens = estimate.unpriced_tokens if budget.max_tokens is None else min(estimate.unpriced_tokens, budget.max_tokens)
    if tokens > budget.ask_above_tokens:
        return (
            f"this takes about {tokens:,.0f} tokens at an unknown price, which is more than "
            f"budget.ask_above_tokens = {budget.ask_above_tokens:,}"
        )
    return None
