"""`init`, `run` and its stages one by one: `collect`, `label`, `score`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from autolabel.cli.options import Device, Seed
from autolabel.errors import ConfigError

Config = Annotated[Path, typer.Argument(help="Settings file; `autolabel init` writes one.")]
RunDb = Annotated[Path | None, typer.Option("--db", envvar="AUTOLABEL_DB", help="Database file; wins over the settings file.")]
Features = Annotated[str | None, typer.Option("--features", help="Features to label, for example 3,17,100-120.")]
Where = Annotated[
    str | None, typer.Option("--where", help="SQL condition over feature_labels, e.g. 'firing_rate between 1e-4 and 1e-2'.")
]
Sample = Annotated[int | None, typer.Option("--sample", min=1, help="So many alive features, spread over firing rates.")]
BaseUrl = Annotated[str | None, typer.Option("--llm-base-url", help="Any OpenAI-compatible server.")]
Model = Annotated[str | None, typer.Option("--llm-model", help="Model that proposes and judges labels.")]
Force = Annotated[bool, typer.Option("--force", help="Collect although the load gate refuses the SAE; this is recorded.")]
MaxFailureRate = Annotated[
    float, typer.Option("--max-failure-rate", min=0, max=1, help="Exit 1 when a larger share of features got no label.")
]


def init(path: Annotated[Path, typer.Argument(help="Where to write the settings.")] = Path("autolabel.toml")) -> None:
    """Write a commented settings file to start from."""
    from autolabel.resources import resource_dir

    if path.exists():
        raise ConfigError(f"'{path}' is there already; name another file, or delete it first")
    text = (resource_dir("data") / "settings.toml").read_text(encoding="utf-8")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot write '{path}': {error.strerror}; name a file in a folder that exists") from None
    typer.echo(f"wrote {path}; set [subject] model, [sae] path and [[corpus.sources]], then `autolabel run {path}`")


def run(
    config: Config,
    db: RunDb = None,
    features: Features = None,
    where: Where = None,
    sample: Sample = None,
    llm_base_url: BaseUrl = None,
    llm_model: Model = None,
    seed: Seed = None,
    device: Device = None,
    force: Force = False,
    max_failure_rate: MaxFailureRate = 0.5,
) -> None:
    """Collect evidence, label and score; whatever is in the database already is not done again."""
    overrides = _overrides(db, features, where, sample, llm_base_url, llm_model, seed, device)
    run_settings(config, overrides, ("collect", "label", "score"), "run", force, max_failure_rate)


def collect(config: Config, db: RunDb = None, seed: Seed = None, device: Device = None, force: Force = False) -> None:
    """Run the subject model and the SAE over the text and store the evidence for every feature."""
    overrides = _overrides(db, None, None, None, None, None, seed, device)
    run_settings(config, overrides, ("collect",), "collect", force, 1.0)


def label(
    config: Config,
    db: RunDb = None,
    features: Features = None,
    where: Where = None,
    sample: Sample = None,
    llm_base_url: BaseUrl = None,
    llm_model: Model = None,
    seed: Seed = None,
    device: Device = None,
    max_failure_rate: MaxFailureRate = 0.5,
) -> None:
    """Propose labels and choose between them on validation text, from evidence collected before."""
    overrides = _overrides(db, features, where, sample, llm_base_url, llm_model, seed, device)
    run_settings(config, overrides, ("label",), "label", False, max_failure_rate)


def score(
    config: Config,
    db: RunDb = None,
    features: Features = None,
    where: Where = None,
    sample: Sample = None,
    llm_base_url: BaseUrl = None,
    llm_model: Model = None,
    seed: Seed = None,
    device: Device = None,
) -> None:
    """Score the chosen labels, their nulls and their baselines on test text."""
    overrides = _overrides(db, features, where, sample, llm_base_url, llm_model, seed, device)
    run_settings(config, overrides, ("score",), "score", False, 1.0)


def _overrides(
    db: Path | None,
    features: str | None,
    where: str | None,
    sample: int | None,
    llm_base_url: str | None,
    llm_model: str | None,
    seed: int | None,
    device: str | None,
) -> dict[str, Any]:
    given = {
        "db": str(db) if db else None,
        "select.features": features,
        "select.where": where,
        "select.sample": sample,
        "llm.base_url": llm_base_url,
        "llm.model": llm_model,
        "seed": seed,
        "subject.device": device,
    }
    return {key: value for key, value in given.items() if value is not None}


def run_settings(
    config: Path, overrides: dict[str, Any], stages: tuple[Any, ...], command: str, force: bool, max_failure_rate: float
) -> None:
    """Run stages of a settings file with progress on stderr; exit 1 when too large a share of the features got no label."""
    from autolabel.cli.progress import ProgressWatcher
    from autolabel.config import Settings, read_settings
    from autolabel.pipeline import run_stages

    settings = read_settings(config, Settings, overrides)
    with ProgressWatcher() as watcher:
        outcome = run_stages(settings, stages, watcher, command=command, force=force)
    if not outcome.n_features:
        typer.echo(f"evidence set {outcome.evidence_set_id} is in {settings.db}")
        return
    typer.echo(
        f"{outcome.n_labelled} of {outcome.n_features} features labelled, {outcome.n_failed} without a label, in {settings.db}"
    )
    if outcome.n_failed > max_failure_rate * outcome.n_features:
        raise typer.Exit(1)
