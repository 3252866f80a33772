"""`autolabel bench trust`: fit the models that say how probably a label is right, on TruthBench."""

from pathlib import Path
from typing import Annotated, Any

import typer

from autolabel.cli.benching import COMMAND, ENCODER, FAMILIES, SHIPPED_REPLIES
from autolabel.cli.preparing import prepare
from autolabel.errors import ConfigError
from autolabel.parts import NEEDED_BY


def trust(
    out: Annotated[Path, typer.Option("--out", help="File to write the models to, as JSON.")] = Path("trust.json"),
    folder: Annotated[Path, typer.Option("--folder", help="Folder for the two databases.")] = Path("trust"),
    n: Annotated[int, typer.Option("--n", min=18, max=400, help="Features of each of the two benchmarks.")] = 200,
    replies: Annotated[
        Path | None, typer.Option("--replies", help="Recorded replies of a judge; the shipped ones when absent.")
    ] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option("--corpus", help="Text of your own in place of the benchmark's: a file, folder or glob; repeatable."),
    ] = None,
    compare: Annotated[
        Path | None, typer.Option("--compare", help="File of models to compare with; exit 1 when they differ.")
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Download the text and the encoder first, if they are not there yet.")
    ] = False,
) -> None:
    """Fit P(correct) where the truth is known, leaving out a family of features at a time; say what may be trusted."""
    if not out.parent.is_dir():
        raise ConfigError(f"'{out}' cannot be written: there is no folder '{out.parent}'; make it first")
    prepare([*(NEEDED_BY[COMMAND] if corpus is None else ()), ENCODER.removeprefix("part:")], fetch, COMMAND)
    from autolabel.resources import resource_dir

    replies = replies or resource_dir("data") / "truthbench" / SHIPPED_REPLIES
    given: dict[str, Any] = {"n": n, "families": FAMILIES.split(","), "checks": False, "local": {"embedding_model": ENCODER}}
    if corpus is not None:
        given["corpus"] = {"name": "text of one's own", "sources": [{"path": path} for path in corpus]}
    found = _fit(given, folder, replies, out, compare)
    typer.echo("\n".join(found) or "as in the file compared with" if compare else f"wrote {out}", err=True)
    raise typer.Exit(1 if found else 0)


def _fit(given: dict[str, Any], folder: Path, replies: Path, out: Path, compare: Path | None) -> list[str]:
    from autolabel.cli.progress import ProgressWatcher
    from autolabel.config import TruthSettings, validated
    from autolabel.truth.trust_worth import markdown
    from autolabel.truth.trusting import differences, fit_all, gather, read_file, write

    before = None if compare is None else read_file(compare)
    folder.mkdir(parents=True, exist_ok=True)
    sources, cases = [], []
    with ProgressWatcher() as watcher:
        for seed in (0, 1):
            own = given | {"seed": seed, "db": str(folder / f"trust-{seed}.duckdb"), "replies": str(replies) if seed == 0 else None}
            source, some = gather(validated(own, TruthSettings, "autolabel bench trust"), watcher.say, with_shipped=seed == 0)
            sources.append(source)
            cases += some
    content = fit_all(sources, cases)
    write(out, content)
    typer.echo(markdown(content))
    return [] if before is None else differences(before, content)
