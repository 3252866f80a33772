"""Which direction each concept gets, and how strong it is.

The invariant: the directions are orthogonal to each other, to the mean of the stream and to what varies most in it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from autolabel.errors import DataError
from autolabel.evidence.corpus import Document
from autolabel.evidence.fit import sample
from autolabel.evidence.subject import Subject
from autolabel.hashing import content_id
from autolabel.planted.concepts import Activations, Concept

_HASHED_DECIMALS = 4


@dataclass(frozen=True, slots=True)
class PlantingSettings:
    """How directions are planted."""

    strength: tuple[float, float] = (0.5, 1.0)
    """Least and greatest strength, in median norms of the stream, at the median activation of a concept; drawn per concept."""
    n_components: int = 32
    """Principal components of the stream to which the directions are orthogonal."""
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Planting:
    """Directions in the residual stream of a model, one per concept."""

    hookpoint: str
    """Module whose output they are added to."""
    concepts: tuple[Concept, ...]
    directions: torch.Tensor
    """(n_concepts, d_model), orthonormal rows, float32, on the CPU."""
    strengths: NDArray[np.float64]
    """(n_concepts,), in median norms of the stream at the median activation."""
    median_norm: float
    """Of the stream at the hookpoint."""
    medians: NDArray[np.float64]
    """(n_concepts,): median activation of each concept where it fires, 1 for one that never did."""
    maxima: NDArray[np.float64]
    """(n_concepts,): greatest activation of each concept on the text that was measured, 0 for one that never fired."""
    activations: Activations
    """What the concepts do on documents."""

    @property
    def amounts(self) -> NDArray[np.float64]:
        """(n_concepts,): length of what is added to the stream per unit of activation."""
        return self.strengths * self.median_norm / self.medians

    @property
    def labels(self) -> list[str]:
        """Labels of the concepts."""
        return [concept.label for concept in self.concepts]

    @property
    def identity(self) -> str:
        """Hash of everything that is planted."""
        amounts = [float(f"{amount:.6g}") for amount in self.amounts]
        return content_id("planting", [self.hookpoint, self.labels, amounts, [self.direction_hash(i) for i in range(len(amounts))]])

    def direction_hash(self, concept: int) -> str:
        """Hash of one direction to four decimals."""
        rounded = np.round(self.directions[concept].numpy().astype(np.float64), _HASHED_DECIMALS) + 0.0
        return content_id("direction", rounded.tolist())


def plan(
    subject: Subject,
    hookpoint: str,
    concepts: Sequence[Concept],
    documents: Sequence[Document],
    context_tokens: int,
    settings: PlantingSettings,
) -> Planting:
    """Choose directions and strengths for `concepts`, by the stream on about 2,000 tokens and the concepts on all `documents`.

    Raises:
        DataError: the concepts cannot be planted there, with the reason.
    """
    _require_concepts(concepts)
    low, high = settings.strength
    if not 0 < low <= high:
        raise DataError(f"the strengths {low} to {high} are not a range above 0; 0.5 to 1 median norms are usual")
    if subject.resolve(hookpoint).side != "output":
        raise DataError(f"nothing can be planted at '{hookpoint}', which is no module's output; name a layer, layers.3 for example")
    found = sample(subject, [hookpoint], documents, context_tokens)
    stream = found.tokens[hookpoint][found.usable([hookpoint]).to(found.tokens[hookpoint].device)].cpu()
    activations = Activations(concepts)
    medians, maxima = _scales(activations, documents, len(concepts))
    draw = np.random.default_rng(settings.seed)
    strengths = draw.uniform(low, high, len(concepts))
    return Planting(
        hookpoint=hookpoint,
        concepts=tuple(concepts),
        directions=orthogonal_directions(stream, len(concepts), settings.n_components, settings.seed),
        strengths=strengths,
        median_norm=float(stream.norm(dim=1).median()),
        medians=medians,
        maxima=maxima,
        activations=activations,
    )


def orthogonal_directions(stream: torch.Tensor, n: int, n_components: int, seed: int) -> torch.Tensor:
    """Random orthonormal rows, shape (n, d), orthogonal to the mean and the first principal components of `stream`, shape (n_tokens, d).

    Raises:
        DataError: so many do not fit into d dimensions.
    """
    d = stream.shape[1]
    if 1 + n_components + n > d:
        raise DataError(
            f"{n} directions do not fit beside the mean and {n_components} principal components into {d} dimensions; "
            "plant fewer or lower n_components"
        )
    mean = stream.double().mean(0)
    components = torch.linalg.svd(stream.double() - mean, full_matrices=False).Vh[:n_components]
    random = torch.from_numpy(np.random.default_rng([seed, 1]).standard_normal((n, d)))
    basis: torch.Tensor = torch.linalg.qr(torch.cat([mean[None], components, random]).T).Q.T
    return basis[-n:].float().contiguous()


def _require_concepts(concepts: Sequence[Concept]) -> None:
    if not concepts:
        raise DataError("there is no concept to plant")
    labels = [concept.label for concept in concepts]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise DataError(f"two concepts have the label '{twice[0]}'; each needs its own")


def _scales(
    activations: Activations, documents: Sequence[Document], n_concepts: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Median activation where a concept fires, and the greatest."""
    fired: list[list[NDArray[np.float32]]] = [[] for _ in range(n_concepts)]
    for document in documents:
        columns = activations.of(document).tocsc()
        for concept in np.flatnonzero(np.diff(columns.indptr)).tolist():
            fired[concept].append(columns.data[columns.indptr[concept] : columns.indptr[concept + 1]])
    whole = [np.concatenate(values) if values else np.zeros(0, dtype=np.float32) for values in fired]
    medians = np.array([float(np.median(values)) if len(values) else 1.0 for values in whole])
    return medians, np.array([float(values.max(initial=0.0)) for values in whole])
