"""A world in which whole runs can be made and killed: a random model, an SAE of many features, evidence collected once, settings.

Runs are made by the command line in processes of their own, as a user makes them.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import duckdb

from tests.pipeline import world

_CLI = "import sys; from autolabel.cli import main; main()"
_SETTINGS = """
[subject]
model = "{folder}/tiny-model"
dtype = "float32"
device = "cpu"
context_tokens = 96
batch_contexts = 4

[sae]
path = "{folder}/sae"

[corpus]
document_tokens = 200

[[corpus.sources]]
path = "{folder}/texts.jsonl"

[evidence]
background_train = 150
background_validation = 150
background_test = 200

[llm]
base_url = "{base_url}"
model = "loopback"
max_concurrency = {in_flight}
timeout_s = 1.0
tiles_per_prompt = {tiles_per_prompt}
{llm}

[score]
nulls = 2

[select]
features = "0-{last}"

{extra}
"""
KEY = "sk-planted-7d1f0b2c9e4a4f53"


@dataclass(frozen=True, slots=True)
class Command:
    """A command line at work."""

    process: "subprocess.Popen[bytes]"
    output: TextIO

    @property
    def runs(self) -> bool:
        """Whether it is still at work."""
        return self.process.poll() is None

    def kill(self) -> None:
        """End it by SIGKILL."""
        self.process.kill()


@dataclass(frozen=True, slots=True)
class World:
    """A folder with everything that runs need."""

    folder: Path

    @classmethod
    def at(cls, folder: Path, d_sae: int = 520) -> "World":
        """Build it, unless it is there: about a minute."""
        found = cls(folder)
        if not found.collected.exists():
            folder.mkdir(parents=True, exist_ok=True)
            world.build(folder, d_sae)
            config = found.settings("http://127.0.0.1:9/v1", 1)
            found.run("collect", config, folder / "collecting.duckdb", "--force").check_returncode()
            shutil.move(folder / "collecting.duckdb", found.collected)
        return found

    @property
    def collected(self) -> Path:
        """The database with the evidence and nothing else."""
        return self.folder / "collected.duckdb"

    def database(self, name: str) -> Path:
        """A fresh copy of it."""
        path = self.folder / f"{name}.duckdb"
        for old in self.folder.glob(f"{name}.duckdb*"):
            old.unlink()
        shutil.copy(self.collected, path)
        return path

    def settings(
        self,
        base_url: str,
        n_features: int,
        *,
        in_flight: int = 64,
        tiles_per_prompt: int = 30,
        llm: str = "",
        extra: str = "",
        name: str = "settings",
    ) -> Path:
        """A settings file for a server."""
        path = self.folder / f"{name}.toml"
        text = _SETTINGS.format(
            folder=self.folder,
            base_url=base_url,
            in_flight=in_flight,
            tiles_per_prompt=tiles_per_prompt,
            llm=llm,
            extra=extra,
            last=n_features - 1,
        )
        path.write_text(text, encoding="utf-8")
        return path

    def start(self, *arguments: object) -> Command:
        """Start the command line; what it prints goes into a file, so that it never waits for a reader."""
        environment = os.environ | {"OPENAI_API_KEY": KEY, "OMP_NUM_THREADS": "1"}
        output = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed by `finished`)
        command = [sys.executable, "-c", _CLI, *map(str, arguments)]
        return Command(subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment), output)

    def run(self, command: str, config: Path, db: Path, *options: object) -> "subprocess.CompletedProcess[str]":
        """Run a command of the command line on a database."""
        return self.finished(self.start(command, config, "--db", db, *options))

    def finished(self, command: Command) -> "subprocess.CompletedProcess[str]":
        """Wait for the command line."""
        command.process.wait()
        with command.output:
            command.output.seek(0)
            return subprocess.CompletedProcess(command.process.args, command.process.returncode, command.output.read(), "")


def rows(db: Path, sql: str) -> list[tuple[object, ...]]:
    """What a query says."""
    with duckdb.connect(str(db), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def entries(log: Path) -> list[dict[str, object]]:
    """The entries of a server's log."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def last_lines(output: str, n: int = 3) -> Sequence[str]:
    """The end of what a command printed."""
    return output.strip().splitlines()[-n:]
