"""Labelers without an LLM: the answer, another's answer, and the words that counting finds."""

import math
from dataclasses import replace

import pytest

from autolabel.records import Example, FeatureEvidence, Label, Stratum
from autolabel.truth.baselines import (
    MOST_ALIKE,
    NAMED,
    TfIdfContrast,
    contrast,
    naming,
    paraphrase,
    shuffled_label,
    spoken,
    true_label,
)
from autolabel.truth.built import Built
from autolabel.truth.referees import options_of

SILENT = ["the cat sat", "the hen sat", "the cow sat"]


def example(text: str, stratum: Stratum | None, number: int = 0, n_context: int = 0) -> Example:
    starts = [0, *(place for place, character in enumerate(text) if character == " ")]
    kind = "firing" if stratum == "firing" else "background"
    return Example(f"{number:032x}", f"d{number}", f"d{number}", 0, "train", kind, stratum, text, tuple(starts), n_context)  # type: ignore[arg-type]


def evidence_of(*examples: Example) -> FeatureEvidence:
    return FeatureEvidence("sae", "set", 0, "alive", 0.1, 1.0, examples)


def test_the_answer_is_right_and_another_s_answer_wrong(built: Built) -> None:
    for feature in built.features:
        shuffled = shuffled_label(built, feature.index)
        assert shuffled is not None
        (owner,) = (other for other in built.features if other.label == shuffled.text and other.family != "null")
        assert shuffled.text not in options_of(feature), "or the referee would find the very text among its options"
        assert built.world.exact(built.fired[owner.index], built.fired[feature.index]).f1 <= MOST_ALIKE
        assert (shuffled.method, shuffled.status, shuffled.feature_index) == ("shuffled", "ok", feature.index)
        if feature.family != "null":
            assert true_label(built, feature.index).text == feature.label
            said = paraphrase(built, feature.index)
            assert said is not None
            assert said.text in feature.candidate.paraphrases
        else:
            assert paraphrase(built, feature.index) is None


def test_labels_that_come_with_the_benchmark_have_ids_of_their_own(built: Built) -> None:
    labels = [make(built, feature.index) for feature in built.features for make in (true_label, paraphrase, shuffled_label)]
    ids = [label.label_id for label in labels if label is not None]
    assert len(ids) == len(set(ids))


def test_tfidf_of_a_toy_text() -> None:
    firing = [example("the dog ran", "firing"), example("the dog dog", "firing")]
    silent = [example(text, "random") for text in SILENT]
    weights = dict(contrast(firing, silent))
    n_dog, n_ran = 2, 1
    dog = (1 / 3 + 2 / 3) / 2 * math.log(6 / (1 + n_dog))
    ran = (1 / 3) / 2 * math.log(6 / (1 + n_ran))
    assert weights == pytest.approx({"dog": dog, "ran": ran})
    assert list(weights) == ["dog", "ran"]


def test_words_that_silent_tiles_hold_as_well_count_for_nothing() -> None:
    firing, silent = [example("dog sat", "firing")], [example("dog sat", "random"), example("cow hen", "hard")]
    assert contrast(firing, silent) == [("dog", pytest.approx(math.log(4 / 3) / 4)), ("sat", pytest.approx(math.log(4 / 3) / 4))]
    assert contrast([], silent) == []
    assert contrast([example(", .", "firing")], silent) == []
    assert [word for word, _ in contrast([example("a b c d", "firing")], silent, limit=2)] == ["a", "b"]


def test_left_context_is_not_counted() -> None:
    firing = [example("dog ran far", "firing", n_context=1)]
    assert {word for word, _ in contrast(firing, [example("the cat sat", "random")])} == {"ran", "far"}


async def test_the_label_names_the_words_and_carries_them_as_a_rule() -> None:
    evidence = evidence_of(
        *(example(f"the dog barked {n}", "firing", n) for n in range(4)), *(example(t, "random") for t in SILENT)
    )
    labeler = TfIdfContrast()
    (label,) = await labeler.fill(labeler.drafts(evidence), evidence)
    assert (label.status, label.method, label.origin) == ("ok", "tfidf", "baseline")
    assert label.text is not None
    assert label.text.startswith('the words "barked", "dog"')
    assert label.predicate is not None
    assert label.predicate["kind"] == "words"
    assert label.predicate["weights"]["barked"] == label.predicate["weights"]["dog"] == 1.0
    assert len(label.shown_window_ids) == 7


async def test_nothing_to_weigh_is_a_failed_label() -> None:
    labeler = TfIdfContrast()
    evidence = evidence_of(*(example(text, "random") for text in SILENT))
    (label,) = await labeler.fill(labeler.drafts(evidence), evidence)
    assert (label.status, label.text) == ("failed", None)
    assert label.error is not None


def test_what_a_label_says_to_a_reader() -> None:
    plain = Label("l", "e", "s", 0, "ok", "lexical", "dogs", {"kind": "words", "weights": {"dog": 1.0}})
    assert spoken(plain) == "dogs"
    weights = {" dog": 0.5, "dog": 0.9, "\n": 3.0, " cat": 0.7, **{f" w{n}": 0.1 for n in range(9)}}
    lookup = Label("l", "e", "s", 0, "ok", "token_lookup", "tokens", {"kind": "tokens", "weights": weights})
    assert spoken(lookup) == 'the words "dog", "cat", "w0", "w1", "w2"'
    assert spoken(lookup).count('"') == 2 * NAMED
    assert spoken(Label("l", "e", "s", 0, "failed", "explain")) == ""
    assert naming(["a"]) == 'the words "a"'


def test_where_no_other_feature_is_wrong_there_is_no_other_s_answer(built: Built) -> None:
    """A benchmark of one feature can be run."""
    (first, *_) = built.features
    selected = replace(built.selected, features=(replace(first, wrong=()),), nulls=())
    lonely = Built(
        built.settings, built.world, selected, built.firings, built.store, built.sae_id, built.evidence_set_id, built.fired
    )
    assert shuffled_label(lonely, first.index) is None
