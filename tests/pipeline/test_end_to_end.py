"""The whole job with a random model and an LLM server inside the process: what is in the database afterwards, what was asked, and what
a run that fails or is killed leaves behind."""

import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import httpx2
import pytest

from autolabel.errors import ConfigError, EndpointError
from autolabel.pipeline import running
from autolabel.store.connection import Database
from autolabel.store.maintenance import check, diff
from tests.pipeline import world
from tests.pipeline.world import D_SAE, Server


def rows(db: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(db), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def one(db: Path, sql: str) -> Any:
    ((value,),) = rows(db, sql)
    return value


def forget(db: Path, *tables: str) -> None:
    with duckdb.connect(str(db)) as connection:
        for table in tables:
            connection.execute(f"DELETE FROM {table}")


def test_every_feature_has_a_row_and_statuses_add_up(finished: Path) -> None:
    assert one(finished, "SELECT count(*) FROM feature_labels") == D_SAE
    by_status = dict(rows(finished, "SELECT status, count(*) FROM feature_labels GROUP BY status"))
    assert sum(by_status.values()) == D_SAE
    assert (
        by_status["labelled"] == one(finished, "SELECT count(DISTINCT feature_index) FROM choices WHERE label_id IS NOT NULL") == 5
    )
    assert one(finished, "SELECT status FROM runs ORDER BY started_utc DESC LIMIT 1") == "done"


def test_the_check_finds_nothing_wrong(finished: Path) -> None:
    assert check(Database(finished)) == []


def test_the_test_split_is_read_after_choosing_only(finished: Path) -> None:
    early = """
        SELECT count(*) FROM predictions p JOIN choices c USING (evidence_set_id, feature_index)
        WHERE p.split = 'test' AND p.created_utc < c.created_utc
    """
    assert one(finished, early) == 0
    assert one(finished, "SELECT count(*) FROM predictions WHERE split = 'train'") == 0
    assert one(finished, "SELECT count(*) FROM predictions WHERE split = 'test'") > 0
    stages = rows(finished, "SELECT DISTINCT stage FROM llm_attempts")
    assert {stage for (stage,) in stages} == {"calibrate", "label", "validate", "score"}


def test_a_score_has_its_interval_or_its_reason(finished: Path) -> None:
    assert one(finished, "SELECT count(*) FROM scores WHERE (value IS NULL) <> (reason IS NOT NULL)") == 0
    assert (
        one(finished, "SELECT count(*) FROM scores WHERE value IS NOT NULL AND (low >= high OR value NOT BETWEEN low AND high)")
        == 0
    )
    alive = "(SELECT feature_index FROM features WHERE evidence_status IN ('alive', 'dense') AND feature_index < 5)"
    scored = one(finished, f"SELECT count(*) FROM feature_labels WHERE feature_index IN {alive} AND label_score IS NOT NULL")
    assert scored == one(finished, f"SELECT count(*) FROM {alive}") > 0
    modes = rows(finished, "SELECT scorer, count(DISTINCT answer_mode) FROM scores GROUP BY scorer")
    assert all(n == 1 for _, n in modes)


def test_failed_labels_have_no_text_and_the_baseline_is_never_chosen(finished: Path) -> None:
    assert one(finished, "SELECT count(*) FROM labels WHERE (status = 'ok') <> (text IS NOT NULL)") == 0
    assert one(finished, "SELECT count(*) FROM labels WHERE method = 'token_lookup'") == 5
    assert one(finished, "SELECT count(*) FROM choices JOIN labels USING (label_id) WHERE method = 'token_lookup'") == 0
    assert one(finished, "SELECT count(*) FROM scores WHERE metric = 'beyond_token' AND value IS NOT NULL") > 0


def test_labelers_see_nothing_of_what_is_scored(finished: Path, asked: list[str]) -> None:
    explains = [body for body in asked if json.loads(body)["messages"][-1]["content"].startswith("Fires:")]
    assert len(explains) == one(finished, "SELECT count(*) FROM labels WHERE method = 'explain'")
    shown = "SELECT DISTINCT unnest(shown_window_ids) AS window_id FROM labels"
    assert rows(finished, f"SELECT DISTINCT w.split FROM ({shown}) JOIN windows w USING (window_id)") == [("train",)]
    held_out = rows(
        finished,
        "SELECT DISTINCT x.feature_index, w.window_id, w.text, w.token_starts, w.n_context_tokens, w.token_ids "
        "FROM examples x JOIN windows w USING (window_id) WHERE x.in_exam AND x.feature_index < 5",
    )
    prompts = [json.loads(body)["messages"][-1]["content"].replace("<<", "").replace(">>", "") for body in explains]
    texts = {text[starts[n] :].strip() for _, _, text, starts, n, _ in held_out}
    assert texts
    assert not [text for text in texts if any(text in prompt for prompt in prompts)]
    exam_runs = [(feature, run) for feature, _, _, _, n, ids in held_out for run in _runs(ids[n:])]
    seen = rows(
        finished,
        "SELECT DISTINCT l.feature_index, w.token_ids FROM (SELECT feature_index, unnest(shown_window_ids) AS window_id FROM labels "
        "WHERE method = 'explain') l JOIN windows w USING (window_id)",
    )
    shown_runs = {(feature, run) for feature, ids in seen for run in _runs(ids)}
    assert shown_runs
    assert not shown_runs.intersection(exam_runs)


def _runs(ids: list[int]) -> list[tuple[int, ...]]:
    return [tuple(ids[i : i + 13]) for i in range(len(ids) - 12)]


def test_no_request_is_sent_twice_within_a_run(asked: list[str]) -> None:
    first_asks = [body for body in asked if json.loads(body)["temperature"] == 0]
    assert len(asked) - len(first_asks) == 2, "whether token probabilities are to be had is asked three times"
    assert len(first_asks) == len(set(first_asks)) > 50


def test_a_rerun_asks_nothing_and_changes_nothing(built: Path, finished: Path, unbroken: Path) -> None:
    server = Server()
    outcome = world.run(world.settings(built, finished), server, world.ALL)
    assert server.answered == []
    assert (outcome.n_features, outcome.n_labelled) == (5, 5)
    assert diff(finished, unbroken) == []


def test_what_is_deleted_is_made_again_from_kept_replies(built: Path, finished: Path, unbroken: Path) -> None:
    attempts = one(finished, "SELECT count(*) FROM llm_attempts")
    forget(finished, "labels", "predictions", "scores", "choices", "calibrations")
    server = Server()
    world.run(world.settings(built, finished), server)
    assert server.answered == []
    assert one(finished, "SELECT count(*) FROM llm_attempts") == attempts
    assert diff(finished, unbroken) == []
    assert check(Database(finished)) == []


def test_a_run_whose_server_dies_goes_on_where_it_was(built: Path, collected: Path, asked: list[str]) -> None:
    at = random.Random(1).randrange(10, len(asked) - 5)
    first = Server(die_at=at)
    with pytest.raises(EndpointError):
        world.run(world.settings(built, collected), first)
    status, message = rows(collected, "SELECT status, message FROM runs ORDER BY started_utc DESC LIMIT 1")[0]
    assert status == "failed"
    assert "answered nothing" in message
    second = Server()
    world.run(world.settings(built, collected), second)
    assert not set(first.answered) & set(second.answered)


def test_a_killed_run_goes_on_to_the_same_end(
    built: Path, collected: Path, unbroken: Path, asked: list[str], tmp_path: Path
) -> None:
    at, log = random.Random(5).randrange(30, len(asked) - 5), tmp_path / "answered.jsonl"
    command = [sys.executable, "-m", "tests.pipeline.world", str(built), str(collected), str(log), str(at)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert killed.returncode == 9, killed.stderr
    first = log.read_text().splitlines()
    assert len(first) == at
    second = Server()
    world.run(world.settings(built, collected), second)
    repeated = set(first) & set(second.answered)
    lost = one(collected, "SELECT count(*) FROM llm_attempts WHERE error = 'the process ended while this request was in flight'")
    assert len(repeated) <= lost, "the ledger knows of every request whose reply was not on the disk yet"
    assert sorted([*first, *(body for body in second.answered if body not in repeated)]) == sorted(asked)
    assert diff(collected, unbroken) == []
    assert check(Database(collected)) == []


def test_several_requests_at_once_come_to_the_same_end(built: Path, collected: Path, unbroken: Path) -> None:
    llm = world.content(built, collected)["llm"] | {"max_concurrency": 6}
    world.run(world.settings(built, collected, llm=llm), Server())
    assert diff(collected, unbroken) == []


@pytest.mark.parametrize(
    ("reply", "status"),
    [
        ("I'm sorry, I can't help with that.", "refused"),
        ("", "unparsable"),
        ("x" * 300, "unparsable"),
        (world.completion("the wor", "length"), "truncated"),
    ],
)
def test_rubbish_gives_failed_labels_and_the_run_goes_on(reply: Any, status: str, built: Path, collected: Path) -> None:
    server = Server(lambda prompt: _again(reply) if prompt.startswith("Fires:") else world.answer(prompt))
    changes = {"label": {"labelers": ["explain"]}}
    outcome = world.run(world.settings(built, collected, features="0-2", **changes), server)
    assert (outcome.n_labelled, outcome.n_failed) == (0, 3)
    made = rows(collected, "SELECT status, text, error IS NOT NULL FROM labels WHERE origin = 'run'")
    assert set(made) == {(status, None, True)}
    assert rows(collected, "SELECT DISTINCT verdict, label_id FROM choices") == [("failed", None)]
    assert one(collected, "SELECT count(*) FROM scores") == 0
    assert one(collected, "SELECT count(*) FROM predictions") == 0
    assert one(collected, "SELECT status FROM runs ORDER BY started_utc DESC LIMIT 1") == "done"
    assert one(collected, "SELECT count(*) FROM feature_labels WHERE status = 'failed'") == 3


def _again(reply: Any) -> Any:
    """A response can be read once."""
    return httpx2.Response(200, json=json.loads(reply.content)) if isinstance(reply, httpx2.Response) else reply


def test_an_endpoint_that_is_down_fails_the_run_at_once(built: Path, collected: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    monkeypatch.setattr(running, "load_models", world.load_models(down))  # type: ignore[arg-type]
    with pytest.raises(EndpointError, match=r"no LLM answers at http://llm\.test/v1"):
        running.run_stages(world.settings(built, collected), world.AFTER, world.Quiet(), command="test")  # type: ignore[arg-type]
    assert rows(collected, "SELECT status, message LIKE 'no LLM answers%' FROM runs ORDER BY started_utc DESC LIMIT 1") == [
        ("failed", True)
    ]
    assert one(collected, "SELECT count(*) FROM labels") == 0


def test_a_judge_that_cannot_judge_gives_null_and_says_why(built: Path, collected: Path) -> None:
    server = Server(lambda prompt: world.answer(prompt) if prompt.startswith("Fires:") else json.dumps([1] * _asked(prompt)))
    settings = world.settings(built, collected, features="0-2", score={"scorers": ["detection"]})
    watcher = world.Quiet()
    world.run(settings, server, watcher=watcher)
    assert rows(collected, "SELECT DISTINCT verdict FROM calibrations") == [("judge_unfit",)]
    found = rows(collected, "SELECT DISTINCT judge_status, value, reason FROM scores WHERE scorer = 'detection'")
    assert found == [("judge_unfit", None, "the judge failed on the shipped solved examples")]
    assert one(collected, "SELECT count(*) FROM feature_labels WHERE label_score IS NOT NULL") == 0
    assert one(collected, "SELECT count(*) FROM predictions WHERE scorer = 'detection'") == 0
    assert any("judge_unfit" in line for line in watcher.said)


def _asked(prompt: str) -> int:
    return sum(line[:1].isdigit() for line in prompt.splitlines())


def test_rules_are_run_over_the_whole_sample_and_every_label_is_given_its_p_correct(finished: Path) -> None:
    whole = rows(finished, "SELECT metric, value, reason FROM scores WHERE scorer = 'rule' AND metric LIKE 'population_%'")
    assert {metric for metric, _, _ in whole} == {"population_precision", "population_recall"}
    assert all(value is not None or reason for _, value, reason in whole)
    assert any(metric == "population_recall" and value is not None for metric, value, _ in whole)
    labelled = "SELECT feature_index FROM feature_labels WHERE label IS NOT NULL ORDER BY 1"
    trusted = "SELECT feature_index FROM label_trust WHERE (p_correct IS NULL) = (reason IS NOT NULL) ORDER BY 1"
    assert rows(finished, trusted) == rows(finished, labelled) != []
    read = "SELECT model FROM label_trust JOIN labels USING (label_id, feature_index) WHERE predicate IS NOT NULL"
    models = {model for (model,) in rows(finished, read)}
    assert models
    assert models <= {"rule", "rule_population"}


def test_too_little_evidence_is_labelled_but_not_scored(built: Path, collected: Path) -> None:
    with duckdb.connect(str(collected)) as connection:
        connection.execute("UPDATE features SET evidence_status = 'too_few' WHERE feature_index = 1")
        connection.execute("UPDATE examples SET in_exam = false WHERE feature_index = 1")
    world.run(world.settings(built, collected, features="0-2"), Server())
    ((text, value),) = rows(collected, "SELECT label, label_score FROM feature_labels WHERE feature_index = 1")
    assert text
    assert value is None
    reasons = dict(rows(collected, "SELECT DISTINCT metric, reason FROM scores WHERE feature_index = 1"))
    assert sorted(reasons) == ["label_score", "p_correct"]
    assert "too few firing test tiles" in reasons["label_score"]
    assert "no trust model reads these scores alone (none)" in reasons["p_correct"]
    assert check(Database(collected)) == []


def test_nulls_leave_out_what_fires_together_and_what_says_the_same(finished: Path) -> None:
    nulls = rows(
        finished,
        "SELECT DISTINCT s.feature_index, l.feature_index, l.text FROM scores s JOIN labels l USING (label_id) WHERE s.is_null",
    )
    chosen = dict(rows(finished, "SELECT feature_index, text FROM current_choices JOIN labels USING (label_id, feature_index)"))
    tiles = {
        feature: {w for w, fired in rows(finished, "SELECT window_id, fired_features FROM windows") if fired and feature in fired}
        for feature in range(5)
    }
    for feature, other, text in nulls:
        assert other != feature
        assert text.casefold() != chosen[feature].casefold()
        together = len(tiles[feature] & tiles[other])
        assert together / len(tiles[feature] | tiles[other]) <= 0.05


def test_a_persons_choice_stays_in_force(built: Path, finished: Path) -> None:
    chosen, other = rows(
        finished,
        "SELECT c.label_id, l.label_id FROM current_choices c JOIN labels l USING (feature_index) "
        "WHERE feature_index = 3 AND l.origin = 'run' AND l.label_id <> c.label_id LIMIT 1",
    )[0]
    with duckdb.connect(str(finished)) as connection:
        connection.execute(
            "INSERT INTO choices SELECT 'by-hand', evidence_set_id, sae_id, feature_index, ?, 'labelled', 'I know better', NULL, NULL, "
            "'human', 'somebody', run_id, created_utc FROM choices WHERE feature_index = 3",
            [other],
        )
    world.run(world.settings(built, finished), Server())
    assert rows(finished, "SELECT label_id FROM current_choices WHERE feature_index = 3") == [(other,)] != [(chosen,)]
    own = "SELECT count(*) FROM scores WHERE feature_index = 3 AND metric = 'lift_null' AND label_id = "
    assert one(finished, f"{own} '{other}'") > 0


def test_going_back_to_an_earlier_decision_puts_it_in_force_again(built: Path, finished: Path) -> None:
    in_force = "SELECT feature_index, label_id, scorer FROM current_choices ORDER BY feature_index"
    first = rows(finished, in_force)
    world.run(world.settings(built, finished, label={"chooser": "fuzzing"}), Server(), ("label",))
    other = rows(finished, in_force)
    assert other != first
    for _ in range(2):
        world.run(world.settings(built, finished), Server(), ("label",))
        assert rows(finished, in_force) == first
    assert one(finished, "SELECT count(*) FROM choices") == len(first) + 2 * sum(a != b for a, b in zip(first, other, strict=True))


def test_the_stages_one_by_one_are_the_whole_run(built: Path, collected: Path, unbroken: Path) -> None:
    settings = world.settings(built, collected)
    for stage in world.ALL:
        world.run(settings, Server(), (stage,))
    assert diff(collected, unbroken) == []


def test_nothing_selected_is_said(built: Path, collected: Path) -> None:
    with pytest.raises(ConfigError, match="no feature is selected"):
        world.run(world.settings(built, collected, select={"where": "firing_rate > 2"}), Server())


def test_without_an_llm_the_words_alone_label(built: Path, collected: Path) -> None:
    changes: dict[str, Any] = {"llm": None, "label": {"labelers": ["lexical"]}, "score": {"nulls": 2}}
    server = Server()
    outcome = world.run(world.settings(built, collected, **changes), server)
    assert outcome.n_labelled == 5
    assert server.answered == []
    assert one(collected, "SELECT count(*) FROM llm_attempts") == 0
    assert check(Database(collected)) == []
    with pytest.raises(ConfigError, match="the labeler 'explain' needs a model"):
        world.run(world.settings(built, collected, llm=None), server)
