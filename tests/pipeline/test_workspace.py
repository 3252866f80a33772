"""A workspace holds light facts of every feature and reads the rest as it is needed; what this run made is seen before it is stored."""

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from autolabel.pipeline.workspace import LoadedFeature, Workspace
from autolabel.records import Label, Prediction
from autolabel.scorers.rule import RuleScorer
from autolabel.store.run_store import RunStore
from tests.store.builders import EVIDENCE, SAE, add, label, make_database, rows, window

INFO = RuleScorer.info


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = make_database(tmp_path)
    add(path, labels=[label(1, "b", predicate={"kind": "words", "weights": {"dog": 1.0}})])
    return path


@pytest.fixture
def workspace(path: Path) -> Iterator[Workspace]:
    with RunStore.open(path, "run-9") as store:
        store.start_run("run", {}, "c", 0)
        with Workspace(store, EVIDENCE, [0, 1, 2, 3, 5]) as made:
            yield made


def new(feature: int, name: str) -> Label:
    shown = tuple(f"w{i}" for i in range(3))
    return Label(f"new-{feature}-{name}", EVIDENCE, SAE, feature, "ok", "explain", text=name, shown_window_ids=shown)


def loaded(workspace: Workspace, feature: int) -> LoadedFeature:
    (found,) = workspace.load([feature], "train")
    return found


def ids(feature: LoadedFeature) -> list[str]:
    return [label.label_id for label in feature.proposed()]


def test_what_is_known_of_every_feature_is_light(workspace: Workspace) -> None:
    assert workspace.firing_rates == {0: 0.1, 1: 0.02, 2: 0.3, 3: 0.05, 5: 0.004}
    assert {feature: chosen.text for feature, chosen in workspace.chosen.items()} == {
        0: "words about pets, 0a", 1: "words about pets, 1a", 2: "words about pets, 2a",
    }  # fmt: skip
    assert all(chosen.shown_window_ids == () and chosen.predicate is None for chosen in workspace.chosen.values())


def test_features_are_loaded_in_their_order_with_what_one_split_needs(workspace: Workspace) -> None:
    two, zero = workspace.load([2, 0], "test")
    assert (two.index, zero.index) == (2, 0)
    assert {example.split for example in zero.evidence.examples} == {"test"}
    assert [example.window_id for example in zero.exam] == ["w-test-0", "w-test-1", "w-test-2"]
    assert ids(zero) == ["label-0-a", "label-0-lexical", "label-0-lookup"]
    assert {label_id for label_id, _ in zero.answers} == {"label-0-a", "label-0-lexical", "label-0-lookup"}
    assert zero.co_firing == {}
    (on_train,) = workspace.load([0], "train")
    assert (on_train.exam, on_train.answers) == ((), {})
    assert [example.kind for example in on_train.evidence.examples] == ["strongest"]
    assert workspace.load([1], "train")[0].labels["label-1-b"].predicate == {"kind": "words", "weights": {"dog": 1.0}}


def test_an_exam_counts_as_answered_when_every_tile_is(path: Path, workspace: Workspace) -> None:
    (five,) = workspace.load([5], "test")
    own = replace(new(5, "pets"), predicate={})
    assert five.predictions(own, INFO) is None
    said = [Prediction(example.window_id, 0.5) for example in five.exam]
    workspace.add_predictions(five, INFO, [(own, said[:2])])
    assert five.predictions(own, INFO) is None
    workspace.add_predictions(five, INFO, [(own, said[::-1])])
    assert five.predictions(own, INFO) == said
    workspace.store.drain()
    assert [row["n"] for row in rows(path, f"SELECT count(*) AS n FROM predictions WHERE label_id = '{own.label_id}'")] == [3]


def test_labels_on_their_way_to_the_database_are_seen_and_let_go_of_when_they_arrive(path: Path, workspace: Workspace) -> None:
    three, five = loaded(workspace, 3), loaded(workspace, 5)
    workspace.add_labels(three, [new(3, "first")])
    workspace.add_labels(five, [new(5, "other")])
    workspace.add_labels(three, [new(3, "second")])
    assert ids(three) == ids(loaded(workspace, 3)) == ["label-3-a", "new-3-first", "new-3-second"]
    assert rows(path, "SELECT * FROM labels WHERE label_id LIKE 'new%'") == []
    workspace.store.drain()
    assert len(workspace._new_labels) == 3
    assert ids(loaded(workspace, 3)) == ["label-3-a", "new-3-first", "new-3-second"]
    assert workspace._new_labels == {}
    assert ids(loaded(workspace, 5)) == ["new-5-other"]


def test_a_label_that_arrives_while_a_feature_is_being_read_is_not_missed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from autolabel.store import reading

    workspace.add_labels(loaded(workspace, 5), [new(5, "late")])
    read_labels = reading.load_labels

    def then_drain(*given: object) -> list[Label]:
        found = read_labels(*given)  # type: ignore[arg-type]
        workspace.store.drain()
        return found

    monkeypatch.setattr(reading, "load_labels", then_drain)
    assert ids(loaded(workspace, 5)) == ["new-5-late"]
    assert workspace._new_labels == {}
    assert ids(loaded(workspace, 5)) == ["new-5-late"]


def test_features_that_fire_together_are_found_for_those_that_are_read(path: Path) -> None:
    fired = [[0, 1], [0, 1, 2], [0], [2, 4], [2, 4, 7]]
    windows = [
        window(f"bg{i}", "test", fired_features=f, fired_max=[1.0] * len(f), fired_peak=[3] * len(f)) for i, f in enumerate(fired)
    ]
    add(path, run_id="run-3", windows=windows)
    with RunStore.open(path, "run-9") as store, Workspace(store, EVIDENCE, [0, 1, 2]) as workspace:
        found = {feature.index: feature.co_firing for feature in workspace.load([0, 2], "test", co_firing_above=0.2)}
        assert found == {0: {1: 2 / 3}, 2: {1: 1 / 4}}, "those that have no label can be nobody's null"


async def test_work_aside_is_done_in_order_and_off_the_event_loop(workspace: Workspace) -> None:
    here, done = threading.get_ident(), []

    def note(number: int) -> int:
        done.append((number, threading.get_ident() != here))
        return number

    assert await asyncio.gather(*(workspace.aside(note, i) for i in range(20))) == list(range(20))
    assert done == [(i, True) for i in range(20)]


def test_a_choice_holds_at_once(workspace: Workspace) -> None:
    zero = workspace.load([0], "validation")[0]
    workspace.choose(zero, zero.labels["label-0-lexical"], "it is better", 0.9, INFO)
    assert workspace.chosen[0].label_id == "label-0-lexical"
    workspace.choose(zero, None, "none fits", None, None)
    assert 0 not in workspace.chosen
