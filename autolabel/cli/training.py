"""`train`: make an SAE."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autolabel.cli.options import Device, Seed

if TYPE_CHECKING:
    from autolabel.config import TrainSettings
    from autolabel.training import Progress


def train(
    config: Annotated[
        Path, typer.Argument(help="Settings file with [subject], [corpus] and [training]; data/demo-sae.toml is one.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder to write the SAE to.")],
    tokens: Annotated[int | None, typer.Option("--tokens", min=1, help="Tokens to train on; wins over the settings file.")] = None,
    concepts: Annotated[
        Path | None,
        typer.Option("--concepts", help="Folder with a text file of sentences per concept: say how well features tell them apart."),
    ] = None,
    seed: Seed = None,
    device: Device = None,
) -> None:
    """Train a sparse autoencoder on a subject model's activations."""
    from autolabel.cli.progress import ProgressWatcher
    from autolabel.config import TrainSettings, read_settings
    from autolabel.train_sae import train_sae

    given = {"training.tokens": tokens, "seed": seed, "subject.device": device}
    settings = read_settings(config, TrainSettings, {key: value for key, value in given.items() if value is not None})
    with ProgressWatcher() as watcher:
        watcher.stage("training", settings.training.tokens)
        said_at = 0

        def report(progress: "Progress") -> None:
            nonlocal said_at
            watcher.advance(progress.tokens)
            if progress.tokens - said_at >= settings.training.tokens / 20:
                said_at = progress.tokens
                watcher.say(
                    f"{progress.tokens:>10,} tokens  loss {progress.loss:.4f}  FVU {progress.fvu:.3f}  "
                    f"L0 {progress.l0:.1f}  dead {progress.dead_share:.1%}"
                )

        gate = train_sae(settings, out, report)
    typer.echo(f"{out}: {gate.summary()}")
    if concepts is not None:
        _print_separations(settings, out, concepts)


def _print_separations(settings: "TrainSettings", sae: Path, concepts: Path) -> None:
    from autolabel.evidence.concepts import separations
    from autolabel.evidence.sae import load_sae
    from autolabel.evidence.subject import Subject

    for found in separations(Subject.load(settings.subject), load_sae(str(sae)), concepts):
        typer.echo(
            f"{found.positive} against {found.negative}: feature {found.feature}, AUROC {found.auroc:.2f} on sentences it was not chosen on"
        )
