"""Whether an SAE tells concepts apart: the feature that separates two sets of sentences best, judged on sentences it was not chosen on."""

from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata

from autolabel.errors import DataError
from autolabel.evidence.sae import SparseCoder
from autolabel.evidence.subject import Subject

MIN_SENTENCES = 8


@dataclass(frozen=True, slots=True)
class Separation:
    """How well the best single feature tells `positive` sentences from `negative` ones."""

    positive: str
    negative: str
    feature: int
    auroc: float
    """On the odd-numbered sentences, the feature having been chosen on the even-numbered ones; chance .5, best 1."""


def separations(subject: Subject, coder: SparseCoder, folder: Path) -> list[Separation]:
    """For each ordered pair of the text files in `folder` (a sentence per line), the best feature and its held-out AUROC.

    Raises:
        DataError: there are fewer than two files, or one holds fewer than eight sentences.
    """
    strengths = {path.stem: _strengths(subject, coder, path) for path in sorted(folder.glob("*.txt"))}
    if len(strengths) < 2:
        raise DataError(f"'{folder}' holds {len(strengths)} text files; two or more are needed, one per concept")
    found = []
    for pair in combinations(strengths, 2):
        for positive, negative in (pair, pair[::-1]):
            chosen = _auroc(strengths[positive][::2], strengths[negative][::2])
            feature = int(chosen.argmax())
            held_out = _auroc(strengths[positive][1::2, [feature]], strengths[negative][1::2, [feature]])
            found.append(Separation(positive, negative, feature, float(held_out[0])))
    return found


def _strengths(subject: Subject, coder: SparseCoder, path: Path) -> NDArray[np.float32]:
    """Largest activation of every feature in each sentence, shape (n_sentences, d_sae)."""
    sentences = [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(sentences) < MIN_SENTENCES:
        raise DataError(f"'{path}' holds {len(sentences)} sentences, at least {MIN_SENTENCES} are needed")
    found = np.zeros((len(sentences), coder.d_sae), dtype=np.float32)
    for row, sentence in enumerate(sentences):
        token_ids, _ = subject.encode(sentence)
        with_first = torch.tensor([[subject.first_token_id, *token_ids.tolist()]])
        code = coder.encode(subject.activations(with_first, coder.hookpoint)[0, 1:].cpu())
        np.maximum.at(found[row], code.features.numpy(), code.values.numpy())
    return found


def _auroc(positive: NDArray[np.float32], negative: NDArray[np.float32]) -> NDArray[np.float64]:
    """Per column: probability that a positive value exceeds a negative one, ties half."""
    n, m = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]), axis=0)
    areas: NDArray[np.float64] = (ranks[:n].sum(axis=0) - n * (n + 1) / 2) / (n * m)
    return areas
