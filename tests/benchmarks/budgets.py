"""Runs with less budget than they need: what the server charged, beside the budget.

    python -m tests.benchmarks.budgets --runs 20

Each of the seeded runs gets 40% of the tokens that `autolabel estimate` expects, 64 requests in flight, and a server with faults of another
seed; then the budget is raised and the rest is done. The server's log is what counts: tokens of every request that its model worked on,
answered or not.
"""

import argparse
import json
import sys
from pathlib import Path

from tests.benchmarks.measuring import show
from tests.benchmarks.worlds import World, rows
from tests.servers.log import summarise
from tests.servers.options import Options
from tests.servers.processes import running

MIX = "500=0.02,reset=0.02,429=0.02,malformed=0.01,wrong_count=0.02,refusal=0.01,truncation=0.01"
OUT_OF_BUDGET = 3


def main(folder: Path, n_features: int, n_runs: int, share: float) -> int:
    """How many runs crossed their budget, did not end as they should, or paid for anything twice."""
    world = World.at(folder)
    table: list[list[object]] = []
    wrong = 0
    for seed in range(n_runs):
        db, log = world.database("budget"), world.folder / "budget.log"
        log.unlink(missing_ok=True)
        with running(Options(latency=0.05, faults=MIX, seed=seed, log=log)) as server:
            config = world.settings(server.base_url, n_features, name="budget", llm='name = "loopback"')
            estimated = world.run("estimate", config, db, "--format", "json", "--exact")
            expected = tokens_of(json.loads(estimated.stdout))
            budget = int(share * expected)
            stopped = world.run("run", config, db, "--force", "--yes", "--max-tokens", budget)
            status = rows(db, "SELECT arg_max(status, started_utc) FROM runs")[0][0]
            charged = rows(db, "SELECT sum(charged_tokens) FROM llm_attempts")[0][0]
        half = summarise(log)
        with running(Options(latency=0.05, faults=MIX, seed=seed, log=log)) as server:
            config = world.settings(server.base_url, n_features, name="budget", llm='name = "loopback"')
            rest = world.run("run", config, db, "--force", "--yes", "--max-tokens", 10**9)
        whole = summarise(log)
        fine = half.charged_tokens <= budget and stopped.returncode == OUT_OF_BUDGET and status == "out_of_budget"
        fine = fine and rest.returncode == 0 and whole.paid_twice == 0
        wrong += not fine
        row = [seed, budget, half.charged_tokens, f"{half.charged_tokens / budget:.1%}", charged, stopped.returncode]
        table.append([*row, whole.requests - half.requests, whole.paid_twice, "yes" if fine else "NO"])
    header = ["seed", "budget, tokens", "charged by the server", "share", "charged by the ledger", "exit code"]
    show(
        f"{n_runs} runs with {share:.0%} of the estimate",
        [*header, "requests after raising", "paid twice", "as it should be"],
        table,
    )
    return wrong


def tokens_of(estimate: dict[str, object]) -> int:
    """Input and expected output tokens of everything to be done."""
    total = estimate["total"]
    assert isinstance(total, dict)
    return int(total["input_tokens"]) + int(total["output_tokens"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-world"))
    parser.add_argument("--features", type=int, default=30)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--share", type=float, default=0.4)
    given = parser.parse_args()
    sys.exit(main(given.folder.absolute(), given.features, given.runs, given.share))
