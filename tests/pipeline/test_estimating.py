"""The estimate against what a run then asks: calls exact, tokens within what is stated; and what it leaves alone."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import pytest

from autolabel.config import BudgetSettings, FeatureSelection, Settings
from autolabel.errors import BudgetExceeded, ConfigError, StoreLocked
from autolabel.evidence.sae import native
from autolabel.llm.server_counter import ServerCounter
from autolabel.local.tokenizing import TokenizerCounter
from autolabel.pipeline import costing, estimating
from autolabel.pipeline.costs import CostEstimate
from autolabel.pipeline.estimating import estimate_remaining, estimate_settings, evidence_at_hand
from autolabel.pipeline.running import run_stages
from autolabel.records import Message
from autolabel.store.connection import Database
from autolabel.store.run_store import RunStore
from tests.pipeline import world
from tests.pipeline.world import Server
from tests.servers.log import Tally, summarise
from tests.servers.options import Options
from tests.servers.processes import running

STAGES = ("label", "score")
EXPLAIN = {"labelers": ["explain"]}
"""Where words alone make labels too, one of those may be chosen, and then fewer calls are needed."""


@dataclass
class Scene:
    """A database with evidence, and a server that answers in a process of its own."""

    folder: Path
    db: Path
    base_url: str
    log: Path

    def settings(self, **changes: Any) -> Settings:
        """Settings for this server; `llm` and `judge` change some of its settings, other changes replace whole tables."""
        llm = {"base_url": self.base_url, "model": "fake", "max_concurrency": 4, "tiles_per_prompt": 15}
        for name in {"llm", *changes} & {"llm", "judge"}:
            changes[name] = llm | changes.get(name, {})
        usual = {"label": EXPLAIN, "score": {"nulls": 1}, "select": {"features": "0-2"}}
        return world.settings(self.folder, self.db, **(usual | changes))

    def run(self, settings: Settings, stages: tuple[Any, ...] = STAGES) -> None:
        run_stages(settings, stages, world.Quiet(), command="test")

    def asked(self) -> Tally:
        """What the server was asked up to now; its log is whole once it has stopped."""
        return summarise(self.log)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        with duckdb.connect(str(self.db), read_only=True) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture
def options() -> dict[str, Any]:
    """Options of the server; a test may override this by parametrising it."""
    return {"tokenize": False}


@pytest.fixture
def scene(built: Path, collected: Path, tmp_path: Path, options: dict[str, Any]) -> Iterator[Scene]:
    log = tmp_path / "log.jsonl"
    with running(Options(log=log, **options)) as server:
        yield Scene(built, collected, server.base_url, log)


def estimate(settings: Settings, stages: tuple[Any, ...] = STAGES, **changes: Any) -> CostEstimate:
    with RunStore.open(Path(settings.db), uuid4().hex) as store:
        first, last = map(int, (settings.select.features or "").split("-"))
        features = range(first, last + 1)
        return estimate_remaining(settings, store, evidence_at_hand(settings, store.database), features, stages, **changes)


def calls_by_stage(scene: Scene) -> dict[str, int]:
    """Requests that were answered, from the ledger."""
    sql = "SELECT stage, count(DISTINCT (model_requested, request_hash)) FROM llm_attempts WHERE http_status = 200 GROUP BY stage"
    return dict(scene.rows(sql))


def estimated_calls(found: CostEstimate) -> dict[str, float]:
    by_stage: dict[str, float] = {}
    for row in found.rows:
        by_stage[row.stage] = by_stage.get(row.stage, 0) + row.calls
    return by_stage


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"score": {"nulls": 0}}, id="no nulls", marks=pytest.mark.slow),
        pytest.param({"score": {"nulls": 2}}, id="two nulls"),
        pytest.param({"score": {"nulls": 4}, "select": {"features": "0-4"}}, id="four nulls", marks=pytest.mark.slow),
        pytest.param({"score": {"scorers": ["fuzzing"]}, "llm": {"tiles_per_prompt": 30}}, id="fuzzing", marks=pytest.mark.slow),
        # A tile that two features share is judged once under a label that is one's own and the other's null: without nulls none is.
        pytest.param({"score": {"nulls": 0}, "llm": {"tiles_per_prompt": 1}, "select": {"features": "0-1"}}, id="a tile at a time"),
        pytest.param({"judge": {"model": "other", "tiles_per_prompt": 20}}, id="another judge"),
    ],
)
def test_calls_are_exact(scene: Scene, changes: dict[str, Any]) -> None:
    settings = scene.settings(**changes)
    found = estimate(settings)
    scene.run(settings)
    assert estimated_calls(found) == calls_by_stage(scene)
    assert found.total.calls_error == 0
    assert estimate(settings).rows == ()


@pytest.mark.parametrize("options", [{"tokenize": False, "faults": "refuse_param=logprobs"}])
def test_calls_are_exact_without_token_probabilities(scene: Scene) -> None:
    settings = scene.settings()
    found = estimate(settings)
    scene.run(settings)
    assert estimated_calls(found) == calls_by_stage(scene)


def test_calls_of_one_stage_are_exact(scene: Scene) -> None:
    settings = scene.settings()
    found = estimate(settings, ("label",))
    scene.run(settings, ("label",))
    labelled = calls_by_stage(scene)
    assert estimated_calls(found) == labelled
    found = estimate(settings, ("score",))
    scene.run(settings, ("score",))
    assert estimated_calls(found) == {"score": calls_by_stage(scene)["score"]}


def test_calls_of_a_half_done_run_are_what_remains(scene: Scene) -> None:
    settings = scene.settings()
    whole = estimate(settings)
    with pytest.raises(BudgetExceeded):
        scene.run(settings.model_copy(update={"budget": BudgetSettings(max_calls=60)}))
    before = calls_by_stage(scene)
    assert sum(before.values()) == 60
    found = estimate(settings)
    assert found.total.calls == whole.total.calls - 60
    scene.run(settings)
    after = calls_by_stage(scene)
    assert estimated_calls(found) == {stage: n - before.get(stage, 0) for stage, n in after.items() if n > before.get(stage, 0)}


def test_other_features_cost_only_their_own(scene: Scene) -> None:
    scene.run(scene.settings(select={"features": "1-2"}))
    before = sum(calls_by_stage(scene).values())
    settings = scene.settings()
    found = estimate(settings)
    assert "calibrate" not in estimated_calls(found)
    scene.run(settings)
    assert found.total.calls == sum(calls_by_stage(scene).values()) - before


def test_where_words_alone_make_a_label_it_may_take_fewer_calls(scene: Scene) -> None:
    settings = scene.settings(label={})
    found = estimate(settings)
    scene.run(settings)
    assert 0.9 * found.total.calls <= sum(calls_by_stage(scene).values()) <= found.total.calls


def test_nothing_is_sent_or_stored(scene: Scene) -> None:
    tables = (
        "labels",
        "choices",
        "predictions",
        "scores",
        "calibrations",
        "llm_calls",
        "llm_attempts",
        "endpoint_probes",
        "prompts",
    )
    before = scene.rows("SELECT count(*) FROM runs")
    assert estimate(scene.settings()).total.calls > 50
    assert scene.rows("SELECT count(*) FROM runs") == before
    assert [scene.rows(f"SELECT count(*) FROM {table}") for table in tables] == [[(0,)]] * len(tables)
    assert scene.asked().requests == 0


# Tokens


def stored_requests(scene: Scene) -> dict[str, list[list[Message]]]:
    """The messages that were sent, by stage."""
    sql = "SELECT DISTINCT stage, request_hash, body FROM llm_requests JOIN llm_attempts USING (request_hash) WHERE status = 'ok'"
    found: dict[str, list[list[Message]]] = {}
    for stage, _, body in scene.rows(sql):
        found.setdefault(stage, []).append([Message(turn["role"], turn["content"]) for turn in json.loads(body)["messages"]])
    return found


def test_a_tokenizer_counts_input_tokens_exactly_as_far_as_requests_are_known(scene: Scene, built: Path) -> None:
    settings = scene.settings(llm={"tokenizer": str(built / "tiny-model"), "keep_requests": True})
    found = estimate(settings)
    assert {row.input_source for row in found.rows} == {"counted by the tokenizer"}
    scene.run(settings)
    counter = TokenizerCounter.load(str(built / "tiny-model"))
    counted = {stage: sum(map(counter.count, requests)) for stage, requests in stored_requests(scene).items()}
    expected = {row.stage: row.input_tokens for row in found.rows}
    assert [expected[stage] for stage in ("calibrate", "label")] == [counted["calibrate"], counted["label"]]
    errors = {row.stage: row.input_error for row in found.rows}
    for stage in ("validate", "score"):  # what they show of labels was not there yet
        assert abs(expected[stage] - counted[stage]) <= 1.5 * errors[stage] < 0.05 * counted[stage]  # three standard errors


def used(scene: Scene) -> int:
    ((tokens,),) = scene.rows("SELECT sum(prompt_tokens) FROM llm_attempts")
    return int(tokens)


@pytest.mark.parametrize("options", [{"tokenize": True}])
def test_a_server_that_counts_is_right_within_five_percent(scene: Scene) -> None:
    settings = scene.settings()
    found = estimate(settings).total
    scene.run(settings)
    assert found.input_tokens == pytest.approx(used(scene), rel=0.05)
    assert abs(found.input_tokens - used(scene)) <= found.input_error <= 0.05 * used(scene)


def test_the_stated_errors_of_the_fallbacks_cover_the_real_ones(scene: Scene) -> None:
    settings = scene.settings()
    by_default = estimate(settings)
    assert {row.input_source for row in by_default.rows} == {"by the default ratio to bytes"}
    with pytest.raises(BudgetExceeded):
        scene.run(settings.model_copy(update={"budget": BudgetSettings(max_calls=50)}))
    before = used(scene)
    fitted = estimate(settings)
    assert all(row.input_source.startswith("fitted on ") for row in fitted.rows)
    scene.run(settings)
    for found, actual in ((by_default.total, used(scene)), (fitted.total, used(scene) - before)):
        assert abs(found.input_tokens - actual) <= found.input_error
    assert fitted.total.input_error / fitted.total.input_tokens < by_default.total.input_error / by_default.total.input_tokens


def test_output_tokens_are_assumed_until_some_were_seen_and_never_above_the_worst(scene: Scene) -> None:
    settings = scene.settings(select={"features": "0-4"})
    assumed = estimate(settings)
    assert {row.output_source for row in assumed.rows} == {"assumed"}
    scene.run(settings.model_copy(update={"select": FeatureSelection(features="1-3")}))
    seen = estimate(settings)
    assert all(row.output_source.startswith("the mean of ") for row in seen.rows)
    for found in (assumed, seen):
        assert all(0 < row.output_tokens <= row.worst_output_tokens for row in found.rows)
    ((n, output),) = scene.rows("SELECT count(*), sum(completion_tokens) FROM llm_attempts WHERE stage = 'score'")
    (score,) = [row for row in seen.rows if row.stage == "score"]
    assert score.output_tokens / score.calls == pytest.approx(output / n)


def test_room_for_thinking_is_counted_where_nothing_is_known_of_it(scene: Scene) -> None:
    plain, thinking = (estimate(scene.settings(llm={"reasoning_tokens": n})).total for n in (0, 500))
    assert thinking.worst_output_tokens == plain.worst_output_tokens + 500 * plain.calls
    assert thinking.output_tokens == plain.output_tokens + 500 * plain.calls


# Money and time


def test_money_follows_from_tokens_and_is_unknown_without_a_price(scene: Scene, tmp_path: Path) -> None:
    unpriced = estimate(scene.settings()).total
    assert (unpriced.usd, unpriced.worst_usd) == (None, None)
    prices = tmp_path / "prices.toml"
    prices.write_text(
        '[[price]]\nmodel = "fake"\ninput_usd = 2.0\noutput_usd = 10.0\nbatch_factor = 0.5\n'
        '[[price]]\nmodel = "other"\ninput_usd = 0\noutput_usd = 0\n'
    )
    budget = {"prices": str(prices)}
    found = estimate(scene.settings(budget=budget)).total
    assert found.usd == pytest.approx((2 * found.input_tokens + 10 * found.output_tokens) / 1e6, rel=1e-3)
    worst = 2 * (found.input_tokens + found.input_error) + 10 * found.worst_output_tokens
    assert found.worst_usd == pytest.approx(worst / 1e6, rel=1e-3)
    batched = estimate(scene.settings(budget=budget, llm={"batch": True})).total
    assert batched.usd == pytest.approx(found.usd / 2)
    free_judge = estimate(scene.settings(budget=budget, judge={"model": "other"}))
    assert {row.stage: row.usd == 0 for row in free_judge.rows if row.model == "other"} == dict.fromkeys(
        ("probe", "calibrate", "validate", "score"), True
    )
    assert free_judge.total.usd == pytest.approx(sum(row.usd or 0 for row in free_judge.rows if row.stage in ("label", "probe")))


@pytest.mark.parametrize("options", [{"tokenize": False, "latency": 0.02}])
def test_time_is_unknown_until_calls_were_timed_and_then_follows_limits(scene: Scene) -> None:
    settings = scene.settings(select={"features": "1-2"})
    assert estimate(settings).total.seconds is None
    scene.run(settings)
    rest = scene.settings()
    quick = estimate(rest).total
    assert quick.seconds is not None
    assert quick.seconds >= 0.02 * quick.calls / 4
    limited = estimate(scene.settings(llm={"requests_per_minute": 6})).total
    assert limited.seconds == pytest.approx(10 * limited.calls)
    starved = estimate(scene.settings(llm={"tokens_per_minute": 60})).total
    assert starved.seconds == pytest.approx(starved.tokens)
    assert estimate(scene.settings(llm={"batch": True})).total.seconds is None


# Samples, evidence, and what is loaded


def test_many_features_are_scaled_from_some_with_an_error(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimating, "SAMPLE_FEATURES", 3)
    settings = scene.settings(select={"features": "0-4"})
    found, exact = estimate(settings), estimate(settings, exact=True)
    assert (found.n_looked_at, found.n_features) == (3, 5)
    assert exact.n_looked_at == 5
    scaled, true = estimated_calls(found), estimated_calls(exact)
    assert scaled["calibrate"] == true["calibrate"]
    assert scaled["probe"] == true["probe"] == 1
    assert scaled["score"] == pytest.approx(true["score"], rel=0.2)
    assert found.total.calls_error > 0
    assert estimate(settings) == found, "the sample is drawn by hash"


def test_the_error_of_a_sample_is_that_of_drawing_without_replacement() -> None:
    group = costing.Group(n=30)
    group.by_feature.update({0: 10, 1: 20})
    few, all_of_them = costing.Sample(3, 300), costing.Sample(3, 3)
    assert few.scale(group) == 100
    assert few.error(group) == pytest.approx(2 * 300 * (100 / 3 * (1 - 3 / 300)) ** 0.5)
    assert all_of_them.error(group) == 0
    group.by_feature.clear()
    group.by_feature[None] = 30
    assert (few.scale(group), few.error(group)) == (1, 0)


def test_of_several_saes_collected_in_one_run_the_one_of_the_settings_is_found(built: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    native.save(other, replace(native.load(built / "sae"), name="other", b_enc=native.load(built / "sae").b_enc - 0.01))
    db = tmp_path / "labels.duckdb"
    first = world.settings(built, db, also=[{"path": str(other)}])
    world.run(first, Server(), stages=("collect",))
    second = world.settings(built, db, sae={"path": str(other)})
    with duckdb.connect(str(db), read_only=True) as connection:
        sets = dict(connection.execute("SELECT name, evidence_set_id FROM evidence_sets JOIN saes USING (sae_id)").fetchall())
    assert evidence_at_hand(first, Database(db)) == sets["directions"]
    assert evidence_at_hand(second, Database(db)) == sets["other"]


def test_evidence_is_found_by_the_settings_it_was_collected_with(built: Path, collected: Path) -> None:
    settings = world.settings(built, collected)
    with duckdb.connect(str(collected)) as connection:
        ((first,),) = connection.execute("SELECT evidence_set_id FROM evidence_sets").fetchall()
    assert evidence_at_hand(settings, Database(collected)) == first
    elsewhere = world.settings(built, collected, sae={"path": "elsewhere"})
    assert evidence_at_hand(elsewhere, Database(collected)) == first, "there is no other"
    with duckdb.connect(str(collected)) as connection:
        connection.execute(
            "INSERT INTO evidence_sets SELECT * REPLACE ('second' AS evidence_set_id, 'another' AS sae_id, 'nobody' AS run_id, "
            "created_utc + INTERVAL 1 HOUR AS created_utc) FROM evidence_sets"
        )
    assert evidence_at_hand(settings, Database(collected)) == first
    with pytest.raises(ConfigError, match="holds evidence for 2 SAEs, none collected with"):
        evidence_at_hand(elsewhere, Database(collected))


def test_without_evidence_it_says_what_to_do(built: Path, tmp_path: Path) -> None:
    settings = world.settings(built, tmp_path / "none.duckdb")
    with pytest.raises(ConfigError, match=r"holds no evidence yet.*`autolabel collect` with these settings asks no LLM"):
        estimate_settings(settings)
    assert not (tmp_path / "none.duckdb").exists()


def test_a_run_at_work_is_not_disturbed(built: Path, collected: Path) -> None:
    with RunStore.open(collected, "busy"), pytest.raises(StoreLocked):
        estimate_settings(world.settings(built, collected))


def test_without_an_llm_there_is_nothing_to_estimate(built: Path, collected: Path) -> None:
    assert estimate_settings(world.settings(built, collected, llm=None, label={"labelers": ["lexical"]})).rows == ()


LIGHT = """
import sys
from pathlib import Path
from autolabel.config import Settings, read_settings
from autolabel.pipeline.estimating import estimate_settings
found = estimate_settings(Settings.model_validate_json(Path(sys.argv[1]).read_text()))
assert found.total.calls > 50
loaded = [name for name in ("torch", "transformers") if name in sys.modules]
assert not loaded, loaded
"""


def test_it_loads_no_model_library(scene: Scene, tmp_path: Path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(scene.settings().model_dump_json())
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, str(path)], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_a_server_that_fails_while_it_counts_stops_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[int] = []

    async def once(self: ServerCounter, messages: Any) -> int | None:
        counted.append(len(messages))
        return 300 if len(counted) == 1 else None

    monkeypatch.setattr(ServerCounter, "count", once)
    found = estimate(scene.settings())
    assert found.total.calls > 50
    assert all(row.input_tokens > 0 for row in found.rows)
