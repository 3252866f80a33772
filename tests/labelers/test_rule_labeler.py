"""Rules read from train windows: what they name, that they are judged on text they were not read from, and that nothing else matters."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from autolabel.hashing import content_id
from autolabel.labelers.induction import induce
from autolabel.labelers.occurrences import ECHO, MOST_WEIGHT, Text, read_windows
from autolabel.labelers.rules import RuleLabeler
from autolabel.labelers.views import VIEWS, InducedRule, Tally, all_patterns, f1, f1_of, named_patterns
from autolabel.patterns import compiled, matches
from autolabel.predicates import SPAN, evaluate, parse_predicate
from autolabel.records import Example, FeatureEvidence, Label, Split

_FILLER = (
    "the of to in that which was for on with as at by from this into over under between towards stood went came lay seemed "
    "remained turned kept placed carried followed opened crossed old green house window bread paper hill cat rain table morning"
)
FILLER = _FILLER.split()
RARE = [f"{first}{second}{third}o" for first in "bdfgklmnprst" for second in "aeou" for third in "bdgkmnprt"]
"""Words that occur once or twice in all windows."""
Fires = Callable[[Sequence[str], int], bool]


def window(words: Sequence[str], fires: Fires, number: int, split: Split = "train", stratum: str | None = None) -> Example:
    """A window of these words, a token each; it is silent where nothing of it fires."""
    tokens = [word if i == 0 else f" {word}" for i, word in enumerate(words)]
    positions = tuple(i for i in range(len(words)) if fires(words, i))
    return Example(
        window_id=content_id("window", [number, *words]),
        document_id=f"d{number}",
        source_document_id=f"d{number}",
        tile_index=0,
        split=split,
        kind="firing" if positions else "background",
        stratum="firing" if positions else "random",
        text="".join(tokens),
        token_starts=tuple(sum(map(len, tokens[:i])) for i in range(len(tokens))),
        n_context_tokens=0,
        positions=positions,
        activations=(1.0,) * len(positions),
        max_activation=1.0 if positions else 0.0,
    )


def evidence_of(insert: Callable[[random.Random], list[str]], fires: Fires, n: int = 60, silent: int = 10) -> FeatureEvidence:
    """Windows of filler; most have something inserted in their midst, which decides whether they fire, and some have nothing."""
    rng = random.Random(5)
    made = []
    for number in range(n + silent):
        words = [rng.choice(FILLER) for _ in range(24)]
        if number < n:
            at = rng.randrange(4, 16)
            words[at:at] = insert(rng)
        made.append(window(words, fires, number))
    return FeatureEvidence("sae", "set", 7, "alive", 0.02, 1.0, tuple(made))


async def labelled(evidence: FeatureEvidence) -> Label:
    labeler = RuleLabeler()
    (label,) = await labeler.fill(labeler.drafts(evidence), evidence)
    return label


def is_one_of(*words: str) -> Fires:
    return lambda window, i: window[i].casefold() in words


TREES = ("oak", "birch", "willow", "Cedar")
ING = [f"{stem}ing" for stem in RARE]


async def test_a_set_of_words_is_named() -> None:
    fires = is_one_of("oak", "birch", "willow", "cedar")
    label = await labelled(evidence_of(lambda rng: [rng.choice(TREES)], fires))
    assert label.predicate is not None
    assert label.predicate["kind"] == "words"
    assert set(label.predicate["weights"]) == {"oak", "birch", "willow", "cedar"}
    assert label.text is not None
    assert label.text.startswith('the words "')
    assert (label.status, label.method, label.origin) == ("ok", "rule", "run")


async def test_an_ending_beats_the_list_of_words_that_have_it() -> None:
    label = await labelled(evidence_of(lambda rng: [rng.choice(ING)], lambda words, i: words[i].endswith("ing")))
    assert label.text == 'words ending in "-ing"'
    assert label.predicate is not None
    assert (label.predicate["kind"], label.predicate["pattern"]) == ("regex", "[A-Za-z]+ing")


async def test_numbers_are_a_form() -> None:
    label = await labelled(evidence_of(lambda rng: [str(rng.randrange(100, 1000))], lambda words, i: words[i].isdecimal()))
    assert label.text in ("numbers", "numbers of 3 digits")


@pytest.mark.parametrize(("kind", "offset"), [("before", 1), ("after", -1)])
async def test_a_neighbour_is_found_whatever_the_word_itself(kind: str, offset: int) -> None:
    def fires(words: Sequence[str], i: int) -> bool:
        return 0 <= i + offset < len(words) and words[i + offset] in ("oak", "birch")

    label = await labelled(evidence_of(lambda rng: [rng.choice(RARE), rng.choice(("oak", "birch")), rng.choice(RARE)], fires))
    assert label.predicate is not None
    assert label.predicate["kind"] == kind
    assert set(label.predicate["target"]["weights"]) == {"oak", "birch"}
    assert label.text is not None
    assert label.text.startswith(f'the word {kind} the words "')


def near_money(words: Sequence[str], i: int) -> bool:
    around = [*words[max(i - SPAN, 0) : i], *words[i + 1 : i + SPAN + 1]]
    return words[i] == "bank" and not {"money", "loan"}.isdisjoint(around)


async def test_a_condition_is_found_where_the_trigger_alone_says_too_little() -> None:
    inserted = [["bank", "of", "money"], ["loan", "by", "the", "bank"], ["bank", "of", "the", "river"], ["bank", "with", "grass"]]
    label = await labelled(evidence_of(lambda rng: rng.choice(inserted), near_money, n=120))
    assert label.predicate is not None
    assert label.predicate["kind"] == "near"
    assert (set(label.predicate["context"]), label.predicate["absent"]) == ({"money", "loan"}, False)
    assert set(label.predicate["trigger"]["weights"]) == {"bank"}
    assert label.text is not None
    assert label.text.endswith("is within 8 words")


async def test_an_exception_is_found() -> None:
    inserted = [["bank", "of", "money"], ["bank", "by", "the"], ["bank", "of", "money"]]

    def unless(words: Sequence[str], i: int) -> bool:
        return words[i] == "bank" and not near_money(words, i)

    label = await labelled(evidence_of(lambda rng: rng.choice(inserted), unless, n=150))
    assert label.text == 'the word "bank", unless "money" is within 8 words'


async def test_words_that_come_once_in_one_half_are_worth_nothing_on_the_other() -> None:
    """Each window fires on a word of its own: a list of them all would be right in train text and nowhere else."""
    words = iter(RARE)
    evidence = evidence_of(lambda rng: [next(words)], lambda words, i: words[i] in RARE)
    label = await labelled(evidence)
    assert label.predicate is not None
    assert label.predicate["kind"] != "words"


async def test_what_fires_anywhere_has_no_rule() -> None:
    rng = random.Random(3)
    places = [rng.randrange(30) for _ in range(40)]
    windows = [window(["same"] * 30, lambda words, i, at=at: i == at, number) for number, at in enumerate(places)]  # type: ignore[misc]
    label = await labelled(FeatureEvidence("sae", "set", 7, "alive", 0.02, 1.0, tuple(windows)))
    assert (label.status, label.text, label.predicate) == ("failed", None, None)
    assert label.error == "no word, form or neighbour of a word predicts its firing in train text that the rule was not read from"


async def test_without_a_firing_train_window_there_is_no_rule() -> None:
    evidence = evidence_of(lambda rng: ["oak"], is_one_of("oak"))
    silent = replace(evidence, examples=tuple(e for e in evidence.examples if not e.fires))
    for nothing in (silent, replace(evidence, examples=())):
        label = await labelled(nothing)
        assert (label.status, label.error) == ("failed", "no train window fires, so there is nothing to label it by")


async def test_only_train_windows_matter_and_their_order_does_not() -> None:
    evidence = evidence_of(lambda rng: [rng.choice(TREES)], is_one_of("oak", "birch", "willow", "cedar"))
    other = [window(["elm"] * 20, is_one_of("elm"), n, split) for n in range(30) for split in ("validation", "test")]  # type: ignore[arg-type]
    shuffled = [*evidence.examples, *other]
    random.Random(1).shuffle(shuffled)
    first, again = await labelled(evidence), await labelled(replace(evidence, examples=tuple(shuffled)))
    assert again == first
    assert set(first.shown_window_ids) == {e.window_id for e in evidence.examples}
    assert RuleLabeler().drafts(replace(evidence, feature_index=9))[0].label_id != first.label_id


def test_a_rule_fires_where_its_predicate_does() -> None:
    """Of every view: what was counted is what will run."""
    evidence = evidence_of(lambda rng: [rng.choice(TREES), rng.choice(ING), "12"], is_one_of("oak", "birch"))
    text = Text(evidence)
    for view in VIEWS:
        keys = [key for one in text.words[:200] if (key := view.key(one)) is not None]
        weights = (
            dict.fromkeys(keys[::7], 1.0)
            if view.patterns_of is None
            else {p: 1.0 for key in keys[:5] for p in view.patterns_of(key)}
        )
        for context, absent in (((), False), (("rain", "old"), False), (("rain", "old"), True)):
            rule = InducedRule(view, weights, context, absent)
            counted = sum(rule.fires(one) for one in text.words)
            runs = sum(len(evaluate(parse_predicate(rule.as_json()), example).positions) for example in read_windows(evidence))
            assert counted == runs > 0, (view.name, context, absent)


@pytest.mark.parametrize(
    "word", ["Running", "NASA", "a", "1999", "don't", "X", "naïve", "x" * 60, "__", ";", "o'Neil", "rock'n'roll"]
)
def test_the_patterns_of_a_word_match_it(word: str) -> None:
    assert set(named_patterns(word)) <= set(all_patterns(word))
    assert all(matches(compiled(pattern), word) for pattern in all_patterns(word))


def test_an_echo_is_neither_firing_nor_silent() -> None:
    quiet = window(["an", "oak", "stood", "there"], lambda words, i: i in (1, 2), 0)
    echoing = replace(quiet, activations=(1.0, ECHO))
    alike = replace(quiet, activations=(1.0, 1.0))
    evidence = FeatureEvidence("sae", "set", 7, "alive", 0.02, 1.0, (echoing,))
    assert [(one.word, one.fires) for one in Text(evidence).words] == [("an", False), ("oak", True), ("there", False)]
    assert [one.fires for one in Text(replace(evidence, examples=(alike,))).words] == [False, True, True, False]


def test_only_words_of_the_tile_are_counted_and_context_is_seen() -> None:
    one = replace(window(["money", "the", "bank", "of"], is_one_of("bank"), 0), n_context_tokens=2)
    words = Text(FeatureEvidence("sae", "set", 7, "alive", 0.02, 1.0, (one,))).words
    assert [word.word for word in words] == ["bank", "of"]
    assert "money" in words[0].near
    assert (words[0].written_before, words[0].word_after, words[1].word_after) == ("the", "of", None)


@pytest.mark.parametrize(("rate", "weight"), [(0.5, 6.0), (0.9, 1.0), (1e-4, MOST_WEIGHT), (0.0, MOST_WEIGHT)])
def test_a_tile_drawn_at_random_stands_for_more_text_the_rarer_the_feature(rate: float, weight: float) -> None:
    evidence = replace(evidence_of(lambda rng: ["oak"], is_one_of("oak")), firing_rate=rate)
    assert {one.weight for one in Text(evidence).words} == {1.0, weight}


def test_f1_by_occurrence_counts_what_is_missed_and_what_is_named_wrongly() -> None:
    text = Text(evidence_of(lambda rng: [rng.choice(("oak", "birch"))], is_one_of("oak", "birch")))
    oak = InducedRule(VIEWS[0], {"oak": 1.0})
    n_oak, n = (sum(one.fires and one.word in words for one in text.words) for words in (("oak",), ("oak", "birch")))
    assert f1_of(oak, text.words) == pytest.approx(2 * n_oak / (n_oak + n))
    assert f1(0, 0, 0) == 0.0
    tally = Tally.of(text.words, VIEWS[0])
    assert (tally.n_fires, tally.fires["oak"], tally.share(["oak"])) == (n, n_oak, round(n_oak / (n_oak + 0.5), 4))
    assert induce(text) is not None


async def test_hostile_text_stays_data() -> None:
    hostile: list[Any] = ["<<|im_end|>>", "\u202e", "a" * 3000, "\n\n"]
    evidence = evidence_of(lambda rng: [rng.choice(hostile[:2])], is_one_of(*hostile[:2]))
    label = await labelled(evidence)
    assert label.text is None or not {"\n", "\u202e"} & set(label.text)
    assert "<|im_end|>" not in (label.text or "")
    assert (await labelled(evidence_of(lambda rng: [hostile[2], hostile[3]], is_one_of(*hostile)))).status in ("ok", "failed")
