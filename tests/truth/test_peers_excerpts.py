"""Excerpts: the right tokens with their activations, within their documents."""

from itertools import pairwise

import numpy as np

from autolabel.truth.nuisances import Firing
from autolabel.truth.peers.excerpts import Excerpt, Reader, n_shared
from tests.truth.peers_world import OFTEN, firings, world


def test_a_tile_has_its_own_tokens_and_activations() -> None:
    reader = Reader(world(), firings()[OFTEN])
    strongest = reader.tile(int(reader.tiles_by_strength()[0]))
    assert len(strongest.tokens) == len(strongest.activations) == 32
    assert strongest.tokens[strongest.peak] == " dog"
    assert all((token == " dog") == (value > 0) for token, value in zip(strongest.tokens, strongest.activations, strict=True))


def test_tiles_by_strength_fire_and_weaken_and_the_others_are_silent() -> None:
    reader = Reader(world(), firings()[OFTEN])
    fired, silent = reader.tiles_by_strength(), reader.silent_tiles()
    peaks = [reader.tile(tile).max_activation for tile in fired.tolist()]
    assert all(before >= after > 0 for before, after in pairwise(peaks))
    assert not any(reader.tile(tile).fires for tile in silent.tolist())
    assert len(fired) + len(silent) == world().n_tiles


def test_an_excerpt_ends_where_its_document_does() -> None:
    text = world()
    reader = Reader(text, firings()[OFTEN])
    start, end = int(text.first_token[3]), int(text.first_token[4])
    assert reader.around(start, 5).first == start
    assert len(reader.around(start, 5).tokens) == 6
    assert len(reader.around(end - 1, 5).tokens) == 6
    assert reader.around(start + 1, 900).text == text.documents[3].text
    tokens = np.array([start + 4, start + 5, end - 6, end - 5])
    assert reader.rooms(tokens, 5).tolist() == [reader.has_room(int(token), 5) for token in tokens] == [False, True, True, False]


def test_peaks_keep_their_distance_and_the_strongest_come_first() -> None:
    first = int(world().first_token[1])
    firing = Firing(first + np.array([0, 20, 25, 40, 60]), np.array([9, 5, 6, 7, 1], dtype=np.float32))
    reader = Reader(world(), firing)
    assert [token - first for token in reader.peaks(9, 14)] == [0, 40, 25, 60]
    assert [token - first for token in reader.peaks(2, 14)] == [0, 40]
    assert [token - first for token in reader.peaks(9, 14, reach=10)] == [40, 25, 60]


def test_shared_excerpts_have_a_token_in_common() -> None:
    one, next_to_it, into_it = (Excerpt(first, ("a",) * 4, (0.0,) * 4) for first in (10, 14, 13))
    assert n_shared([one], [next_to_it]) == 0
    assert n_shared([one, next_to_it], [into_it]) == 2
    assert n_shared([one, one], []) == 0
