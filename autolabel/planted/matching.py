"""Which feature of an SAE is which planted direction, and what the SAE made of it.

A concept's *own* features are its match and every other that writes along its direction (cosine above .5). Where all of them are
silent on a token of the concept although features that fire within the concept alone have taken over what was planted there, the
token is *absorbed*: the general feature has learned an exception that its special cases fill. That is feature absorption as Chanin
et al. describe it ("A is for Absorption", 2024, arXiv 2409.14507). They tell by a probe's direction and by ablation that one other
feature does the work; here the direction and the amount planted are known, so no probe is needed.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from autolabel.planted.observing import Observed
from autolabel.planted.planting import Planting

RECOVERED = 0.7
"""A concept is recovered when the cosine of its match exceeds this."""
ALIGNED = 0.5
"""A feature writes along a direction when their cosine exceeds this."""
WITHIN = 0.9
"""A feature fires within a concept when at least this share of the tokens it fires on are the concept's."""
MIN_FIRINGS = 5
"""Features with fewer firings are said to be within nothing."""
TAKEN_OVER = 0.5
"""A token is absorbed when features within the concept write at least this share of what was planted there along its direction."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ConceptMatch:
    """What became of one concept. Tokens and tiles are those of the documents observed; None is what cannot be said."""

    concept: str
    """Its label."""
    strength: float
    """In median norms of the stream."""
    n_tokens: int
    n_tiles: int
    """Tokens and tiles of 32 tokens in which it fires."""
    feature: int | None
    """The decoder row assigned to it; None when there are more concepts than features."""
    cosine: float | None
    """Of its direction and that row; higher is better, and a random direction's is in the summary."""
    recovered: bool
    n_aligned: int
    """Features with a cosine above .5."""
    n_within: int
    """Others that fire within the concept and write more along its direction than random ones do (a cosine above 4/√d)."""
    absorption: float | None
    """Share of its tokens that are absorbed; 0 is best. None where it never fires or has no feature."""
    absorbers: tuple[int, ...]
    """Features that take part in that, the one on most tokens first; five at most."""
    precision: float | None
    recall: float | None
    f1: float | None
    """Of "the feature fires in the tile" as a prediction of "the concept fires in the tile"."""

    @property
    def splitting(self) -> int:
        """Features among which the concept is divided; 1 is best."""
        return self.n_aligned + self.n_within

    def row(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return asdict(self) | {"absorbers": list(self.absorbers), "splitting": self.splitting}


@dataclass(frozen=True, slots=True)
class MatchSummary:
    """What became of all concepts; means are over those for which there is a number."""

    n_concepts: int
    n_absent: int
    """Concepts that fire on no token observed."""
    recovered_share: float
    mean_cosine: float | None
    chance_cosine: float
    """Mean cosine of as many random directions assigned in the same way: what no recovery at all looks like."""
    split_share: float
    """Share of concepts divided among two features or more."""
    mean_absorption: float | None
    mean_f1: float | None
    n_tokens: int
    n_tiles: int

    def row(self) -> dict[str, Any]:
        """The same, ready for JSON."""
        return asdict(self)


def match(W_dec: torch.Tensor, planting: Planting, observed: Observed) -> tuple[list[ConceptMatch], MatchSummary]:
    """Assign decoder rows, shape (d_sae, d_model), to the planted directions, one to one, so that the sum of cosines is greatest."""
    cosines = _cosines(W_dec, planting.directions)
    feature_of = _assigned(cosines)
    written = (planting.directions.double() @ W_dec.double().cpu().T).numpy()
    world = _World(cosines, written, 4 / W_dec.shape[1] ** 0.5, planting.amounts, observed)
    rows = [
        world.concept(concept, label, float(planting.strengths[concept]), feature_of.get(concept))
        for concept, label in enumerate(planting.labels)
    ]
    return rows, _summary(rows, _chance(W_dec, planting.directions), observed)


class _World:
    """All that matching looks at: cosines and inner products, both (n_concepts, d_sae), amounts (n_concepts,) and what was observed.

    A cosine above `noise` is none of two random directions.
    """

    def __init__(self, cosines: Floats, written: Floats, noise: float, amounts: Floats, observed: Observed) -> None:
        self._cosines, self._written, self._noise, self._amounts = cosines, written, noise, amounts
        self._truth, self._tiles = observed.truth.tocsc(), observed.tiles
        self._features = observed.features
        fires = (observed.features > 0).astype(np.float64)
        shared = ((observed.truth > 0).astype(np.float64).T @ fires).toarray()
        n_firings = np.asarray(fires.sum(axis=0)).reshape(-1)
        self._within = (n_firings >= MIN_FIRINGS) & (shared >= WITHIN * n_firings)
        self._columns = observed.features.tocsc()

    def concept(self, concept: int, label: str, strength: float, feature: int | None) -> ConceptMatch:
        """What became of one concept."""
        activations = self._truth[:, [concept]].toarray().reshape(-1)
        in_tiles = self._tiles @ (activations > 0).astype(np.float64) > 0
        cosine = self._cosines[concept]
        own = cosine > ALIGNED
        writes = cosine > self._noise
        absorption: float | None = None
        absorbers: tuple[int, ...] = ()
        scores: tuple[float | None, float | None, float | None] = (None, None, None)
        if feature is not None:
            own[feature] = True
            if activations.any():
                absorption, absorbers = self._absorption(concept, activations, own)
            fired = self._tiles @ (self._columns[:, [feature]].toarray().reshape(-1) > 0).astype(np.float64) > 0
            scores = agreement(in_tiles, fired)
        return ConceptMatch(
            concept=label,
            strength=strength,
            n_tokens=int((activations > 0).sum()),
            n_tiles=int(in_tiles.sum()),
            feature=feature,
            cosine=None if feature is None else float(cosine[feature]),
            recovered=feature is not None and bool(cosine[feature] > RECOVERED),
            n_aligned=int((cosine > ALIGNED).sum()),
            n_within=int((self._within[concept] & writes & ~(cosine > ALIGNED)).sum()),
            absorption=absorption,
            absorbers=absorbers,
            precision=scores[0],
            recall=scores[1],
            f1=scores[2],
        )

    def _absorption(self, concept: int, activations: NDArray[np.float32], own: NDArray[np.bool_]) -> tuple[float, tuple[int, ...]]:
        """Share of the concept's tokens on which its own features are silent and others within it write what was planted."""
        tokens = np.flatnonzero(activations > 0)
        code = self._features[tokens]
        silent = np.asarray(code[:, np.flatnonzero(own)].sum(axis=1)).reshape(-1) == 0
        others = np.flatnonzero(self._within[concept] & ~own)
        parts = code[silent][:, others].toarray() * self._written[concept, others]
        parts = np.maximum(parts, 0)
        planted = self._amounts[concept] * activations[tokens][silent]
        taken_over = parts.sum(axis=1) >= TAKEN_OVER * planted
        n_by_feature = (parts[taken_over] > 0).sum(axis=0)
        ordered = np.argsort(-n_by_feature, kind="stable")[:5]
        return float(taken_over.sum() / len(tokens)), tuple(int(others[i]) for i in ordered if n_by_feature[i] > 0)


def agreement(truth: NDArray[np.bool_], predicted: NDArray[np.bool_]) -> tuple[float | None, float | None, float | None]:
    """Precision, None where nothing is predicted; recall and F1, None where nothing is true."""
    both, n_predicted, n_true = int((truth & predicted).sum()), int(predicted.sum()), int(truth.sum())
    precision = both / n_predicted if n_predicted else None
    recall = both / n_true if n_true else None
    f1 = 2 * both / (n_predicted + n_true) if n_true else None
    return precision, recall, f1


def _cosines(W_dec: torch.Tensor, directions: torch.Tensor) -> Floats:
    rows = torch.nn.functional.normalize(W_dec.double().cpu(), dim=1)
    return (directions.double() @ rows.T).numpy()


def _assigned(cosines: Floats) -> dict[int, int]:
    concepts, features = linear_sum_assignment(cosines, maximize=True)
    return dict(zip(concepts.tolist(), features.tolist(), strict=True))


def _chance(W_dec: torch.Tensor, directions: torch.Tensor) -> float:
    """Mean cosine of random orthonormal directions, orthogonal to those that were planted, as far as there is room for such."""
    n, d = directions.shape
    random = torch.from_numpy(np.random.default_rng(0).standard_normal((min(n, d - n), d)))
    basis = torch.linalg.qr(torch.cat([directions.double(), random]).T).Q.T[n:]
    cosines = _cosines(W_dec, basis)
    return float(np.mean([cosines[concept, feature] for concept, feature in _assigned(cosines).items()]))


def _summary(rows: Sequence[ConceptMatch], chance: float, observed: Observed) -> MatchSummary:
    return MatchSummary(
        n_concepts=len(rows),
        n_absent=sum(row.n_tokens == 0 for row in rows),
        recovered_share=sum(row.recovered for row in rows) / len(rows),
        mean_cosine=_mean([row.cosine for row in rows]),
        chance_cosine=chance,
        split_share=sum(row.splitting > 1 for row in rows) / len(rows),
        mean_absorption=_mean([row.absorption for row in rows]),
        mean_f1=_mean([row.f1 for row in rows]),
        n_tokens=observed.truth.shape[0],
        n_tiles=observed.tiles.shape[0],
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
