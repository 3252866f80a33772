"""Tiles and tokens of a text, and the exact worth of one function for another, counted again the slow way."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from autolabel.errors import DataError
from autolabel.records import SPLITS
from autolabel.sampling import TILE_TOKENS
from autolabel.truth.nuisances import Firing
from autolabel.truth.predicates import Words
from autolabel.truth.world import World
from tests.truth import peers_world
from tests.truth.worlds_of_text import document_of, filler, world_of, write_corpus

DOG, FOX, CAT = Words(("dog",)), Words(("fox",)), Words(("cat", "rain"))


def slow_tiles(world: World, words: set[str]) -> set[int]:
    """Tiles that hold one of the words, found token by token."""
    found, first = set(), 0
    for number, contexts in enumerate(world.contexts):
        document = world.documents[number]
        for context in contexts:
            for tile in range(context.n_tiles):
                start = context.start + context.offset + TILE_TOKENS * tile
                bounds = document.bounds[start : start + TILE_TOKENS + 1].tolist()
                tokens = [document.text[a:b].strip() for a, b in pairwise(bounds)]
                if words & set(tokens):
                    found.add(first + tile)
            first += context.n_tiles
    return found


@pytest.mark.parametrize("predicate", [DOG, FOX, CAT])
def test_tiles_of_a_function_are_those_that_looking_finds(predicate: Words) -> None:
    world = peers_world.world()
    tiles = world.tiles_of(predicate)
    assert (np.diff(tiles) > 0).all()
    assert set(tiles.tolist()) == slow_tiles(world, set(predicate.words))
    text = [word for document in world.documents for word in document.text.split()]
    assert world.count(predicate) == sum(word in predicate.words for word in text)


@pytest.mark.parametrize(("named", "truth"), [(DOG, DOG), (CAT, DOG), (FOX, DOG), (DOG, FOX), (Words(("nowhere",)), DOG)])
@pytest.mark.parametrize("split", SPLITS)
def test_exact_numbers_are_counts(named: Words, truth: Words, split: str) -> None:
    world = peers_world.world()
    own = {tile for tile in range(world.n_tiles) if world.documents[world.tile_document[tile]].split == split}
    says, fires = slow_tiles(world, set(named.words)) & own, slow_tiles(world, set(truth.words)) & own
    exact = world.exact(world.tiles_of(named), world.tiles_of(truth), split)  # type: ignore[arg-type]
    assert (exact.n_named, exact.n_fired) == (len(says), len(fires))
    both = len(says & fires)
    assert exact.recall == (both / len(fires) if fires else 0.0)
    assert exact.precision == (both / len(says) if says else None)
    assert exact.f1 == pytest.approx(2 * both / (len(says) + len(fires)) if says or fires else 1.0)


def test_the_parts_of_a_text_add_up() -> None:
    world = peers_world.world()
    assert world.n_tokens == sum(len(document.token_ids) for document in world.documents)
    assert world.n_tiles == sum(context.n_tiles for contexts in world.contexts for context in contexts)
    inside = world.tile_of_token[world.tile_of_token >= 0]
    assert np.bincount(inside).tolist() == [TILE_TOKENS] * world.n_tiles
    assert len(np.unique(world.tile_id)) == world.n_tiles
    assert [SPLITS[one] for one in world.tile_split] == [world.documents[one].split for one in world.tile_document]


def test_a_word_begins_and_ends_with_its_tokens() -> None:
    world = world_of([document_of(" responsibility, of it "), document_of("( understanding")])
    tokens = [world.token_types[kind] for kind in world.token_kind]
    assert tokens == [" respon", "sibility", ",", " of", " it ", "(", " unders", "tanding"]
    assert world.places.first.tolist() == [0, 2, 3, 4, 5, 6]
    assert world.places.last.tolist() == [1, 2, 3, 4, 5, 7]
    assert world.places.ends_document.tolist() == [False, False, False, True, False, True]


def test_a_text_without_words_is_a_token_of_no_word() -> None:
    world = world_of([document_of("one two"), document_of(" \n "), document_of("three")])
    assert world.n_tokens == 4
    assert world.places.first.tolist() == [0, 1, 3]
    assert world.places.last.tolist() == [0, 1, 3]
    assert world.places.ends_document.tolist() == [False, True, True]


def test_tokens_before_the_first_tile_and_after_the_last_are_in_none() -> None:
    document = document_of(" ".join(filler(100)))
    world = world_of([document])
    (context,) = world.contexts[0]
    assert world.tile_of_token.tolist() == [
        (token - context.offset) // TILE_TOKENS if context.offset <= token < context.offset + TILE_TOKENS * context.n_tiles else -1
        for token in range(100)
    ]
    everywhere = np.arange(100, dtype=np.int64)
    assert world.tiles_of_tokens(everywhere).tolist() == list(range(context.n_tiles))
    assert world.tiles_fired(Firing(everywhere[:0], np.empty(0, dtype=np.float32))).tolist() == []


def test_source_documents_are_counted_once() -> None:
    world = peers_world.world()
    tiles = np.flatnonzero(world.tile_document < 3).astype(np.int32)
    assert world.n_source_documents_of(tiles) == 3
    assert world.n_source_documents_of(tiles[:0]) == 0


def test_reading_is_the_same_whatever_the_order_of_the_files(tmp_path_factory: pytest.TempPathFactory) -> None:
    one, other = (write_corpus(tmp_path_factory.mktemp("corpus"), n_documents=160) for _ in range(2))
    for source in other.sources:
        path = Path(source.path)
        path.write_text("".join(reversed(path.read_text(encoding="utf-8").splitlines(keepends=True))), encoding="utf-8")
    read = [World.read(corpus, 0) for corpus in (one, other.model_copy(update={"sources": other.sources[::-1]}))]
    names = [[(document.hash, document.split, document.source) for document in world.documents] for world in read]
    assert names[0] == names[1]
    assert read[0].tile_id.tolist() == read[1].tile_id.tolist()
    assert read[0].n_source_documents == 160


def test_another_seed_splits_otherwise_and_few_documents_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    corpus = write_corpus(tmp_path_factory.mktemp("corpus"), n_documents=160)
    one, other = World.read(corpus, 0), World.read(corpus, 1)
    assert [document.hash for document in one.documents] == [document.hash for document in other.documents]
    assert [document.split for document in one.documents] != [document.split for document in other.documents]
    few = write_corpus(tmp_path_factory.mktemp("corpus"), n_documents=40)
    with pytest.raises(DataError, match=r"split holds .* documents, at least 20 are needed"):
        World.read(few, 0)
