"""A run through the Batch API that is killed while it polls, and given again.

    python -m tests.benchmarks.batching --features 20

By the server's log: requests executed, executed twice, sent live because their item failed; then the database beside that of a live run.
"""

import argparse
import sys
import time
from pathlib import Path

from tests.benchmarks.measuring import show
from tests.benchmarks.worlds import World, rows
from tests.servers.log import summarise
from tests.servers.options import Options
from tests.servers.processes import running


def main(folder: Path, n_features: int) -> int:
    """0 when nothing was executed twice and the database is that of a live run."""
    world = World.at(folder)
    live, db, log = world.database("live"), world.database("batched"), world.folder / "batched.log"
    log.unlink(missing_ok=True)
    with running(Options(latency=0.01)) as server:
        config = world.settings(server.base_url, n_features, llm='name = "loopback"', name="live")
        world.run("run", config, live, "--yes", "--force").check_returncode()
    with running(Options(latency=0.01, batch_seconds=6, batch_fail=0.02, log=log)) as server:
        config = world.settings(server.base_url, n_features, llm='name = "loopback"', name="batched")
        for n_batches in (1, 2, 3):
            process = world.start("run", config, "--db", db, "--batch", "--yes", "--force")
            while process.runs and submissions(world) < n_batches:
                time.sleep(0.1)
            time.sleep(1.0)
            process.kill()
            output = world.finished(process).stdout.strip()
            sys.stdout.write(f"killed while batch {n_batches} was polled: {output.splitlines()[-1]}\n")
        last = world.run("run", config, db, "--batch", "--yes", "--force")
    sys.stdout.write(f"given again: exit {last.returncode}: {last.stdout.strip().splitlines()[-1]}\n")
    tally = summarise(log)
    batches = rows(db, "SELECT count(DISTINCT submission_id), sum(n_requests) FROM llm_batches")[0]
    via = rows(db, "SELECT via, status, count(*) FROM llm_attempts GROUP BY ALL ORDER BY ALL")
    show("the ledger", ["via", "status", "attempts"], [list(row) for row in via])
    table: list[list[object]] = [
        ["batches submitted", batches[0]],
        ["requests in them", batches[1]],
        ["usable answers of the server", tally.usable.total()],
        ["of these executed twice", tally.paid_twice],
    ]
    show("the server's log", ["", "n"], table)
    diff = world.finished(world.start("db", "diff", live, db))
    sys.stdout.write(f"db diff with a live run: exit {diff.returncode}: {diff.stdout.strip()}\n")
    return tally.paid_twice + diff.returncode + last.returncode


def submissions(world: World) -> int:
    """Batches that the endpoint has taken, by the journal and the database of the run."""
    waiting = sum(path.read_bytes().count(b'"status": "submitted"') for path in world.folder.glob("batched.duckdb.journal*"))
    try:
        stored = rows(world.folder / "batched.duckdb", "SELECT count(*) FROM llm_batch_events WHERE status = 'submitted'")[0][0]
    except Exception:  # the run is writing, or has not made the table yet
        stored = 0
    return waiting + int(str(stored))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-world"))
    parser.add_argument("--features", type=int, default=20)
    given = parser.parse_args()
    sys.exit(main(given.folder.absolute(), given.features) > 0)
