"""Many features through label and score against a server that fails in every way, while somebody else reads the database.

    python -m tests.benchmarks.faults --features 500

Prints the mix of faults and what became of everything; exits 1 if a feature has no row, the ledger and the server disagree, or
anything that failed has a score.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.measuring import show
from tests.benchmarks.worlds import World, last_lines, rows
from tests.servers.log import Tally, summarise
from tests.servers.options import Options
from tests.servers.processes import running

MIX = (
    "429=0.04,429_retry_after=0.04,500=0.05,hang=0.002,reset=0.03,malformed=0.03,"
    "wrong_count=0.03,non_json=0.02,refusal=0.03,truncation=0.03,sticky_500=0.0005,refuse_param=response_format"
)
_READER = "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True); print('reading', flush=True); sys.stdin.read()"
CHECKS = (
    ("selected features without a row in feature_labels", "SELECT {n} - count(*) FROM feature_labels WHERE feature_index < {n}"),
    ("features still pending", "SELECT count(*) FROM feature_labels WHERE feature_index < {n} AND status = 'pending'"),
    ("failed labels with text", "SELECT count(*) FROM labels WHERE (status = 'ok') <> (text IS NOT NULL)"),
    ("failed labels that were chosen", "SELECT count(*) FROM choices JOIN labels USING (label_id) WHERE labels.status <> 'ok'"),
    ("failed answers with a value", "SELECT count(*) FROM predictions WHERE (status = 'ok') <> (value IS NOT NULL)"),
    (
        "scores that count failed answers",
        "SELECT count(*) FROM scores s JOIN (SELECT label_id, feature_index, scorer, config_hash, split, "
        "count(*) FILTER (status <> 'ok') AS failed, count(*) FILTER (status = 'ok') AS ok FROM predictions GROUP BY ALL) p "
        "USING (label_id, feature_index, scorer, config_hash, split) "
        "WHERE s.metric IN ('label_score', 'auroc') AND (s.n_failed <> p.failed OR (s.value IS NOT NULL AND s.n <> p.ok))",
    ),
)
"""What must be 0 in the database of `n` features."""


@contextmanager
def read_meanwhile(db: Path) -> Iterator[None]:
    """Another process that holds the database open."""
    with subprocess.Popen(
        [sys.executable, "-c", _READER, str(db)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        if reader.stdout.readline().strip() != "reading":
            raise RuntimeError("the reader could not open the database")
        yield
        reader.terminate()


def main(folder: Path, n_features: int, seed: int) -> int:
    """Run it all and print what came of it; how many checks failed."""
    world = World.at(folder, max(520, n_features + 20))
    db, log = world.database("faults"), world.folder / "faults.log"
    log.unlink(missing_ok=True)
    with running(Options(latency=0.01, faults=MIX, seed=seed, log=log)) as server:
        config = world.settings(server.base_url, n_features)
        with read_meanwhile(db):
            made = world.run("run", config, db, "--force", "--yes")
            waiting = sum(path.stat().st_size for path in world.folder.glob("faults.duckdb.journal*"))
        n_requests = summarise(log).requests
        again = world.run("run", config, db, "--force", "--yes")
    tally = summarise(log)
    for command, run in (("run", made), ("run again", again)):
        sys.stdout.write(f"{command}: exit {run.returncode}; " + " | ".join(last_lines(run.stdout, 2)) + "\n")
    sys.stdout.write(f"requests of the second run: {tally.requests - n_requests}\n")
    sys.stdout.write(f"waiting in the journal when the reader left: {waiting / 1e6:.1f} MB\n")
    show_mix(tally)
    return show_outcome(db, n_features, tally)


def show_mix(tally: Tally) -> None:
    """What the server did."""
    show("the server's answers", ["status", "requests"], sorted(([str(s), n] for s, n in tally.by_status.items()), key=str))
    show("faults among them", ["fault", "requests"], sorted([fault, n] for fault, n in tally.by_fault.items()))


def show_outcome(db: Path, n_features: int, tally: Tally) -> int:
    """What the database says; how many checks failed."""
    ledger = rows(db, "SELECT status, coalesce(http_status::VARCHAR, 'none'), count(*) FROM llm_attempts GROUP BY ALL ORDER BY ALL")
    show("the ledger", ["status", "HTTP status", "attempts"], [list(row) for row in ledger])
    status = f"SELECT status, count(*) FROM feature_labels WHERE feature_index < {n_features} GROUP BY ALL ORDER BY ALL"
    show("features", ["status", "features"], [list(row) for row in rows(db, status)])
    for table in ("labels", "predictions"):
        found = rows(db, f"SELECT status, count(*) FROM {table} GROUP BY ALL ORDER BY ALL")
        show(table, ["status", "rows"], [list(row) for row in found])
    n_attempts = int(str(rows(db, "SELECT count(*) FROM llm_attempts WHERE via = 'live'")[0][0]))
    failed: list[list[object]] = [["requests in the server's log, less attempts in the ledger", tally.requests - n_attempts]]
    failed += [[what, rows(db, sql.format(n=n_features))[0][0]] for what, sql in CHECKS]
    show("checks, each of which must be 0", ["check", "found"], failed)
    return sum(bool(found) for _, found in failed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-world"))
    parser.add_argument("--features", type=int, default=500)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    sys.exit(main(given.folder.absolute(), given.features, given.seed) > 0)
