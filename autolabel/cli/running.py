"""`init`, `run` and its stages one by one: `collect`, `label`, `score`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autolabel.cli import options
from autolabel.cli.options import Config
from autolabel.cli.overriding import settings_with
from autolabel.errors import ConfigError

if TYPE_CHECKING:
    from autolabel.config import Settings
    from autolabel.pipeline.costs import CostEstimate

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
    db: options.RunDb = None,
    features: options.Features = None,
    where: options.Where = None,
    sample: options.Sample = None,
    llm_base_url: options.BaseUrl = None,
    llm_model: options.Model = None,
    judge_base_url: options.JudgeBaseUrl = None,
    judge_model: options.JudgeModel = None,
    batch: options.Batch = False,
    keep_requests: options.KeepRequests = False,
    max_usd: options.MaxUsd = None,
    max_tokens: options.MaxTokens = None,
    max_calls: options.MaxCalls = None,
    yes: options.Yes = False,
    retry_failed: options.RetryFailed = False,
    seed: options.Seed = None,
    device: options.Device = None,
    force: Force = False,
    engine: options.Engine = None,
    workers: options.Workers = None,
    min_examples: options.MinExamples = None,
    target_rare: options.TargetRare = False,
    extend: options.Extend = None,
    max_failure_rate: MaxFailureRate = 0.5,
) -> None:
    """Collect evidence, label and score; whatever is in the database already is not done again.

    Says what the LLM calls will cost before the first is made, and asks where that is much.
    """
    _run(("collect", "label", "score"), "run", **locals())


def collect(
    config: Config,
    db: options.RunDb = None,
    seed: options.Seed = None,
    device: options.Device = None,
    force: Force = False,
    engine: options.Engine = None,
    workers: options.Workers = None,
    min_examples: options.MinExamples = None,
    target_rare: options.TargetRare = False,
    extend: options.Extend = None,
) -> None:
    """Run the subject model and the SAE over the text and store the evidence for every feature.

    A killed collection goes on where it was.
    """
    _run(("collect",), "collect", **locals())


def label(
    config: Config,
    db: options.RunDb = None,
    features: options.Features = None,
    where: options.Where = None,
    sample: options.Sample = None,
    llm_base_url: options.BaseUrl = None,
    llm_model: options.Model = None,
    judge_base_url: options.JudgeBaseUrl = None,
    judge_model: options.JudgeModel = None,
    batch: options.Batch = False,
    keep_requests: options.KeepRequests = False,
    max_usd: options.MaxUsd = None,
    max_tokens: options.MaxTokens = None,
    max_calls: options.MaxCalls = None,
    yes: options.Yes = False,
    retry_failed: options.RetryFailed = False,
    seed: options.Seed = None,
    device: options.Device = None,
    max_failure_rate: MaxFailureRate = 0.5,
) -> None:
    """Propose labels and choose between them on validation text, from evidence collected before."""
    _run(("label",), "label", **locals())


def score(
    config: Config,
    db: options.RunDb = None,
    features: options.Features = None,
    where: options.Where = None,
    sample: options.Sample = None,
    llm_base_url: options.BaseUrl = None,
    llm_model: options.Model = None,
    judge_base_url: options.JudgeBaseUrl = None,
    judge_model: options.JudgeModel = None,
    batch: options.Batch = False,
    keep_requests: options.KeepRequests = False,
    max_usd: options.MaxUsd = None,
    max_tokens: options.MaxTokens = None,
    max_calls: options.MaxCalls = None,
    yes: options.Yes = False,
    retry_failed: options.RetryFailed = False,
    seed: options.Seed = None,
    device: options.Device = None,
) -> None:
    """Score the chosen labels, their nulls and their baselines on test text."""
    _run(("score",), "score", **locals())


def _run(
    stages: tuple[Any, ...],
    command: str,
    config: Path,
    *,
    force: bool = False,
    extend: str | None = None,
    yes: bool = False,
    retry_failed: bool = False,
    max_failure_rate: float = 1.0,
    **given: Any,
) -> None:
    settings = settings_with(config, **given)
    run_settings(
        settings,
        stages,
        command,
        force=force,
        extend=extend,
        yes=yes,
        retry_failed=retry_failed,
        max_failure_rate=max_failure_rate,
    )


def run_settings(
    settings: "Settings",
    stages: tuple[Any, ...],
    command: str,
    *,
    force: bool = False,
    extend: str | None = None,
    yes: bool = False,
    retry_failed: bool = False,
    max_failure_rate: float = 1.0,
) -> None:
    """Run stages with progress on stderr; exit 1 when too large a share of the features got no label.

    Args:
        settings: of the run.
        stages: of collect, label and score.
        command: what the run is called in the database.
        force: collect although the load gate refuses the SAE.
        extend: evidence set that the text is added to.
        yes: spend without asking.
        retry_failed: try again what failed in earlier runs.
        max_failure_rate: largest share of features without a label that is no failure.
    """
    from autolabel.cli.estimating import ask_before_spending
    from autolabel.cli.progress import ProgressWatcher
    from autolabel.pipeline.running import run_stages

    with ProgressWatcher() as watcher:

        def before_spending(estimate: "CostEstimate") -> None:
            with watcher.paused():
                ask_before_spending(estimate, settings.budget, yes)

        outcome = run_stages(
            settings,
            stages,
            watcher,
            command=command,
            force=force,
            extend=extend,
            retry_failed=retry_failed,
            before_spending=before_spending,
        )
    if not outcome.n_features:
        typer.echo(f"evidence set {outcome.evidence_set_id} is in {settings.db}")
        return
    typer.echo(
        f"{outcome.n_labelled} of {outcome.n_features} features labelled, {outcome.n_failed} without a label, in {settings.db}"
    )
    if outcome.n_failed > max_failure_rate * outcome.n_features:
        raise typer.Exit(1)
