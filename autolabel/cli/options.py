"""Options that several commands share, so that they read the same everywhere."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DB = Path("labels.duckdb")

Config = Annotated[Path, typer.Argument(help="Settings file; `autolabel init` writes one.")]
Db = Annotated[Path, typer.Option("--db", envvar="AUTOLABEL_DB", help="Database file.", show_default=True)]
RunDb = Annotated[Path | None, typer.Option("--db", envvar="AUTOLABEL_DB", help="Database file; wins over the settings file.")]
Seed = Annotated[int | None, typer.Option("--seed", help="Seed of every sample; wins over the settings file.")]
Device = Annotated[str | None, typer.Option("--device", help="auto, cpu, cuda, cuda:1, …; wins over the settings file.")]

Features = Annotated[str | None, typer.Option("--features", help="Features to label, for example 3,17,100-120.")]
Where = Annotated[
    str | None, typer.Option("--where", help="SQL condition over feature_labels, e.g. 'firing_rate between 1e-4 and 1e-2'.")
]
Sample = Annotated[int | None, typer.Option("--sample", min=1, help="So many alive features, spread over firing rates.")]

BaseUrl = Annotated[str | None, typer.Option("--llm-base-url", help="Any OpenAI-compatible server.")]
Model = Annotated[str | None, typer.Option("--llm-model", help="Model that proposes and judges labels.")]
JudgeBaseUrl = Annotated[str | None, typer.Option("--judge-base-url", help="Server of another LLM that judges.")]
JudgeModel = Annotated[
    str | None,
    typer.Option("--judge-model", help="Model that judges, in place of the one that proposes; at its server if none is given."),
]
Batch = Annotated[bool, typer.Option("--batch", help="Send requests through the Batch API: half the price, answers within a day.")]
KeepRequests = Annotated[
    bool, typer.Option("--keep-requests", help="Keep the body of every request in the database, not only its hash.")
]
RetryFailed = Annotated[bool, typer.Option("--retry-failed", help="Try again what failed in earlier runs of the same settings.")]

MaxUsd = Annotated[float | None, typer.Option("--max-usd", min=0, help="Spend at most so many US dollars on LLM calls.")]
MaxTokens = Annotated[
    int | None, typer.Option("--max-tokens", min=0, help="Use at most so many tokens, input and output together.")
]
MaxCalls = Annotated[int | None, typer.Option("--max-calls", min=0, help="Send at most so many requests.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before spending.")]

Engine = Annotated[str | None, typer.Option("--engine", help="local, or ray: documents are sharded over the workers of a cluster.")]
Workers = Annotated[int | None, typer.Option("--workers", min=1, help="Shards collected at once under --engine ray.")]
MinExamples = Annotated[
    int | None,
    typer.Option("--min-examples", min=1, help="Read only as much text as most features need to fire in so many test tiles."),
]
TargetRare = Annotated[
    bool, typer.Option("--target-rare", help="With --min-examples: run the rest of the text where rare features may fire.")
]
Extend = Annotated[
    str | None, typer.Option("--extend", help="Add the text to an evidence set: the first letters of its id, or latest.")
]


class RowFormat(StrEnum):
    """How rows are printed."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"
