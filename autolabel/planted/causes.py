"""Which planted direction has which effect: the ground truth of causal tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from autolabel.errors import DataError
from autolabel.evidence.subject import Subject
from autolabel.planted.planting import Planting

Kind = Literal["causal", "inert", "promotes_other"]
DEFAULT_EFFECTS: tuple[tuple[Kind, float], ...] = (
    ("causal", 0.1),
    ("causal", 0.25),
    ("causal", 0.5),
    ("causal", 1.0),
    ("inert", 0.0),
    ("inert", 0.0),
    ("promotes_other", 0.5),
    ("promotes_other", 1.0),
)
"""Kinds and nats that are dealt out in turn."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What a label says will come next."""

    words: tuple[str, ...]
    token_ids: tuple[int, ...]
    """Distinct, ascending."""


@dataclass(frozen=True, slots=True)
class Cause:
    """What a concept's direction does to the model's next token."""

    concept: str
    """Label of the concept that it fires on."""
    kind: Kind
    """`causal`: promotes what its label says. `inert`: promotes nothing. `promotes_other`: promotes what another label says."""
    delta: float
    """Nats by which log p of the targets rises at the natural maximum; 0 for `inert` alone."""
    own: Targets
    """What its own label says."""
    promotes: str
    """Label of the concept whose targets rise; its own for `inert`, whose targets do not."""
    targets: Targets
    """What rises."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise DataError(f"'{self.kind}' is no kind of cause; the kinds are {', '.join(get_args(Kind))}")
        if not self.targets.token_ids or not self.own.token_ids:
            raise DataError(
                f"the concept '{self.concept}' has no target token; give at least one word for it and for what it promotes"
            )
        if not 0 <= self.delta <= 10 or (self.delta == 0) != (self.kind == "inert"):
            raise DataError(
                f"an effect of {self.delta} nats does not go with '{self.kind}' for '{self.concept}'; "
                "inert means 0, the other kinds more than 0 and 10 at most"
            )
        if self.kind == "promotes_other" and set(self.targets.token_ids) & set(self.own.token_ids):
            raise DataError(
                f"'{self.concept}' cannot promote '{self.promotes}' instead of itself: they have target tokens in common"
            )


def first_tokens(subject: Subject, words: Sequence[str]) -> Targets:
    """The token that each word begins with where it follows a blank; words of which that is a mere blank (some numbers) have none."""
    found = set()
    for word in words:
        text = f" {word.strip()}"
        token_ids, bounds = subject.encode(text)
        if text[bounds[0] : bounds[1]].strip():
            found.add(int(token_ids[0]))
    return Targets(tuple(words), tuple(sorted(found)))


def deal_causes(
    subject: Subject,
    planting: Planting,
    words: Mapping[str, Sequence[str]],
    effects: Sequence[tuple[Kind, float]] = DEFAULT_EFFECTS,
    seed: int = 0,
) -> list[Cause]:
    """A cause for every concept of `planting`, in its order: `effects` dealt out in turn to the concepts in an order drawn by `seed`.

    What a label promotes follows from `words` alone, which hold some for each label. Which other label a concept promotes is drawn
    among those with which it has no target token in common.

    Raises:
        DataError: a label has no words, or shares target tokens with all others.
    """
    targets = {label: first_tokens(subject, words.get(label, ())) for label in planting.labels}
    lacking = [label for label, found in targets.items() if not found.token_ids]
    if lacking:
        raise DataError(f"'{lacking[0]}' has no word that begins with a token of its own; every planted concept needs at least one")
    order = np.random.default_rng(seed).permutation(len(planting.labels)).tolist()
    found: dict[str, Cause] = {}
    for turn, place in enumerate(order):
        label = planting.labels[place]
        kind, delta = effects[turn % len(effects)]
        promoted = label
        if kind == "promotes_other":
            following = [planting.labels[order[(turn + step) % len(order)]] for step in range(1, len(order))]
            promoted = _unlike(label, following, targets)
        found[label] = Cause(label, kind, delta, targets[label], promoted, targets[promoted])
    return [found[label] for label in planting.labels]


def _unlike(label: str, others: Sequence[str], targets: Mapping[str, Targets]) -> str:
    own = set(targets[label].token_ids)
    for other in others:
        if not own & set(targets[other].token_ids):
            return other
    raise DataError(
        f"every other concept has target tokens in common with '{label}', so it cannot promote another; give other words"
    )


def truth_rows(planting: Planting, causes: Sequence[Cause], read: str) -> list[dict[str, Any]]:
    """The ground truth, a row per plant, ready for JSON."""
    return [
        {
            "plant": number,
            "concept": cause.concept,
            "kind": cause.kind,
            "delta": cause.delta,
            "promotes": cause.promotes,
            "target_words": list(cause.targets.words),
            "target_token_ids": list(cause.targets.token_ids),
            "own_token_ids": list(cause.own.token_ids),
            "layer": planting.hookpoint,
            "read": read,
            "direction_hash": planting.direction_hash(number),
            "natural_maximum": float(planting.maxima[number]),
            "amount": float(planting.amounts[number]),
        }
        for number, cause in enumerate(causes)
    ]
