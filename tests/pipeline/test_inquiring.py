"""Runs with questions beside the exam: what is stored, what a second run asks, what is refused before money is spent, and what a dry
run foresees."""

import asyncio
import json
import random
import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from numpy.typing import NDArray

from autolabel import prompts
from autolabel.config import Settings
from autolabel.errors import ConfigError, DataError, EndpointError
from autolabel.pipeline import running
from autolabel.pipeline.dry_stages import dry_run
from autolabel.pipeline.inquiring import METRICS
from autolabel.pipeline.models import INQUIRIES, Models
from autolabel.pipeline.subjects import LazySubject, OpenSubject, load_subject
from autolabel.records import Subject
from autolabel.store.connection import Database
from autolabel.store.maintenance import check
from autolabel.store.run_store import RunStore
from tests.pipeline import world
from tests.pipeline.test_end_to_end import one, rows

ALL_THREE: dict[str, Any] = {"scorers": ["generation", "fade", "saebench"], "nulls": 2}
SUBJECT = "subject"
"""Stands for the model that the evidence came from."""


def answer(prompt: str) -> str:
    """A model that writes and rates by the words in a label's quotes, beside what `world.answer` says."""
    asked = re.findall(r'"([^"]+)"', prompt)
    if "different texts." in prompt:
        drawn = [random.Random(f"{asked[-1:]} {i}").choices(world.WORDS, k=35) for i in range(6)]
        return "\n".join(f"{i + 1}. {' '.join(words)} {i}" for i, words in enumerate(drawn))
    if prompt.startswith("An answer looks like this"):
        texts = re.findall(r"^\d+\. (.*)$", prompt, re.MULTILINE)
        return ", ".join(str(i + 1) for i, text in enumerate(texts) if asked[0] in text.split()) or "None"
    if prompt.startswith("Text: "):
        text, label = prompt.removeprefix("Text: ").split("\nLabel: ")
        return str(2 * world.judged(label, text))
    return world.answer(prompt)


def run(
    settings: Settings,
    server: world.Server,
    opened: OpenSubject | str | None = SUBJECT,
    stages: tuple[Any, ...] = ("score",),
    **options: Any,
) -> world.Quiet:
    """`world.run` with a subject model, or with something in its place."""
    watcher = world.Quiet()

    def load(settings: Settings, store: RunStore) -> Models:
        real = partial(load_subject, settings, store.database)
        return replace(world.load_models(server)(settings, store), subject=real if opened == SUBJECT else opened)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(running, "load_models", load)
        running.run_stages(settings, stages, watcher, command="test", force=True, **options)
    return watcher


@pytest.fixture(scope="module")
def _inquired(built: Path, unbroken: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    db = Path(shutil.copy(unbroken, tmp_path_factory.mktemp("inquired") / "labels.duckdb"))
    server = world.Server(answer)
    run(world.settings(built, db, score=ALL_THREE), server)
    return db, server.answered


@pytest.fixture
def inquired(_inquired: tuple[Path, list[str]], tmp_path: Path) -> Path:
    """A database of its own after a run with all three inquiries."""
    return Path(shutil.copy(_inquired[0], tmp_path / "inquired.duckdb"))


@pytest.fixture
def sent(_inquired: tuple[Path, list[str]]) -> list[str]:
    """The bodies of its requests."""
    return _inquired[1]


def settings(built: Path, db: Path, *scorers: str, **changes: Any) -> Settings:
    return world.settings(built, db, score={"scorers": list(scorers), "nulls": 2}, **changes)


def test_every_chosen_label_has_every_number(inquired: Path) -> None:
    found = rows(
        inquired, "SELECT scorer, metric, count(*), count(value) FROM scores WHERE split = 'test' AND NOT is_null GROUP BY ALL"
    )
    wanted = {(name, metric) for name in INQUIRIES for metric in METRICS[name]}
    assert {(scorer, metric): n for scorer, metric, n, _ in found if scorer in INQUIRIES} == dict.fromkeys(wanted, 5)
    with_value = {(scorer, metric): n for scorer, metric, _, n in found}
    assert with_value["generation", "hit_rate"] == with_value["generation", "reciprocal_rank"] == 5
    assert with_value["fade", "clarity"] == 4, "one feature has no silent tiles"
    assert with_value["saebench", "protocol"] == 3, "two have too few firing tiles"
    assert check(Database(inquired)) == []


def test_scores_say_who_judged_and_what_guessing_gives(inquired: Path) -> None:
    statuses = dict(rows(inquired, "SELECT DISTINCT scorer, judge_status FROM scores WHERE metric NOT IN ('label_score')"))
    assert (statuses["generation"], statuses["saebench"], statuses["fade"]) == ("not_needed", "not_needed", "admitted")
    assert one(inquired, "SELECT DISTINCT chance FROM scores WHERE metric = 'protocol'") == pytest.approx(10 / 14)
    assert one(inquired, "SELECT count(*) FROM scores WHERE metric = 'hit_rate' AND chance BETWEEN 0 AND 1") == 5
    assert one(inquired, "SELECT count(*) FROM calibrations WHERE scorer = 'fade' AND verdict = 'admitted'") == 1


def test_texts_and_answers_are_kept(inquired: Path) -> None:
    by_scorer = dict(
        rows(inquired, "SELECT scorer, count(DISTINCT feature_index) FROM written_texts WHERE is_meant GROUP BY scorer")
    )
    assert by_scorer == {"generation": 5, "fade": 5}
    hits = """
        SELECT count(*) FROM scores s JOIN (
            SELECT feature_index, avg((max_activation > 0)::INT) AS share FROM written_texts
            WHERE scorer = 'generation' AND is_meant GROUP BY feature_index
        ) USING (feature_index) WHERE s.metric = 'hit_rate' AND abs(s.value - share) < 1e-9
    """
    assert one(inquired, hits) == 5
    assert one(inquired, "SELECT sum(value) FROM scores WHERE metric = 'hit_rate'") > 0
    assert one(inquired, "SELECT count(*) FROM written_texts WHERE is_meant AND request_hash IS NULL") == 0
    assert one(inquired, "SELECT count(*) FROM predictions WHERE scorer = 'saebench' AND split = 'test'") == 3 * 14
    assert one(inquired, "SELECT count(DISTINCT value) FROM predictions WHERE scorer = 'fade'") == 2


def test_one_request_writes_the_texts_for_both_and_for_comparisons(sent: list[str]) -> None:
    writing = [body for body in sent if "different texts." in json.loads(body)["messages"][-1]["content"]]
    assert len(writing) == len(set(writing)) <= 5


def test_a_second_run_asks_nothing_and_loads_no_model(built: Path, inquired: Path) -> None:
    before = one(inquired, "SELECT count(*) FROM scores")
    server = world.Server(answer)

    opened: list[str] = []

    def notes(evidence_set_id: str) -> Subject:
        opened.append(evidence_set_id)
        raise AssertionError("the model was opened")

    run(world.settings(built, inquired, score=ALL_THREE), server, notes)
    assert (server.answered, opened, one(inquired, "SELECT count(*) FROM scores")) == ([], [], before)


def test_a_lost_score_is_asked_for_again_and_comes_out_the_same(built: Path, inquired: Path) -> None:
    sql = "SELECT score_id, value, low, high FROM scores WHERE scorer = 'generation' ORDER BY ALL"
    before = rows(inquired, sql)
    with Database(inquired).write(5.0) as connection:
        connection.execute("DELETE FROM scores WHERE scorer = 'generation' AND feature_index = 2")
    server = world.Server(answer)
    run(world.settings(built, inquired, score=ALL_THREE), server)
    assert (server.answered, rows(inquired, sql)) == ([], before)


def test_inquiries_run_only_by_name(finished: Path) -> None:
    assert one(finished, "SELECT count(*) FROM scores WHERE scorer IN ('generation', 'fade', 'saebench')") == 0
    assert one(finished, "SELECT count(*) FROM written_texts") == 0


def test_replies_that_cannot_be_used_are_failures_and_no_zeros(built: Path, finished: Path) -> None:
    def refuses(prompt: str) -> str:
        return "I'm sorry, I can't help with that." if "different texts." in prompt else answer(prompt)

    run(settings(built, finished, "generation", features="0-1"), world.Server(refuses))
    found = rows(finished, "SELECT value, n_failed, reason FROM scores WHERE scorer = 'generation'")
    assert len(found) == 4
    assert {(value, n_failed) for value, n_failed, _ in found} == {(None, 6)}
    assert all(reason.startswith("no texts were written") for *_, reason in found)


def test_a_refusal_is_asked_about_again_when_told_to(built: Path, finished: Path) -> None:
    own = settings(built, finished, "generation", features="0-1")
    run(own, world.Server(lambda prompt: "I'm sorry, I can't help with that." if "different texts." in prompt else answer(prompt)))
    assert one(finished, "SELECT count(*) FROM scores WHERE scorer = 'generation' AND value IS NOT NULL") == 0
    server = world.Server(answer)
    run(own, server)
    assert server.answered == [], "a failure is kept"
    run(own, server, retry_failed=True)
    assert one(finished, "SELECT count(*) FROM scores WHERE scorer = 'generation' AND value IS NOT NULL") == 4


def test_a_fault_in_one_question_is_a_row_that_says_so(built: Path, finished: Path) -> None:
    class Broken:
        def feature_activations(self, texts: Sequence[str]) -> NDArray[np.float32]:
            raise RuntimeError("out of memory")

    run(settings(built, finished, "generation", "saebench", features="2-3"), world.Server(answer), lambda _: Broken())
    reasons = rows(finished, "SELECT DISTINCT reason FROM scores WHERE scorer = 'generation'")
    assert reasons == [("unexpected: RuntimeError: out of memory",)]
    assert one(finished, "SELECT count(*) FROM scores WHERE metric = 'protocol' AND value IS NOT NULL") == 2
    run(settings(built, finished, "generation", "saebench", features="2-3"), world.Server(answer), retry_failed=True)
    assert one(finished, "SELECT count(*) FROM scores WHERE metric = 'hit_rate' AND value IS NOT NULL") == 2


def test_a_judge_that_cannot_rate_gets_no_numbers_and_no_questions(built: Path, finished: Path) -> None:
    def always(prompt: str) -> str:
        return "1" if prompt.startswith("Text: ") else answer(prompt)

    server = world.Server(always)
    run(settings(built, finished, "fade", features="0-1"), server)
    assert rows(finished, "SELECT DISTINCT judge_status, value FROM scores WHERE scorer = 'fade'") == [("judge_unfit", None)]
    assert not [body for body in server.answered if "different texts." in body]


@pytest.mark.parametrize(
    ("changes", "opened", "why"),
    [
        (
            {"score": {"scorers": ["generation"]}},
            None,
            "'generation' runs texts through the subject model: it needs .subject. and .sae.",
        ),
        ({"score": {"scorers": ["fade"]}}, None, "'fade' runs texts through the subject model"),
        ({"score": {"scorers": ["saebench"]}, "llm": None}, SUBJECT, "'saebench' needs .llm. to be set"),
        ({"label": {"chooser": "generation"}}, SUBJECT, "chooser = 'generation' asks questions of its own"),
    ],
)
def test_what_is_missing_is_said_before_features_are_worked_on(
    built: Path, collected: Path, changes: dict[str, Any], opened: str | None, why: str
) -> None:
    server = world.Server(answer)
    with pytest.raises(ConfigError, match=why):
        run(world.settings(built, collected, **changes), server, opened, world.AFTER)
    assert one(collected, "SELECT count(*) FROM llm_attempts WHERE stage <> 'calibrate'") == 0


def test_evidence_that_was_measured_by_no_gate_has_no_subject(built: Path, finished: Path) -> None:
    with Database(finished).write(5.0) as connection:
        connection.execute("UPDATE evidence_sets SET gate = NULL")
    with pytest.raises(ConfigError, match="does not say which tokens were left out"):
        run(settings(built, finished, "generation", features="0-1"), world.Server(answer))


def test_another_sae_is_no_source_of_this_evidence(built: Path, finished: Path) -> None:
    here = one(finished, "SELECT evidence_set_id FROM evidence_sets")
    with Database(finished).write(5.0) as connection:
        for table in ("saes", "evidence_sets"):
            connection.execute(f"UPDATE {table} SET sae_id = 'another'")
    with pytest.raises(DataError, match="name the model and the SAE that the evidence comes from"):
        load_subject(world.settings(built, finished), Database(finished), here)


def test_a_dry_run_counts_what_the_run_will_ask(built: Path, finished: Path) -> None:
    own = world.settings(built, finished, score=ALL_THREE)
    evidence_set_id = one(finished, "SELECT evidence_set_id FROM evidence_sets")
    n_labels = one(finished, "SELECT count(DISTINCT text) FROM labels WHERE label_id IN (SELECT label_id FROM choices)")
    with RunStore.open(finished, uuid4().hex) as store:
        ((_, chat),) = asyncio.run(dry_run(own, store, evidence_set_id, range(5), ("score",)))
    foreseen = sum(group.n for (stage, _), group in chat.groups.items() if stage != "probe")
    texts = chat.groups["score", prompts.load("generate").prompt_hash]
    assert (texts.n, texts.likely_output, texts.worst_output) == (n_labels, n_labels * 6 * 25, n_labels * 6 * 60)
    server = world.Server(answer)
    run(own, server)
    assert foreseen == len(server.answered) == len(set(server.answered))
    assert foreseen > 100


def test_a_lazy_subject_is_opened_once() -> None:
    opened: list[int] = []

    class Zeros:
        def feature_activations(self, texts: Sequence[str]) -> NDArray[np.float32]:
            return np.zeros((len(texts), 2), dtype=np.float32)

    def load() -> Subject:
        opened.append(1)
        return Zeros()

    lazy = LazySubject(load)
    assert opened == []
    assert [lazy.feature_activations(texts).shape for texts in (["a"], ["b", "c"])] == [(1, 2), (2, 2)]
    assert opened == [1]


def test_a_run_that_is_stopped_goes_on_where_it_was(built: Path, finished: Path) -> None:
    own = settings(built, finished, "generation", "saebench")
    server = world.Server(answer, die_at=6)
    with pytest.raises(EndpointError, match="answered nothing"):
        run(own, server)
    before = set(server.answered)
    assert any("different texts." in body for body in before)
    again = world.Server(answer)
    run(own, again)
    assert not before & set(again.answered), "nothing is paid for twice"
    assert one(finished, "SELECT count(*) FROM scores WHERE scorer = 'generation' AND value IS NOT NULL") == 10
