"""`demo`: the whole job on real parts, with no key, no GPU and no model hub."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from autolabel.cli.options import BaseUrl, Model, Yes
from autolabel.cli.preparing import prepare
from autolabel.cli.running import run_settings
from autolabel.errors import ConfigError
from autolabel.parts import NEEDED_BY

COMMAND = "autolabel demo"
DEFAULT_OPENAI_MODEL = "gpt-4.1-mini"
"""One that answers at once and gives token probabilities; a reasoning model spends the few tokens of an answer on thinking."""


def demo(
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Download the model and the text first, if they are not there yet.")
    ] = False,
    out: Annotated[Path, typer.Option("--out", help="Folder for the database and the report.")] = Path("demo"),
    llm_base_url: BaseUrl = None,
    llm_model: Model = None,
    tiles_per_prompt: Annotated[
        int | None,
        typer.Option("--tiles-per-prompt", min=1, help="Tiles the LLM judges at once; 1 for models of a few billion parameters."),
    ] = None,
    features: Annotated[str | None, typer.Option("--features", help="These features instead of the demo's sample.")] = None,
    yes: Yes = False,
) -> None:
    """Label real features of SmolLM2-135M with the demo SAE, print a table and write a report.

    With OPENAI_API_KEY set, or --llm-base-url and --llm-model, that LLM labels and judges; otherwise SmolLM2 itself proposes, and
    its likelihood chooses.
    """
    from autolabel.cli.reporting import print_labels, write_report
    from autolabel.config import Settings, read_settings
    from autolabel.resources import resource_dir

    prepare(NEEDED_BY[COMMAND], fetch, COMMAND)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--out '{out}' cannot be used as a folder: {error.strerror}") from None
    db = out / "labels.duckdb"
    overrides: dict[str, Any] = {"db": str(db), **_llm(llm_base_url, llm_model, tiles_per_prompt)}
    if features:
        overrides |= {"select.features": features, "select.sample": None}
    settings = read_settings(resource_dir("data") / "demo.toml", Settings, overrides)
    run_settings(settings, ("collect", "label", "score"), "demo", yes=yes, max_failure_rate=0.5)
    print_labels(db)
    report = out / "report.html"
    write_report(db, "html", report)
    typer.echo(f"wrote {db} and {report}")


def _llm(base_url: str | None, model: str | None, tiles_per_prompt: int | None) -> dict[str, Any]:
    if base_url is None and model is None and not os.environ.get("OPENAI_API_KEY"):
        return {}
    given = {"llm.base_url": base_url, "llm.model": model or DEFAULT_OPENAI_MODEL, "llm.tiles_per_prompt": tiles_per_prompt}
    with_llm = {"score.scorers": ["detection", "fuzzing", "embedding", "rule"], "label.chooser": None}
    return with_llm | {key: value for key, value in given.items() if value is not None}
