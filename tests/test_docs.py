"""The README says what the program does: every command is in it, and its SQL runs."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from autolabel.cli import app
from autolabel.store.sandbox import query
from tests.store.builders import make_database

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
SQL = re.findall(r"^```sql\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def commands(group: Any, *above: str) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *above, name)
        else:
            yield " ".join([*above, name]), command


ROOT = typer.main.get_command(app)
COMMANDS = dict(commands(ROOT))


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_is_in_the_readme(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert all(getattr(parameter, "help", None) for parameter in command.params), f"an option of '{name}' has no help"
    group, _, own = name.rpartition(" ")
    in_table = own and re.search(rf"^\| `autolabel {group}` \|.*`{own}`", README, re.MULTILINE)
    assert in_table or re.search(rf"\bautolabel {name}\b", README), f"README.md does not mention `autolabel {name}`"


def test_the_readme_mentions_no_command_that_does_not_exist() -> None:
    typed = re.findall(r"(?:^ {4}(?:\S+/)?|`)autolabel ([a-z]+)", README, re.MULTILINE)
    assert typed
    assert set(typed) <= {name.split()[0] for name in COMMANDS}


@pytest.mark.parametrize("number", range(len(SQL)))
def test_the_readmes_sql_runs(number: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    db = make_database(tmp_path_factory.mktemp("readme"))
    for statement in filter(None, (part.strip() for part in SQL[number].split(";"))):
        query(db, statement)


def test_the_readme_shows_sql() -> None:
    assert len(SQL) >= 3
