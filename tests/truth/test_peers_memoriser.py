"""The memoriser: it holds rare words of what it was shown and no trigger, and loses what it scores when nothing is shown twice."""

import asyncio
import dataclasses

import numpy as np
import pytest

from autolabel.records import Example, Label, Purpose, Stratum
from autolabel.scorers.rule import RuleScorer
from autolabel.truth.nuisances import Firing
from autolabel.truth.peers.excerpts import Reader
from autolabel.truth.peers.leak import leak_rows, mean
from autolabel.truth.peers.memoriser import RareWords, memoriser_label, on_exam, on_tiles
from tests.truth.peers_world import FILLER, OFTEN, SELDOM, firings, world


@pytest.fixture(scope="module")
def words() -> RareWords:
    return RareWords(world())


def example(text: str, stratum: Stratum, number: int) -> Example:
    starts = [0, *(place for place, character in enumerate(text) if character == " ")]
    return Example(f"{number:032x}", f"d{number}", f"d{number}", 0, "test", "firing", stratum, text, tuple(starts), 0)


def test_it_holds_the_rare_words_of_shown_tiles_and_no_trigger(words: RareWords) -> None:
    reader = Reader(world(), firings()[OFTEN])
    shown = reader.tiles_by_strength()[:5].tolist()
    weights = words.memorise(firings()[OFTEN], shown)["weights"]
    text = " ".join(reader.tile(tile).text for tile in shown)
    assert weights
    assert all(word in text for word in weights)
    assert not {"dog", *FILLER} & set(weights)
    assert set(weights.values()) == {1.0}


def test_a_rare_word_that_fires_is_a_trigger_and_not_memory(words: RareWords) -> None:
    text = world()
    rare = {number for number, token in enumerate(text.token_types) if token.startswith(" n") and "x" in token}
    token = next(t for t in range(text.n_tokens) if text.tile_of_token[t] >= 0 and int(text.token_kind[t]) in rare)
    tile, word = int(text.tile_of_token[token]), text.token_types[text.token_kind[token]].strip()
    assert word in words.memorise(firings()[OFTEN], [tile])["weights"]
    assert word not in words.memorise(Firing(np.array([token]), np.ones(1, dtype=np.float32)), [tile])["weights"]


def test_windows_are_memorised_without_their_left_context(words: RareWords) -> None:
    first, second, *_ = (word for word in words.of_tile(7) if word.startswith("n") and word != "noon")
    whole = example(f"{first} cat {second} zebra", "firing", 0)
    window = dataclasses.replace(whole, n_context_tokens=1)
    assert set(words.memorise_windows(firings()[OFTEN], [whole])["weights"]) == {first, second}
    memory = words.memorise_windows(firings()[OFTEN], [window])
    assert set(memory["weights"]) == {second}
    label = memoriser_label("evidence", "sae", 3, memory)
    assert (label.status, label.method, label.feature_index, label.predicate) == ("ok", "memoriser", 3, memory)
    assert label.label_id != memoriser_label("evidence", "sae", 3, {"kind": "words", "weights": {}}).label_id


def test_rarer_words_weigh_more(words: RareWords) -> None:
    counts = {word: sum(word in words.of_tile(tile) for tile in range(world().n_tiles)) for word in ("fox", "the")}
    assert counts["fox"] == 5
    assert counts["the"] > world().n_tiles / 2
    reader = Reader(world(), firings()[SELDOM])
    fox_tile = int(reader.tiles_by_strength()[0])
    memory = words.memorise(firings()[OFTEN], [fox_tile])["weights"]
    assert "fox" not in memory, "5 tiles of this small text are more than 1 in 2,000"
    assert "the" not in memory


def test_values_are_what_the_rule_scorer_says(words: RareWords) -> None:
    predicate = {"kind": "words", "weights": {"dog": 0.5, "cat": 0.25}}
    reader = Reader(world(), firings()[OFTEN])
    tiles = [int(reader.tiles_by_strength()[0]), *reader.silent_tiles()[:3].tolist()]
    examples = [dataclasses.replace(example(reader.tile(tile).text.strip(), "firing", tile)) for tile in tiles]
    label = Label("l", "e", "s", 0, "ok", "memoriser", "memory", predicate)
    (predictions,) = asyncio.run(RuleScorer().predict([label], examples, Purpose("score")))
    assert words.values(predicate, tiles) == [prediction.value for prediction in predictions]


def test_the_true_rule_is_perfect_and_an_empty_one_chance(words: RareWords) -> None:
    reader = Reader(world(), firings()[OFTEN])
    fired, silent = reader.tiles_by_strength()[:50].tolist(), reader.silent_tiles()[:50].tolist()
    right = on_tiles(words, {"kind": "words", "weights": {"dog": 1.0}}, fired, silent)
    nothing = on_tiles(words, {"kind": "words", "weights": {}}, fired, silent)
    assert dataclasses.astuple(right) == (1.0, 1.0, 1.0)
    assert dataclasses.astuple(nothing) == pytest.approx((0.0, 0.0, 0.0))
    with pytest.raises(ValueError, match="some that do and some that do not"):
        on_tiles(words, {"kind": "words", "weights": {}}, fired, [])


def test_an_exam_is_read_by_its_groups() -> None:
    strata: tuple[Stratum, ...] = ("firing", "hard", "random")
    exam = [example(f"{'a dog' if stratum != 'random' else 'a cat'} ran", stratum, i) for i, stratum in enumerate(strata * 10)]
    reading = on_exam({"kind": "words", "weights": {"dog": 1.0}}, exam)
    assert reading.ranked == pytest.approx(0.5)
    assert reading.label_score == pytest.approx(0.25)
    assert reading.balanced == pytest.approx(0.5)


def test_what_is_remembered_is_worth_the_leak_and_nothing_without_it() -> None:
    (row,) = leak_rows(world(), firings(), [OFTEN], 0)
    assert row.n_tiles > 200
    assert 0.2 <= row.shared <= 0.4
    assert row.leaky.ranked == pytest.approx(row.shared)
    assert row.leaky.label_score == pytest.approx(row.shared)
    assert row.disjoint.balanced == row.ours.balanced == 0.0


def test_seen_in_fewer_tiles_more_is_repeated_and_too_few_are_not_measured() -> None:
    (row,) = leak_rows(world(), firings(), [OFTEN], 0, n_tiles=200)
    assert (row.n_tiles, row.shared) == (200, 0.4)
    assert [again.leaky for again in leak_rows(world(), firings(), [OFTEN], 0, n_tiles=200)] == [row.leaky]
    assert list(leak_rows(world(), firings(), [SELDOM], 0)) == []


def test_a_mean_has_an_interval() -> None:
    found = mean([0.0, 1.0] * 50, seed=0)
    assert found.value == 0.5
    assert 0.39 < found.low < 0.42
    assert 0.58 < found.high < 0.61
    assert mean([0.0, 1.0] * 50, seed=0) == found
    with pytest.raises(ValueError, match="at least one"):
        mean([], seed=0)
