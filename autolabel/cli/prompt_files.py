"""`autolabel prompts`: the shipped prompt files, as labels and scores name them by hash."""

from typing import Annotated

import typer

app = typer.Typer(help="Look at the prompts that labels and scores were made with.", no_args_is_help=True)


@app.command("list")
def list_files() -> None:
    """Print role, version and hash of every prompt file."""
    from autolabel import prompts

    for role, version in prompts.list_prompts():
        typer.echo(f"{role}.v{version}\t{prompts.load(role, version).prompt_hash}")


@app.command()
def show(
    role: Annotated[str, typer.Argument(help="What the prompt is for, e.g. explain.")],
    version: Annotated[int | None, typer.Option("--version", min=1, help="The newest when not given.")] = None,
) -> None:
    """Print a prompt file as it is."""
    from autolabel import prompts

    typer.echo(prompts.load(role, version).body, nl=False)


@app.command()
def check() -> None:
    """Refuse prompt files that were edited, removed or never released."""
    from autolabel import prompts

    prompts.check()
    typer.echo(f"{len(prompts.list_prompts())} prompt files are as released")
