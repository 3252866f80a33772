"""The table of labelers: recognised, exact, abstained; the answer at the top and another's answer at the bottom."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from autolabel.records import Label
from autolabel.truth.baselines import paraphrase, shuffled_label, true_label
from autolabel.truth.built import Built
from autolabel.truth.generation import Writer
from autolabel.truth.label_table import ABSTAINING, Attempt, LabelerRow, Outcomes, measure_labels
from autolabel.truth.meaning import ConceptReader, Mapper
from autolabel.truth.referees import EmbeddingReferee, Referee, options_of
from tests.fakes import FakeEmbedder, FakeLLM


class Knowing:
    """A referee that chooses the option which is the label itself, or says nothing of some features."""

    def __init__(self, silent: Sequence[int] = (), model_id: str = "knowing") -> None:
        self.model_id = model_id
        self.silent = silent
        self.asked: list[tuple[int, str]] = []

    async def choose(self, asked: Sequence[tuple[int, str, Sequence[str]]]) -> list[int | None]:
        self.asked += [(index, label) for index, label, _ in asked]
        return [
            None if index in self.silent else (list(options).index(label) if label in options else 0)
            for index, label, options in asked
        ]


def everywhere(built: Built) -> frozenset[int]:
    return frozenset(feature.index for feature in built.features)


def oracle(built: Built) -> list[Attempt]:
    return [Attempt(f.index, None if f.family == "null" else true_label(built, f.index)) for f in built.features]


def shuffled(built: Built) -> list[Attempt]:
    return [Attempt(feature.index, shuffled_label(built, feature.index)) for feature in built.features]


async def measured(built: Built, attempts: Sequence[Attempt], *referees: Referee) -> tuple[LabelerRow, Outcomes]:
    embedder = FakeEmbedder(d=512)
    asked = [(referee, everywhere(built)) for referee in referees]
    return await measure_labels(
        built, "tried", attempts, frozenset({"own-model"}), asked, Mapper(built, embedder), ConceptReader(embedder), None
    )


async def test_the_answer_is_recognised_and_exact(built: Built) -> None:
    row, outcomes = await measured(built, oracle(built), Knowing(), EmbeddingReferee(FakeEmbedder(d=512)))
    assert {name: found.value for name, found in row.recovery.items()} == {"knowing": 1.0, "fake-embedder": 1.0}
    assert {found.value for found in row.recovery_by_family["knowing"].values()} == {1.0}
    assert "null" not in row.recovery_by_family["knowing"]
    exact = {feature.index: built.shipped[feature.index][0].exact.f1 for feature in built.features if feature.family != "null"}
    assert outcomes.mapped == exact
    assert row.mapped_f1.value == pytest.approx(sum(exact.values()) / len(exact))
    assert row.concept_recall.value == 1.0
    assert (row.abstention.value, row.false_abstention.value) == (1.0, 0.0)
    assert row.rule_f1.value is None
    assert row.generation.value is None
    assert (row.name, row.n, row.models) == ("tried", 18, frozenset({"own-model"}))


async def test_another_s_answer_is_at_the_bottom(built: Built) -> None:
    row, outcomes = await measured(built, shuffled(built), Knowing())
    chosen = outcomes.chosen["knowing"]
    wrong = {f.index: shuffled_label(built, f.index).text in options_of(f) for f in built.features if f.family != "null"}  # type: ignore[union-attr]
    assert not any(chosen[index] for index, offered in wrong.items() if offered)
    assert row.recovery["knowing"].value is not None
    assert row.recovery["knowing"].value < 0.3
    assert row.mapped_f1.value is not None
    assert row.mapped_f1.value < 0.15
    assert (row.abstention.value, row.false_abstention.value) == (0.0, 0.0)


async def test_a_model_with_a_hand_in_the_labels_is_no_referee(built: Built) -> None:
    own = Knowing(model_id="own-model")
    row, outcomes = await measured(built, oracle(built), own, Knowing())
    assert row.recovery.keys() == outcomes.chosen.keys() == {"knowing"}
    assert own.asked == []


async def test_a_referee_is_asked_about_its_features_only(built: Built) -> None:
    referee = Knowing()
    few = frozenset({0, 1, 17})
    row, outcomes = await measure_labels(built, "tried", oracle(built), frozenset(), [(referee, few)], None, None, None)
    real = [index for index in few if built.feature(index).family != "null"]
    assert sorted(index for index, _ in referee.asked) == sorted(real)
    assert outcomes.chosen["knowing"].keys() == set(real)
    assert (row.recovery["knowing"].n, row.mapped_f1.value, row.concept_recall.value) == (len(real), None, None)


async def test_a_missing_label_is_not_recovered_and_a_silent_referee_says_nothing(built: Built) -> None:
    attempts = oracle(built)
    attempts[0], attempts[1] = Attempt(0, None), Attempt(1, replace(true_label(built, 1), status="failed", text=None))
    row, outcomes = await measured(built, attempts, Knowing(silent=[2]))
    chosen = outcomes.chosen["knowing"]
    assert (chosen[0], chosen[2]) == (False, None)
    assert 1 not in chosen, "what failed is no wrong answer"
    n = sum(feature.family != "null" for feature in built.features) - 1
    assert row.n_failed == 1
    assert row.recovery["knowing"].n == n - 1
    assert row.recovery["knowing"].value == pytest.approx((n - 2) / (n - 1))
    assert row.false_abstention.value == pytest.approx(1 / n)
    assert outcomes.mapped.keys().isdisjoint({0, 1})
    assert row.mapped_f1.n == n, "abstaining counts as 0, failing not at all"


async def test_a_failed_label_of_a_null_feature_is_no_abstention(built: Built) -> None:
    nulls = [feature.index for feature in built.features if feature.family == "null"]
    failed = replace(built.label(nulls[0], "explain", "x"), status="failed", text=None, error="no reply")
    row, _ = await measured(built, [Attempt(nulls[0], failed), *(Attempt(index, None) for index in nulls[1:])], Knowing(silent=[]))
    assert (row.n_failed, row.abstention.n) == (1, len(nulls) - 1)


@pytest.mark.parametrize("text", [*ABSTAINING, "No clear pattern.", " NONE ", "Random."])
def test_words_for_nothing_are_abstention(built: Built, text: str) -> None:
    assert Attempt(0, built.label(0, "explain", text)).text is None


def test_a_label_with_text_is_an_attempt(built: Built) -> None:
    assert Attempt(0, built.label(0, "explain", "random numbers")).text == "random numbers"
    assert Attempt(0, None).text is None
    assert Attempt(0, Label("l", "e", "s", 0, "refused", "explain")).text is None


async def test_rules_are_worth_what_they_predict(built: Built) -> None:
    clean = next(f for f in built.features if f.family == "words" and built.shipped[f.index][0].exact.f1 == 1.0)
    words = clean.candidate.meaning.predicate.words  # type: ignore[attr-defined]
    label = replace(true_label(built, clean.index), predicate={"kind": "words", "weights": dict.fromkeys(words, 1.0)})
    row, outcomes = await measured(built, [Attempt(clean.index, label)])
    assert outcomes.rule == {clean.index: 1.0}
    assert row.rule_f1.value == 1.0


async def test_a_union_of_which_one_part_is_named_is_partly_recalled(built: Built) -> None:
    union = next(feature for feature in built.features if feature.family == "union")
    concepts = union.candidate.concepts
    label = built.label(union.index, "explain", concepts[0].label)
    row, outcomes = await measured(built, [Attempt(union.index, label)])
    mass = [built.world.count(one.meaning.predicate) for one in concepts]
    assert outcomes.concepts == {union.index: pytest.approx(mass[0] / sum(mass))}
    none, _ = await measured(built, [Attempt(union.index, None)])
    assert none.concept_recall.value == 0.0
    assert row.concept_recall.value is not None
    assert 0 < row.concept_recall.value < 1


async def test_texts_are_written_from_labels_that_say_something(built: Built) -> None:
    index = next(feature.index for feature in built.features if feature.family == "words")
    word = built.feature(index).candidate.absorbable[0]
    model = FakeLLM(["\n".join(f"{n}. Sentence {n} has one {word if n < 5 else 'thing'} in it." for n in range(1, 6))])
    attempts = [Attempt(index, true_label(built, index)), Attempt(index + 1, built.label(index + 1, "explain", "none"))]
    writer = Writer(model, everywhere(built))
    row, outcomes = await measure_labels(built, "tried", attempts, frozenset(), [], None, None, writer)
    assert outcomes.generation == {index: 0.8}
    assert (row.generation.value, row.generation.n) == (0.8, 1)


async def test_nothing_to_measure_is_a_line_without_numbers(built: Built) -> None:
    row, _ = await measured(built, [], Knowing())
    values = [row.mapped_f1, row.rule_f1, row.abstention, row.false_abstention, row.concept_recall, row.recovery["knowing"]]
    assert [found.value for found in values] == [None] * 6


async def test_paraphrases_are_attempts_like_others(built: Built) -> None:
    row, outcomes = await measured(built, [Attempt(f.index, paraphrase(built, f.index)) for f in built.features], Knowing())
    assert row.n == 18
    assert row.abstention.value == 1.0
    assert len(outcomes.mapped) == sum(feature.family != "null" for feature in built.features)
