"""Labels without an LLM: from the words a feature fires on, and from the words around them.

`lexical` is a candidate and the baseline that every LLM label must beat. `token_lookup` is a baseline only: the mean activation of each
token in train text, the most that a label naming tokens can predict (validity §5).
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from autolabel.errors import ModelResponseError
from autolabel.labelers.base import NOTHING_TO_SHOW, draft, with_text, without_text
from autolabel.records import Example, FeatureEvidence, Label
from autolabel.rendering import escape
from autolabel.words import is_word, words_of

NAMED_WORDS = 4
_FEW_WORDS_SHARE = 0.5
"""Share of a feature's activation that the named words must carry for the label to be about them."""
_NO_WORD = ModelResponseError("failed", "no word carries its activation or sets its windows apart")
_MIN_SHARE = 0.04


class LexicalLabeler:
    """Names the words that carry the activation; where none do, the words that set firing tiles apart from silent ones."""

    method = "lexical"

    def drafts(self, evidence: FeatureEvidence) -> list[Label]:
        """One draft, from the whole train sample."""
        return [draft(evidence, self.method, "lexical.v1", _read(evidence))]

    async def fill(self, drafts: Sequence[Label], evidence: FeatureEvidence) -> list[Label]:
        """Count words; this fails only where there is no firing train window, or none with a word to name."""
        firing = _firing(evidence)
        if not firing:
            return [without_text(label, NOTHING_TO_SHOW) for label in drafts]
        shares = word_shares(firing)
        named = [word for word, share in shares[:NAMED_WORDS] if share >= _MIN_SHARE]
        few = sum(share for _, share in shares[: len(named)]) >= _FEW_WORDS_SHARE
        context = [] if few else contrast_words(firing, _silent(evidence))
        if context:
            weights = {word: round(weight, 6) for word, weight in context}
            text = "text with " + _text_of_words([word for word, _ in context[:NAMED_WORDS]])
        elif named:
            weights = {word: round(share, 6) for word, share in shares if share >= _MIN_SHARE / 4}
            text = _text_of_words(named)
        else:
            return [without_text(label, _NO_WORD) for label in drafts]
        return [with_text(label, text, predicate={"kind": "words", "weights": weights}) for label in drafts]


class TokenLookup:
    """The mean activation of every token over train tiles, as a predicate; scored as a baseline, never chosen."""

    method = "token_lookup"

    def drafts(self, evidence: FeatureEvidence) -> list[Label]:
        """One draft, from the whole train sample."""
        return [draft(evidence, self.method, "token_lookup.v1", _read(evidence), origin="baseline")]

    async def fill(self, drafts: Sequence[Label], evidence: FeatureEvidence) -> list[Label]:
        """Average activations per token; in units of the largest mean."""
        sums: dict[str, float] = defaultdict(float)
        counts: Counter[str] = Counter()
        for example in _read(evidence):
            tokens = example.tokens
            counts.update(tokens[example.n_context_tokens :])
            for position, activation in zip(example.positions, example.activations, strict=True):
                sums[tokens[position]] += activation
        means = {token: total / counts[token] for token, total in sums.items()}
        top = max(means.values(), default=1.0)
        weights = {token: round(mean / top, 6) for token, mean in sorted(means.items())}
        return [with_text(label, "token lookup", predicate={"kind": "tokens", "weights": weights}) for label in drafts]


def word_shares(firing: Sequence[Example]) -> list[tuple[str, float]]:
    """Words with their share of all activation in the windows, largest first."""
    mass: dict[str, float] = defaultdict(float)
    for example in firing:
        words = words_of(example)
        for position, activation in zip(example.positions, example.activations, strict=True):
            mass[words[position]] += activation
    total = sum(mass.values()) or 1.0
    return sorted(((word, value / total) for word, value in mass.items()), key=lambda pair: (-pair[1], pair[0]))


def contrast_words(firing: Sequence[Example], silent: Sequence[Example], limit: int = 20) -> list[tuple[str, float]]:
    """Words that more firing tiles hold than silent ones, by log odds with a prior of one tile each, weights scaled to at most 1."""
    held, missed = _tiles_holding(firing), _tiles_holding(silent)
    odds = {}
    for word, n in held.items():
        if n >= 3:
            here = (n + 0.5) / (len(firing) - n + 0.5)
            there = (missed[word] + 0.5) / (len(silent) - missed[word] + 0.5)
            odds[word] = math.log(here / there)
    ranked = sorted(((word, value) for word, value in odds.items() if value > 0), key=lambda pair: (-pair[1], pair[0]))[:limit]
    return [(word, value / ranked[0][1]) for word, value in ranked]


def _tiles_holding(examples: Iterable[Example]) -> Counter[str]:
    tiles: Counter[str] = Counter()
    for example in examples:
        tiles.update({word for word in words_of(example)[example.n_context_tokens :] if is_word(word)})
    return tiles


def _text_of_words(words: Sequence[str]) -> str:
    quoted = ", ".join(f'"{escape(word)}"' for word in words)
    if len(words) > 1:
        return f"the words {quoted}"
    return f"the word {quoted}" if is_word(words[0]) else f"the characters {quoted}"


def _firing(evidence: FeatureEvidence) -> list[Example]:
    return list(evidence.of("train", "firing"))


def _silent(evidence: FeatureEvidence) -> list[Example]:
    return [e for e in evidence.of("train") if e.stratum in ("hard", "random")]


def _read(evidence: FeatureEvidence) -> list[Example]:
    return [*_firing(evidence), *_silent(evidence)]
