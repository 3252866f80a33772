"""Texts whose truth is known: a few sentences for what can be counted by hand, and a corpus from a seed for what must be selected."""

import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np

from autolabel.config import CorpusSettings, EvidenceSettings, TextSource, TruthSettings
from autolabel.evidence.corpus import CorpusCounts, Document
from autolabel.hashing import document_hash
from autolabel.records import Split
from autolabel.truth.bank import WordSet, groups
from autolabel.truth.columns import Columns, Mask, PieceTokenizer
from autolabel.truth.features import FAMILIES
from autolabel.truth.predicates import Place, Predicate
from autolabel.truth.world import World

N_DOCUMENTS = 400
LEAST_TILES: dict[Split, int] = {"train": 8, "validation": 5, "test": 10}
"""Tiles that a feature needs in so small a text, in place of `selection.LEAST_TILES`."""
LEAST_DOCUMENTS = 4
SMALL = EvidenceSettings(
    strongest=6,
    firing_train=12,
    firing_validation=12,
    firing_test=24,
    background_train=150,
    background_validation=150,
    background_test=300,
    exam_validation=10,
    exam_test=20,
)
_BETWEEN = (
    "the of to in that which was for on with as at by from this into over under between towards near against along beside among "
    "stood went came lay seemed remained turned moved held kept placed carried followed opened crossed"
)
_FILLER = _BETWEEN.split()
_LONG = ("administration", "extraordinary", "representatives", "understanding", "international", "consideration", "improvement")
_NAMES = ("Anna", "Berlin", "Carlos", "Dover", "Edward", "Florence", "Victoria", "Margaret")


def columns_of(*texts: str, sources: Sequence[str] | None = None) -> Columns:
    """Columns of documents that are named by their own text."""
    return Columns(texts, sources or ["made"] * len(texts), [document_hash(text) for text in texts])


def document_of(text: str, split: Split = "test", source: str = "made") -> Document:
    """A document in a split of one's choice."""
    ids, bounds = PieceTokenizer().encode(text)
    named = document_hash(text)
    return Document(named, named, source, split, text, ids, bounds)


def world_of(documents: Sequence[Document]) -> World:
    """A world of these documents."""
    return World(documents, CorpusCounts(), len(documents))


def words_at(columns: Columns, mask: Mask) -> list[str]:
    """The words, as written, that are marked."""
    return [columns.types[kind] for kind in columns.kind[mask].tolist()]


def marked(predicate: Predicate, *texts: str, sources: Sequence[str] | None = None) -> list[str]:
    """The words of these documents at which a predicate holds."""
    columns = columns_of(*texts, sources=sources)
    marks = predicate.marks(columns)
    assert marks.dtype == np.bool_
    assert marks.shape == (len(columns),)
    return words_at(columns, marks)


def at_place(name: str, *texts: str) -> list[str]:
    """The words of these documents that stand in a place."""
    return marked(Place(name), *texts)


def filler(n: int, seed: int = 0) -> list[str]:
    """Words without any meaning to a feature of these tests."""
    random = Random(seed)
    return [random.choice(_FILLER) for _ in range(n)]


def write_corpus(folder: Path, seed: int = 0, n_documents: int = N_DOCUMENTS) -> CorpusSettings:
    """Documents made by templates, in two JSON Lines files that pass for two sources."""
    random = Random(seed)
    sources = []
    for number, name in enumerate(("sotu", "package-docs")):
        texts = [_text(random, f"{name} {n}") for n in range(number, n_documents, 2)]
        path = folder / f"{name}.jsonl"
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
        sources.append(TextSource(path=str(path), name=name))
    return CorpusSettings(name="made text", sources=sources, document_tokens=1000)


def small_settings(folder: Path, seed: int = 0, n: int = 18) -> TruthSettings:
    """A benchmark over such a corpus, without any model."""
    return TruthSettings(
        db=str(folder / "truth.duckdb"),
        seed=seed,
        n=n,
        families=list(FAMILIES),
        nulls=3,
        corpus=write_corpus(folder),
        evidence=SMALL,
    )


def _text(random: Random, name: str) -> str:
    topic = random.choice([group.sets[-1] for group in groups() if group.is_topical])
    lines = [f"= Report {name} =", *(_line(random, topic) for _ in range(4))]
    return "\n".join(lines)


def _line(random: Random, topic: WordSet) -> str:
    return " ".join(_sentence(random, topic) for _ in range(5))


def _sentence(random: Random, topic: WordSet) -> str:
    """A question, an exclamation, a list, a quotation, a number, a name or nothing of the kind."""
    words = [random.choice(_FILLER) for _ in range(random.choice((3, 7, 12)))]
    for _ in range(len(words) // 3):
        words[random.randrange(len(words))] = _meant(random, topic)
    words[random.randrange(len(words))] = random.choice((random.choice(_LONG), random.choice(_NAMES), str(random.randint(1, 1999))))
    for mark in (",", ",", ";", ":"):
        if random.random() < 0.25:
            words[random.randrange(len(words) - 1)] += mark
    said = " ".join(words)
    said = random.choice((said, said, f"({words[0]}) {said}", f"“{said}”"))
    return said[0].upper() + said[1:] + random.choice("...?!")


def _meant(random: Random, topic: WordSet) -> str:
    """A word of the document's own topic, or of any other word set."""
    one = topic if random.random() < 0.3 else random.choice(random.choice(groups()).sets)
    return random.choice(one.words)
