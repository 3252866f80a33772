"""How much is under way at once, and which LLM is asked what."""

import json
from pathlib import Path
from typing import Any

import httpx2
import pytest

from autolabel.pipeline.stages import BATCH_FEATURES, features_at_once
from autolabel.store.connection import Database
from autolabel.store.maintenance import check
from tests.pipeline import world
from tests.pipeline.test_end_to_end import one, rows


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"llm": None}, 1),
        ({"llm": {"model": "m", "max_concurrency": 6}}, 6),
        ({"llm": {"model": "m", "max_concurrency": 6, "base_url": ["http://a/v1", "http://b/v1"]}}, 12),
        ({"llm": {"model": "m", "max_concurrency": 6}, "judge": {"model": "j", "max_concurrency": 9}}, 9),
        ({"llm": None, "judge": {"model": "j", "max_concurrency": 9}}, 9),
        ({"llm": {"model": "m", "batch": True}}, BATCH_FEATURES),
    ],
)
def test_as_many_features_are_worked_on_as_the_busier_llm_takes_requests(changes: dict[str, Any], expected: int) -> None:
    assert features_at_once(world.settings(Path("folder"), Path("db"), **changes)) == expected


def test_one_llm_proposes_and_another_judges(built: Path, collected: Path) -> None:
    judge = {"base_url": "http://judge.test/v1", "model": "judge", "tiles_per_prompt": 20, "max_concurrency": 4}
    asked: list[tuple[str, str, str]] = []

    class Two(world.Server):
        def __call__(self, request: httpx2.Request) -> httpx2.Response:
            if not request.url.path.endswith("/models"):
                body = json.loads(request.content)
                proposes = body["messages"][-1]["content"].startswith("Fires:")
                asked.append((request.url.host, body["model"], "proposes" if proposes else "judges"))
            return super().__call__(request)

    world.run(world.settings(built, collected, features="0-1", judge=judge), Two())
    assert set(asked) == {("llm.test", "fake", "proposes"), ("judge.test", "judge", "judges")}
    assert rows(collected, "SELECT DISTINCT model_requested FROM labels WHERE method = 'explain'") == [("fake",)]
    assert rows(collected, "SELECT DISTINCT judge FROM scores WHERE scorer IN ('detection', 'fuzzing')") == [("judge",)]
    assert one(collected, "SELECT count(*) FROM feature_labels WHERE label_score IS NOT NULL") > 0
    assert check(Database(collected)) == []
