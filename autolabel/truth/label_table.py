"""How good labels are: whether they are recognised as the right one, and what the functions they stand for predict."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from autolabel.records import Label
from autolabel.truth.baselines import spoken
from autolabel.truth.built import Built
from autolabel.truth.features import Family
from autolabel.truth.generation import Writer
from autolabel.truth.meaning import ConceptReader, Mapper
from autolabel.truth.referees import Referee, options_of
from autolabel.truth.resampling import NOTHING, Measured, mean_of
from autolabel.truth.rules import rule_exact

ABSTAINING = frozenset({"none", "nothing", "no clear pattern", "unclear", "uninterpretable", "no pattern", "random"})
"""Texts that say that a feature means nothing."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What a labeler made of one feature: a label that has text, or none."""

    index: int
    label: Label | None

    @property
    def failed(self) -> bool:
        """Whether nothing came of it, which says nothing of the labeler's judgement: it is counted beside every average, in none."""
        return self.label is not None and self.label.status != "ok"

    @property
    def text(self) -> str | None:
        """What it says; None where it abstains or failed."""
        if self.label is None or self.label.status != "ok":
            return None
        text = spoken(self.label)
        return None if text.casefold().strip(" .") in ABSTAINING else text


@dataclass
class LabelerRow:
    """One line of the table of labelers."""

    name: str
    models: frozenset[str]
    """Models that had a hand in the labels; none of them is its referee."""
    n: int
    recovery: dict[str, Measured] = field(default_factory=dict)
    """By referee: share of features whose right label is chosen among ten."""
    recovery_by_family: dict[str, dict[Family, Measured]] = field(default_factory=dict)
    rule_f1: Measured = NOTHING
    """F1 of the labels' own rules over all test tiles."""
    mapped_f1: Measured = NOTHING
    """F1 of the functions that the labels were taken for."""
    generation: Measured = NOTHING
    concept_recall: Measured = NOTHING
    abstention: Measured = NOTHING
    """Share of null features on which it abstains."""
    false_abstention: Measured = NOTHING
    n_failed: int = 0
    """Features for which the attempt came to nothing."""
    tokens: tuple[int, int, int] = (0, 0, 0)
    """Input, cached and output tokens of all its calls."""
    seconds: float | None = None
    """Measured only where nothing was replayed."""


@dataclass
class Outcomes:
    """What was found about each label, by feature; for the database and for reading."""

    chosen: dict[str, dict[int, bool | None]] = field(default_factory=lambda: defaultdict(dict))
    """By referee: whether it chose the right label."""
    rule: dict[int, float] = field(default_factory=dict)
    mapped: dict[int, float] = field(default_factory=dict)
    mapped_to: dict[int, str | None] = field(default_factory=dict)
    generation: dict[int, float] = field(default_factory=dict)
    concepts: dict[int, float] = field(default_factory=dict)


async def measure_labels(
    built: Built,
    name: str,
    attempts: Sequence[Attempt],
    models: frozenset[str],
    referees: Sequence[tuple[Referee, frozenset[int]]],
    mapper: Mapper | None,
    reader: ConceptReader | None,
    writer: Writer | None,
) -> tuple[LabelerRow, Outcomes]:
    """Measure one labeler's labels.

    Args:
        built: the benchmark.
        name: what the labeler is called.
        attempts: its labels.
        models: the models that made them.
        referees: each with the features on which it is asked.
        mapper: takes labels for functions.
        reader: finds the concepts that labels name.
        writer: writes texts from labels.
    """
    row, outcomes = LabelerRow(name, models, len(attempts), n_failed=sum(one.failed for one in attempts)), Outcomes()
    attempts = [one for one in attempts if not one.failed]
    real = [one for one in attempts if built.feature(one.index).family != "null"]
    said = [one for one in real if one.text is not None]
    for referee, asked in referees:
        if referee.model_id not in models:
            await _recover(built, row, outcomes, referee, [one for one in real if one.index in asked])
    for one in said:
        if one.label is not None and one.label.predicate is not None:
            outcomes.rule[one.index] = rule_exact(built.world, one.label.predicate, built.fired[one.index]).f1
    row.rule_f1 = mean_of(list(outcomes.rule.values()))
    if mapper is not None:
        _map(built, outcomes, said, mapper)
        row.mapped_f1 = mean_of([outcomes.mapped.get(one.index, 0.0) for one in real])
    if reader is not None:
        for one in real:
            if built.feature(one.index).family == "union":
                outcomes.concepts[one.index] = 0.0 if one.text is None else reader.recall(built, one.index, one.label)  # type: ignore[arg-type]
        row.concept_recall = mean_of(list(outcomes.concepts.values()))
    if writer is not None:
        outcomes.generation = await writer.precision(built, {one.index: one.text for one in said if one.text is not None})
        row.generation = mean_of(list(outcomes.generation.values()))
    row.abstention = mean_of([float(one.text is None) for one in attempts if built.feature(one.index).family == "null"])
    row.false_abstention = mean_of([float(one.text is None) for one in real])
    return row, outcomes


async def _recover(built: Built, row: LabelerRow, outcomes: Outcomes, referee: Referee, asked: Sequence[Attempt]) -> None:
    """Abstaining from a feature that means something is never right; a referee without a usable answer says nothing."""
    options = {one.index: options_of(built.feature(one.index)) for one in asked}
    said = [one for one in asked if one.text is not None]
    answers = await referee.choose([(one.index, one.text or "", options[one.index]) for one in said])
    found: dict[int, bool | None] = {one.index: False for one in asked}
    for one, answer in zip(said, answers, strict=True):
        found[one.index] = None if answer is None else options[one.index][answer] == built.feature(one.index).label
    outcomes.chosen[referee.model_id] = found
    row.recovery[referee.model_id] = _share(found.values())
    by_family: dict[Family, dict[int, bool | None]] = defaultdict(dict)
    for index, right in found.items():
        by_family[built.feature(index).family][index] = right
    row.recovery_by_family[referee.model_id] = {family: _share(rights.values()) for family, rights in by_family.items()}


def _share(rights: Iterable[bool | None]) -> Measured:
    values = list(rights)
    return mean_of([None if right is None else float(right) for right in values])


def _map(built: Built, outcomes: Outcomes, said: Sequence[Attempt], mapper: Mapper) -> None:
    mapped = mapper.map([one.text or "" for one in said])
    for one, found in zip(said, mapped, strict=True):
        outcomes.mapped_to[one.index] = found.text
        fired = built.fired[one.index]
        named = fired[:0] if found.predicate is None else built.world.tiles_of(found.predicate)
        outcomes.mapped[one.index] = built.world.exact(named, fired).f1
