"""From marks to activations: each nuisance does what it says, by hashes alone."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from autolabel.truth.bank import Meaning
from autolabel.truth.columns import Columns, Mask
from autolabel.truth.features import FAMILIES, Candidate, Nuisances
from autolabel.truth.nuisances import (
    CROWDED,
    FALSE_FIRES,
    GRADED_SPREAD,
    MAGNITUDES,
    MISSES,
    SPREADS,
    Firing,
    TokenPlaces,
    drawn_nuisances,
    fired,
)
from autolabel.truth.predicates import Pattern, Words
from autolabel.truth.world import World
from tests.truth.worlds_of_text import document_of, filler, world_of

DOG = Words(("dog", "dogs"))
NONE = Nuisances(spread=0.3)
KEY = 12345


def text_of(number: int) -> str:
    """Forty words, eight of them about dogs, and marks between."""
    words = filler(40, number)
    for place in range(0, 40, 5):
        words[place] = "dogs" if place % 10 else "dog"
    return " ".join([f"n{number}", *words[:20], ",", *words[20:], "."])


@pytest.fixture(scope="module")
def world() -> World:
    """400 documents, 3,200 words to fire at."""
    return world_of([document_of(text_of(number)) for number in range(400)])


def firing(world: World, nuisances: Nuisances, key: int = KEY, magnitude: str | None = None) -> Firing:
    found = fired(world.marks(DOG), world.columns, world.places, nuisances, key, magnitude)
    assert (np.diff(found.tokens) > 0).all()
    assert (found.values > 0).all()
    assert found.values.dtype == np.float32
    return found


def first_tokens(world: World, mask: Mask) -> NDArray[np.int64]:
    return world.places.first[np.flatnonzero(mask)]


def off(share: float, expected: float, n: int) -> float:
    """How many standard errors a share is away."""
    return abs(share - expected) / (expected * (1 - expected) / n) ** 0.5


def test_without_nuisances_a_feature_is_its_function(world: World) -> None:
    found = firing(world, NONE)
    assert found.tokens.tolist() == first_tokens(world, world.marks(DOG)).tolist()
    assert world.tiles_fired(found).tolist() == world.tiles_of(DOG).tolist()


def test_misses_have_the_stated_share(world: World) -> None:
    whole = first_tokens(world, world.marks(DOG))
    found = firing(world, replace(NONE, miss=0.3)).tokens
    assert np.isin(found, whole).all()
    assert off(1 - len(found) / len(whole), 0.3, len(whole)) < 4


def test_false_fires_are_a_share_of_the_true_ones_and_on_words(world: World) -> None:
    whole = first_tokens(world, world.marks(DOG))
    found = firing(world, replace(NONE, false_fires=0.2)).tokens
    assert np.isin(whole, found).all()
    false = np.setdiff1d(found, whole)
    assert np.isin(false, first_tokens(world, world.columns.is_word & ~world.marks(DOG))).all()
    assert abs(len(false) - 0.2 * stretches(whole)) < 4 * (0.2 * stretches(whole)) ** 0.5


def test_false_fires_of_a_feature_that_fires_seldom_go_by_words(world: World) -> None:
    seldom = world.marks(DOG) & (world.columns.place < 6)
    whole = first_tokens(world, seldom)
    found = fired(seldom, world.columns, world.places, replace(NONE, false_fires=0.2), KEY, None).tokens
    assert len(whole) < CROWDED * stretches(whole)
    assert abs(len(np.setdiff1d(found, whole)) - 0.2 * len(whole)) < 4 * (0.2 * len(whole)) ** 0.5


def stretches(tokens: NDArray[np.int64]) -> int:
    """Stretches of 32 tokens that hold any."""
    return len(np.unique(tokens // 32))


def test_both_together_are_independent(world: World) -> None:
    whole = first_tokens(world, world.marks(DOG))
    found = firing(world, replace(NONE, miss=0.1, false_fires=0.2)).tokens
    kept = np.isin(found, whole).sum()
    assert off(1 - kept / len(whole), 0.1, len(whole)) < 4
    assert abs(len(found) - kept - 0.2 * stretches(whole)) < 4 * (0.2 * stretches(whole)) ** 0.5
    assert firing(world, replace(NONE, miss=0.1, false_fires=0.2), key=KEY + 1).tokens.tolist() != found.tolist()


def test_strengths_are_lognormal_of_the_stated_spread(world: World) -> None:
    for spread in SPREADS:
        logs = np.log(firing(world, Nuisances(spread=spread)).values)
        assert abs(logs.std() / spread - 1) < 4 / (2 * len(logs)) ** 0.5
        assert abs(np.median(logs) - np.log(4)) < 0.1 * spread


def test_the_order_of_documents_changes_nothing(world: World) -> None:
    nuisances = Nuisances(miss=0.3, false_fires=0.2, smear=True, absorbed="dogs")
    turned = world_of(world.documents[::-1])
    one, other = firing(world, nuisances), firing(turned, nuisances)
    assert by_document(world, one) == by_document(turned, other)


def by_document(world: World, found: Firing) -> dict[int, list[tuple[int, float]]]:
    """What fires in each document: (token within it, strength)."""
    number = np.searchsorted(world.first_token, found.tokens, side="right") - 1
    places: dict[int, list[tuple[int, float]]] = {}
    for document, token, value in zip(number.tolist(), found.tokens.tolist(), found.values.tolist(), strict=True):
        places.setdefault(world.documents[document].hash, []).append((token - int(world.first_token[document]), value))
    return places


def test_other_documents_change_no_miss_and_no_strength(world: World) -> None:
    nuisances = Nuisances(miss=0.3)
    few = world_of(world.documents[100:150])
    every, some = by_document(world, firing(world, nuisances)), by_document(few, firing(few, nuisances))
    assert some == {name: every[name] for name in some}


def tiny(*texts: str) -> World:
    return world_of([document_of(text) for text in texts])


def said(world: World, found: Firing) -> list[str]:
    return [world.token_types[world.token_kind[token]].strip() for token in found.tokens.tolist()]


def test_smear_fires_at_half_strength_on_the_next_token_but_not_over_another_firing() -> None:
    world = tiny("a dog dogs ran", "dog")
    plain, smeared = firing(world, NONE), firing(world, replace(NONE, smear=True))
    assert said(world, plain) == ["dog", "dogs", "dog"]
    assert said(world, smeared) == ["dog", "dogs", "ran", "dog"]
    assert smeared.values.tolist() == [*plain.values[:2].tolist(), plain.values[1] / 2, plain.values[2]]


def test_smear_never_crosses_a_document() -> None:
    world = tiny("the dog", "dogs are", "a dog\n", "end")
    assert said(world, firing(world, replace(NONE, smear=True))) == ["dog", "dogs", "are", "dog"]


def marks_of(world: World, word: str) -> Mask:
    return world.marks(Words((word,)))


def test_the_last_piece_of_a_word_in_place_of_the_first() -> None:
    world = tiny("an understanding of", "all understanding")
    marks = marks_of(world, "understanding")
    both = [fired(marks, world.columns, world.places, Nuisances(last_piece=last), KEY, None) for last in (False, True)]
    assert [said(world, one) for one in both] == [["unders", "unders"], ["tanding", "tanding"]]
    assert both[0].values.tolist() == both[1].values.tolist()
    smeared = [
        fired(marks, world.columns, world.places, Nuisances(last_piece=last, smear=True), KEY, None) for last in (False, True)
    ]
    assert [said(world, one) for one in smeared] == [["unders", "tanding", "unders", "tanding"], ["tanding", "of", "tanding"]]


def test_an_absorbed_word_is_silent(world: World) -> None:
    found = firing(world, replace(NONE, absorbed="dogs"))
    assert set(said(world, found)) == {"dog"}
    assert found.tokens.tolist() == first_tokens(world, world.marks(Words(("dog",)))).tolist()


@pytest.mark.parametrize(
    ("magnitude", "weakest_first"),
    [
        ("value", ["7", "12", "99", "1865", "1999"]),
        ("length", ["four", "seven", "thirteen", "representatives"]),
        ("vowels", ["by", "being", "education", "administration", "responsibilities"]),
        ("depth", ["one", "two", "three", "four", "five"]),
    ],
)
def test_graded_strengths_rise_with_what_they_mean(magnitude: str, weakest_first: list[str]) -> None:
    world = tiny("Before this. " + " ".join(weakest_first) + ".")
    marks = world.marks(Words(tuple(weakest_first)))
    values = fired(marks, world.columns, world.places, Nuisances(spread=0.0), KEY, magnitude).values
    assert (np.diff(values) > 0).all()
    assert (values > 0).all()


def test_depth_counts_from_the_sentence_and_not_from_the_text() -> None:
    world = tiny("one two three. one two three. one", "one two")
    marks = world.marks(Pattern("[a-z]+"))
    values = fired(marks, world.columns, world.places, Nuisances(spread=0.0), KEY, "depth").values.tolist()
    one, two, three = values[:3]
    assert values == [one, two, three, one, two, three, one, one, two]
    assert one < two < three


def test_what_a_value_is_not_is_weak() -> None:
    columns = Columns(["dog 0 1 ٣ 12345678901234567890 4²"], ["made"], [1])
    factors = MAGNITUDES["value"](columns, np.arange(len(columns)))
    assert (factors > 0).all()
    assert np.isfinite(factors).all()
    assert factors[0] == factors[1] == pytest.approx(factors[2], abs=0.01)
    assert factors[3] == pytest.approx(np.log(4))


def candidate(family: str, magnitude: str | None = None) -> Candidate:
    return Candidate(family, "key", Meaning("label", DOG), (), {}, magnitude=magnitude)  # type: ignore[arg-type]


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "null"])
@pytest.mark.parametrize("seed", [0, 1])
def test_nuisances_come_up_about_as_often(family: str, seed: int) -> None:
    drawn = [drawn_nuisances(candidate(family), number, seed, "dog") for number in range(420)]
    pairs = [(one.miss, one.false_fires) for one in drawn]
    assert {pair: pairs.count(pair) for pair in pairs} == {(m, f): 70 for m in MISSES for f in FALSE_FIRES}
    assert sum(one.smear for one in drawn) == 105
    assert sum(one.last_piece for one in drawn) == 84
    assert sum(one.absorbed is not None for one in drawn) == 120
    assert {one.spread for one in drawn} == set(SPREADS)


def test_graded_and_null_features_keep_what_they_mean() -> None:
    assert {drawn_nuisances(candidate("graded", "length"), number, 0, None).spread for number in range(20)} == {GRADED_SPREAD}
    nulls = [drawn_nuisances(candidate("null"), number, 0, "dog") for number in range(20)]
    assert all((one.miss, one.false_fires, one.smear, one.last_piece, one.absorbed) == (0, 0, False, False, None) for one in nulls)
    assert drawn_nuisances(candidate("words"), 3, 0, None).absorbed is None


def test_no_word_fires_where_there_is_none() -> None:
    empty = np.zeros(0, dtype=bool)
    places = TokenPlaces(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), empty)
    found = fired(empty, Columns([" "], ["made"], [1]), places, Nuisances(miss=0.1, false_fires=0.2, smear=True), KEY, "depth")
    assert found.tokens.tolist() == found.values.tolist() == []
