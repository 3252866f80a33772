"""Which features a text gives evidence for, their near-misses and wrong labels, and that nothing but text and seed decides it."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from autolabel.errors import ConfigError, DataError
from autolabel.records import SPLITS
from autolabel.truth import selection
from autolabel.truth.bank import Meaning, groups
from autolabel.truth.built import Built, known_families
from autolabel.truth.families import union_of
from autolabel.truth.features import FAMILIES, FAMILY_SIZES, RELATIONS, Candidate, Family, Nuisances, TruthFeature
from autolabel.truth.predicates import Words
from autolabel.truth.selection import (
    DENSITIES,
    LEAST_CONCEPT,
    MOST_CONCEPT,
    MOST_OVERLAP,
    MOST_RECALL,
    MOST_TILES,
    NEAR_F1,
    WITHIN_A_TILE,
    firing_of,
    select,
    sizes,
)
from autolabel.truth.world import World
from tests.truth.worlds_of_text import LEAST_DOCUMENTS, LEAST_TILES, document_of, filler, world_of


@pytest.fixture
def easy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thresholds for a small text."""
    monkeypatch.setattr(selection, "LEAST_TILES", LEAST_TILES)
    monkeypatch.setattr(selection, "LEAST_DOCUMENTS", LEAST_DOCUMENTS)


def test_sizes_of_the_whole_benchmark_are_the_written_ones() -> None:
    assert sizes(200, FAMILIES) == FAMILY_SIZES
    assert sum(FAMILY_SIZES.values()) == 200


@pytest.mark.parametrize("n", [9, 10, 12, 18, 60, 61, 199, 200, 201, 400])
def test_sizes_add_up_and_leave_no_family_out(n: int) -> None:
    found = sizes(n, FAMILIES)
    assert sum(found.values()) == n
    assert min(found.values()) >= 1
    assert all(abs(found[family] - n * size / 200) <= 2 for family, size in FAMILY_SIZES.items()) or n < 20


def test_sizes_of_some_families_keep_their_proportions() -> None:
    assert sizes(10, ["words", "topic"]) == {"words": 7, "topic": 3}
    assert sizes(1, ["null"]) == {"null": 1}
    with pytest.raises(DataError, match="1 features cannot cover 2 families"):
        sizes(1, ["words", "topic"])


def test_families_are_named_in_the_benchmark_s_order_and_unknown_ones_refused() -> None:
    assert known_families(["null", "words"]) == ["words", "null"]
    with pytest.raises(ConfigError, match="there is no family 'word'; the families are words, form"):
        known_families(["words", "word"])


def test_every_family_is_there_and_features_are_numbered(built: Built) -> None:
    assert {feature.family for feature in built.features} == set(FAMILIES)
    assert [feature.index for feature in built.features] == list(range(18))
    extra = [feature.index for feature in built.selected.nulls]
    assert extra == list(range(18 + len(built.selected.company), built.selected.n_features))
    assert {feature.family for feature in built.selected.nulls} == {"null"}
    assert built.feature(extra[1]) is built.selected.nulls[1]
    own = {feature.candidate.meaning.predicate for feature in built.features}
    assert len(own) == 18
    assert not own & {feature.candidate.meaning.predicate for feature in built.selected.nulls}


def test_every_function_has_enough_evidence(built: Built) -> None:
    world = built.world
    for feature in built.features:
        tiles = world.tiles_of(feature.candidate.meaning.predicate)
        assert len(tiles) <= MOST_TILES * world.n_tiles
        for split in SPLITS:
            own = world.split_tiles(tiles, split)
            assert len(own) >= LEAST_TILES[split]
            assert len({world.documents[one].source_hash for one in world.tile_document[own]}) >= LEAST_DOCUMENTS
        if feature.family != "null":
            assert DENSITIES[0] <= world.marks(feature.candidate.meaning.predicate).mean() <= DENSITIES[1]


def test_near_misses_can_be_told_from_the_feature(built: Built) -> None:
    world = built.world
    for feature in built.features:
        assert bool(feature.candidate.near) == (feature.family != "null")
        for kind, meaning in feature.candidate.near.items():
            if (feature.family, kind) != WITHIN_A_TILE:
                exact = world.exact(world.tiles_of(meaning.predicate), world.tiles_of(feature.candidate.meaning.predicate))
                assert exact.f1 <= NEAR_F1
                assert exact.n_named >= 10


def test_a_gated_feature_has_a_context_that_makes_a_difference(built: Built) -> None:
    for feature in built.features:
        if feature.family == "gated":
            dropped = built.world.tiles_of(feature.candidate.near["context_dropped"].predicate)
            assert built.world.exact(dropped, built.world.tiles_of(feature.candidate.meaning.predicate)).f1 <= NEAR_F1


def test_wrong_labels_are_of_other_features_on_other_tiles(built: Built) -> None:
    world = built.world
    labels = {feature.label for feature in built.features}
    for feature in (*built.features, *built.selected.nulls):
        own = set(world.tiles_of(feature.candidate.meaning.predicate).tolist())
        near = {meaning.label for meaning in feature.candidate.near.values()}
        texts = [meaning.label for meaning in feature.wrong]
        assert 1 <= len(texts) == len(set(texts))
        assert set(texts) <= labels - {feature.label, "nothing"}
        assert not set(texts) & near
        for meaning in feature.wrong:
            theirs = set(world.tiles_of(meaning.predicate).tolist())
            assert len(own & theirs) <= MOST_OVERLAP * len(own | theirs)
            assert len(own & theirs) <= MOST_RECALL * len(own)


def feature_of(index: int, key: str, words: tuple[str, ...], near: tuple[str, ...] = ()) -> TruthFeature:
    nearby = {"sibling": Meaning(f"the words {near}", Words(near))} if near else {}
    return TruthFeature(index, Candidate("words", key, Meaning(f"the words {words}", Words(words)), (), nearby), Nuisances())  # type: ignore[arg-type]


def test_a_near_miss_that_is_a_feature_itself_is_no_wrong_label() -> None:
    texts = [" ".join([*filler(30, n), word, *filler(60, n)]) for n, word in enumerate(["dog", "cat", "hen", "cow"] * 20)]
    world = world_of([document_of(text) for text in texts])
    features = [
        feature_of(0, "a", ("dog",), near=("cat",)),
        *(feature_of(n, w, (w,)) for n, w in enumerate(("cat", "hen", "cow"), 1)),
    ]
    found = selection._with_wrong_labels(world, features)
    assert {meaning.label for meaning in found[0].wrong} == {"the words ('hen',)", "the words ('cow',)"}
    assert {meaning.label for meaning in found[1].wrong} == {"the words ('dog',)", "the words ('hen',)", "the words ('cow',)"}


def test_labels_come_with_their_relation(built: Built) -> None:
    order = {relation: number for number, relation in enumerate(RELATIONS)}
    for feature in built.features:
        relations = [one.relation for one in feature.labels]
        if feature.family == "null":
            assert set(relations) == {"wrong"}
            continue
        assert relations[0] == "true"
        assert relations.count("true") == 1
        assert relations.count("paraphrase") == 3
        assert [order[one] for one in relations if one in ("true", "paraphrase", "wrong")] == sorted(
            order[one] for one in relations if one in ("true", "paraphrase", "wrong")
        )
        assert all(one.predicate == feature.candidate.meaning.predicate for one in feature.labels if one.relation == "paraphrase")


def test_unions_have_their_largest_concept_first(built: Built) -> None:
    unions = [feature for feature in built.features if feature.family == "union"]
    assert unions
    for feature in unions:
        counts = [built.world.count(one.meaning.predicate) for one in feature.candidate.concepts]
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] / sum(counts) >= LEAST_CONCEPT
        assert counts[0] / sum(counts) <= MOST_CONCEPT


def test_a_union_of_next_to_nothing_is_none() -> None:
    one, other = groups()[0].sets[0], groups()[1].sets[0]
    often, seldom = one.words[0], other.words[0]
    world = world_of([document_of(" ".join([often] * 10 + [seldom]))])
    assert selection._by_share(world, union_of((other, one))) is None
    world = world_of([document_of(" ".join([often] * 8 + [seldom]))])
    found = selection._by_share(world, union_of((other, one)))
    assert found is not None
    assert found.concepts == (one, other)


def test_company_is_of_near_misses_that_are_no_features(built: Built) -> None:
    near = {meaning.predicate for feature in built.features for meaning in feature.candidate.near.values()}
    own = {feature.candidate.meaning.predicate for feature in built.features}
    company = [meaning.predicate for meaning in built.selected.company]
    assert len(company) == len(set(company))
    assert set(company) <= near - own
    few = {one for one in near - own if len(built.world.tiles_of(one)) <= MOST_TILES * built.world.n_tiles}
    assert set(company) == few


def test_an_absorbed_word_is_some_of_the_feature_but_not_most() -> None:
    words = ["dog"] * 10 + ["cat"] * 3 + ["hen"]
    world = world_of([document_of(" ".join(words))])
    candidate = Candidate("words", "key", Meaning("pets", Words(("dog", "cat", "hen"))), (), {}, absorbable=("dog", "cat", "hen"))
    assert selection._absorbed(world, candidate) in ("cat", "hen")
    assert selection._absorbed(world_of([document_of("dog")]), candidate) is None
    assert selection._absorbed(world, replace(candidate, absorbable=())) is None


@pytest.mark.usefixtures("easy")
def test_the_same_text_and_seed_give_the_same_features_and_another_seed_others(built: Built) -> None:
    world = built.world
    again = World(world.documents, world.counts, world.n_source_documents)
    assert select(again, 0, 18, list(FAMILIES), 3) == built.selected
    other = select(world, 1, 18, list(FAMILIES), 3)
    meanings = [{one.candidate.meaning.predicate for one in (*found.features, *found.nulls)} for found in (built.selected, other)]
    assert not meanings[0] & meanings[1]


@pytest.mark.usefixtures("easy")
def test_word_sets_fill_what_other_families_lack(built: Built) -> None:
    families: list[Family] = ["words", "place"]
    found = select(built.world, 0, 30, families, 0)
    n = {family: sum(one.family == family for one in found.features) for family in families}
    assert n["place"] < sizes(30, families)["place"]
    assert n["words"] > sizes(30, families)["words"]
    assert found.nulls == ()


@pytest.mark.usefixtures("easy")
def test_a_text_without_evidence_is_refused() -> None:
    world = world_of([document_of(" ".join(filler(60, number))) for number in range(60)])
    with pytest.raises(DataError, match="the text gives enough evidence for no feature at all"):
        select(world, 0, 3, ["words", "gated", "union"], 2)


def test_subsets_are_nested_and_cover_all_families(built: Built) -> None:
    subsets = {n: [feature.index for feature in built.subset(n)] for n in (1, 9, 10, 12, 15, 17, 18, 40)}
    for small, large in combinations(subsets, 2):
        assert set(subsets[small]) <= set(subsets[large])
    assert len(subsets[1]) == len(subsets[9]) == 9, "one of each family at least"
    assert {built.feature(index).family for index in subsets[9]} == set(FAMILIES)
    assert subsets[18] == subsets[40] == list(range(18))
    assert all(len(subsets[n]) <= n for n in (9, 10, 12, 15, 17))


def test_what_fires_is_the_function_with_the_feature_s_nuisances(built: Built) -> None:
    world = built.world
    for feature in built.features:
        clean = replace(feature, nuisances=Nuisances(spread=feature.nuisances.spread))
        firing = firing_of(world, clean)
        assert (
            firing.tokens.tolist() == world.places.first[np.flatnonzero(world.marks(feature.candidate.meaning.predicate))].tolist()
        )
        fired = built.firings.by_feature[feature.index]
        assert fired.tokens.tolist() == firing_of(world, feature).tokens.tolist()
