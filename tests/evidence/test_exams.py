"""Exams on a world of numbered tokens with planted copies: 400 documents, 40 features that each fire on a few tokens."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autolabel.config import EvidenceSettings
from autolabel.evidence.corpus import Document
from autolabel.evidence.draws import best_of, first_of, marks, packed, quantiles
from autolabel.evidence.exams import DENSE_QUANTILE, SHOWN_NEGATIVES
from autolabel.records import SPLITS, Split
from autolabel.sampling import NEAR_COPY_TOKENS, background_keys, draw_keys
from tests.evidence.worlds import (
    SEED,
    SMALL,
    Drawn,
    FeatureDraw,
    Outcome,
    collected,
    collector_of,
    document,
    finished,
    tables_of,
)

VOCABULARY, D = 400, 40
DENSE, SILENT, RARE, ONE_DOCUMENT, COPIED = 0, 1, 2, 3, 4
ORDINARY = range(5, D)
HELD_OUT: tuple[Split, ...] = ("validation", "test")


@dataclass
class World:
    documents: list[Document]
    table: torch.Tensor
    outcome: Outcome
    tables: dict[str, Any]


def planted(generator: np.random.Generator) -> Iterator[np.ndarray[Any, Any]]:
    """Token lists; a fifth of them holds one of a few paragraphs, and tokens 2, 3 and 4 are kept for special features."""
    paragraphs = [generator.integers(100, VOCABULARY, 40) for _ in range(6)]
    copied = generator.integers(100, VOCABULARY, 20)
    copied[10] = COPIED
    for number in range(400):
        tokens = generator.integers(10, VOCABULARY, generator.integers(100, 240))
        if number % 5 == 0:
            tokens = np.concatenate([tokens[:50], paragraphs[number // 5 % 6], tokens[50:]])
        if number % 2 == 0:
            tokens = np.concatenate([tokens[:80], copied, tokens[80:]])
        if number in (7, 9):
            tokens[60] = RARE
        if number == 11:
            tokens[::20] = ONE_DOCUMENT
        yield tokens


def world_table(generator: np.random.Generator) -> torch.Tensor:
    table = np.full((VOCABULARY, D), -1.0, dtype=np.float32)
    for feature in ORDINARY:
        tokens = generator.choice(np.arange(10, VOCABULARY), 1 + feature % 5, replace=False)
        table[tokens, feature] = generator.uniform(0.5, 8, len(tokens))
    table[10 : 10 + VOCABULARY // 5, DENSE] = generator.uniform(0.5, 8, VOCABULARY // 5)
    for feature in (RARE, ONE_DOCUMENT, COPIED):
        table[feature, feature] = 3.0
    return torch.from_numpy(table)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    generator = np.random.default_rng(1)
    documents = [document(tokens) for tokens in planted(generator)]
    table = world_table(generator)
    W_dec = torch.nn.functional.normalize(torch.randn(D, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    outcome = collected(documents, table, tmp_path_factory.mktemp("spill"), W_dec=W_dec)
    return World(documents, table, outcome, outcome.tables)


def runs(world: World, row: int) -> set[tuple[int, ...]]:
    tokens = world.outcome.tiles[row]["token_ids"]
    return {tuple(tokens[i : i + NEAR_COPY_TOKENS]) for i in range(len(tokens) - NEAR_COPY_TOKENS + 1)}


def exam(draw: FeatureDraw, split: Split) -> list[Drawn]:
    return [example for example in draw.examples if example.split == split and example.in_exam]


def examined(world: World) -> list[FeatureDraw]:
    draws = [draw for draw in world.outcome.draws if draw.status in ("alive", "dense")]
    assert len(draws) > 20
    return draws


def largest(world: World, feature: int, row: int) -> float:
    """The truth of a tile, from its tokens."""
    tile = world.outcome.tiles[row]["token_ids"][-32:]
    return max(0.0, world.table[tile, feature].max().item())


def test_every_feature_has_a_row_and_a_status(world: World) -> None:
    statuses = [draw.status for draw in world.outcome.draws]
    assert [draw.feature for draw in world.outcome.draws] == list(range(D))
    assert statuses[DENSE] == "dense"
    assert statuses[SILENT] == "silent"
    assert statuses[RARE] == statuses[ONE_DOCUMENT] == "too_few"
    assert Counter(statuses[feature] for feature in ORDINARY)["alive"] > 25
    rows = world.tables["features"].to_pylist()
    assert [row["feature_index"] for row in rows] == list(range(D))
    silent = rows[SILENT]
    assert silent["max_activation"] is silent["mean_activation"] is silent["top_tokens"] is None
    assert silent["firing_rate_high"] == pytest.approx(3 / sum(world.outcome.collector.counts.all_tiles.values()))
    assert all(0 <= row["firing_rate"] <= row["firing_rate_high"] <= 1 for row in rows)


def test_a_feature_whose_test_tiles_are_all_copies_of_shown_ones_has_no_exam(world: World) -> None:
    draw = world.outcome.draws[COPIED]
    assert draw.status == "too_few"
    assert not any(example.in_exam for example in draw.examples)
    assert draw.near_copies["test", "firing"] > 0


def test_no_run_is_shared_between_what_is_shown_chosen_on_and_scored(world: World) -> None:
    for draw in examined(world):
        held = {split: set().union(*(runs(world, e.row) for e in draw.examples if e.split == split)) for split in SPLITS}
        for split in HELD_OUT:
            scored = set().union(*(runs(world, e.row) for e in exam(draw, split)))
            assert scored
            assert not scored & held["train"]
        assert not set().union(*(runs(world, e.row) for e in exam(draw, "test"))) & held["validation"]


def test_near_copies_are_counted_and_the_strata_add_up(world: World) -> None:
    counts = world.outcome.collector.counts
    rows = world.tables["strata"].to_pylist()
    assert sum(row["n_near_copies"] for row in rows if row["stratum"] == "firing") > 0
    assert sum(row["n_near_copies"] for row in rows if row["stratum"] == "random") > 0
    for draw in examined(world):
        for split in SPLITS:
            of = {row["stratum"]: row for row in rows if (row["feature_index"], row["split"]) == (draw.feature, split)}
            assert of["firing"]["n_tiles"] + of["random"]["n_tiles"] == counts.all_tiles[split]
            if draw.status == "alive":
                assert of["firing"]["n_tiles"] == counts.tiles(split)[draw.feature]
                offered = min(counts.tiles(split)[draw.feature], world.outcome.collector.firing[split].k)
                assert of["firing"]["n_sampled"] + of["firing"]["n_near_copies"] == offered
            for stratum in ("firing", "hard", "random"):
                assert of[stratum]["n_sampled"] == len(draw.drawn(split, stratum))


def test_quotas_are_met_exactly_and_no_window_is_asked_twice(world: World) -> None:
    sizes: dict[Split, int] = {"validation": SMALL.exam_validation, "test": SMALL.exam_test}
    for draw in examined(world):
        for split, size in sizes.items():
            drawn = exam(draw, split)
            assert len({example.row for example in drawn}) == len(drawn)
            strata = Counter(example.stratum for example in drawn)
            assert strata["hard"] == strata["random"] == size
            assert strata["firing"] <= size
        assert Counter(e.stratum for e in exam(draw, "test"))["firing"] >= 20
        negatives = [e for e in draw.examples if e.split == "train" and e.stratum in ("hard", "random")]
        assert len(negatives) == 2 * SHOWN_NEGATIVES
        assert not exam(draw, "train")


def test_windows_lie_in_the_split_they_are_drawn_for(world: World) -> None:
    assert all(SPLITS[world.outcome.tiles[e.row]["split"]] == e.split for draw in world.outcome.draws for e in draw.examples)


def test_firing_tiles_fire_and_negatives_do_not(world: World) -> None:
    for draw in world.outcome.draws:
        for example in draw.examples:
            strength = largest(world, draw.feature, example.row)
            assert example.largest == pytest.approx(strength)
            assert (strength > draw.threshold) == (example.stratum in (None, "firing"))


def test_exam_firing_tiles_are_the_uniform_sample_in_hash_order(world: World) -> None:
    ids = world.outcome.kept.ids
    for draw in examined(world):
        if draw.status == "dense":
            continue
        for split in HELD_OUT:
            drawn = draw.drawn(split, "firing")
            keys = draw_keys(SEED, np.full(len(drawn), draw.feature), ids[[example.row for example in drawn]])
            assert np.all(keys[:-1] < keys[1:])
            sampled = world.outcome.kept.samples(draw.feature, draw.feature + 1).firing[split][0]
            sample = ids[sampled[sampled >= 0]].tolist()
            assert set(ids[[example.row for example in drawn]].tolist()) <= set(sample)
            n_exam = sum(example.in_exam for example in drawn)
            assert all(example.in_exam == (rank < n_exam) for rank, example in enumerate(drawn))


def test_random_negatives_are_the_first_of_the_background_that_may_be_drawn(world: World) -> None:
    kept = world.outcome.kept
    ids = kept.ids
    for draw in examined(world)[:12]:
        shown: set[tuple[int, ...]] = set()
        for split in SPLITS:
            if split != "train":
                background = kept.background[split].rows.tolist()
                keys = background_keys(SEED, ids[background])
                assert np.all(keys[:-1] < keys[1:])
                silent = [row for row in background if largest(world, draw.feature, row) <= draw.threshold]
                allowed = [row for row in silent if not runs(world, row) & shown]
                drawn = [example.row for example in draw.drawn(split, "random")]
                assert drawn == allowed[: len(drawn)]
            shown |= set().union(*(runs(world, e.row) for e in draw.examples if e.split == split))


def test_hard_negatives_have_the_property_of_their_kind(world: World) -> None:
    kinds: Counter[str] = Counter()
    sources = world.outcome.kept.source_documents
    for draw in examined(world):
        own = {sources[e.row] for e in draw.examples if e.stratum == "firing"}
        assert draw.feature not in draw.neighbours
        for example in draw.examples:
            if example.stratum != "hard":
                continue
            kinds[example.kind] += 1
            if example.kind == "neighbour":
                assert any(largest(world, feature, example.row) > 0 for feature in draw.neighbours)
            if example.kind == "same_document":
                assert sources[example.row] in own
    assert min(kinds[kind] for kind in ("neighbour", "lookalike", "same_document")) > 0


def test_the_dense_feature_is_scored_above_its_ninetieth_percentile(world: World) -> None:
    draw = world.outcome.draws[DENSE]
    rows = np.concatenate([background.rows for background in world.outcome.kept.background.values()])
    strengths = np.array([largest(world, DENSE, row) for row in rows.tolist()], dtype=np.float32)
    assert draw.threshold == pytest.approx(float(np.quantile(strengths, DENSE_QUANTILE)))
    assert world.tables["features"].to_pylist()[DENSE]["firing_threshold"] == draw.threshold


def test_marks_are_tokens_of_at_least_half_the_peak(tmp_path: Path) -> None:
    table = torch.zeros(60, 3)
    table[1, 0], table[2, 0], table[3, 0] = 4.0, 2.0, 1.9
    tokens = np.full(100, 50)
    tokens[[40, 41, 42]] = 1, 2, 3
    kept = finished(collector_of([document(tokens, "train")], table, tmp_path / "spill"), tmp_path / "sorted").kept
    (pair,) = np.flatnonzero(kept.largest == 4.0)
    _, positions, _ = kept.entries_of(np.array([pair]))
    assert len(positions) == 3
    assert marks(kept, np.array([pair, -1])).tolist() == [3 << int(positions[0]), 0]


def test_a_dense_feature_of_equal_values_fires_where_it_is_active(tmp_path: Path) -> None:
    generator = np.random.default_rng(3)
    documents = [document(generator.integers(0, 100, 140)) for _ in range(120)]
    table = torch.zeros(100, 4)
    table[:3, 0] = 1.0
    table[3:5, 1] = 2.0
    outcome = finished(collector_of(documents, table, tmp_path / "spill"), tmp_path / "sorted")
    draw = outcome.draws[0]
    rate = outcome.collector.counts.fired[0] / outcome.collector.counts.n_tiles
    assert 0.5 < rate < 0.8
    assert (draw.status, draw.threshold) == ("dense", 0.0)
    assert {example.largest for example in draw.drawn("test", "firing")} == {1.0}
    assert {example.largest for example in draw.drawn("test", "hard", "random")} == {0.0}
    rows = tables_of(outcome)[0]["features"].to_pylist()
    assert [row["firing_threshold"] for row in rows] == [one.threshold for one in outcome.draws]


def test_negatives_are_marked_at_peaks_of_others_as_often_as_positives(world: World) -> None:
    for draw in examined(world):
        for split in HELD_OUT:
            drawn = exam(draw, split)
            firing = [len(e.marks) for e in drawn if e.stratum == "firing"]
            assert min(firing) > 0
            for stratum in ("hard", "random"):
                negatives = [e for e in drawn if e.stratum == stratum]
                for rank, example in enumerate(negatives):
                    values = world.table[world.outcome.tiles[example.row]["token_ids"]].numpy().copy()
                    values[: len(values) - 32] = -1
                    values[:, draw.feature] = -1
                    peaks = {int(values[:, f].argmax()) for f in range(D) if values[:, f].max() > 0}
                    assert set(example.marks) <= peaks
                    assert len(example.marks) == min(firing[rank % len(firing)], len(peaks))


def test_tables_tell_what_was_drawn(world: World) -> None:
    examples, windows = (world.tables[name].to_pylist() for name in ("examples", "windows"))
    by_name = {row["window_id"]: row for row in windows}
    assert len(by_name) == len(windows)
    assert {row["window_id"] for row in examples} <= by_name.keys()
    keys = [(row["feature_index"], row["window_id"], row["kind"]) for row in examples]
    assert len(set(keys)) == len(keys)
    for row in examples:
        n_tokens = len(by_name[row["window_id"]]["token_starts"])
        assert by_name[row["window_id"]]["split"] == row["split"]
        assert len(row["positions"]) == len(row["activations"])
        assert all(0 <= position < n_tokens for position in row["positions"] + row["mark_positions"])
        assert row["inclusion_weight"] >= 0
        assert row["max_activation"] == max(row["activations"], default=0.0)


def test_the_background_sample_holds_every_feature_that_fires_there(world: World) -> None:
    drawn = {f"{row['window_id']}": row for row in world.tables["windows"].to_pylist() if row["fired_features"] is not None}
    backgrounds = world.outcome.collector.background
    assert len(drawn) == sum(backgrounds[split].n_kept for split in SPLITS)
    for row in list(drawn.values())[::10]:
        values = world.table[row["token_ids"]].numpy().copy()
        values[: row["n_context_tokens"]] = 0
        assert row["fired_features"] == np.flatnonzero(values.max(0) > 0).tolist()
        np.testing.assert_allclose(row["fired_max"], values.max(0)[row["fired_features"]])
        assert list(row["fired_peak"]) == values.argmax(0)[row["fired_features"]].tolist()


def test_weights_add_up_to_the_population(world: World) -> None:
    counts = world.outcome.collector.counts
    for draw in examined(world):
        if draw.status == "alive":
            firing = sum(example.weight for example in draw.drawn("test", "firing"))
            assert firing == pytest.approx(counts.tiles_test[draw.feature])


def test_token_shares_name_the_tokens_that_carry_the_feature(world: World) -> None:
    for draw in examined(world):
        row = world.tables["features"].to_pylist()[draw.feature]
        if draw.status == "alive":
            tokens = {f"{token:03d} " for token in np.flatnonzero(world.table[:, draw.feature].numpy() > 0)}
            assert {top["token"] for top in json.loads(row["top_tokens"])} <= tokens
            assert 0 <= row["token_entropy"] <= np.log2(len(tokens)) + 1e-9


def test_a_corpus_in_which_nothing_fires_has_only_silent_features(tmp_path: Any) -> None:
    documents = [document(np.arange(100) + number) for number in range(30)]
    outcome = collected(documents, torch.full((VOCABULARY, 3), -1.0), tmp_path)
    assert [draw.status for draw in outcome.draws] == ["silent"] * 3
    assert outcome.tables.keys() == {"features", "windows"}
    assert outcome.tables["windows"].num_rows > 0


def test_larger_exams_than_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="exam_test = 61 needs firing_test"):
        EvidenceSettings(exam_test=61)


def test_the_first_and_the_best_of_each_line() -> None:
    allowed = np.array([[True, False, True, True], [False, False, False, True], [False] * 4])
    assert first_of(allowed, 2).tolist() == [[0, 2], [3, -1], [-1, -1]]
    none = -np.inf
    scores = np.array([[1, 3, 3, 2], [none, 5, none, none], [none] * 4], dtype=np.float32)
    assert best_of(scores, 3).tolist() == [[1, 2, 3], [1, -1, -1], [-1, -1, -1]]
    assert best_of(scores, 6).tolist()[0] == [1, 2, 3, 0, -1, -1]
    assert best_of(scores, 0).shape == (3, 0)
    assert packed(np.array([[-1, 4, -1, 2]])).tolist() == [[4, 2, -1, -1]]


def test_quantiles_are_tenths_by_strength() -> None:
    values = np.array([[*range(1, 21)], [5.0, np.nan, 7.0, *[np.nan] * 17]], dtype=np.float64)
    found = quantiles(values)
    assert found[0].tolist() == [9 - i // 2 for i in range(20)]
    assert found[1][[0, 2]].tolist() == [5, 0]
