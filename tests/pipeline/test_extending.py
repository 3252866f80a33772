"""Text that is added to an evidence set, and the same command given again."""

import json
from pathlib import Path

import pytest

from autolabel.errors import NothingToAdd
from autolabel.pipeline.running import run_stages
from autolabel.store.connection import Database
from autolabel.store.reading import evidence_sets
from tests.pipeline import world


def test_the_same_command_adds_nothing_twice(built: Path, tmp_path: Path) -> None:
    db, more = tmp_path / "labels.duckdb", tmp_path / "more.jsonl"
    world.run(world.settings(built, db), world.Server(), ("collect",))
    (first,) = evidence_sets(Database(db))
    more.write_text("".join(json.dumps({"text": f"{text} and more of it"}) + "\n" for text in world.texts(40)))
    settings = world.settings(built, db, corpus={"sources": [{"path": str(more)}], "document_tokens": 200})
    run_stages(settings, ("collect",), world.Quiet(), command="test", force=True, extend="latest")
    (second,) = evidence_sets(Database(db)) - {first}
    watcher = world.Quiet()
    run_stages(settings, ("collect",), watcher, command="test", force=True, extend="latest")
    assert evidence_sets(Database(db)) == {first, second}
    assert watcher.said[-1] == f"evidence set {second[:12]} holds all of this text already"
    with pytest.raises(NothingToAdd):
        run_stages(settings, ("collect",), world.Quiet(), command="test", force=True, extend=second[:12])
