"""The whole benchmark on its own text with the shipped replies: what the leaderboard says still holds."""

import json
from pathlib import Path

import pytest

from autolabel import parts
from autolabel.config import TruthSettings
from autolabel.resources import resource_dir
from autolabel.store.connection import Database
from autolabel.store.maintenance import check, diff
from autolabel.truth import leaderboard
from autolabel.truth.features import FAMILIES
from autolabel.truth.running import run_bench

SHIPPED = resource_dir("data") / "truthbench"
MOST_BYTES = 10_000_000

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def _parts() -> None:
    parts.fetch(parts.NEEDED_BY["autolabel bench truth"], lambda _: None)


def settings(db: Path, **given: object) -> TruthSettings:
    return TruthSettings.model_validate({"db": str(db), "families": list(FAMILIES), **given})


def test_the_leaderboard_holds(tmp_path: Path) -> None:
    replies = SHIPPED / "replies.jsonl.xz"
    assert replies.stat().st_size < MOST_BYTES
    results = run_bench(settings(tmp_path / "truth.duckdb", replies=str(replies)), lambda _: None)
    assert leaderboard.differences(SHIPPED / "leaderboard.json", results) == []
    before = json.loads((SHIPPED / "leaderboard.json").read_text(encoding="utf-8"))
    now = leaderboard.as_json(results)
    assert {part: set(now[part]) for part in ("labelers", "scorers")} == {
        part: set(before[part]) for part in ("labelers", "scorers")
    }
    assert all(now[part] for part in ("coverage", "discoveries", "costs", "leak"))
    assert check(Database(tmp_path / "truth.duckdb")) == []


def test_two_builds_are_the_same_and_another_seed_has_no_feature_in_common(tmp_path: Path) -> None:
    features = []
    for name, seed in (("one", 0), ("other", 0), ("second", 1)):
        built = settings(tmp_path / f"{name}.duckdb", seed=seed, labelers=["oracle"], scorers=[], checks=False)
        results = run_bench(built, lambda _: None)
        found = [feature for feature in results.built.features if feature.family != "null"]
        features.append({(feature.family, feature.candidate.key) for feature in found})
    assert diff(tmp_path / "one.duckdb", tmp_path / "other.duckdb") == []
    assert len(features[0]) == 188
    assert features[0] == features[1]
    assert features[2]
    assert not features[0] & features[2]
