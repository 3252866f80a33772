"""Which tiles each feature's labeler is shown and which ones every label of it is scored on, fixed before any label exists.

The invariants: an exam's firing tiles come from the uniform sample of its split; and no tile of a validation or test exam shares a
13-token run with a window kept for showing (or, for test, for choosing), so held out means held out (validity §1, §2, §4).
Features are drawn for a chunk at a time, in columns: a hundred thousand of them are ready in minutes.
"""

from collections.abc import Iterator, Mapping
from typing import TypeVar

import numpy as np
import scipy.sparse
import torch
from numpy.typing import NDArray

from autolabel.config import EvidenceSettings
from autolabel.evidence.ahead import in_order
from autolabel.evidence.collector import Collector
from autolabel.evidence.draws import ALIVE, DENSE, SILENT, TOO_FEW, Draws, at_places, first_of, packed
from autolabel.evidence.kept import Kept, Rows, Samples
from autolabel.evidence.marking import NegativeMarks
from autolabel.evidence.negatives import Lookalikes, Neighbours, hard_places
from autolabel.records import SPLITS, Split

MIN_TRAIN_DOCUMENTS = 10
MIN_TEST_DOCUMENTS = 10
MIN_TEST_TILES = 20
DENSE_RATE = 0.5
DENSE_QUANTILE = 0.9
SHOWN_NEGATIVES = 10
"""Hard, and as many random, non-firing train tiles that a labeler may be shown."""
CHUNK_FEATURES = 512

Number = TypeVar("Number", np.int64, np.float64)


class ExamBuilder:
    """Draws the examples of every feature from what the collector kept."""

    def __init__(
        self,
        collector: Collector,
        kept: Kept,
        settings: EvidenceSettings,
        W_dec: torch.Tensor | None,
        silence_is_known: bool = True,
    ) -> None:
        """`W_dec`, shape (d_sae, d_model), are the features' directions where there are any.

        Where a feature that is not named in a context may be active all the same (`silence_is_known` off), there are no negatives
        and so no exams: every feature that fires has too little evidence to be scored.
        """
        self._collector, self._counts = collector, collector.counts
        self._kept = kept
        self._background = kept.background
        self._sizes = {"train": SHOWN_NEGATIVES, "validation": settings.exam_validation, "test": settings.exam_test}
        self._silence_is_known = silence_is_known
        self._fired = self._counts.fired
        self._neighbours = Neighbours(W_dec, kept.background["train"])
        self._tiles_of = {split: kept.background[split].fires().T.tocsr() for split in SPLITS}
        """1 where a feature fires in a background tile, shape (d_sae, n_tiles)."""
        self._lookalikes = Lookalikes(kept)
        self._marks = NegativeMarks(kept, np.log(np.maximum(self._fired, 0.5)))
        numbers = np.unique(kept.source_documents, return_inverse=True)[1]
        self._document_of_row = np.append(numbers, -1)
        """Number of each tile's source document; row −1, which stands for no tile, has document −1."""

    def draw(self) -> Iterator[Draws]:
        """Draw for all features in order, some at a time; a feature with too little evidence gets its firing windows and no exam."""
        d_sae = self._collector.d_sae
        starts = range(0, d_sae, CHUNK_FEATURES)
        yield from in_order(lambda start: self._draw(start, min(start + CHUNK_FEATURES, d_sae)), starts)

    def _draw(self, start: int, stop: int) -> Draws:
        samples = self._kept.samples(start, stop)
        status = self._first_status(start, samples)
        draws = Draws(start, status, np.zeros(stop - start))
        dense = np.flatnonzero(status == DENSE)
        self._set_thresholds(draws, samples, dense)
        present = np.flatnonzero(status != SILENT)
        draws.add(self._kept, present, self._above(draws, present, samples.strongest[present]), "train", "strongest")
        for split in SPLITS:
            shown = present if split == "train" else np.flatnonzero(status == TOO_FEW)
            represented = self._population(draws, samples.represented, shown, split)
            draws.add(self._kept, shown, samples.firing[split][shown], split, "firing", stratum="firing", population=represented)
        draws.neighbours = [[] for _ in status]
        rich = np.flatnonzero((status == ALIVE) | (status == DENSE))
        if len(rich):
            for place, near in zip(rich.tolist(), self._neighbours.of(rich + start), strict=True):
                draws.neighbours[place] = near
            self._draw_exams(draws, samples, rich)
        return draws

    def _first_status(self, start: int, samples: Samples) -> NDArray[np.int64]:
        """Status before near-copies are known (validity §16)."""
        test = samples.firing["test"]
        enough = self._n_documents(samples.firing["train"]) >= MIN_TRAIN_DOCUMENTS
        enough &= ((test >= 0).sum(axis=1) >= MIN_TEST_TILES) & (self._n_documents(test) >= MIN_TEST_DOCUMENTS)
        enough &= self._silence_is_known
        fired = self._fired[start : start + len(test)]
        is_dense = (fired >= DENSE_RATE * self._counts.n_tiles) & self._silence_is_known
        return np.where(fired == 0, SILENT, np.where(is_dense, DENSE, np.where(enough, ALIVE, TOO_FEW)))

    def _n_documents(self, rows: Rows) -> NDArray[np.int64]:
        """Distinct documents of each line."""
        found = np.sort(self._document_of_row[rows], axis=1)
        fresh = found >= 0
        fresh[:, 1:] &= found[:, 1:] != found[:, :-1]
        count: NDArray[np.int64] = fresh.sum(axis=1)
        return count

    def _set_thresholds(self, draws: Draws, samples: Samples, dense: NDArray[np.int64]) -> None:
        """Let dense features fire above the 90th percentile of their tile maxima over the background sample (validity §16)."""
        if len(dense) == 0:
            return
        strengths = {split: self._background[split].strengths(dense + draws.start) for split in SPLITS}
        together = np.concatenate(list(strengths.values()), axis=1)
        highest = together.max(axis=1, keepdims=True, initial=0.0)
        below = np.where(together < highest, together, 0.0).max(axis=1, initial=0.0)
        # Where the quantile is the largest value itself, nothing would exceed it.
        draws.threshold[dense] = np.minimum(np.quantile(together, DENSE_QUANTILE, axis=1), below)
        for split in SPLITS:
            above = strengths[split] > draws.threshold[dense][:, None]
            places = first_of(above, samples.firing[split].shape[1])
            samples.firing[split][dense] = at_places(self._background[split].rows, places)

    def _above(self, draws: Draws, features: NDArray[np.int64], rows: Rows) -> Rows:
        """The rows in which each feature exceeds its threshold, moved to the front."""
        owners = np.broadcast_to(features[:, None], rows.shape)
        pairs = self._kept.pairs_at((owners + draws.start).ravel(), np.maximum(rows, 0).ravel())
        strengths = self._kept.strengths_of(pairs).reshape(rows.shape)
        return packed(np.where((rows >= 0) & (strengths > draws.threshold[owners]), rows, -1))

    def _population(
        self, draws: Draws, known: Mapping[Split, NDArray[Number]], features: NDArray[np.int64], split: Split
    ) -> NDArray[Number]:
        """Tiles of the split that count as firing: what is `known`, or estimated from the background sample for a dense feature."""
        population = known[split][features]
        dense = np.flatnonzero(draws.status[features] == DENSE)
        if len(dense) and len(self._background[split].rows):
            above = self._background[split].strengths(features[dense] + draws.start) > draws.threshold[features[dense]][:, None]
            population[dense] = np.rint(above.mean(axis=1) * self._counts.all_tiles[split]).astype(np.int64)
        return population

    def _draw_exams(self, draws: Draws, samples: Samples, rich: NDArray[np.int64]) -> None:
        shown, owners = draws.rows_of(rich, *SPLITS)
        centres = self._lookalikes.centres(shown, owners, len(rich))
        seen = self._kept.shared_runs.of(shown, owners, len(rich))
        for split in SPLITS:
            self._draw_split(draws, samples, rich, split, centres, seen)
            seen = seen + self._kept.shared_runs.of(*draws.rows_of(rich, split), len(rich))
        examples = draws.examples
        own = examples["in_exam"] & (examples["split"] == SPLITS.index("test")) & (examples["stratum"] == 0)
        tiles = np.bincount(examples["feature"][own], minlength=draws.n_features)
        in_documents = np.unique(examples["feature"][own] * len(self._kept.ids) + self._document_of_row[examples["row"][own]])
        documents = np.bincount(in_documents // max(len(self._kept.ids), 1), minlength=draws.n_features)
        poor = rich[(tiles[rich] < MIN_TEST_TILES) | (documents[rich] < MIN_TEST_DOCUMENTS)]
        draws.status[poor] = TOO_FEW
        examples["in_exam"][np.isin(examples["feature"], poor)] = False

    def _draw_split(
        self,
        draws: Draws,
        samples: Samples,
        rich: NDArray[np.int64],
        split: Split,
        centres: scipy.sparse.csr_array,
        seen: scipy.sparse.csr_array,
    ) -> None:
        """Draw the negatives of a split and, where it is held out, its firing tiles; tiles with a run in `seen` are passed over."""
        background, size, held_out = self._background[split], self._sizes[split], split != "train"
        population = self._population(draws, samples.population, rich, split)
        strengths = background.strengths(rich + draws.start)
        silent = strengths <= draws.threshold[rich][:, None]
        copies = silent_copies = np.zeros(len(rich), dtype=np.int64)
        firing = samples.firing[split][rich]
        if held_out:
            copied = self._copied(firing, seen)
            copied_silent = self._kept.shared_runs.touched_by_all(background.rows, seen) & silent
            copies, silent_copies = copied.sum(axis=1), copied_silent.sum(axis=1)
            firing, silent = packed(np.where(copied, -1, firing)), silent & ~copied_silent
            represented = self._population(draws, samples.represented, rich, split)
            draws.add(self._kept, rich, firing, split, "firing", stratum="firing", population=represented, exam=size)
        marks = self._marks.for_split(split, rich + draws.start, firing)
        dense = draws.status[rich] == DENSE
        n_silent = self._counts.all_tiles[split] - np.where(dense, population, self._counts.tiles(split)[rich + draws.start])
        exam = size * held_out
        random = first_of(silent, size)
        rows = at_places(background.rows, random)
        draws.add(
            self._kept, rich, rows, split, "background", stratum="random", population=n_silent, exam=exam, marks=marks(random, 0)
        )
        allowed = silent.copy()
        lines, columns = np.nonzero(random >= 0)
        allowed[lines, random[lines, columns]] = False
        n_near = self._near(draws, rich, split)
        same = self._same_document(draws, rich, split)
        chosen = hard_places(allowed, n_near, self._lookalikes.similarity(centres, split), same, size)
        n_hard = np.zeros(len(rich), dtype=np.int64)
        for kind, places in chosen.items():
            places = packed(places)
            draws.add(
                self._kept,
                rich,
                at_places(background.rows, places),
                split,
                kind,
                stratum="hard",
                exam=exam,
                marks=marks(places, n_hard),
            )
            n_hard = n_hard + (places >= 0).sum(axis=1)
        n_random = (random >= 0).sum(axis=1)
        n_firing = (firing >= 0).sum(axis=1)
        draws.strata += [
            (rich, split, "firing", population, n_firing, copies),
            (rich, split, "hard", silent.sum(axis=1), n_hard, silent_copies),
            (rich, split, "random", n_silent, n_random, silent_copies),
        ]

    def _copied(self, rows: Rows, seen: scipy.sparse.csr_array) -> NDArray[np.bool_]:
        """Which of each feature's tiles share a run with what has been drawn for it before."""
        copied = np.zeros(rows.shape, dtype=bool)
        there = rows >= 0
        owners = np.broadcast_to(np.arange(len(rows))[:, None], rows.shape)[there]
        copied[there] = self._kept.shared_runs.touched(rows[there], owners, seen)
        return copied

    def _near(self, draws: Draws, rich: NDArray[np.int64], split: Split) -> NDArray[np.float32]:
        """How many neighbours of each feature fire in each background tile."""
        near = [draws.neighbours[place] for place in rich.tolist()]
        owners = np.repeat(np.arange(len(rich)), [len(one) for one in near])
        flat = np.array([other for one in near for other in one], dtype=np.int64)
        ones = np.ones(len(flat), dtype=np.float32)
        members = scipy.sparse.csr_array((ones, (owners, flat)), shape=(len(rich), self._collector.d_sae))
        counted: NDArray[np.float32] = (members @ self._tiles_of[split]).toarray()
        return counted

    def _same_document(self, draws: Draws, rich: NDArray[np.int64], split: Split) -> NDArray[np.bool_]:
        """Which background tiles come from a source document of the feature's firing examples."""
        examples = draws.examples
        place = np.minimum(np.searchsorted(rich, examples["feature"]), len(rich) - 1)
        own = (examples["stratum"] == 0) & (rich[place] == examples["feature"])
        documents = self._document_of_row[examples["row"][own]]
        shape = (len(rich), int(self._document_of_row.max(initial=0)) + 1)
        members = scipy.sparse.csr_array((np.ones(len(documents), dtype=np.int32), (place[own], documents)), shape=shape)
        found: NDArray[np.bool_] = members[:, self._document_of_row[self._background[split].rows]].toarray() > 0
        return found
