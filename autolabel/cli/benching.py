"""`bench`: measure labelers and scorers, ours and others', on features whose meaning is known."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autolabel.cli.options import BaseUrl, MaxCalls, MaxTokens, MaxUsd, Model
from autolabel.cli.preparing import prepare
from autolabel.errors import ConfigError
from autolabel.parts import NEEDED_BY

if TYPE_CHECKING:
    from autolabel.truth.bench import Results

app = typer.Typer(help="Measure labelers and scorers on features whose meaning is known.", no_args_is_help=True)
COMMAND = "autolabel bench truth"
FAMILIES = "words,form,place,gated,topic,next_token,union,graded,null"
ENCODER = "part:all-minilm-l6-v2"
SHIPPED_REPLIES, SHIPPED_LEADERBOARD = "replies.jsonl.xz", "leaderboard.json"


@app.callback()
def _group() -> None:
    """Measure labelers and scorers on features whose meaning is known."""


@app.command("truth")
def truth(
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Download the text and the encoder first, if they are not there yet.")
    ] = False,
    db: Annotated[Path, typer.Option("--db", help="Database that evidence, labels and scores are stored in.")] = Path(
        "truth.duckdb"
    ),
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write the tables to, as Markdown; printed when absent.")
    ] = None,
    n: Annotated[int, typer.Option("--n", min=1, max=400, help="Features.")] = 200,
    families: Annotated[str, typer.Option("--families", help="Families of features, comma-separated.")] = FAMILIES,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Even and odd seeds have no feature in common.")] = 0,
    corpus: Annotated[
        list[str] | None,
        typer.Option("--corpus", help="Text of your own in place of the benchmark's: a file, folder or glob; repeatable."),
    ] = None,
    labeler: Annotated[list[str] | None, typer.Option("--labeler", help="Only this labeler; repeatable.")] = None,
    scorer: Annotated[list[str] | None, typer.Option("--scorer", help="Only this scorer; repeatable.")] = None,
    n_llm: Annotated[int, typer.Option("--n-llm", min=1, help="Features that LLMs label.")] = 60,
    n_judge: Annotated[int, typer.Option("--n-judge", min=1, help="Features on which an LLM judges tile by tile.")] = 60,
    n_expensive: Annotated[
        int, typer.Option("--n-expensive", min=1, help="Features on which protocols run that need dozens of calls for each.")
    ] = 12,
    llm_base_url: BaseUrl = None,
    llm_model: Model = None,
    llm_name: Annotated[str | None, typer.Option("--llm-name", help="What the endpoint is called in stored rows.")] = None,
    llm_tiles_per_prompt: Annotated[
        int, typer.Option("--llm-tiles-per-prompt", min=1, max=30, help="Tiles judged in one prompt; 1 for small models.")
    ] = 1,
    likelihood_model: Annotated[
        str | None, typer.Option("--likelihood-model", help="Model that scores by likelihood, such as part:smollm2-135m-instruct.")
    ] = None,
    replies: Annotated[
        str | None, typer.Option("--replies", help="Recorded replies in place of models; `shipped` for those of the leaderboard.")
    ] = None,
    record: Annotated[Path | None, typer.Option("--record", help="File to write every reply to, for --replies.")] = None,
    leaderboard: Annotated[Path | None, typer.Option("--leaderboard", help="File to write the numbers to, as JSON.")] = None,
    compare: Annotated[
        str | None, typer.Option("--compare", help="Leaderboard to compare with; `shipped` for the one that comes with autolabel.")
    ] = None,
    no_checks: Annotated[bool, typer.Option("--no-checks", help="Leave out intervals, false discoveries and leaks.")] = False,
    max_usd: MaxUsd = None,
    max_tokens: MaxTokens = None,
    max_calls: MaxCalls = None,
) -> None:
    """Level 0 of TruthBench: functions of real text as features, known labels and near-misses, exact scores."""
    if (llm_base_url is None) != (llm_model is None):
        raise ConfigError("--llm-base-url and --llm-model belong together; give both or neither")
    _require_folders(out, record, leaderboard)
    models = [name for name in (ENCODER, likelihood_model) if name is not None and name.startswith("part:")]
    texts = NEEDED_BY[COMMAND] if corpus is None else ()
    prepare(list(dict.fromkeys([*texts, *(name.removeprefix("part:") for name in models)])), fetch, COMMAND)
    given: dict[str, Any] = {
        "db": str(db),
        "seed": seed,
        "n": n,
        "families": _names(families),
        "n_llm": n_llm,
        "n_judge": n_judge,
        "n_expensive": n_expensive,
        "labelers": labeler,
        "scorers": scorer,
        "checks": not no_checks,
        "budget": {"max_usd": max_usd, "max_tokens": max_tokens, "max_calls": max_calls},
        "replies": None if replies is None else str(_shipped(replies, SHIPPED_REPLIES)),
        "local": {"embedding_model": ENCODER, "likelihood_model": likelihood_model},
    }
    if llm_model is not None:
        llm = {"base_url": llm_base_url, "model": llm_model, "name": llm_name, "tiles_per_prompt": llm_tiles_per_prompt}
        given["llm"] = {key: value for key, value in llm.items() if value is not None}
    if corpus is not None:
        given["corpus"] = {"name": "text of one's own", "sources": [{"path": path} for path in corpus]}
    _run(given, db, out, record, leaderboard, compare)


@app.command("planted")
def planted(
    subject: Annotated[
        str, typer.Option("--subject", help="Model that directions are planted into.")
    ] = "part:smollm2-135m-instruct",
    hookpoint: Annotated[str, typer.Option("--hookpoint", help="Where in its residual stream.")] = "layers.15",
    corpus: Annotated[list[str] | None, typer.Option("--corpus", help="Text; State of the Union speeches when absent.")] = None,
    concepts: Annotated[
        int, typer.Option("--concepts", min=2, max=200, help="Word sets to plant, with the groups above them.")
    ] = 26,
    tokens: Annotated[int, typer.Option("--tokens", min=1, help="Tokens the SAE trains on, repeated ones counted.")] = 1_600_000,
    d_sae: Annotated[int, typer.Option("--d-sae", min=2, help="Features of the SAE.")] = 1024,
    k: Annotated[int, typer.Option("--k", min=1, help="Features active on a token.")] = 32,
    share: Annotated[float, typer.Option("--share", min=0.001, max=1, help="Share of the text's documents.")] = 0.05,
    low: Annotated[float, typer.Option("--low", min=0, help="Least strength, in median norms of the stream.")] = 1.0,
    high: Annotated[float, typer.Option("--high", min=0, help="Largest strength.")] = 1.5,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of directions, splits and training.")] = 0,
    out: Annotated[Path, typer.Option("--out", help="Folder for the SAE, the evidence and the database.")] = Path("planted"),
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Download model, text and encoder first, if they are not there yet.")
    ] = False,
) -> None:
    """Level 1 of TruthBench: directions planted in a real model, an SAE trained over it, its features matched and labelled."""
    if low > high:
        raise ConfigError(f"--low {low:g} exceeds --high {high:g}")
    paths = corpus or ["part:sotu"]
    named = [path.removeprefix("part:") for path in (subject, *paths, ENCODER) if path.startswith("part:")]
    prepare(named, fetch, "autolabel bench planted")
    given: dict[str, Any] = {
        "name": "planted",
        "seed": seed,
        "subject": {"model": subject},
        "corpus": {"name": "planted text", "sources": [{"path": path, "share": share} for path in paths], "document_tokens": 500},
        "training": {"hookpoint": hookpoint, "tokens": tokens, "d_sae": d_sae, "k": k, "reuse": 8, "buffer_tokens": 32_768},
    }
    _run_planted(given, concepts, (low, high), out)


@app.command("repeatability")
def repeatability(
    fetch: Annotated[
        bool, typer.Option("--fetch", help="Download the text and the models first, if they are not there yet.")
    ] = False,
    db: Annotated[Path, typer.Option("--db", help="Database that evidence, labels and scores are stored in.")] = Path(
        "repeatability.duckdb"
    ),
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write the tables to, as Markdown; printed when absent.")
    ] = None,
    features: Annotated[int, typer.Option("--features", min=2, max=400, help="Features whose labels are scored.")] = 40,
    n: Annotated[int, typer.Option("--n", min=8, max=400, help="Features to choose them from.")] = 200,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of features and splits; draws of tiles follow it.")] = 0,
    corpus: Annotated[
        list[str] | None,
        typer.Option("--corpus", help="Text of your own in place of the benchmark's: a file, folder or glob; repeatable."),
    ] = None,
    likelihood_model: Annotated[
        str | None, typer.Option("--likelihood-model", help="The second judge; `none` leaves it out.")
    ] = "part:smollm2-135m-instruct",
    replies: Annotated[
        str | None, typer.Option("--replies", help="Recorded replies of an LLM, to compare judges on one exam; `shipped` for ours.")
    ] = None,
) -> None:
    """ICC of label_score over judges, halves of the text and draws of tiles, on features whose meaning is known."""
    _require_folders(out)
    second = None if likelihood_model == "none" else likelihood_model
    command = "autolabel bench repeatability"
    models = [name.removeprefix("part:") for name in (ENCODER, second) if name is not None and name.startswith("part:")]
    prepare(list(dict.fromkeys([*(NEEDED_BY[COMMAND] if corpus is None else ()), *models])), fetch, command)
    given: dict[str, Any] = {
        "db": str(db),
        "seed": seed,
        "n": n,
        "families": _names(FAMILIES),
        "replies": None if replies is None else str(_shipped(replies, SHIPPED_REPLIES)),
        "local": {"embedding_model": ENCODER, "likelihood_model": second},
    }
    if corpus is not None:
        given["corpus"] = {"name": "text of one's own", "sources": [{"path": path} for path in corpus]}
    _run_repeatability(given, features, out, command)


def _run_repeatability(given: dict[str, Any], features: int, out: Path | None, command: str) -> None:
    from autolabel.cli.progress import ProgressWatcher
    from autolabel.config import TruthSettings, validated
    from autolabel.truth.agreement_table import markdown
    from autolabel.truth.running import run_repeatability

    settings = validated(given, TruthSettings, command)
    with ProgressWatcher() as watcher:
        found, one_exam = run_repeatability(settings, features, watcher.say)
    text = markdown(found, one_exam)
    if out is None:
        typer.echo(text)
    else:
        out.write_text(text, encoding="utf-8")


def _run_planted(given: dict[str, Any], n_concepts: int, strength: tuple[float, float], out: Path) -> None:
    from autolabel.cli.progress import ProgressWatcher
    from autolabel.config import TrainSettings, validated
    from autolabel.truth.planted import markdown
    from autolabel.truth.running import run_planted_bench

    settings = validated(given, TrainSettings, "autolabel bench planted")
    with ProgressWatcher() as watcher:
        results = run_planted_bench(settings, n_concepts, strength, out, ENCODER, watcher.say)
    typer.echo(markdown(results))


def _run(
    given: dict[str, Any], db: Path, out: Path | None, record: Path | None, leaderboard: Path | None, compare: str | None
) -> None:
    from autolabel.cli.progress import ProgressWatcher
    from autolabel.config import TruthSettings, validated
    from autolabel.truth import leaderboard as boards
    from autolabel.truth.running import run_bench
    from autolabel.truth.tables import markdown

    settings = validated(given, TruthSettings, COMMAND)
    with ProgressWatcher() as watcher:
        results = run_bench(settings, watcher.say, record)
    text = markdown(results)
    if out is None:
        typer.echo(text)
    else:
        out.write_text(text, encoding="utf-8")
    _say_times(results, db)
    if leaderboard is not None:
        boards.write(leaderboard, results)
    if compare is not None:
        found = boards.differences(_shipped(compare, SHIPPED_LEADERBOARD), results)
        typer.echo("\n".join(found) or "as in the leaderboard", err=True)
        raise typer.Exit(1 if found else 0)


def _require_folders(*files: Path | None) -> None:
    """Refuse a file that could not be written, before the work whose result it is to hold."""
    for file in files:
        if file is not None and not file.parent.is_dir():
            raise ConfigError(f"'{file}' cannot be written: there is no folder '{file.parent}'; make it first")


def _say_times(results: "Results", db: Path) -> None:
    total = sum(results.seconds.values())
    typer.echo(f"built in {results.seconds['build']:.0f} s, {total:.0f} s in all; {db}", err=True)


def _names(given: str) -> list[str]:
    return [name.strip() for name in given.split(",") if name.strip()]


def _shipped(given: str, name: str) -> Path:
    from autolabel.resources import resource_dir

    return resource_dir("data") / "truthbench" / name if given == "shipped" else Path(given)
