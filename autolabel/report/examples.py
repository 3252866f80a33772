"""Windows as people see them: text in pieces that carry the feature's activation, beside what the judge said of each tile.

The invariant: the pieces of a window, joined, are its text; a verdict on a tile is the judge's stored answer held against whether the
feature fired there.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from autolabel.records import Example
from autolabel.rendering import strength

N_STRONGEST, N_QUANTILES, N_NOT_FIRING = 3, 4, 4


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text; a token of its own where the feature is active."""

    text: str
    is_context: bool
    activation: float | None = None
    strength: int = 0
    """Tenths of the feature's largest activation, 1 to 10; 0 where it is not active."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the headline judge said of one tile."""

    said: str
    """In words: a probability, yes or no, or a rank."""
    fires: bool | None
    """Whether that amounts to "it fires"; None when there was no usable answer."""
    right: bool | None


@dataclass(frozen=True, slots=True)
class Shown:
    """One window of a card."""

    example: Example
    pieces: tuple[Piece, ...]
    judgement: Judgement | None = None

    @property
    def kind(self) -> str:
        """How the window was drawn, in words."""
        return _KINDS[self.example.kind]


_KINDS = {
    "strongest": "strongest",
    "firing": "fires",
    "background": "random tile",
    "lookalike": "lookalike text",
    "neighbour": "a neighbouring feature fires",
    "same_document": "same document",
}


@dataclass(frozen=True, slots=True)
class Tally:
    """How often the judge was right in one group of an exam."""

    stratum: str
    n_right: int
    n_judged: int
    n_unanswered: int


def shown(example: Example, max_activation: float, judgement: Judgement | None = None) -> Shown:
    """A window in pieces; `max_activation` is the feature's largest."""
    active = _active_with_text(example)
    pieces: list[Piece] = []
    for (is_context, position), run in groupby(
        range(len(example.tokens)), key=lambda i: (i < example.n_context_tokens, i if i in active else None)
    ):
        text = "".join(example.tokens[i] for i in run)
        activation = None if position is None else active[position]
        if activation is None:
            pieces.append(Piece(text, is_context))
            continue
        word = text.lstrip(" ") or text  # a mark around the blank before a word would hang at the end of a line
        graded = strength(activation, max(max_activation, activation))
        pieces += [Piece(text[: len(text) - len(word)], is_context), Piece(word, is_context, activation, graded)]
    return Shown(example, tuple(piece for piece in pieces if piece.text), judgement)


def _active_with_text(example: Example) -> dict[int, float]:
    """Activation by token; a token without text of its own hands its activation to the next that has some."""
    tokens = example.tokens
    active: dict[int, float] = {}
    for position, activation in zip(example.positions, example.activations, strict=True):
        at = next((i for i in range(position, len(tokens)) if tokens[i]), position)
        active[at] = max(activation, active.get(at, 0.0))
    return active


def strongest(examples: Sequence[Example]) -> list[Example]:
    """The strongest windows a labeler may be shown."""
    found = [e for e in examples if e.split == "train" and e.kind == "strongest"]
    return sorted(found, key=lambda e: (-e.max_activation, e.window_id))[:N_STRONGEST]


def across_strengths(examples: Sequence[Example], n: int = N_QUANTILES) -> list[Example]:
    """Firing tiles of the test exam spread evenly from strong to weak; of validation or train where there is no exam."""
    for split in ("test", "validation", "train"):
        found = [e for e in examples if e.split == split and e.fires and e.kind == "firing"]
        if found:
            found.sort(key=lambda e: (-e.max_activation, e.window_id))
            steps = min(n, len(found))
            return [found[i * (len(found) - 1) // max(1, steps - 1)] for i in range(steps)]
    return []


def not_firing(examples: Sequence[Example], judgements: Mapping[str, Judgement], n: int = N_NOT_FIRING) -> list[Example]:
    """Exam tiles of the test split on which the feature is silent, those judged wrongly first, hard before random, then as drawn."""
    found = [e for e in examples if e.split == "test" and e.in_exam and not e.fires]
    wrong = {window for window, judgement in judgements.items() if judgement.right is False}
    return sorted(found, key=lambda e: (e.window_id not in wrong, e.stratum != "hard", e.sample_rank, e.window_id))[:n]


def judge(examples: Iterable[Example], predictions: Mapping[str, Mapping[str, Any]], answer_mode: str) -> dict[str, Judgement]:
    """What the judge said of each tile of the test exam, by window.

    A probability or a yes-or-no answer counts as "fires" from one half up. A rating has no threshold of its own: it counts as "fires" when
    it is among the highest, as many as there are tiles that fire.
    """
    exam = {e.window_id: e for e in examples if e.split == "test" and e.in_exam and e.window_id in predictions}
    values = {w: predictions[w]["value"] for w in exam if predictions[w]["value"] is not None}
    ranking = sorted(values.values(), reverse=True)
    n_firing = sum(exam[w].fires for w in values)
    judgements = {}
    for window, example in exam.items():
        value = values.get(window)
        if value is None:
            judgements[window] = Judgement(f"no usable answer ({predictions[window]['status']})", None, None)
            continue
        rank = ranking.index(value) + 1
        fires = rank <= n_firing if answer_mode == "rating" else value >= 0.5
        judgements[window] = Judgement(_said(value, answer_mode, rank, len(ranking)), fires, fires == example.fires)
    return judgements


def _said(value: float, answer_mode: str, rank: int, n: int) -> str:
    if answer_mode == "probability":
        return f"probability {value:.2f}"
    if answer_mode == "binary":
        return "yes" if value >= 0.5 else "no"
    return f"rank {rank} of {n}"


def tally(examples: Iterable[Example], judgements: Mapping[str, Judgement]) -> list[Tally]:
    """How often the judge was right in each group of the test exam."""
    exam = [e for e in examples if e.window_id in judgements and e.split == "test" and e.in_exam]
    tallies = []
    for stratum in ("firing", "hard", "random"):
        given = [judgements[e.window_id] for e in exam if e.stratum == stratum]
        answered = [j for j in given if j.right is not None]
        if given:
            tallies.append(Tally(stratum, sum(bool(j.right) for j in answered), len(answered), len(given) - len(answered)))
    return tallies
