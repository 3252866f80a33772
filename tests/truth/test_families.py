"""What the bank offers under a seed: enough of every family, other things under another seed, near-misses that miss as they say."""

from functools import cache

import numpy as np
import pytest

from autolabel.truth.bank import NEAR_KINDS, graded, groups, places
from autolabel.truth.built import Built
from autolabel.truth.families import COMBINED, NULL_RATES, SOURCE_LABELS, offered, side, union_of
from autolabel.truth.features import FAMILIES, FAMILY_SIZES, Candidate, Family
from autolabel.truth.nuisances import MAGNITUDES
from autolabel.truth.predicates import AnyOf, Before, Drawn, Near, Source, Topic, Words
from tests.truth.worlds_of_text import marked

SEEDS = (0, 1, 2)


@cache
def every(family: Family, seed: int) -> list[Candidate]:
    return list(offered(family, seed))


def first(family: Family, seed: int, n: int = 40) -> list[Candidate]:
    return every(family, seed)[:n]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_family_offers_candidates_of_its_own_once(family: Family, seed: int) -> None:
    found = first(family, seed, COMBINED)
    assert {one.family for one in found} == {family}
    keys = [one.key for one in found]
    assert len(keys) == len(set(keys)) <= COMBINED
    assert len(keys) >= {"place": 12, "graded": 7}.get(family, FAMILY_SIZES[family])


@pytest.mark.parametrize("family", FAMILIES)
def test_seeds_0_and_1_offer_disjoint_features(family: Family) -> None:
    zero, one = first(family, 0, COMBINED), first(family, 1, COMBINED)
    assert not {candidate.meaning.predicate for candidate in zero} & {candidate.meaning.predicate for candidate in one}
    if family != "null":
        assert not {candidate.key for candidate in zero} & {candidate.key for candidate in one}
        assert not {candidate.meaning.label for candidate in zero} & {candidate.meaning.label for candidate in one}


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "null"])
def test_seeds_of_one_side_offer_the_same_in_another_order(family: Family) -> None:
    zero, two = first(family, 0, COMBINED), first(family, 2, COMBINED)
    if len(zero) < COMBINED:
        assert {one.key for one in zero} == {one.key for one in two}
    assert [one.key for one in zero] != [one.key for one in two]


def test_both_sides_together_are_everything() -> None:
    for kind, entries in (("place", places()), ("graded", graded())):
        sides = [{one.key for one in side(kind, entries, seed)} for seed in (0, 1)]
        assert sides[0] | sides[1] == {one.key for one in entries}
        assert abs(len(sides[0]) - len(sides[1])) <= 1
    words = [{one.key for one in first("words", seed, COMBINED)} for seed in (0, 1)]
    assert words[0] | words[1] == {one.key for group in groups() for one in group.sets}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("seed", [0, 1])
def test_near_misses_stand_to_the_feature_as_they_say(built: Built, family: Family, seed: int) -> None:
    world = built.world
    for one in first(family, seed):
        own = world.marks(one.meaning.predicate)
        assert set(one.near) <= set(NEAR_KINDS)
        for kind, meaning in one.near.items():
            assert meaning.predicate != one.meaning.predicate, (one.key, kind)
            assert meaning.label not in (one.meaning.label, *one.paraphrases), (one.key, kind)
            near = world.marks(meaning.predicate)
            if kind == "broader":
                assert not (own & ~near).any(), f"{meaning.label} does not hold wherever {one.meaning.label} does"
            if kind == "narrower":
                assert not (near & ~own).any(), f"{meaning.label} holds where {one.meaning.label} does not"


@pytest.mark.parametrize("seed", [0, 1])
def test_a_context_dropped_leaves_the_trigger(built: Built, seed: int) -> None:
    world = built.world
    for family in ("gated", "place"):
        for one in first(family, seed):
            if "context_dropped" in one.near:
                dropped = world.marks(one.near["context_dropped"].predicate)
                assert not (world.marks(one.meaning.predicate) & ~dropped).any()
    for one in first("next_token", seed):
        assert isinstance(one.meaning.predicate, Before)
        assert one.near["context_dropped"].predicate == one.meaning.predicate.target


@pytest.mark.parametrize("seed", [0, 1])
def test_siblings_of_word_sets_share_no_word(seed: int) -> None:
    for one in first("words", seed, COMBINED):
        own, sibling = one.meaning.predicate, one.near["sibling"].predicate
        assert isinstance(own, Words)
        assert isinstance(sibling, Words)
        assert not set(own.words) & set(sibling.words)
        assert one.absorbable == own.words


def test_every_third_gated_feature_is_an_unless() -> None:
    found = [one.meaning.predicate for one in first("gated", 0, 300)]
    assert all(isinstance(one, Near) for one in found)
    assert [one.absent for one in found if isinstance(one, Near)] == [number % 3 == 2 for number in range(300)]
    assert all(not set(one.trigger.words) & set(one.context.words) for one in found)  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "null"])
@pytest.mark.parametrize("seed", [0, 1])
def test_texts_are_there_and_all_different(family: Family, seed: int) -> None:
    for one in first(family, seed, 100):
        texts = [one.meaning.label, *one.paraphrases, *(meaning.label for meaning in one.near.values())]
        assert len(one.paraphrases) == 3
        assert all(text == text.strip() != "" for text in texts)
        assert len(set(texts)) == len(texts)


def test_a_union_is_any_of_its_parts_in_their_order() -> None:
    animals, food, body = (group.sets[0] for group in groups()[:3])
    union = union_of((animals, food, body))
    assert union.meaning.label == f"{animals.label}; {food.label}; {body.label}"
    assert union.meaning.predicate == AnyOf((animals.meaning.predicate, food.meaning.predicate, body.meaning.predicate))
    assert union.near["narrower"] == animals.meaning
    assert union.concepts == (animals, food, body)
    assert union.key == union_of((body, animals, food)).key, "the same parts are the same feature"
    words = (animals.words[0], food.words[-1], body.words[0])
    assert marked(union.meaning.predicate, f"{words[0]} that {words[1]} of {words[2]}") == list(words)
    assert {len(one.concepts) for one in first("union", 0)} == {2, 3}


def test_topics_are_of_groups_that_a_text_can_be_about() -> None:
    topical = {one.key for group in groups() if group.is_topical for one in group.sets}
    for seed in (0, 1):
        found = [one for one in first("topic", seed, COMBINED) if isinstance(one.meaning.predicate, Topic)]
        assert found
        assert {one.key.removeprefix("topic_") for one in found} <= topical
    sources = [
        one.meaning.predicate
        for seed in (0, 1)
        for one in first("topic", seed, COMBINED)
        if isinstance(one.meaning.predicate, Source)
    ]
    assert sorted(name for one in sources for name in one.names) == sorted(SOURCE_LABELS)


def test_graded_features_have_a_magnitude_and_others_none() -> None:
    for family in FAMILIES:
        magnitudes = {one.magnitude for one in first(family, 0)}
        assert magnitudes <= set(MAGNITUDES) if family == "graded" else magnitudes == {None}


def test_nulls_go_through_the_rates_and_have_no_labels() -> None:
    found = first("null", 3, 20)
    drawn = [one.meaning.predicate for one in found]
    assert all(isinstance(one, Drawn) for one in drawn)
    rates = [(one.share_of_bursts, one.share_within) for one in drawn if isinstance(one, Drawn)]
    assert rates == [NULL_RATES[number % len(NULL_RATES)] for number in range(20)]
    assert len(set(drawn)) == 20
    assert {(one.paraphrases, len(one.near)) for one in found} == {((), 0)}


def test_functions_of_the_bank_hold_somewhere(built: Built) -> None:
    """The text made for these tests says something of most word sets, so that the relations above are not empty."""
    counts = np.array([built.world.count(one.meaning.predicate) for seed in (0, 1) for one in first("words", seed, COMBINED)])
    assert (counts > 0).mean() > 0.9
