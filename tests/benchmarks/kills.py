"""A run that is killed (SIGKILL) at random moments and given again each time, beside one that is not.

    python -m tests.benchmarks.kills --features 60

By the server's own log: requests answered usably more than once, beside those in flight at the kills; and `autolabel db diff`.
"""

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tests.benchmarks.measuring import show
from tests.benchmarks.worlds import World, rows
from tests.servers.log import Tally, summarise
from tests.servers.options import Options
from tests.servers.processes import running

MIX = "500=0.02,reset=0.01,429=0.01,wrong_count=0.02,refusal=0.02,truncation=0.02"
_LOST = "SELECT count(*) FROM llm_attempts WHERE error LIKE 'the process ended while this request was in flight%'"
_WRITTEN_WITHIN_S = 0.7
"""The server writes its log every half second."""


def main(folder: Path, n_features: int, n_kills: int, seed: int, latency_s: float) -> int:
    """Make both runs; 0 when nothing but what was in flight was paid for twice and the databases are the same."""
    world = World.at(folder)
    whole, broken = world.database("whole"), world.database("broken")
    options = Options(latency=latency_s, faults=MIX, seed=seed)
    unbroken, _ = make(world, options, whole, n_features, [])
    generator = random.Random(seed)
    moments = sorted(generator.randrange(1, unbroken.requests) for _ in range(n_kills))
    killed, kills = make(world, options, broken, n_features, moments)
    show("kills", ["planned after request", "requests so far", "cut off in flight", "paid twice so far"], kills)
    lost = int(str(rows(broken, _LOST)[0][0]))
    counted: list[list[object]] = [
        ["usable answers, unbroken", unbroken.usable.total()],
        ["usable answers, killed", killed.usable.total()],
        ["of these paid twice, unbroken", unbroken.paid_twice],
        ["of these paid twice, killed", killed.paid_twice],
        ["cut off in flight, by the server", sum(int(str(kill[2])) for kill in kills)],
        ["lost in flight, by the ledger", lost],
    ]
    show("requests", ["", "n"], counted)
    checks = [world.finished(world.start("db", "diff", whole, broken)), world.finished(world.start("db", "check", "--db", broken))]
    for name, check in zip(("db diff", "db check"), checks, strict=True):
        sys.stdout.write(f"{name}: exit {check.returncode}: {check.stdout.strip()}\n")
    return int(killed.paid_twice > lost) + sum(check.returncode != 0 for check in checks)


def make(world: World, options: Options, db: Path, n_features: int, moments: Sequence[int]) -> tuple[Tally, list[list[object]]]:
    """Run to the end, killed once so many requests are in the server's log; its tally at the end and at each kill."""
    log = db.with_suffix(".log")
    log.unlink(missing_ok=True)
    kills: list[list[object]] = []
    with running(replace(options, log=log)) as server:
        config = world.settings(server.base_url, n_features, llm='name = "loopback"', name=db.stem)
        for moment in moments:
            process = world.start("run", config, "--db", db, "--yes", "--force")
            while process.runs and n_lines(log) < moment:
                time.sleep(0.05)
            process.kill()
            world.finished(process)
            time.sleep(_WRITTEN_WITHIN_S)
            tally = summarise(log)
            cut_off = tally.by_status["gone"] - sum(int(str(kill[2])) for kill in kills)
            kills.append([moment, tally.requests, cut_off, tally.paid_twice])
        last = world.run("run", config, db, "--yes", "--force")
        if last.returncode:
            raise RuntimeError(last.stdout)
    return summarise(log), kills


def n_lines(log: Path) -> int:
    """Requests in a log."""
    return log.read_bytes().count(b"\n") if log.exists() else 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-world"))
    parser.add_argument("--features", type=int, default=60)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--latency", type=float, default=0.1)
    given = parser.parse_args()
    sys.exit(main(given.folder.absolute(), given.features, given.kills, given.seed, given.latency))
