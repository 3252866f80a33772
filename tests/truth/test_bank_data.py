"""The written data of TruthBench: word sets and forms are well-formed, disjoint, and their near-misses miss as they say."""

import re
import tomllib
from collections import Counter
from typing import Any

import pytest

from autolabel.resources import resource_dir

DATA = resource_dir("data") / "truthbench"
GROUPS: list[dict[str, Any]] = tomllib.loads((DATA / "word_sets.toml").read_text(encoding="utf-8"))["group"]
SETS: list[dict[str, Any]] = [one for group in GROUPS for one in group["set"]]
FORMS: list[dict[str, Any]] = tomllib.loads((DATA / "forms.toml").read_text(encoding="utf-8"))["form"]
KEY = re.compile(r"[a-z0-9_]+")
WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
WITHOUT_PART = {"question_marks"}
"""Forms of one sign have no part."""

SAMPLE = """
going thing building something single finger wanted united red bad end other quickly only really finally city ability quality country
nation decision relation location person opinions relations nations patterns government payment appointment happiness event process
agreement presence greatest west best strongest list artist possible visible suitable able people beautiful famous various serious
status active faculty tourism artists friendship trust national general school public countries cities ideas makes lives lines organize
raised promise realize these satisfied house unknown uniform use disease under return report record press rain congress company course
product international transport overcome into under subject travel interior nation's Tom's it's don't can't couldn't Don't I'll we've
you're I'm he's want The There Mary Washington USA NATO TV Mc McDonald iPhone to of an the and that administration representatives
international extraordinary information relatives university which world seven Tom Thing Ten Then Town Germany state going all good been
need very verse also so Mexico menu area such back English book think who while wine show job June king know year value good question
equal require prize still study start string sport tax next exist zone photograph emphasis enough café Perón Beyoncé zero 1865 1999 2015
123 500 12 21 47 99 7 1066 5 1980s 21st mp3 A Q I a z ? ! . , : ; – — - " “ ' ( ) [ ] / $ % & + * = # ship tools said class main sea
month You actions relationship über payments
"""
EXAMPLES = SAMPLE.split()


def texts_of(one: dict[str, Any]) -> list[str]:
    """Every text of an entry that somebody may be shown."""
    near = [one[kind]["label"] for kind in ("narrow", "broader", "narrower", "sibling") if kind in one]
    return [one["label"], *one["paraphrases"], *near]


def matched(pattern: str) -> set[str]:
    return {word for word in EXAMPLES if re.fullmatch(pattern, word)}


def repeated(values: list[str]) -> list[str]:
    return [value for value, count in Counter(values).items() if count > 1]


def test_there_are_enough_of_both() -> None:
    assert len(GROUPS) >= 22
    assert len(SETS) >= 105
    assert len(FORMS) >= 54
    assert min(len(group["set"]) for group in GROUPS) >= 4


def test_keys_are_plain_and_unique() -> None:
    for keys in ([one["key"] for one in GROUPS], [one["key"] for one in SETS], [one["key"] for one in FORMS]):
        assert repeated(keys) == []
        assert all(KEY.fullmatch(key) for key in keys)


def test_labels_and_paraphrases_are_unique() -> None:
    labels = [text.casefold() for one in [*SETS, *FORMS] for text in [one["label"], *one["paraphrases"]]]
    assert repeated([*labels, *(one["narrow"]["label"].casefold() for one in SETS)]) == []
    assert repeated([group["label"].casefold() for group in GROUPS]) == []


def test_a_label_of_a_form_means_one_pattern() -> None:
    meanings: dict[str, set[str]] = {}
    for one in FORMS:
        for meaning in (one, *(one[kind] for kind in ("broader", "narrower", "sibling") if kind in one)):
            meanings.setdefault(meaning["label"].casefold(), set()).add(meaning["pattern"])
    assert {label: patterns for label, patterns in meanings.items() if len(patterns) > 1} == {}


@pytest.mark.parametrize("one", [*SETS, *FORMS], ids=lambda one: one["key"])
def test_texts_are_short_and_three_paraphrases_are_given(one: dict[str, Any]) -> None:
    assert len(one["paraphrases"]) == 3
    assert [text for text in texts_of(one) if not 0 < len(text.split()) <= 12 or text != text.strip()] == []


def test_no_word_is_in_two_sets() -> None:
    assert repeated([word for one in SETS for word in one["words"]]) == []


@pytest.mark.parametrize("one", SETS, ids=lambda one: one["key"])
def test_words_are_single_and_a_proper_part_of_them_is_named(one: dict[str, Any]) -> None:
    words = one["words"]
    assert 3 <= len(words) <= 40
    assert [word for word in words if not WORD.fullmatch(word) or word != word.casefold()] == []
    assert set() < set(one["narrow"]["words"]) < set(words)
    assert repeated(one["narrow"]["words"]) == []


@pytest.mark.parametrize("one", FORMS, ids=lambda one: one["key"])
def test_near_misses_of_a_form_miss_it_on_the_examples(one: dict[str, Any]) -> None:
    matches = matched(one["pattern"])
    assert matches
    assert matches < matched(one["broader"]["pattern"])
    sibling = matched(one["sibling"]["pattern"])
    assert sibling
    assert not sibling & matches
    if one["key"] in WITHOUT_PART:
        assert "narrower" not in one
    else:
        assert set() < matched(one["narrower"]["pattern"]) < matches
