"""Rules over the whole corpus: the numbers are those of counting all tiles, and test tiles have no say in the threshold."""

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from autolabel.pipeline.rule_population import IndexedTiles, RulePopulation
from autolabel.predicates import evaluate, parse_predicate
from autolabel.records import Example, FeatureEvidence, Label, Split
from autolabel.store.background import BackgroundSample

FEATURE = 3
DOG = {"kind": "words", "weights": {"dog": 1.0, "cat": 0.5}}
FILLER = ["the", "of", "to", "in", "that", "which", "was", "for", "on", "with", "as", "at", "by"]


def tile(number: int, words: list[str], split: Split) -> Example:
    """A tile of these words, a token each, the first two of them left context."""
    tokens = [word if i == 0 else f" {word}" for i, word in enumerate(words)]
    starts = tuple(sum(map(len, tokens[:i])) for i in range(len(tokens)))
    source = f"{split}-{number // 2}"
    return Example(f"{split}-{number}", source, source, number, split, "background", None, "".join(tokens), starts, 2)


def corpus(split: Split, n: int, dog: float, cat: float, seed: int = 0) -> list[Example]:
    """Tiles of which such shares hold a dog or a cat."""
    rng = random.Random(f"{split} {seed}")
    made = []
    for number in range(n):
        words = [rng.choice(FILLER) for _ in range(12)]
        drawn = rng.random()
        if drawn < dog + cat:
            words[rng.randrange(2, 12)] = "dog" if drawn < dog else "cat"
        made.append(tile(number, words, split))
    return made


def holds(example: Example, *words: str) -> bool:
    return any(f" {word}" in example.text for word in words)


def sample(tiles: list[Example], *fires_on: str) -> BackgroundSample:
    """A background sample in which `FEATURE` fires where one of these words is, and another feature everywhere."""
    places = [i for i, one in enumerate(tiles) if holds(one, *fires_on)]
    features = np.array([1] * len(tiles) + [FEATURE] * len(places), dtype=np.int32)
    return BackgroundSample(tuple(tiles), features, np.array([*range(len(tiles)), *places], dtype=np.int32), frozenset())


def evidence(rate: float, *examples: Example) -> FeatureEvidence:
    return FeatureEvidence("sae", "set", FEATURE, "alive", rate, 1.0, examples)


def firing(tiles: list[Example], *words: str) -> list[Example]:
    return [replace(one, kind="firing", stratum="firing") for one in tiles if holds(one, *words)]


def label(predicate: dict[str, Any] | None) -> Label:
    return Label("label", "set", "sae", FEATURE, "ok", "rule", text="dogs", predicate=predicate)


def test_the_numbers_are_those_of_the_population() -> None:
    """The feature fires on dogs; the rule names dogs and birds, of which there are as many."""
    population = corpus("test", 20_000, 0.05, 0.05, seed=1)
    rate = sum(holds(one, "dog") for one in population) / len(population)
    train, test = corpus("train", 1000, 0.05, 0.05), population[:4000]
    rule = label({"kind": "words", "weights": {"dog": 1.0, "cat": 1.0}})
    kept = firing(population[4000:], "dog")[:60]
    found = RulePopulation(sample(train, "dog"), sample(test, "dog")).estimates(rule, evidence(rate, *kept))
    precision, recall = found["population_precision"], found["population_recall"]
    exact = rate / (sum(holds(one, "dog", "cat") for one in population) / len(population))
    assert precision.value == pytest.approx(exact, abs=0.03)
    assert precision.low is not None
    assert precision.high is not None
    assert precision.low <= exact <= precision.high
    assert (recall.value, recall.n) == (1.0, len(kept) + sum(holds(one, "dog") for one in test))


def test_recall_counts_a_tile_of_both_samples_once() -> None:
    test = corpus("test", 400, 0.1, 0.0)
    firings = firing(test, "dog")
    population = RulePopulation(sample(corpus("train", 100, 0.1, 0.0), "dog"), sample(test, "dog"))
    found = population.estimates(label(DOG), evidence(0.1, *firings))
    assert found["population_recall"].n == len(firings)


def test_the_threshold_is_the_best_of_train_text_whatever_test_says() -> None:
    """In train text the feature fires on dogs alone; in test text on cats alone."""
    train, test = corpus("train", 400, 0.1, 0.1), corpus("test", 400, 0.1, 0.1)
    of_dogs = RulePopulation(sample(train, "dog"), sample(test, "cat")).estimates(label(DOG), evidence(0.1))
    assert of_dogs["population_recall"].value == 0.0
    of_both = RulePopulation(sample(train, "dog", "cat"), sample(test, "cat")).estimates(label(DOG), evidence(0.1))
    assert of_both["population_recall"].value == 1.0


def test_firing_train_tiles_at_hand_speak_too() -> None:
    """No firing tile in the background: the tiles kept for the feature say that cats count."""
    train = corpus("train", 400, 0.0, 0.0)
    population = RulePopulation(sample(train, "dog"), sample(corpus("test", 400, 0.1, 0.1), "dog", "cat"))
    kept = firing(corpus("train", 50, 0.5, 0.5, seed=9), "dog", "cat")
    assert population.estimates(label(DOG), evidence(0.1, *kept))["population_recall"].value == 1.0
    dogs = [one for one in kept if holds(one, "dog")]
    silent = population.estimates(label(DOG), evidence(0.1, *dogs))["population_recall"].value
    assert silent is not None
    assert 0.3 < silent < 0.7


@pytest.mark.parametrize(
    ("predicate", "why"),
    [
        (None, "the label carries no predicate"),
        ({"kind": "magic"}, "predicate kind is 'magic'"),
        ({"kind": "regex", "pattern": "(a+)+"}, "not allowed"),
    ],
)
def test_a_rule_that_cannot_run_has_no_value_and_a_reason(predicate: dict[str, Any] | None, why: str) -> None:
    population = RulePopulation(sample(corpus("train", 10, 0.1, 0.1), "dog"), sample(corpus("test", 10, 0.1, 0.1), "dog"))
    rows = population.score_rows(label(predicate), evidence(0.1))
    assert [(row["metric"], row["value"], row["scorer"], row["split"]) for row in rows] == [
        ("population_precision", None, "rule", "test"),
        ("population_recall", None, "rule", "test"),
    ]
    assert all(why in row["reason"] for row in rows)


def test_without_any_tile_there_is_no_value() -> None:
    nothing = BackgroundSample((), np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int32), frozenset())
    found = RulePopulation(nothing, nothing).estimates(label(DOG), evidence(0.1))
    assert {estimate.value for estimate in found.values()} == {None}
    assert found["population_recall"].reason == "nothing was counted"


def test_a_rule_that_names_nothing_has_no_precision() -> None:
    population = RulePopulation(sample(corpus("train", 100, 0.1, 0.1), "dog"), sample(corpus("test", 200, 0.1, 0.1), "dog"))
    found = population.estimates(label({"kind": "words", "weights": {"nowhere": 1}}), evidence(0.1))
    assert (found["population_precision"].value, found["population_recall"].value) == (None, 0.0)


def test_how_often_a_dense_feature_fires_is_estimated() -> None:
    test = corpus("test", 400, 0.5, 0.0)
    dense = replace(sample(test, "dog"), thresholded=frozenset({FEATURE}))
    found = RulePopulation(sample(corpus("train", 100, 0.5, 0.0), "dog"), dense).estimates(label(DOG), evidence(1.0))
    assert found["population_precision"].value == 1.0
    assert found["population_precision"].chance == pytest.approx(sum(holds(one, "dog") for one in test) / 400)


@pytest.mark.parametrize(
    "predicate",
    [
        DOG,
        {"kind": "tokens", "weights": {" dog": 1, " the": 0.25}},
        {"kind": "regex", "pattern": "[a-z]{2}"},
        {"kind": "near", "trigger": DOG, "context": ["the", "of"]},
        {"kind": "near", "trigger": DOG, "context": ["the", "of"], "absent": True},
        {"kind": "before", "target": DOG},
        {"kind": "after", "target": {"kind": "regex", "pattern": "c[a-z]+"}},
        {"kind": "any", "parts": [DOG, {"kind": "before", "target": {"kind": "words", "weights": {"which": 2}}}]},
    ],
)
def test_looking_only_where_words_occur_changes_nothing(predicate: dict[str, Any]) -> None:
    tiles = corpus("test", 200, 0.2, 0.2)
    rule = parse_predicate(predicate)
    values = IndexedTiles(sample(tiles, "dog")).values(rule)
    assert values.tolist() == [evaluate(rule, one).value for one in tiles]
    assert 0 < np.count_nonzero(values) <= 200
