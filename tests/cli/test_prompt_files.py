import pytest
from typer.testing import CliRunner

from autolabel import prompts
from autolabel.cli import app
from autolabel.errors import PromptError


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["prompts", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_list_names_every_file_with_its_hash() -> None:
    lines = run("list").splitlines()
    assert len(lines) == len(prompts.list_prompts())
    assert f"explain.v1\t{prompts.load('explain', 1).prompt_hash}" in lines


def test_show_prints_the_file_as_it_is() -> None:
    assert run("show", "explain", "--version", "1") == prompts.load("explain", 1).body
    with pytest.raises(PromptError, match=r"there is no prompt .explain\.v99"):
        run("show", "explain", "--version", "99")


def test_check() -> None:
    assert run("check") == f"{len(prompts.list_prompts())} prompt files are as released\n"
