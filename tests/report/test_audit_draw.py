from collections import Counter
from pathlib import Path

import pytest

from autolabel.errors import DataError, StoreError
from autolabel.report.auditing import HIGH_SCORE, N_WINDOWS, draw_audit, group_of, shares
from autolabel.store.auditing import Candidate
from autolabel.store.connection import Database
from autolabel.store.migrations import migrate
from autolabel.store.run_store import RunStore
from tests.audits import N_LABELS, N_TRUSTED, audited_database
from tests.store import builders as b


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Database:
    return Database(audited_database(tmp_path_factory.mktemp("audited")))


def test_trusted_labels_are_half_and_checks_a_tenth(db: Database) -> None:
    audit, _ = draw_audit(db, 16, 0)
    groups = Counter(item.group for item in audit.items)
    assert groups == {"trusted": 7, "check": 2, "high": 3, "low": 2, "unscored": 2}
    assert audit.groups == {
        "trusted": {"n_labels": N_TRUSTED, "n_drawn": 7},
        "high": {"n_labels": 9, "n_drawn": 3},
        "low": {"n_labels": 5, "n_drawn": 2},
        "unscored": {"n_labels": 2, "n_drawn": 2},
    }
    assert [item.number for item in audit.items] == list(range(1, 17))


def test_a_check_shows_the_label_of_a_feature_that_fires_elsewhere(db: Database) -> None:
    audit, _ = draw_audit(db, 16, 0)
    labels = {item.label_id for item in audit.items if item.kind == "label"}
    for item in audit.items:
        own = f"label-{item.feature_index}-a"
        assert (item.label_id == own) is (item.kind == "label")
        if item.kind == "check":
            assert item.p_correct is None
            assert own not in labels, "a feature that is asked about with its own label would give the check away"


def test_a_label_of_a_feature_that_fires_together_with_this_one_checks_nothing(tmp_path: Path) -> None:
    path, stranger = audited_database(tmp_path), N_LABELS - 1
    together = [
        b.window(
            f"w-background-{i}", "test", fired_features=list(range(stranger)), fired_max=[1.0] * stranger, fired_peak=[0] * stranger
        )
        for i in range(5)
    ]
    checks = {
        item.feature_index: item.label_id
        for seed in range(5)
        for item in draw_audit(b.add(path, f"run-{seed}", windows=together), 12, seed)[0].items
        if item.kind == "check"
    }
    assert len(checks) > 3
    assert {label for index, label in checks.items() if index != stranger} == {f"label-{stranger}-a"}


def test_the_same_seed_draws_the_same_and_another_seed_others(db: Database) -> None:
    first, again, other = (draw_audit(db, 12, seed)[0] for seed in (0, 0, 1))
    assert first == again
    assert {item.label_id for item in first.items} != {item.label_id for item in other.items}
    assert first.audit_id != other.audit_id


def test_the_order_says_nothing_of_the_group(db: Database) -> None:
    places: Counter[bool] = Counter()
    for seed in range(40):
        items = draw_audit(db, 16, seed)[0].items
        places.update(item.group == "trusted" for item in items[:8])
    assert 0.3 < places[True] / sum(places.values()) < 0.6, "7 of 16 are trusted, wherever one looks"


def test_windows_are_test_tiles_from_strong_to_weak_and_silent_ones_of_both_kinds(db: Database) -> None:
    audit, windows = draw_audit(db, 12, 0)
    for item in audit.items:
        shown = windows[item.feature_index]
        assert tuple(e.window_id for e in shown) == item.window_ids
        firing, silent = [e for e in shown if e.fires], [e for e in shown if not e.fires]
        assert len(firing) == len(silent) == N_WINDOWS
        assert [e.max_activation for e in firing] == sorted((e.max_activation for e in firing), reverse=True)
        assert Counter(e.stratum for e in silent) == {"hard": 4, "random": 4}
        assert {e.split for e in shown} == {"test"}


def test_more_than_there_are_is_all_there_are(db: Database) -> None:
    audit, _ = draw_audit(db, 500, 0)
    groups = Counter(item.group for item in audit.items)
    assert sum(n for group, n in groups.items() if group != "check") == N_LABELS
    assert groups["check"] == N_LABELS - 1


def test_labels_without_silent_test_windows_cannot_be_audited(tmp_path: Path) -> None:
    path = tmp_path / "x.duckdb"
    with RunStore.open(path, "run-1") as store:
        store.start_run("run", {}, "c", 0)
        for table, row in {
            "saes": b.sae(d_sae=1),
            "corpora": b.corpus(),
            "evidence_sets": b.evidence_set(),
            "features": b.feature(0),
        }.items():
            store.append(table, [row])
        store.append("labels", [b.label(0)])
        store.append("choices", [b.choice(0, "label-0-a")])
        store.append("windows", [b.window("w", "test")])
        store.append("examples", [b.example(0, "w", "test")])
    with pytest.raises(DataError, match="none of 1 labels has test windows that fire and some that do not"):
        draw_audit(Database(path), 10, 0)


def test_without_evidence_there_is_nothing_to_draw(tmp_path: Path) -> None:
    migrate(tmp_path / "x.duckdb")
    with pytest.raises(StoreError, match="holds no evidence"):
        draw_audit(Database(tmp_path / "x.duckdb"), 10, 0)


@pytest.mark.parametrize(
    ("sizes", "n", "expected"),
    [
        ({"trusted": 50, "high": 50, "low": 50, "unscored": 50}, 12, {"trusted": 6, "high": 2, "low": 2, "unscored": 2}),
        ({"trusted": 1, "high": 50, "low": 50, "unscored": 0}, 11, {"trusted": 1, "high": 5, "low": 5, "unscored": 0}),
        ({"trusted": 0, "high": 3, "low": 0, "unscored": 0}, 9, {"trusted": 0, "high": 3, "low": 0, "unscored": 0}),
        ({"trusted": 9, "high": 0, "low": 0, "unscored": 0}, 4, {"trusted": 4, "high": 0, "low": 0, "unscored": 0}),
    ],
)
def test_shares(sizes: dict[str, int], n: int, expected: dict[str, int]) -> None:
    assert shares(sizes, n) == expected


def test_groups() -> None:
    def of(score: float | None, trusted: bool) -> str:
        return group_of(Candidate(0, "l", "x", score, None, trusted))

    assert of(0.1, True) == "trusted"
    assert (of(HIGH_SCORE, False), of(0.49, False), of(None, False)) == ("high", "low", "unscored")
