"""A planted API key, repeated by the server wherever it can, searched for in everything a run leaves behind.

    python -m tests.benchmarks.keys

Looks into the database (every column of every table, and the raw bytes), the journal of a killed run, logs at the highest level, the
reports and a traceback; exits 1 if the key is anywhere.
"""

import argparse
import sys
import time
from pathlib import Path

from tests.benchmarks.measuring import show
from tests.benchmarks.worlds import KEY, World, rows
from tests.servers.options import Options
from tests.servers.processes import running

MIX = "500=0.05,429=0.03,malformed=0.02,refusal=0.03,truncation=0.02,sticky_500=0.02"


def main(folder: Path, n_features: int) -> int:
    """In how many places the key was found."""
    world = World.at(folder)
    db = world.database("keys")
    seen: list[tuple[str, bytes]] = []
    options = Options(latency=0.02, faults=MIX, key=KEY, echo_key=True)
    with running(options) as server:
        config = world.settings(server.base_url, n_features, llm="keep_requests = true", name="keys")
        killed = world.start("-vv", "run", config, "--db", db, "--yes", "--force")
        while killed.runs and not db.with_name(db.name + ".inflight").exists():
            time.sleep(0.05)
        time.sleep(1.5)  # in the midst of its requests
        killed.kill()
        seen.append(("log of a killed run (-vv)", world.finished(killed).stdout.encode()))
        seen += [(path.name, path.read_bytes()) for path in world.folder.glob("keys.duckdb*")]
        seen.append(
            (
                "log of a run (-vv)",
                world.finished(world.start("-vv", "run", config, "--db", db, "--yes", "--force")).stdout.encode(),
            )
        )
    with running(Options(key="another-key-than-the-planted-one", echo_key=True)) as server:
        config = world.settings(server.base_url, n_features, name="keys", llm='name = "elsewhere"')
        refused = world.run("label", config, world.database("refused"), "--yes")
        seen.append(("message of a refused key", refused.stdout.encode()))
    for kind in ("html", "md", "csv", "jsonl"):
        out = world.folder / f"keys-report.{kind}"
        world.finished(world.start("report", "--db", db, "--format", kind, "--out", out)).check_returncode()
        seen.append((out.name, out.read_bytes()))
    seen += [(path.name, path.read_bytes()) for path in world.folder.glob("keys.duckdb*")]
    tables = rows(db, "SELECT table_name FROM duckdb_tables() ORDER BY ALL")
    seen += [(f"table {table}", repr(rows(db, f"SELECT * FROM {table}")).encode()) for (table,) in tables]
    found: list[list[object]] = [[name, len(text), text.count(KEY.encode())] for name, text in seen]
    blots = sum(text.count(b"[key]") for _, text in seen)
    show("where the key was looked for", ["place", "bytes", "times the key"], found)
    sys.stdout.write(f"blotted out {blots:,} times\n")
    return sum(int(str(times)) for *_, times in found)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-world"))
    parser.add_argument("--features", type=int, default=10)
    given = parser.parse_args()
    sys.exit(main(given.folder.absolute(), given.features) > 0)
