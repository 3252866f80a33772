"""Labels that carry a rule, run over a whole text: what each tile gets, and a threshold that test tiles have no say in."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autolabel.errors import DataError
from autolabel.predicates import evaluate, parse_predicate
from autolabel.records import Example, Split
from autolabel.scorers.rule import rule_value
from autolabel.truth.built import Built
from autolabel.truth.predicates import Before, Near, Pattern, Predicate, Words
from autolabel.truth.rules import read_rule, rule_exact
from autolabel.truth.world import Tiles, World
from tests.truth import peers_world
from tests.truth.worlds_of_text import document_of, filler, world_of

NONE = np.empty(0, dtype=np.int32)


def tile_texts(world: World) -> list[list[str]]:
    """The words of each tile, counted the slow way."""
    found = []
    for tile in range(world.n_tiles):
        document = world.documents[world.tile_document[tile]]
        first = int(world.tile_first[tile] - world.first_token[world.tile_document[tile]])
        found.append(document.text[document.bounds[first] : document.bounds[first + 32]].split())
    return found


def best_threshold(values: list[float], fired: set[int], train: list[int]) -> float:
    """The lowest of the values with the best F1 on train tiles, tried one by one."""
    best, chosen = -1.0, np.inf
    for threshold in sorted({values[tile] for tile in train if values[tile] > 0}, reverse=True):
        named = {tile for tile in train if values[tile] >= threshold}
        f1 = 2 * len(named & fired) / (len(named) + max(len(fired & set(train)), 1))
        if f1 > best:
            best, chosen = f1, threshold
    return chosen


@pytest.mark.parametrize(
    "weights",
    [
        {"dog": 1.0},
        {"dog": 0.3, "cat": 1.0},
        {"fox": 1.0, "dog": 0.7, "cat": 0.2, "rain": 0.1},
        {"cat": 1.0, "rain": 0.9, "soup": 0.8},
        {"nowhere": 1.0},
        {},
    ],
)
@pytest.mark.parametrize("word", ["dog", "fox"])
def test_a_rule_of_words_is_worth_what_counting_says(weights: dict[str, float], word: str) -> None:
    world = peers_world.world()
    fired = world.tiles_of(Words((word,)))
    values = [max((weights.get(one, 0.0) for one in words), default=0.0) for words in tile_texts(world)]
    reading = read_rule(world, {"kind": "words", "weights": weights}, fired)
    assert reading.values.tolist() == values
    train = [tile for tile in range(world.n_tiles) if world.documents[world.tile_document[tile]].split == "train"]
    assert reading.threshold == best_threshold(values, set(fired.tolist()), train)
    assert reading.named.tolist() == [tile for tile, value in enumerate(values) if value >= reading.threshold]
    exact = rule_exact(world, {"kind": "words", "weights": weights}, fired)
    assert exact == world.exact(reading.named, fired)


def test_a_rule_of_tokens_knows_the_blank_before_them() -> None:
    world = peers_world.world()
    fired = world.tiles_of(Words(("dog",)))
    spaced, bare = ({"kind": "tokens", "weights": {text: 1.0}} for text in (" dog", "dog"))
    assert rule_exact(world, spaced, fired).f1 == 1.0
    assert read_rule(world, bare, fired).named.tolist() == []
    assert rule_exact(world, bare, fired).precision is None


def split_world(fires_on: Mapping[Split, tuple[str, ...]]) -> tuple[World, Tiles]:
    """Documents of one word that matters; the feature fires on other words in each split."""
    documents = []
    for split in fires_on:
        for number in range(30):
            word = ("dog", "cat", "hen")[number % 3]
            documents.append(document_of(" ".join([split, str(number), *[*filler(9, number), word] * 10]), split))
    world = world_of(documents)
    fires = [word in fires_on[document.split] for document in documents for word in (document.text.split()[11],)]
    return world, np.flatnonzero(np.array(fires)[world.tile_document]).astype(np.int32)


def test_the_threshold_is_chosen_on_train_tiles_alone() -> None:
    rule = {"kind": "words", "weights": {"dog": 1.0, "cat": 0.5}}
    world, fired = split_world({"train": ("dog",), "validation": ("cat",), "test": ("dog", "cat")})
    reading = read_rule(world, rule, fired)
    assert reading.threshold == 1.0
    exact = world.exact(reading.named, fired)
    assert exact.precision == 1.0
    assert exact.recall == pytest.approx(0.5, abs=0.1), "cats are left out, because train tiles about them are silent"
    world, fired = split_world({"train": ("dog", "cat"), "validation": (), "test": ("dog",)})
    assert read_rule(world, rule, fired).threshold == 0.5
    assert rule_exact(world, rule, fired).recall == 1.0


def test_a_rule_that_names_no_train_tile_names_none() -> None:
    world, fired = split_world({"train": ("dog",), "test": ("dog",)})
    reading = read_rule(world, {"kind": "words", "weights": {"nowhere": 1.0}}, fired)
    assert reading.threshold == np.inf
    assert reading.named.tolist() == []
    assert rule_exact(world, {"kind": "words", "weights": {"nowhere": 1.0}}, fired).f1 == 0.0


def test_a_feature_silent_in_train_still_gets_a_threshold() -> None:
    world, fired = split_world({"train": (), "test": ("dog",)})
    reading = read_rule(world, {"kind": "words", "weights": {"dog": 1.0, "cat": 0.5}}, fired)
    assert reading.threshold in (0.5, 1.0)
    assert rule_exact(world, {"kind": "words", "weights": {"dog": 1.0}}, NONE).precision == 0.0


@pytest.mark.parametrize("word", ["don’t", "don't"])
def test_an_apostrophe_is_the_one_that_labelers_saw(word: str) -> None:
    texts = ["They don’t know " * 30, "They don't know " * 30]
    world = world_of([document_of(text, "train") for text in texts])
    values = read_rule(world, {"kind": "words", "weights": {word: 1.0}}, NONE).values
    assert values.tolist() == [float(word in texts[document]) for document in world.tile_document]


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(DataError, match="predicate kind is 'magic', expected 'words', 'tokens'"):
        read_rule(peers_world.world(), {"kind": "magic", "weights": {}}, NONE)


WORDS = ("river", "bank", "Money", "the", ",", "12", "1999", "stateliness", "lending", "don't")
_WEIGHTS = st.sampled_from([0.25, 0.5, 1.0])
_LEAVES = st.one_of(
    st.dictionaries(st.sampled_from([word.casefold() for word in WORDS]), _WEIGHTS, max_size=4).map(
        lambda weights: {"kind": "words", "weights": weights}
    ),
    st.dictionaries(st.sampled_from([f" {word}" for word in WORDS]), _WEIGHTS, max_size=4).map(
        lambda weights: {"kind": "tokens", "weights": weights}
    ),
    st.tuples(st.sampled_from(["[A-Z][a-z]+", r"\d+", "[A-Za-z]+ing", "[A-Za-z]{5,}"]), _WEIGHTS).map(
        lambda found: {"kind": "regex", "pattern": found[0], "weight": found[1]}
    ),
)


def _around(inner: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Predicates that hold others."""
    context = st.lists(st.sampled_from(WORDS), min_size=1, max_size=2)
    return st.one_of(
        st.builds(lambda kind, target: {"kind": kind, "target": target}, st.sampled_from(["before", "after"]), inner),
        st.builds(
            lambda trigger, words, absent: {"kind": "near", "trigger": trigger, "context": words, "absent": absent},
            inner,
            context,
            st.booleans(),
        ),
        st.builds(lambda parts: {"kind": "any", "parts": parts}, st.lists(inner, min_size=1, max_size=3)),
    )


_PREDICATES = st.one_of(_LEAVES, _around(_LEAVES), _around(_around(_LEAVES)))


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=20), _PREDICATES)
@settings(deadline=None, max_examples=300)
def test_both_evaluators_say_the_same_of_a_text_that_both_see_whole(words: list[str], predicate: dict[str, Any]) -> None:
    """The window is the whole document, of which only one tile counts."""
    filling = " ".join(["of"] * 64)
    world = world_of([document_of(f"{filling} {' '.join(words)}", "train")])
    for tile in range(world.n_tiles):
        first = int(world.tile_first[tile])
        document = world.documents[0]
        text, starts = document.text, tuple(document.bounds[:-1].tolist())
        seen = Example("w", "d", "d", 0, "train", "background", "random", text, starts, first)
        said, value = evaluate(parse_predicate(predicate), seen), read_rule(world, predicate, NONE).values[tile]
        inside = [position for position in said.positions if position < first + 32]
        if not cuts_a_word(world, tile):
            assert (value > 0) == bool(inside)
            assert value == said.value or len(inside) < len(said.positions)


@pytest.mark.parametrize(
    ("predicate", "same"),
    [
        ({"kind": "regex", "pattern": "[A-Za-z]+ing"}, Pattern("[A-Za-z]+ing")),
        ({"kind": "before", "target": {"kind": "words", "weights": {"dog": 1}}}, Before(Words(("dog",)))),
        (
            {"kind": "near", "trigger": {"kind": "words", "weights": {"dog": 1}}, "context": ["cat"]},
            Near(Words(("dog",)), Words(("cat",))),
        ),
        (
            {"kind": "near", "trigger": {"kind": "words", "weights": {"dog": 1}}, "context": ["cat"], "absent": True},
            Near(Words(("dog",)), Words(("cat",)), absent=True),
        ),
    ],
)
def test_kinds_that_functions_have_too_name_the_same_tiles(predicate: dict[str, Any], same: Predicate) -> None:
    world = peers_world.world()
    tiles = world.tiles_of(same)
    assert np.flatnonzero(read_rule(world, predicate, tiles).values).tolist() == tiles.tolist()


def test_a_rule_looks_beyond_its_tile_and_never_beyond_its_document() -> None:
    world = world_of([document_of("river " * 70, "train"), document_of("money " * 70, "train")])
    near = {"kind": "near", "trigger": {"kind": "words", "weights": {"river": 1}}, "context": ["money"]}
    before = {"kind": "before", "target": {"kind": "words", "weights": {"money": 1}}}
    assert not read_rule(world, near, NONE).values.any()
    assert set(read_rule(world, before, NONE).values[world.tile_document == 0]) == {0.0}
    assert set(read_rule(world, before, NONE).values[world.tile_document == 1]) == {1.0}


@pytest.mark.parametrize("kind", ["words", "tokens"])
def test_values_are_what_the_rule_scorer_says_of_the_same_tile(built: Built, kind: str) -> None:
    world = built.world
    words = [word for word in world.columns.lower if word.isalpha()][:400] if kind == "words" else world.token_types[:900]
    predicate: dict[str, Any] = {"kind": kind, "weights": {word: 1 / (2 + number) for number, word in enumerate(words)}}
    values = read_rule(world, predicate, NONE).values
    seen = 0
    for feature in built.features[:6]:
        for example in built.evidence[feature.index].examples:
            tile = built.tile_of_window[example.document_id, example.tile_index]
            said = rule_value(predicate, example)
            if not cuts_a_word(world, tile):
                assert said == values[tile]
                seen += said > 0
    assert seen > 100


def cuts_a_word(world: World, tile: int) -> bool:
    """Whether a word of two tokens lies across an edge of the tile: a window shows a part of it, the world knows the whole."""
    edges = np.array([world.tile_first[tile], world.tile_first[tile] + 32])
    return not (np.isin(edges, world.places.first) | (edges == world.n_tokens)).all()
