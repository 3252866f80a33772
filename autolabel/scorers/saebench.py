"""`saebench`: SAEBench's autointerp score (2025): which of fourteen windows of 21 tokens would the neuron be active in?

Kept as it is there: two of the twelve strongest windows, two of seven drawn by squared activation among what is weaker, ten at random;
one reply for all fourteen, at temperature 1, asked once; an example answer that gives away how many fire; plain accuracy, to which
"None" comes at .714, its `chance`. A reply that is no list has no score. `balanced_accuracy` stands beside it, because that answer
comes to .5 there.

What the stored evidence makes of it: windows are cut from test tiles and their left context, so that a centre lies ten tokens from
either end of what is stored; the strongest are so among the uniform sample of firing test tiles, at most one to a tile; random windows
come from tiles that are known to be silent, where SAEBench does not look. The label is shown escaped, on one line.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import numpy as np

from autolabel import prompts
from autolabel.asking import ask
from autolabel.errors import ModelResponseError
from autolabel.hashing import content_id
from autolabel.intervals import unscored
from autolabel.metrics import balanced_accuracy, wilson
from autolabel.parsing import named_numbers
from autolabel.records import ChatModel, ChatReply, ChatRequest, Example, FeatureEvidence, Label, Prediction, Purpose
from autolabel.rendering import escape, numbered
from autolabel.scorers.base import Inquired, ScorerInfo

REACH = 10
"""Tokens to either side of a window's centre."""
STRONGEST, STRONGEST_SHOWN = 12, 10
"""Strongest windows, and those of them that its labeler is shown; the others are asked about."""
WEIGHTED, WEIGHTED_SHOWN = 7, 5
"""The same of windows drawn by squared activation."""
RANDOM = 10
TESTED = STRONGEST - STRONGEST_SHOWN + WEIGHTED - WEIGHTED_SHOWN + RANDOM
ACTIVE_SHARE = 0.01
"""Share of the largest activation in the strongest windows above which a token is active."""
TEMPERATURE = 1.0
CHANCE = RANDOM / TESTED
_ANSWER_TOKENS = 60


class TooLittleEvidence(ValueError):
    """There are not enough windows to draw from; the message says how many of which."""


def question(label: str, windows: Sequence[str], random: Random) -> ChatRequest:
    """What the protocol asks about the texts of its windows; `random` draws the numbers of the example answer."""
    sample = sorted(random.sample(range(1, TESTED + 1), TESTED - RANDOM))
    prompt = prompts.load("peer_saebench_score")
    shown = {"sample": ", ".join(map(str, sample)), "label": label, "examples": numbered(map(escape, windows))}
    return ChatRequest(prompt.render(**shown), _ANSWER_TOKENS, TEMPERATURE, prompt_hash=prompt.prompt_hash)


@dataclass(frozen=True, slots=True)
class Cut:
    """A window of 21 tokens, cut from a stored one."""

    window_id: str
    source_document_id: str
    text: str
    largest: float
    """The feature's largest activation in it."""


class SaeBenchScorer:
    """Asks one question about fourteen windows, the same for every label of a feature."""

    def __init__(self, model: ChatModel, seed: int) -> None:
        """`seed` draws the windows and their order."""
        self._model, self._seed = model, seed
        settings = {"temperature": TEMPERATURE, "seed": seed}
        prompt_hash = prompts.load("peer_saebench_score").prompt_hash
        self.info = ScorerInfo("saebench", model.model_id, "binary", prompt_hash, settings, needs_calibration=False)

    async def inquire(self, label: Label, evidence: FeatureEvidence, purpose: Purpose) -> Inquired:
        """Ask once, as the protocol does."""
        draw = content_id("saebench", [self._seed, evidence.evidence_set_id, evidence.feature_index])
        random = Random(int(draw[:15], 16))
        try:
            tested = fourteen(evidence, random)
        except TooLittleEvidence as error:
            return _without_value(str(error), 0)
        request = question(escape(label.text or ""), [cut.text for cut, _ in tested], random)
        try:
            reply, said = await ask(self._model, request, purpose, _read, attempts=1)
        except ModelResponseError as error:
            failed = tuple(Prediction(cut.window_id, None, error.status, str(error)) for cut, _ in tested)
            return replace(_without_value(f"the reply was dropped: {error}", 1), predictions=failed)
        active = [truth for _, truth in tested]
        right = sum(answer == truth for answer, truth in zip(said, active, strict=True))
        documents = [cut.source_document_id for cut, _ in tested]
        return Inquired(
            {
                "protocol": replace(wilson(right, TESTED), chance=CHANCE),
                "balanced_accuracy": balanced_accuracy(said, active, documents),
            },
            predictions=tuple(
                Prediction(cut.window_id, float(answer), request_hash=reply.request_hash)
                for (cut, _), answer in zip(tested, said, strict=True)
            ),
        )


def fourteen(evidence: FeatureEvidence, random: Random) -> list[tuple[Cut, bool]]:
    """The windows that a label is tested on, shuffled, with whether they count as active.

    Raises:
        TooLittleEvidence: the stored test tiles do not hold enough windows.
    """
    peaks = [(example, peak) for example in evidence.of("test", "firing") if (peak := _strongest(example)) is not None]
    peaks.sort(key=lambda found: (-_value(*found), found[0].window_id))
    if len(peaks) < STRONGEST:
        raise TooLittleEvidence(f"{len(peaks)} firing test tiles have room for a window; SAEBench needs {STRONGEST}")
    strongest = [_cut(*found) for found in peaks[:STRONGEST]]
    weighted = _weighted([example for example, _ in peaks[STRONGEST:]], min(cut.largest for cut in strongest), random)
    silent = [e for e in evidence.of("test", "background") if e.stratum == "random" and len(e.token_starts) > 2 * REACH]
    if len(silent) < RANDOM:
        raise TooLittleEvidence(f"{len(silent)} random test tiles have room for a window; SAEBench needs {RANDOM}")
    by_chance = [_cut(e, random.randrange(REACH, len(e.token_starts) - REACH)) for e in random.sample(silent, RANDOM)]
    least = ACTIVE_SHARE * max(cut.largest for cut in strongest)
    random.shuffle(strongest)
    firing = [*strongest[STRONGEST_SHOWN:], *weighted]
    tested = [(cut, cut.largest > least) for cut in firing] + [(cut, False) for cut in by_chance]
    random.shuffle(tested)
    return tested


def _weighted(examples: Sequence[Example], below: float, random: Random) -> list[Cut]:
    """Windows of different tiles whose centres are drawn by squared activation among those weaker than every strongest one."""
    able = [(e, at) for e in examples for at in _centres(e) if _value(e, at) < below]
    if len(able) < WEIGHTED:
        raise TooLittleEvidence(f"{len(able)} weaker activations have room for a window; SAEBench needs {WEIGHTED}")
    weights = np.array([_value(e, at) for e, at in able], dtype=np.float64) ** 2
    order = np.random.default_rng(random.getrandbits(64)).choice(len(able), len(able), replace=False, p=weights / weights.sum())
    drawn = [able[number] for number in order.tolist()]
    first = {e.window_id: (e, at) for e, at in reversed(drawn)}
    apart = [(e, at) for e, at in drawn if first[e.window_id] == (e, at)][:WEIGHTED]
    n_tested = WEIGHTED - WEIGHTED_SHOWN
    if len(apart) < n_tested:
        raise TooLittleEvidence(f"weaker activations lie in {len(apart)} tile; SAEBench needs them in {n_tested}")
    return [_cut(*found) for found in random.sample(apart, n_tested)]


def _centres(example: Example) -> list[int]:
    """Tokens on which the feature fires and around which there is room for a window."""
    return [at for at in example.positions if REACH <= at < len(example.token_starts) - REACH]


def _strongest(example: Example) -> int | None:
    """The centre with the largest activation, the first of equals."""
    return max(_centres(example), key=lambda at: (_value(example, at), -at), default=None)


def _value(example: Example, at: int) -> float:
    return example.activations[example.positions.index(at)]


def _cut(example: Example, centre: int) -> Cut:
    span = range(centre - REACH, centre + REACH + 1)
    within = [value for at, value in zip(example.positions, example.activations, strict=True) if at in span]
    text = "".join(example.tokens[span.start : span.stop])
    return Cut(example.window_id, example.source_document_id, text, max(within, default=0.0))


def _read(reply: ChatReply) -> tuple[ChatReply, list[bool]]:
    return reply, named_numbers(reply.text, TESTED)


def _without_value(why: str, n_failed: int) -> Inquired:
    return Inquired({"protocol": unscored(0, CHANCE, why), "balanced_accuracy": unscored(0, 0.5, why)}, n_failed)
