"""A small text for the protocols of others: filler words, a trigger in some tiles, and rare words that no two tiles share."""

from functools import cache
from random import Random

import numpy as np

from autolabel.evidence.corpus import CorpusCounts, Document
from autolabel.hashing import document_hash
from autolabel.records import SPLITS
from autolabel.truth.columns import PieceTokenizer
from autolabel.truth.nuisances import Firing
from autolabel.truth.world import World

FILLER = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "rain",
    "fell",
    "over",
    "hill",
    "town",
    "while",
    "we",
    "ate",
    "soup",
    "at",
    "noon",
]
OFTEN, SELDOM = 0, 1
"""Features: one that fires on "dog" in over 200 tiles, one that fires on "fox" in a few."""


@cache
def world() -> World:
    """300 documents of 160 tokens."""
    random = Random(0)
    documents = [_document(number, random) for number in range(300)]
    return World(documents, CorpusCounts(), len(documents))


@cache
def firings() -> tuple[Firing, Firing]:
    """What the two features fire on; every activation differs."""
    text, tokens = world(), np.arange(world().n_tokens)
    found = []
    for word in ("dog", "fox"):
        fired = tokens[[text.token_types[kind].strip() == word for kind in text.token_kind.tolist()]]
        found.append(Firing(fired, (1 + np.random.default_rng(1).permutation(len(fired))).astype(np.float32)))
    often, seldom = found
    return often, seldom


def _document(number: int, random: Random) -> Document:
    words = [random.choice(FILLER) for _ in range(160)]
    for place in range(0, 160, 10):
        words[place] = f"n{number}x{place}"
    for place in (45, 99):
        words[place] = "dog"
    if number % 60 == 0:
        words[70] = "fox"
    text = " ".join(words)
    ids, bounds = PieceTokenizer().encode(text)
    named = document_hash(text)
    return Document(named, named, "made", SPLITS[number % 3], text, ids, bounds)
