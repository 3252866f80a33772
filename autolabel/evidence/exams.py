"""Which tiles each feature's labeler is shown and which ones every label of it is scored on, fixed before any label exists.

The invariants: an exam's firing tiles come from the uniform sample of its split; and no tile of a validation or test exam shares a
13-token run with a window kept for showing (or, for test, for choosing), so held out means held out (validity §1, §2, §4).
"""

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from autolabel.config import EvidenceSettings
from autolabel.evidence.collector import Collector
from autolabel.evidence.draws import Drawn, EvidenceStatus, FeatureDraw, StratumCount, marks, quantiles, take
from autolabel.evidence.kept import Background, Kept
from autolabel.evidence.negatives import lookalike_order, neighbours
from autolabel.records import SPLITS, ExampleKind, Split, Stratum

MIN_TRAIN_DOCUMENTS = 10
MIN_TEST_DOCUMENTS = 10
MIN_TEST_TILES = 20
DENSE_RATE = 0.5
DENSE_QUANTILE = 0.9
SHOWN_NEGATIVES = 10
"""Hard, and as many random, non-firing train tiles that a labeler may be shown."""
_HARD_SHARES: tuple[tuple[ExampleKind, float], ...] = (("neighbour", 0.4), ("lookalike", 0.4), ("same_document", 0.2))


class ExamBuilder:
    """Draws the examples of every feature from what the collector kept."""

    def __init__(self, collector: Collector, kept: Kept, settings: EvidenceSettings, W_dec: torch.Tensor) -> None:
        self._collector = collector
        self._counts = collector.counts
        self._kept = kept
        self._settings = settings
        self._W_dec = W_dec
        self._documents = kept.column("source_document")
        self._fired = np.sum([self._counts.tiles[split] for split in SPLITS], axis=0)
        self._log_rates = np.log(np.maximum(self._fired, 0.5))

    def draw(self) -> list[FeatureDraw]:
        """Draw for all features, in order; a feature with too little evidence gets its firing windows and no exam."""
        draws = [self._start(feature) for feature in range(len(self._fired))]
        rich = [draw for draw in draws if draw.status in ("alive", "dense")]
        near = neighbours(np.array([draw.feature for draw in rich], dtype=np.int64), self._W_dec, self._kept)
        shown = [np.array([e.row for e in draw.examples], dtype=np.int64) for draw in rich]
        orders = {split: lookalike_order(shown, self._kept.background[split].rows, self._kept) for split in SPLITS}
        for number, draw in enumerate(rich):
            draw.neighbours = near[number]
            self._draw_exams(draw, {split: orders[split][number] for split in SPLITS})
        return draws

    def _start(self, feature: int) -> FeatureDraw:
        """Status before near-copies are known, and the firing windows of train (of all splits, where there will be no exam)."""
        draw = FeatureDraw(feature, self._first_status(feature))
        if draw.status == "silent":
            return draw
        if draw.status == "dense":
            draw.threshold = self._dense_threshold(feature)
        strongest = self._kept.rows(self._collector.strongest.kept(feature))
        firing = np.array([self._kept.firing(feature, row).largest > draw.threshold for row in strongest.tolist()], dtype=bool)
        self._add(draw, "train", "strongest", None, strongest[firing])
        for split in SPLITS if draw.status == "too_few" else SPLITS[:1]:
            rows = self._firing_rows(draw, split)
            self._add(draw, split, "firing", "firing", rows, population=self._population(draw, split))
        return draw

    def _first_status(self, feature: int) -> EvidenceStatus:
        if self._fired[feature] == 0:
            return "silent"
        if self._fired[feature] >= DENSE_RATE * sum(self._counts.all_tiles.values()):
            return "dense"
        train = self._n_documents(self._kept.rows(self._collector.firing["train"].kept(feature)))
        test = self._kept.rows(self._collector.firing["test"].kept(feature))
        enough = train >= MIN_TRAIN_DOCUMENTS and len(test) >= MIN_TEST_TILES and self._n_documents(test) >= MIN_TEST_DOCUMENTS
        return "alive" if enough else "too_few"

    def _n_documents(self, rows: NDArray[np.int64]) -> int:
        return len(np.unique(self._documents[rows]))

    def _dense_threshold(self, feature: int) -> float:
        """The 90th percentile of a dense feature's tile maxima over the background sample (validity §16)."""
        largest = np.concatenate([background.strengths(feature) for background in self._kept.background.values()])
        return float(np.quantile(largest, DENSE_QUANTILE))

    def _firing_rows(self, draw: FeatureDraw, split: Split) -> NDArray[np.int64]:
        """The uniform sample of tiles that count as firing, in hash order."""
        if draw.status != "dense":
            return self._kept.rows(self._collector.firing[split].kept(draw.feature))
        background = self._kept.background[split]
        return background.rows[background.strengths(draw.feature) > draw.threshold][: self._collector.firing[split].k]

    def _population(self, draw: FeatureDraw, split: Split) -> int:
        """Tiles of the split that count as firing; estimated from the background sample for a dense feature."""
        if draw.status != "dense":
            return int(self._counts.tiles[split][draw.feature])
        share = float((self._kept.background[split].strengths(draw.feature) > draw.threshold).mean())
        return round(share * self._counts.all_tiles[split])

    def _draw_exams(self, draw: FeatureDraw, alike: dict[Split, NDArray[np.int64]]) -> None:
        seen = self._kept.shared_runs.of(_rows(draw.examples))
        sizes = {"train": SHOWN_NEGATIVES, "validation": self._settings.exam_validation, "test": self._settings.exam_test}
        for split in SPLITS:
            self._draw_split(draw, split, sizes[split], alike[split], seen)
            seen |= self._kept.shared_runs.of(_rows(example for example in draw.examples if example.split == split))
        exam = _rows(example for example in draw.drawn("test", "firing") if example.in_exam)
        if len(exam) < MIN_TEST_TILES or self._n_documents(exam) < MIN_TEST_DOCUMENTS:
            draw.status = "too_few"
            draw.examples = [replace(example, in_exam=False) for example in draw.examples]

    def _draw_split(self, draw: FeatureDraw, split: Split, size: int, alike: NDArray[np.int64], seen: NDArray[np.bool_]) -> None:
        """Draw the negatives of a split and, where it is held out, its firing tiles; tiles with a run in `seen` are passed over."""
        held_out = split != "train"
        background = self._kept.background[split]
        silent = np.flatnonzero(background.strengths(draw.feature) <= draw.threshold)
        population, copies, n_firing = self._population(draw, split), 0, len(draw.drawn(split, "firing"))
        silent_copies = 0
        if held_out:
            firing = self._firing_rows(draw, split)
            copied, silent_copied = (self._kept.shared_runs.touches(rows, seen) for rows in (firing, background.rows[silent]))
            copies, silent_copies = int(copied.sum()), int(silent_copied.sum())
            firing, silent = firing[~copied], silent[~silent_copied]
            self._add(draw, split, "firing", "firing", firing, population, exam=size)
            n_firing = len(firing)
        n_silent = self._counts.all_tiles[split] - population
        random = silent[:size]
        self._add(draw, split, "background", "random", background.rows[random], n_silent, exam=size * held_out)
        for kind, places in self._hard(draw, background, silent, size, alike):
            self._add(draw, split, kind, "hard", background.rows[places], exam=size * held_out)
        self._mark_negatives(draw, split)
        draw.strata += [
            StratumCount(split, "firing", population, n_firing, copies),
            StratumCount(split, "hard", len(silent), len(draw.drawn(split, "hard")), silent_copies),
            StratumCount(split, "random", n_silent, len(random), silent_copies),
        ]

    def _hard(
        self, draw: FeatureDraw, background: Background, silent: NDArray[np.int64], size: int, alike: NDArray[np.int64]
    ) -> list[tuple[ExampleKind, NDArray[np.int64]]]:
        """Hard negatives by kind, `size` in all where there are so many; kinds that run short are made up for by the others.

        `silent` are places in the background sample in hash order, the first `size` of which are drawn as random ones; so are the
        places returned.
        """
        taken = set(silent[:size].tolist())
        allowed = np.zeros(len(background.rows), dtype=bool)
        allowed[silent[size:]] = True
        n_near = np.zeros(len(background.rows), dtype=np.int64)
        for feature in draw.neighbours:
            n_near += background.strengths(feature) > 0
        by_firing = silent[np.argsort(-n_near[silent], kind="stable")][: int((n_near[silent] > 0).sum())]
        own = self._documents[_rows(example for example in draw.examples if example.stratum == "firing")]
        sources: dict[ExampleKind, list[int]] = {
            "neighbour": by_firing.tolist(),
            "lookalike": alike[allowed[alike]].tolist(),
            "same_document": silent[np.isin(self._documents[background.rows[silent]], own)].tolist(),
        }
        chosen = {kind: take(sources[kind], int(share * size), taken) for kind, share in _HARD_SHARES}
        for kind in ("lookalike", "neighbour", "same_document"):
            chosen[kind] += take(sources[kind], size - sum(map(len, chosen.values())), taken)
        return [(kind, np.array(places, dtype=np.int64)) for kind, places in chosen.items()]

    def _add(
        self,
        draw: FeatureDraw,
        split: Split,
        kind: ExampleKind,
        stratum: Stratum | None,
        rows: NDArray[np.int64],
        population: int | None = None,
        exam: int = 0,
    ) -> None:
        """Append examples; the first `exam` of them are in the exam. Each stands for its share of `population`, or for itself."""
        firings = [self._kept.firing(draw.feature, row) for row in rows.tolist()]
        tenths = quantiles(firings) if kind == "firing" else [0 if kind == "strongest" else None] * len(rows)
        weight = 1.0 if population is None else population / max(len(rows), 1)
        for rank, (row, firing, tenth) in enumerate(zip(rows.tolist(), firings, tenths, strict=True)):
            own_marks = marks(firing) if stratum in (None, "firing") else ()
            draw.examples.append(Drawn(row, split, kind, stratum, rank < exam, rank, tenth, weight, firing, own_marks))

    def _mark_negatives(self, draw: FeatureDraw, split: Split) -> None:
        """Mark as many tokens in a negative as in the positive of its rank, at peaks of features that fire about as often."""
        numbers = [len(example.marks) for example in draw.drawn(split, "firing")] or [1]
        for stratum in ("hard", "random"):
            places = [i for i, e in enumerate(draw.examples) if e.split == split and e.stratum == stratum]
            for rank, i in enumerate(places):
                example = draw.examples[i]
                peaks = self._peaks(draw.feature, split, example.row, numbers[rank % len(numbers)])
                draw.examples[i] = replace(example, marks=peaks)

    def _peaks(self, feature: int, split: Split, row: int, n: int) -> tuple[int, ...]:
        """The first `n` distinct peaks in a background tile of the features that fire about as often as `feature`."""
        others, _, peaks = self._kept.background[split].active(row)
        distance = np.abs(self._log_rates[others] - self._log_rates[feature])
        distance[others == feature] = np.inf
        alike = np.argsort(distance, kind="stable")[: len(others) - int((others == feature).sum())]
        return tuple(sorted(take(peaks[alike].tolist(), n, set())))


def _rows(examples: Iterable[Drawn]) -> NDArray[np.int64]:
    return np.array([example.row for example in examples], dtype=np.int64)
