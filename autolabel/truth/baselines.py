"""Labelers without an LLM that every table shows: the answer itself, somebody else's answer, and what counting words finds."""

import math
import re
from collections import Counter
from collections.abc import Sequence

from autolabel.hashing import content_id
from autolabel.labelers.base import NOTHING_TO_SHOW, draft, with_text, without_text
from autolabel.records import Example, FeatureEvidence, Label
from autolabel.truth.built import Built
from autolabel.truth.referees import options_of
from autolabel.words import is_word, words_of

MOST_ALIKE = 0.1
"""F1 above which two features fire together too often for one's label to be a stranger to the other."""
NAMED = 5
"""Words that a label made of words names."""


def true_label(built: Built, index: int) -> Label:
    """The right label."""
    return built.label(index, "oracle", built.feature(index).label)


def paraphrase(built: Built, index: int) -> Label | None:
    """The right label in other words, where there are some."""
    said = built.feature(index).candidate.paraphrases
    return built.label(index, "paraphrase", said[0]) if said else None


def shuffled_label(built: Built, index: int) -> Label | None:
    """The right label of a feature that fires elsewhere and is none of the options its referee chooses among, where there is one."""
    taken = set(options_of(built.feature(index)))
    others = [one for one in built.features if one.family != "null" and one.label not in taken]
    order = sorted(others, key=lambda one: content_id("shuffled", [index, one.label]))
    fired = built.fired[index]
    apart = (one for one in order if built.world.exact(built.fired[one.index], fired).f1 <= MOST_ALIKE)
    chosen = next(apart, None)
    return None if chosen is None else built.label(index, "shuffled", chosen.label)


class TfIdfContrast:
    """The words with the largest TF-IDF weight in firing windows, less that in silent ones."""

    method = "tfidf"

    def drafts(self, evidence: FeatureEvidence) -> list[Label]:
        """One draft, from the whole train sample."""
        firing, silent = _shown(evidence)
        return [draft(evidence, self.method, "tfidf.v1", [*firing, *silent], origin="baseline")]

    async def fill(self, drafts: Sequence[Label], evidence: FeatureEvidence) -> list[Label]:
        """Weigh words; this fails only where no train window fires."""
        firing, silent = _shown(evidence)
        ranked = contrast(firing, silent)
        if not ranked:
            return [without_text(label, NOTHING_TO_SHOW) for label in drafts]
        weights = {word: round(weight / ranked[0][1], 6) for word, weight in ranked}
        text = naming([word for word, _ in ranked[:NAMED]])
        return [with_text(label, text, predicate={"kind": "words", "weights": weights}) for label in drafts]


def contrast(firing: Sequence[Example], silent: Sequence[Example], limit: int = 20) -> list[tuple[str, float]]:
    """Words by mean TF-IDF over firing tiles less that over silent ones (Spärck Jones, 1972), those above 0, largest first."""
    documents = [_words(example) for example in (*firing, *silent)]
    if not firing:
        return []
    n_with = Counter(word for words in documents for word in set(words))
    idf = {word: math.log((1 + len(documents)) / (1 + n)) for word, n in n_with.items()}
    own = _mean_weights(documents[: len(firing)], idf)
    other = _mean_weights(documents[len(firing) :], idf)
    weights = {word: weight - other.get(word, 0.0) for word, weight in own.items()}
    return sorted(((word, weight) for word, weight in weights.items() if weight > 0), key=lambda pair: (-pair[1], pair[0]))[:limit]


def naming(words: Sequence[str]) -> str:
    """A label that names words."""
    return "the words " + ", ".join(f'"{word}"' for word in words)


def spoken(label: Label) -> str:
    """What a label says to a reader: the token lookup's text says nothing, its strongest tokens do."""
    if label.method != "token_lookup" or label.predicate is None:
        return label.text or ""
    weights: dict[str, float] = label.predicate["weights"]
    ranked = sorted(weights, key=lambda token: (-weights[token], token))
    words = list(dict.fromkeys(re.sub(r"\s+", "", token) for token in ranked if token.strip()))
    return naming(words[:NAMED])


def _mean_weights(documents: Sequence[Sequence[str]], idf: dict[str, float]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for words in documents:
        for word, n in Counter(words).items():
            total[word] += n / max(len(words), 1) * idf[word]  # type: ignore[assignment]
    return {word: weight / max(len(documents), 1) for word, weight in total.items()}


def _words(example: Example) -> list[str]:
    return [word for word in words_of(example)[example.n_context_tokens :] if is_word(word)]


def _shown(evidence: FeatureEvidence) -> tuple[list[Example], list[Example]]:
    train = evidence.of("train")
    return list(evidence.of("train", "firing")), [example for example in train if example.stratum in ("hard", "random")]
