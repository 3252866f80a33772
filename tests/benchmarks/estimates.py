"""What `autolabel estimate` says beside what the run then takes: calls and input tokens, by stage.

    python -m tests.benchmarks.estimates --features 40

Three times on the same features: with the server counting tokens, with the default ratio alone, and for `score` once labels are chosen.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import show
from tests.benchmarks.worlds import World, rows
from tests.servers.options import Options
from tests.servers.processes import running

_ACTUAL = "SELECT stage, count(*), sum(prompt_tokens) FROM llm_attempts WHERE status = 'ok' GROUP BY ALL"


def main(folder: Path, n_features: int) -> int:
    """How many lines are not as they should be."""
    world = World.at(folder)
    wrong = 0
    for tokenize in (True, False):
        with running(Options(latency=0.005, tokenize=tokenize)) as server:
            db = world.database("estimates")
            config = world.settings(server.base_url, n_features, name="estimates", extra='[label]\nlabelers = ["explain"]\n')
            before = estimated(world, config, db)
            world.run("run", config, db, "--yes", "--force").check_returncode()
            counted = "the server counts" if tokenize else "the default ratio"
            wrong += compare(f"explain alone, {counted}", before, actual(db), 0.05 if tokenize else None)
    with running(Options(latency=0.005)) as server:
        db = world.database("estimates")
        config = world.settings(server.base_url, n_features, name="estimates")
        before = estimated(world, config, db)
        world.run("label", config, db, "--yes").check_returncode()
        labelled = actual(db)
        half_way = estimated(world, config, db)
        world.run("score", config, db, "--yes").check_returncode()
        whole = actual(db)
        compare("explain and lexical, from the start (at most: lexical labels that are chosen need fewer)", before, whole, None)
        rest = {stage: tuple(now - labelled.get(stage, (0, 0))[i] for i, now in enumerate(found)) for stage, found in whole.items()}
        wrong += compare("the same, once labels are chosen", half_way, {s: (c, t) for s, (c, t) in rest.items() if c}, 0.05)
    return wrong


def estimated(world: World, config: Path, db: Path) -> dict[str, dict[str, Any]]:
    """The estimate, by stage."""
    said = world.run("estimate", config, db, "--format", "json", "--exact")
    said.check_returncode()
    return {row["stage"]: row for row in json.loads(said.stdout)["rows"]}


def actual(db: Path) -> dict[str, tuple[int, int]]:
    """Calls and input tokens that were answered, by stage."""
    return {str(stage): (int(str(n)), int(str(tokens))) for stage, n, tokens in rows(db, _ACTUAL)}


def compare(title: str, before: dict[str, dict[str, Any]], after: dict[str, tuple[int, int]], within: float | None) -> int:
    """Print both; how many stages are wrong: calls that differ, tokens beyond `within` or else beyond the stated error."""
    table: list[list[object]] = []
    wrong = 0
    for stage in sorted(before.keys() | after.keys(), key=list(before).index):
        said, (calls, tokens) = before[stage], after.get(stage, (0, 0))
        off = said["input_tokens"] / tokens - 1 if tokens else 0.0
        stated = said["input_error"] / said["input_tokens"]
        fine = said["calls"] == calls and abs(off) <= (stated + 1e-9 if within is None else within)
        wrong += not fine
        table.append([stage, said["calls"], calls, round(said["input_tokens"]), tokens, f"{off:+.2%}", f"± {stated:.1%}"])
    header = ["stage", "calls said", "calls made", "input tokens said", "input tokens", "off by", "stated error"]
    show(title, header, table)
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("benchmark-world"))
    parser.add_argument("--features", type=int, default=40)
    given = parser.parse_args()
    sys.exit(main(given.folder.absolute(), given.features) > 0)
