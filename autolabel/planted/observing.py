"""An SAE over a planted model beside what was planted, token by token, on the tokens and tiles that evidence is made of."""

from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, vstack

from autolabel.config import SubjectSettings
from autolabel.errors import DataError
from autolabel.evidence.batches import ActivationBatch, run_contexts
from autolabel.evidence.corpus import Document
from autolabel.evidence.encoding import encoded
from autolabel.evidence.examine import begins_with_bos
from autolabel.evidence.sae import Coder
from autolabel.planted.concepts import Activations
from autolabel.planted.subject import PlantedSubject
from autolabel.sampling import TILE_TOKENS


@dataclass(frozen=True, slots=True)
class Observed:
    """Usable tokens of some documents."""

    features: csr_array
    """(n_tokens, d_sae): activations of the SAE's features."""
    truth: csr_array
    """(n_tokens, n_concepts): activations of the concepts."""
    tiles: csr_array
    """(n_tiles, n_tokens): 1 where a token lies in a tile. A token before the first tile of its context or after the last is in none."""


def observe(
    subject: PlantedSubject,
    coder: Coder,
    documents: Iterable[Document],
    settings: SubjectSettings,
    norm_limit: float,
    at_most: int,
) -> Observed:
    """Run `documents` through the planted model and the SAE, to the end of the batch in which `at_most` tokens are reached.

    Raises:
        DataError: there is no token.
    """
    activations = subject.planting.activations
    n_concepts = len(subject.planting.concepts)
    features: list[csr_array] = []
    truth: list[csr_array] = []
    tiles: list[NDArray[np.int64]] = []
    n_tokens = n_tiles = 0
    bos = begins_with_bos(coder)
    context_tokens, rows = settings.context_tokens, settings.batch_contexts
    with closing(run_contexts(subject, coder.hookpoint, documents, context_tokens, rows, norm_limit, bos)) as batches:
        for batch in batches:
            fired = encoded(batch, coder)
            number = np.full(batch.usable.shape, -1)
            number[batch.usable.numpy()] = np.arange(fired.n_tokens)
            entries = (fired.values, (number[fired.rows, fired.positions], fired.features))
            features.append(coo_array(entries, shape=(fired.n_tokens, coder.d_sae)).tocsr())
            truth.append(_truth(batch, activations, n_concepts))
            own = _tiles(batch)
            tiles.append(np.where(own >= 0, own + n_tiles, -1))
            n_tokens, n_tiles = n_tokens + fired.n_tokens, n_tiles + sum(context.n_tiles for context in batch.contexts)
            if n_tokens >= at_most:
                break
    if n_tokens == 0:
        raise DataError("there is no usable token to compare the SAE with what was planted; add text")
    of_token = np.concatenate(tiles)
    inside = np.flatnonzero(of_token >= 0)
    in_tile = coo_array((np.ones(len(inside), dtype=np.float32), (of_token[inside], inside)), shape=(n_tiles, n_tokens))
    return Observed(csr_array(vstack(features)), csr_array(vstack(truth)), in_tile.tocsr())


def _truth(batch: ActivationBatch, activations: Activations, n_concepts: int) -> csr_array:
    """Activations of the concepts on the usable tokens of a batch, row by row."""
    found: list[csr_array] = [csr_array(np.zeros((0, n_concepts), dtype=np.float32))]
    for row, context in enumerate(batch.contexts):
        usable = np.flatnonzero(batch.usable[row].numpy())
        found.append(activations.of(context.document)[context.start + usable])
    return csr_array(vstack(found))


def _tiles(batch: ActivationBatch) -> NDArray[np.int64]:
    """For each usable token the number of its tile within the batch, −1 outside of all."""
    found, n_before = [np.zeros(0, dtype=np.int64)], 0
    for row, context in enumerate(batch.contexts):
        usable = np.flatnonzero(batch.usable[row].numpy())
        place = np.floor_divide(usable - context.offset, TILE_TOKENS)
        inside = (place >= 0) & (place < context.n_tiles)
        found.append(np.where(inside, place + n_before, -1))
        n_before += context.n_tiles
    return np.concatenate(found)
