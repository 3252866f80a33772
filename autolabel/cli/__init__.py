"""The command line. Modules that load torch, transformers or a database are imported by the command that needs them, not before."""

import logging
import sys

import typer

from autolabel._version import __version__
from autolabel.cli import (
    auditing,
    benching,
    database,
    demo,
    estimating,
    prompt_files,
    querying,
    reporting,
    running,
    training,
    trusting,
)
from autolabel.errors import AutolabelError, BudgetExceeded
from autolabel.secrets import BlottingFormatter

EXIT_FAILED, EXIT_OUT_OF_BUDGET, EXIT_INTERRUPTED = 1, 3, 130

app = typer.Typer(
    name="autolabel",
    help="Labels for sparse-autoencoder features, made by an agent and scored on text nobody has looked at.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.command("init")(running.init)
app.command("run")(running.run)
app.command("collect")(running.collect)
app.command("label")(running.label)
app.command("score")(running.score)
app.command("estimate")(estimating.estimate)
app.command("spend")(estimating.spend)
app.command("status")(reporting.status)
app.command("show")(reporting.show)
app.command("report")(reporting.report)
app.command("query")(querying.query)
app.command("train")(training.train)
app.command("demo")(demo.demo)
app.add_typer(auditing.app, name="audit")
app.add_typer(benching.app, name="bench")
benching.app.command("trust")(trusting.trust)
app.add_typer(database.app, name="db")
app.add_typer(prompt_files.app, name="prompts")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"autolabel {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Print the version and exit."),
    verbose: int = typer.Option(0, "-v", "--verbose", count=True, help="Log more; twice for everything."),
) -> None:
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(BlottingFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("httpx2").setLevel(max(level, logging.WARNING) if verbose < 2 else logging.DEBUG)


def main() -> None:
    """Run the command line: an expected failure is one line and exit code 1, the end of a budget 3, Ctrl-C 130."""
    try:
        app(standalone_mode=True)
    except AutolabelError as error:
        typer.echo(f"autolabel: {_safe(str(error))}", err=True)
        sys.exit(EXIT_OUT_OF_BUDGET if isinstance(error, BudgetExceeded) else EXIT_FAILED)
    except SystemExit as ending:  # typer has made this of a KeyboardInterrupt by now
        if ending.code == EXIT_INTERRUPTED:
            typer.echo("autolabel: interrupted; what was done is kept, the same command goes on from there", err=True)
        raise


def _safe(message: str) -> str:
    """A message, which may quote names from files, such that it cannot steer the terminal."""
    from autolabel.report.text import visible

    return "\n".join(visible(line) for line in message.split("\n"))
