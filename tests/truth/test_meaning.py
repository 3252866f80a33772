"""What a free-text label stands for: the nearest function, none, and the concepts that it names."""

from dataclasses import replace

import numpy as np
import pytest

from autolabel.records import Label
from autolabel.truth.bank import groups
from autolabel.truth.built import Built
from autolabel.truth.meaning import NONE_BELOW, ConceptReader, Mapper
from tests.fakes import FakeEmbedder


class Counting(FakeEmbedder):
    """Also counts the texts it was given."""

    n_texts = 0

    def embed(self, texts):  # type: ignore[no-untyped-def]
        self.n_texts += len(texts)
        return super().embed(texts)


@pytest.fixture(scope="module")
def reader() -> ConceptReader:
    return ConceptReader(FakeEmbedder(d=512))


def label(text: str | None, method: str = "explain") -> Label:
    return Label("l", "e", "s", 0, "ok" if text else "failed", method, text)


def test_every_shipped_label_is_taken_for_its_own_function(built: Built) -> None:
    mapper = Mapper(built, FakeEmbedder(d=512))
    shipped = [
        one.shipped for feature in built.features for one in built.shipped[feature.index] if one.shipped.relation != "paraphrase"
    ]
    texts = [one.text for one in shipped if one.predicate is not None]
    found = mapper.map(texts)
    assert [one.text for one in found] == texts
    assert all(one.cosine == pytest.approx(1.0, abs=1e-5) for one in found)
    predicates = {one.text: one.predicate for one in shipped}
    assert [one.predicate for one in found] == [predicates[text] for text in texts]


def test_mapping_is_blind_and_paraphrases_are_no_targets(built: Built) -> None:
    mapper = Mapper(built, FakeEmbedder(d=512))
    said = {text for feature in built.features for text in feature.candidate.paraphrases}
    targets = {one.text for one in mapper.map(sorted(said))}
    assert not targets & (said - {feature.label for feature in built.features})
    one, other = built.features[0], built.features[1]
    assert mapper.map([other.label])[0].text == mapper.map([one.label, other.label])[1].text == other.label


def test_what_is_near_nothing_is_taken_for_nothing(built: Built) -> None:
    mapper = Mapper(built, FakeEmbedder(d=4096))
    (found,) = mapper.map(["zyzzyva quux"])
    assert found.cosine < NONE_BELOW
    assert (found.text, found.predicate) == (None, None)
    assert mapper.map([]) == []


def test_targets_are_embedded_once(built: Built) -> None:
    embedder = Counting(d=16)
    mapper = Mapper(built, embedder)
    n = embedder.n_texts
    mapper.map(["one", "two"])
    assert embedder.n_texts == n + 2


def test_concepts_are_named_by_quoted_words(reader: ConceptReader) -> None:
    animals, food = groups()[0].sets[0], groups()[1].sets[0]
    assert reader.named(f'the words "{animals.words[0].upper()}", "xyz"') == {animals.key}
    assert reader.named(f'"{animals.words[1]}" or "{food.words[0]}"') == {animals.key, food.key}
    assert reader.named('the word "xyz"') == set()


def test_concepts_are_named_by_the_meaning_of_parts(reader: ConceptReader) -> None:
    animals, food, body = (group.sets[0] for group in groups()[:3])
    for joint in ("; ", " / ", ", or "):
        parts = [one.label for one in (animals, food, body) if "," not in one.label and " and " not in one.label]
        found = reader.named(joint.join(parts))
        assert {one.key for one in (animals, food, body) if one.label in parts} <= found
    assert reader.named(animals.label) == {animals.key}
    assert reader.named("zyzzyva quux") == set()


def test_recall_is_the_share_of_a_union_s_places(built: Built, reader: ConceptReader) -> None:
    union = next(feature for feature in built.features if feature.family == "union" and len(feature.candidate.concepts) >= 2)
    concepts = union.candidate.concepts
    mass = np.array([built.world.count(one.meaning.predicate) for one in concepts])
    assert reader.recall(built, union.index, label("; ".join(one.label for one in concepts))) == 1.0
    for number, concept in enumerate(concepts):
        word = next(word for word in concept.words if word.isalpha())
        said = label(f'the word "{word}"')
        assert reader.recall(built, union.index, said) == pytest.approx(mass[number] / mass.sum())
    assert reader.recall(built, union.index, label("zyzzyva")) == 0.0
    tokens = replace(label("tokens", "token_lookup"), predicate={"kind": "tokens", "weights": {f" {concepts[0].words[0]}": 1.0}})
    assert reader.recall(built, union.index, tokens) == pytest.approx(mass[0] / mass.sum())
    with pytest.raises(ZeroDivisionError):
        reader.recall(built, next(feature.index for feature in built.features if feature.family == "words"), label("any"))
