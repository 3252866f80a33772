"""Functions of text: what each marks, that JSON gives them back, and that none looks beyond the end of a document."""

import json
from random import Random

import numpy as np
import pytest

from autolabel.truth.predicates import (
    BURST_WORDS,
    SPAN,
    AnyOf,
    Before,
    Both,
    Drawn,
    Near,
    Pattern,
    Place,
    Predicate,
    Source,
    Topic,
    Words,
    from_json,
)
from tests.truth.worlds_of_text import columns_of, filler, marked, words_at

DOGS, RAIN = Words(("dog", "dogs")), Words(("rain", "snow"))
ALL: dict[str, Predicate] = {
    "words": DOGS,
    "pattern": Pattern("[A-Za-z]+ing"),
    "place": Place("sentence_last"),
    "near": Near(DOGS, RAIN),
    "unless": Near(DOGS, RAIN, absent=True),
    "before": Before(DOGS),
    "topic": Topic(("dog", "dogs", "rain"), 2),
    "source": Source(("web", "books")),
    "any": AnyOf((DOGS, RAIN, Place("comma"))),
    "both": Both(Place("sentence_first"), Pattern("[A-Z].*")),
    "drawn": Drawn(7, 0.5, 0.5),
    "nested": AnyOf((Near(Before(DOGS), Both(DOGS, Pattern("d.*")), absent=True), Topic(("a",), 1))),
}


@pytest.mark.parametrize("name", ALL)
def test_json_gives_a_predicate_back(name: str) -> None:
    written = json.loads(json.dumps(ALL[name].as_json()))
    assert from_json(written) == ALL[name]
    assert hash(from_json(written)) == hash(ALL[name])


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"predicate kind is 'magic', expected one of words, pattern, place"):
        from_json({"kind": "magic"})


def test_words_whatever_their_case() -> None:
    assert marked(DOGS, "Dog and DOGS, doggy dog's", "no") == ["Dog", "DOGS"]
    assert marked(Words(("don't",)), "I don’t, you DON'T") == ["don’t", "DON'T"]


def test_a_pattern_matches_words_whole_and_as_written() -> None:
    assert marked(Pattern("[a-z]+ing"), "ringing Ring sings ing thing") == ["ringing", "thing"]
    assert marked(Pattern(r"\d{4}"), "1999 19990 in 1999s 2001") == ["1999", "2001"]
    assert marked(Pattern(","), "a, b;") == [","]


def around(distance: int, *, before: bool = False) -> str:
    """A dog and, so many words on, rain."""
    between = " ".join(filler(distance - 1))
    return f"rain {between} dog" if before else f"dog {between} rain"


@pytest.mark.parametrize("before", [False, True])
def test_a_context_is_near_within_eight_words(before: bool) -> None:
    assert SPAN == 8
    for distance, near in ((1, True), (8, True), (9, False)):
        text = around(distance, before=before)
        assert marked(Near(DOGS, RAIN), text) == (["dog"] if near else [])
        assert marked(Near(DOGS, RAIN, absent=True), text) == ([] if near else ["dog"])


def test_a_context_in_another_document_is_none() -> None:
    assert marked(Near(DOGS, RAIN), "the dog", "rain fell") == []
    assert marked(Near(DOGS, RAIN, absent=True), "the dog", "rain fell") == ["dog"]


def test_a_trigger_that_is_its_own_context_needs_another() -> None:
    assert marked(Near(DOGS, DOGS), "one dog") == []
    assert marked(Near(DOGS, DOGS), "one dog of two dogs") == ["dog", "dogs"]


def test_the_word_before_is_the_one_before_in_the_same_document() -> None:
    assert marked(Before(DOGS), "a dog , dogs", "and", "dog that") == ["a", ","]


def test_a_topic_needs_different_words_and_marks_the_long_ones() -> None:
    topic = Topic(("dog", "cat", "hen"), 2)
    assert marked(topic, "The dog barked at Cats, a cat meowed", "dog after dog barked", "cat Hen quickly") == [
        "barked",
        "meowed",
        "quickly",
    ]
    assert marked(topic, "dog Dog DOG barked") == [], "spellings of one word are one word"
    assert marked(Topic(("nowhere",), 1), "nothing about that") == []
    assert marked(topic, "", " ") == []


def test_a_source_marks_the_long_words_of_its_documents() -> None:
    texts = ("first words", "other words", "third words")
    assert marked(Source(("web",)), *texts, sources=["web", "books", "web"]) == ["first", "words", "third", "words"]
    assert marked(Source(("web", "books")), "a longer one", "short", sources=["books", "mail"]) == ["longer"]
    assert marked(Source(("nowhere",)), *texts) == []


def test_any_of_and_both() -> None:
    assert marked(AnyOf((DOGS, RAIN)), "dog in rain and sun") == ["dog", "rain"]
    assert marked(Both(DOGS, Place("sentence_first")), "Dogs bark. The dog. Rain") == ["Dogs"]
    assert marked(AnyOf(()), "dog") == []


def test_drawn_words_come_in_bursts_at_the_stated_shares() -> None:
    texts = [" ".join(f"w{number}" for _ in range(320)) for number in range(300)]
    columns = columns_of(*texts)
    marks = Drawn(3, 0.1, 0.25).marks(columns)
    stretches = marks.reshape(-1, BURST_WORDS)
    bursts = stretches.any(axis=1)
    n = len(stretches)
    assert abs(bursts.mean() - 0.1) < 4 * (0.1 * 0.9 / n) ** 0.5
    within = stretches[bursts].mean()
    assert abs(within - 0.25) < 4 * (0.25 * 0.75 / (bursts.sum() * BURST_WORDS)) ** 0.5
    other = Drawn(4, 0.1, 0.25).marks(columns)
    assert (marks & other).sum() < 0.3 * marks.sum(), "another seed draws others"


def test_drawn_words_are_no_signs_and_belong_to_the_document() -> None:
    texts = [f"a{n} , . b{n} ; c{n} " * 30 for n in range(40)]
    drawn = Drawn(1, 0.6, 0.6)
    columns = columns_of(*texts)
    marks = drawn.marks(columns)
    assert marks.any()
    assert not (marks & ~columns.is_word).any()
    again = columns_of(*reversed(texts))
    other = drawn.marks(again)
    for number in range(40):
        assert np.array_equal(marks[columns.document == number], other[again.document == 39 - number])


@pytest.mark.parametrize("name", ALL)
def test_no_predicate_looks_beyond_its_document(name: str) -> None:
    random = Random(11)
    words = ["dog", "Dogs", "rain", "ringing", "barking", ",", ".", "a", "\n", "longer"]
    texts = [" ".join(random.choice(words) for _ in range(random.choice((0, 2, 30)))) + f" {n}" for n in range(40)]
    sources = [random.choice(("web", "mail")) for _ in texts]
    together = columns_of(*texts, sources=sources)
    marks = ALL[name].marks(together)
    assert 0 < marks.sum() < len(together)
    for number, text in enumerate(texts):
        alone = columns_of(text, sources=[sources[number]])
        assert words_at(alone, ALL[name].marks(alone)) == words_at(together, marks & (together.document == number))


@pytest.mark.parametrize("name", ALL)
def test_twice_is_the_same(name: str) -> None:
    columns = columns_of("Dogs and a dog in the rain. Barking, again", "rain on dogs")
    assert np.array_equal(ALL[name].marks(columns), ALL[name].marks(columns))
