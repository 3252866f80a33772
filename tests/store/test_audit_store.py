from pathlib import Path

import pytest

from autolabel.errors import ConfigError, DataError
from autolabel.store.auditing import Answer, Audit, AuditItem, keep_audit, load_answers, load_audit, load_candidates, take_answers
from autolabel.store.connection import Database
from autolabel.store.maintenance import check
from autolabel.store.run_store import RunStore
from tests.audits import MODEL, N_LABELS, N_TRUSTED, audited_database, p_row
from tests.store.builders import EVIDENCE, add, at, choice, label, rows

ITEMS = (
    AuditItem(1, 0, "label-0-a", "words about pets 0", "label", "trusted", 0.9, ("w-test-0", "w-test-12")),
    AuditItem(2, 9, "label-9-a", "words about pets 9", "label", "high", None, ("w-test-0", "w-test-12")),
    AuditItem(3, 5, "label-7-a", "words about pets 7", "check", "check", None, ("w-test-0", "w-test-12")),
)
AUDIT = Audit("a" * 32, EVIDENCE, 0, {"trusted": {"n_labels": 8, "n_drawn": 1}, "high": {"n_labels": 9, "n_drawn": 1}}, ITEMS)
ANSWERS = [Answer(1, "right", None), Answer(2, "too broad", "also cats"), Answer(3, "cannot tell", None)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = audited_database(tmp_path)
    with RunStore.open(made, "run-audit") as store:
        store.start_run("audit draw", {}, "x", 0)
        keep_audit(store, AUDIT)
        keep_audit(store, AUDIT)
        store.finish_run("done")
    return made


def take(path: Path, answers: list[Answer], rater: str = "ann", *, replace: bool = False) -> None:
    with RunStore.open(path, f"run-{rater}-{replace}-{len(rows(path, 'FROM runs'))}") as store:
        store.start_run("audit take", {}, "x", 0)
        take_answers(store, AUDIT, rater, answers, replace=replace)


def test_candidates_say_whether_they_are_trusted(path: Path) -> None:
    found = load_candidates(Database(path), EVIDENCE)
    assert [one.feature_index for one in found] == list(range(N_LABELS))
    assert [one.trusted for one in found] == [index < N_TRUSTED for index in range(N_LABELS)]
    assert found[0].p_correct == 0.9
    assert found[-1].label_score is None


def test_an_audit_comes_back_as_it_was_kept_and_is_kept_once(path: Path) -> None:
    assert load_audit(Database(path), None) == AUDIT
    assert load_audit(Database(path), "aaaa") == AUDIT
    assert len(rows(path, "FROM audit_items")) == len(ITEMS)
    assert check(Database(path)) == []


def test_an_audit_that_is_not_there_or_not_the_only_one_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no audit 'b'"):
        load_audit(Database(path), "b")
    other = Audit("ab" + "c" * 30, EVIDENCE, 1, {}, ITEMS)
    with RunStore.open(path, "run-other") as store:
        store.start_run("audit draw", {}, "x", 0)
        keep_audit(store, other)
    assert load_audit(Database(path), None) == other
    with pytest.raises(ConfigError, match="start of 2 audits"):
        load_audit(Database(path), "a")


def test_answers_are_read_back_with_what_they_mean(path: Path) -> None:
    take(path, ANSWERS)
    assert load_answers(Database(path), AUDIT.audit_id) == {"ann": {1: "right", 2: "too broad", 3: "cannot tell"}}
    found = rows(path, "SELECT item_number, label, kind, trusted, failed, note FROM audit_results ORDER BY item_number")
    assert [(row["kind"], row["trusted"], row["failed"]) for row in found] == [
        ("label", True, False),
        ("label", False, True),
        ("check", False, None),
    ]
    assert found[1]["note"] == "also cats"
    assert check(Database(path)) == []


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (ANSWERS[:2], "items without a verdict: 3; audit aaaaaaaaaaaa has items 1 to 3"),
        ([*ANSWERS, Answer(4, "right", None)], "unknown items: 4"),
        ([*ANSWERS, Answer(1, "wrong", None)], "items answered more than once: 1"),
        ([Answer(1, "", None), *ANSWERS[1:]], "items without a verdict: 1"),
        ([Answer(1, "fine", None), *ANSWERS[1:]], "item 1: the verdict 'fine' is none of right, too broad"),
    ],
)
def test_answers_that_are_not_whole_are_refused_and_nothing_is_stored(path: Path, answers: list[Answer], words: str) -> None:
    with pytest.raises(DataError, match=words):
        take(path, answers)
    assert rows(path, "FROM audit_answers") == []


def test_a_rater_answers_once_unless_the_answers_replace_the_earlier_ones(path: Path) -> None:
    take(path, ANSWERS)
    changed = [Answer(1, "wrong", None), *ANSWERS[1:]]
    with pytest.raises(ConfigError, match="'ann' has answered audit aaaaaaaaaaaa already; pass --replace"):
        take(path, changed)
    take(path, ANSWERS, "bob")
    take(path, changed, replace=True)
    assert load_answers(Database(path), AUDIT.audit_id)["ann"][1] == "wrong"
    take(path, ANSWERS, replace=True)
    assert load_answers(Database(path), AUDIT.audit_id)["ann"][1] == "right", "going back to the first answers is an answer too"
    assert load_answers(Database(path), AUDIT.audit_id)["bob"][1] == "right"
    assert len(rows(path, "FROM audit_answers")) == 4 * len(ITEMS), "nothing is overwritten"


def test_trust_is_about_the_label_in_force_and_the_newest_word(path: Path) -> None:
    def trust(index: int) -> list[tuple[float, bool]]:
        found = rows(path, f"SELECT p_correct, trusted FROM label_trust WHERE feature_index = {index}")
        return [(row["p_correct"], row["trusted"]) for row in found]

    assert trust(0) == [(0.9, True)]
    assert trust(9) == [(pytest.approx(0.61), False)]
    add(path, "run-newer", scores=[p_row(0, 0.5) | {"score_id": "newer", "created_utc": at(9)}])
    assert trust(0) == [(0.5, False)]
    add(path, "run-choice", labels=[label(0, "z")], choices=[choice(0, "label-0-z", choice_id="newer", created_utc=at(10))])
    assert trust(0) == []


def test_without_a_threshold_nothing_is_said_to_be_trusted(path: Path) -> None:
    add(
        path,
        "run-other-model",
        trust_models=[MODEL | {"model_id": "model-2", "threshold": None}],
        scores=[p_row(0, 0.99) | {"score_id": "other", "config_hash": "model-2", "created_utc": at(9)}],
    )
    (found,) = rows(path, "SELECT p_correct, threshold, trusted FROM label_trust WHERE feature_index = 0")
    assert found == {"p_correct": 0.99, "threshold": None, "trusted": None}
    assert not load_candidates(Database(path), EVIDENCE)[0].trusted
