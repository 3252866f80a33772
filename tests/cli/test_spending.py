"""`estimate`, `spend` and asking before spending: what is printed, who is asked, and how a run ends whose budget is used up."""

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from autolabel.cli.estimating import By, ask_before_spending
from autolabel.cli.overriding import settings_with
from autolabel.config import BudgetSettings
from autolabel.errors import ConfigError
from autolabel.pipeline.costs import CostEstimate, CostRow
from tests.cli.commands import Make, Shell
from tests.pipeline import world
from tests.servers.options import Options
from tests.servers.processes import running

DEAR = '[[price]]\nmodel = "fake"\ninput_usd = 100.0\noutput_usd = 100.0\n'


@pytest.fixture(scope="module")
def _collected(built: Path) -> Path:
    db = built / "collected.duckdb"
    world.run(world.settings(built, db), world.Server(), ("collect",))
    return db


@pytest.fixture
def collected(_collected: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(_collected, tmp_path / "labels.duckdb"))


@pytest.fixture(scope="module")
def base_url() -> Iterator[str]:
    with running(Options(tokenize=True)) as server:
        yield server.base_url


@pytest.fixture
def config(make: Make, collected: Path, base_url: str, tmp_path: Path) -> Callable[..., Path]:
    """Settings for the server, with a price of 100 USD per million tokens."""
    prices = tmp_path / "prices.toml"
    prices.write_text(DEAR)

    def write(**changes: Any) -> Path:
        llm = {"base_url": base_url, "model": "fake", "tiles_per_prompt": 15}
        usual = {"llm": llm, "budget": {"prices": str(prices)}, "select": {"features": "1-2"}, "score": {"nulls": 1}}
        return make(**(usual | changes))

    return write


def count(db: Path, table: str) -> int:
    with duckdb.connect(str(db), read_only=True) as connection:
        ((n,),) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(n)


def test_the_table_says_where_every_number_comes_from(shell: Shell, config: Callable[..., Path], collected: Path) -> None:
    code, out, err = shell("estimate", config())
    assert (code, err) == (0, "")
    for said in ("probe", "calibrate", "label", "validate", "score", "all", "$", "± "):
        assert said in out
    for source in ("Input tokens: counted by the server", "Output tokens: assumed", "Prices: your price file", "time unknown"):
        assert source in out
    assert count(collected, "llm_attempts") == 0


def test_json_is_for_other_programs(shell: Shell, config: Callable[..., Path]) -> None:
    code, out, _ = shell("estimate", config(), "--format", "json", "--batch", "--features", "3")
    found = json.loads(out)
    assert code == 0
    assert (found["n_features"], found["n_looked_at"]) == (1, 1)
    assert found["total"]["calls"] == sum(row["calls"] for row in found["rows"]) > 10
    assert found["total"]["usd"] == pytest.approx(sum(row["usd"] for row in found["rows"]))
    assert {row["model"] for row in found["rows"]} == {"fake"}


def test_another_model_and_judge_can_be_asked_about(shell: Shell, config: Callable[..., Path]) -> None:
    _, out, _ = shell("estimate", config(), "--format", "json", "--llm-model", "a", "--judge-model", "b")
    rows = json.loads(out)["rows"]
    assert {row["stage"] for row in rows if row["model"] == "a"} == {"probe", "label"}
    assert {row["stage"] for row in rows if row["model"] == "b"} == {"probe", "calibrate", "validate", "score"}
    assert all(row["usd"] is None for row in rows)
    _, table, _ = shell("estimate", config(), "--llm-model", "a", "--judge-model", "b")
    assert "price unknown" in table


def test_without_evidence_it_says_how_to_get_some(shell: Shell, make: Make) -> None:
    assert "`autolabel collect` with these settings asks no LLM" in shell.refused("estimate", make())


# Asking before spending


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_run_that_costs_much_is_refused_where_nobody_can_be_asked(
    shell: Shell, config: Callable[..., Path], collected: Path
) -> None:
    said = shell.refused("label", config())
    assert "this may cost $" in said
    assert "more than budget.ask_above_usd = 1; pass --yes" in said
    assert count(collected, "llm_attempts") == 0


def test_somebody_at_the_terminal_is_asked(
    shell: Shell, config: Callable[..., Path], collected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    code, _, err = shell("label", config())
    assert code == 1
    assert "estimate: " in err
    assert "Go on? [y/N]" in err
    assert "nothing was asked of an LLM" in err
    assert count(collected, "llm_attempts") == 0
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    code, out, _ = shell("label", config())
    assert (code, out) == (0, f"2 of 2 features labelled, 0 without a label, in {collected}\n")


def test_yes_skips_the_question_and_the_rest_is_known_to_be_little(shell: Shell, config: Callable[..., Path]) -> None:
    code, out, err = shell("run", config(), "--force", "--yes")
    assert code == 0, err
    assert "estimate: " in err
    assert "2 of 2 features labelled" in out
    code, out, err = shell("run", config(), "--force")
    assert code == 0, err
    assert "estimate: " not in err


def test_a_budget_that_is_used_up_has_its_own_exit_code_and_the_same_command_goes_on(
    shell: Shell, config: Callable[..., Path], collected: Path
) -> None:
    code, out, err = shell("label", config(), "--max-calls", "20", "--yes")
    assert (code, out) == (3, "")
    assert "raise --max-calls" in err
    assert "Traceback" not in err
    assert count(collected, "llm_attempts") == 20
    code, _, err = shell("label", config(), "--max-usd", "0.9")
    assert code == 3, "a limit below what would be asked about is agreed to"
    assert "raise --max-usd" in err
    assert shell("label", config(), "--yes")[0] == 0


def row(**changes: Any) -> CostRow:
    usual: dict[str, Any] = {
        "stage": "label",
        "endpoint_id": "https://llm.example.org/v1",
        "model": "m",
        "is_own": False,
        "calls": 10,
        "calls_error": 0,
        "input_tokens": 900.0,
        "input_error": 9.0,
        "input_source": "",
        "output_tokens": 100.0,
        "output_source": "",
        "worst_output_tokens": 200.0,
        "usd": None,
        "worst_usd": None,
        "price_source": "unknown",
        "seconds": None,
    }
    return CostRow(**(usual | changes))


@pytest.mark.parametrize(
    ("rows", "budget", "much"),
    [
        ([row()], {"ask_above_tokens": 1000}, None),
        ([row()], {"ask_above_tokens": 999}, "about 1,000 tokens at an unknown price"),
        ([row()], {"ask_above_tokens": 999, "max_tokens": 500}, None),
        ([row(is_own=True)], {"ask_above_tokens": 0}, None),
        ([row(usd=1.5)], {"ask_above_usd": 1.0}, r"this may cost \$1\.50"),
        ([row(usd=1.5)], {"ask_above_usd": 1.5}, None),
        ([row(usd=1.5)], {"ask_above_usd": 1.0, "max_usd": 1.0}, None),
        ([row(usd=1.5, is_own=True)], {"ask_above_usd": 1.0}, r"this may cost \$1\.50"),
        ([row(usd=0.1), row()], {"ask_above_usd": 1.0, "ask_above_tokens": 10}, "about 1,000 tokens"),
        ([], {"ask_above_usd": 0, "ask_above_tokens": 0}, None),
    ],
)
def test_who_is_asked(rows: list[CostRow], budget: dict[str, Any], much: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    found, limits = CostEstimate(tuple(rows), 5, 5), BudgetSettings(**budget)
    ask_before_spending(found, limits, yes=True)
    if much is None:
        ask_before_spending(found, limits, yes=False)
    else:
        with pytest.raises(ConfigError, match=much):
            ask_before_spending(found, limits, yes=False)


# Spending


def test_spending_is_added_up_by_everything(shell: Shell, config: Callable[..., Path], collected: Path) -> None:
    assert shell("label", config(), "--yes")[0] == 0
    with duckdb.connect(str(collected), read_only=True) as connection:
        ((calls, tokens, usd),) = connection.execute(
            "SELECT count(*), sum(prompt_tokens), sum(cost_usd) FROM llm_attempts"
        ).fetchall()
    assert usd > 1
    groups = {"run": 1, "stage": 4, "model": 1, "feature": 3, "day": 1}
    for by, n in groups.items():
        code, out, _ = shell("spend", "--by", by, "--db", collected, "--format", "json")
        rows = json.loads(out)
        assert (code, len(rows)) == (0, n), by
        assert sum(row["n_attempts"] for row in rows) == calls
        assert sum(row["prompt_tokens"] for row in rows) == tokens
        assert sum(row["cost_usd"] for row in rows) == pytest.approx(usd)
        assert {"cached_tokens", "n_unpriced", "charged_tokens"} <= rows[0].keys()
    assert set(groups) == set(By)
    code, out, _ = shell("spend", "--db", collected)
    assert "validate" in out
    assert shell("spend", "--db", collected, "--format", "csv")[1].startswith('"stage","n_attempts"')


# Options


def test_options_win_over_the_file(make: Make) -> None:
    found = settings_with(
        make(judge={"model": "judge", "tiles_per_prompt": 7}),
        db=Path("x.duckdb"),
        features="1-3",
        sample=5,
        where=None,
        llm_model="m",
        seed=7,
        max_usd=0.0,
        max_calls=9,
        batch=True,
        keep_requests=False,
        judge_base_url="http://judge.test/v1",
    )
    assert (found.db, found.select.features, found.select.sample, found.seed) == ("x.duckdb", "1-3", 5, 7)
    assert (found.budget.max_usd, found.budget.max_calls, found.budget.max_tokens) == (0.0, 9, None)
    assert found.llm is not None
    assert found.judge is not None
    assert (found.llm.model, found.llm.batch, found.llm.keep_requests) == ("m", True, False)
    assert (found.judge.model, found.judge.base_url, found.judge.tiles_per_prompt) == ("judge", "http://judge.test/v1", 7)
    assert found.judge.batch


def test_a_judge_given_by_name_only_is_asked_where_the_labeler_is(make: Make) -> None:
    llm = {"base_url": "http://llm.test/v1", "name": "home", "model": "small", "tiles_per_prompt": 3}
    named = settings_with(make(llm=llm), judge_model="big").judge
    assert named is not None
    assert (named.model, named.base_url, named.name, named.tiles_per_prompt) == ("big", "http://llm.test/v1", "home", 3)
    moved = settings_with(make(llm=llm), judge_base_url="http://other.test/v1").judge
    assert moved is not None
    assert (moved.model, moved.base_url, moved.name) == ("small", "http://other.test/v1", None)


def test_a_judge_without_a_model_is_refused(make: Make) -> None:
    with pytest.raises(ConfigError, match="--judge-base-url needs --judge-model"):
        settings_with(make(llm=None), judge_base_url="http://judge.test/v1")
    only = settings_with(make(llm=None), judge_base_url="http://judge.test/v1", judge_model="m")
    assert only.llm is None
    assert only.judge is not None
    assert only.judge.model == "m"
