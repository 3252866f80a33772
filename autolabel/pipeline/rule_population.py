"""What a label's rule is worth in the whole corpus: it runs over every tile of the background sample and every firing tile kept, no LLM.

The invariant: test tiles have no say in the rule's threshold, and which tiles a rule names depends on the rule alone.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from autolabel import patterns
from autolabel.errors import DataError
from autolabel.intervals import Estimate, unscored
from autolabel.pipeline.rows import Row, score_row
from autolabel.predicates import AnyOf, Beside, Near, Regex, Rule, Tokens, Window, Words, evaluate, parse_predicate
from autolabel.rates import population_precision, share
from autolabel.records import Example, FeatureEvidence, Label, Metric
from autolabel.scorers.rule import NO_PREDICATE, RuleScorer
from autolabel.store.background import BackgroundSample, load_background
from autolabel.store.connection import Database
from autolabel.store.reading import load_feature_evidence

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


class IndexedTiles:
    """The tiles of a sample, read once; a rule is evaluated only where any of its words occurs."""

    def __init__(self, sample: BackgroundSample) -> None:
        self.sample = sample
        self.documents = [tile.source_document_id for tile in sample.tiles]
        self._windows = [Window(tile) for tile in sample.tiles]

    @cached_property
    def _places(self) -> tuple[dict[str, list[int]], dict[str, list[int]], dict[str, list[int]]]:
        """The tiles of each piece, token and word as written, left context included."""
        found: tuple[dict[str, list[int]], ...] = (defaultdict(list), defaultdict(list), defaultdict(list))
        for number, window in enumerate(self._windows):
            for places, entries in zip(found, (window.pieces, window.tokens, window.written), strict=True):
                for entry in set(entries):
                    places[entry].append(number)
        return found[0], found[1], found[2]

    def values(self, rule: Rule) -> Floats:
        """The rule's largest weight in each tile, shape (n_tiles,); 0 where it fires nowhere."""
        values = np.zeros(len(self._windows))
        for number in self._possible(rule):
            values[number] = evaluate(rule, self._windows[number]).value
        return values

    def _possible(self, rule: Rule) -> set[int]:
        """The tiles that hold something of what the rule fires on."""
        pieces, tokens, written = self._places
        match rule:
            case Words(weights):
                return _any_of(pieces, weights)
            case Tokens(weights):
                return _any_of(tokens, weights)
            case Regex(pattern, _):
                return _any_of(written, (word for word in written if patterns.matches(pattern, word)))
            case Near(trigger, _, _):
                return self._possible(trigger)
            case Beside(_, target):
                return self._possible(target)
            case AnyOf(parts):
                return set().union(*map(self._possible, parts))


def _any_of(places: dict[str, list[int]], entries: Iterable[str]) -> set[int]:
    return {number for entry in entries if entry in places for number in places[entry]}


class RulePopulation:
    """Scores rules of any number of features over two samples that are read once: train for thresholds, test for the numbers."""

    def __init__(self, train: BackgroundSample, test: BackgroundSample) -> None:
        self._train, self._test = IndexedTiles(train), IndexedTiles(test)

    def score_rows(self, label: Label, evidence: FeatureEvidence) -> list[Row]:
        """Population precision and recall of a label's rule, as rows of `scores`; without a value, and with the reason, where there
        is none.

        Args:
            label: of this or any other feature.
            evidence: the feature, with its firing tiles of test, and of train where they are at hand.
        """
        info = RuleScorer.info
        found = self.estimates(label, evidence)
        return [score_row(label, evidence, info, "test", metric, estimate, 0, "not_needed") for metric, estimate in found.items()]

    def estimates(self, label: Label, evidence: FeatureEvidence) -> dict[Metric, Estimate]:
        """The numbers of `score_rows`."""
        try:
            rule = None if label.predicate is None else parse_predicate(label.predicate)
        except DataError as error:
            return _without_value(str(error))
        if rule is None:
            return _without_value(NO_PREDICATE)
        threshold = self._threshold(rule, evidence)
        background, fires = self._test.values(rule) >= threshold, self._test.sample.fires(evidence.feature_index)
        kept = _beside(evidence.of("test", "firing"), self._test.sample, fires)
        named = np.concatenate([background[fires], _values(rule, kept) >= threshold])
        documents = [document for document, fired in zip(self._test.documents, fires, strict=True) if fired]
        tpr = share(named, [*documents, *(tile.source_document_id for tile in kept)])
        silent = [document for document, fired in zip(self._test.documents, fires, strict=True) if not fired]
        fpr = share(background[~fires], silent)
        prevalence, low, high = self._prevalence(evidence)
        return {"population_precision": population_precision(tpr, fpr, prevalence, low, high), "population_recall": tpr}

    def _prevalence(self, evidence: FeatureEvidence) -> tuple[float, float, float]:
        """Share of tiles that fire: counted in the whole corpus, or estimated for a feature that has a threshold."""
        if evidence.feature_index not in self._test.sample.thresholded:
            return evidence.firing_rate, evidence.firing_rate, evidence.firing_rate
        found = share(self._test.sample.fires(evidence.feature_index), self._test.documents)
        return (0.0, 0.0, 1.0) if found.value is None else (found.value, float(found.low or 0), float(found.high or 0))

    def _threshold(self, rule: Rule, evidence: FeatureEvidence) -> float:
        """The weight from which on tiles count as named: the one with the best F1 in train text, the smallest of the rule's weights where
        train text does not say."""
        background, fires = self._train.values(rule), self._train.sample.fires(evidence.feature_index)
        kept = _beside(evidence.of("train", "firing"), self._train.sample, fires)
        firing = np.concatenate([background[fires], _values(rule, kept)])
        silent = background[~fires]
        candidates = np.unique(firing[firing > 0])
        if len(candidates) == 0:
            return float(np.nextafter(0, 1))
        rate = self._prevalence(evidence)[0]
        hits = rate * (firing[None, :] >= candidates[:, None]).mean(axis=1)
        alarms = (1 - rate) * (silent[None, :] >= candidates[:, None]).sum(axis=1) / max(len(silent), 1)
        return float(candidates[int(np.argmax(2 * hits / (rate + hits + alarms)))])


class StoredRules:
    """Population numbers of rules over a stored evidence set: its samples are read once, when the first rule is run."""

    def __init__(self, db: Database, evidence_set_id: str) -> None:
        self._db, self._evidence_set_id = db, evidence_set_id

    def score_rows(self, label: Label, evidence: FeatureEvidence) -> list[Row]:
        """`RulePopulation.score_rows`, with the train tiles of the feature, which its evidence of the test split does not hold."""
        index = evidence.feature_index
        train = load_feature_evidence(self._db, self._evidence_set_id, [index], "train")[index]
        return self._population.score_rows(label, replace(evidence, examples=(*train.examples, *evidence.of("test"))))

    @cached_property
    def _population(self) -> RulePopulation:
        train, test = (load_background(self._db, self._evidence_set_id, split) for split in ("train", "test"))
        return RulePopulation(train, test)


def _values(rule: Rule, tiles: Sequence[Example]) -> Floats:
    return np.array([evaluate(rule, tile).value for tile in tiles], dtype=np.float64)


def _beside(kept: Sequence[Example], sample: BackgroundSample, fires: Flags) -> list[Example]:
    """The firing tiles kept for a feature that are not in the background sample as well."""
    there = {tile.window_id for tile, fired in zip(sample.tiles, fires, strict=True) if fired}
    return [tile for tile in kept if tile.window_id not in there]


def _without_value(why: str) -> dict[Metric, Estimate]:
    return {"population_precision": unscored(0, None, why), "population_recall": unscored(0, None, why)}
