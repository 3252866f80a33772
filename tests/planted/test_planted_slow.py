"""Forty causes at once in the real model, over real text."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from autolabel.config import CorpusSettings, SubjectSettings, TextSource
from autolabel.evidence.corpus import CorpusCounts, read_documents
from autolabel.evidence.subject import Subject
from autolabel.planted.installing import causal_world
from autolabel.planted.planting import PlantingSettings

N = 40
WORDS = (
    "law army gold ship farm child river king school doctor vote tax road winter bread music green apple horse window letter church "
    "summer table paper silver dog cat fish bird moon star rain snow fire stone wood glass iron salt"
)


class EveryNth:
    """Fires on one in forty tokens of a document, more strongly the later."""

    def __init__(self, number: int) -> None:
        self.label = f"token {number} of {N}"
        self._number = number

    def activations(self, text: str, bounds: NDArray[np.int32]) -> NDArray[np.float32]:
        place = np.arange(len(bounds) - 1)
        fired: NDArray[np.float32] = ((place % N == self._number) * (1 + place / 1000)).astype(np.float32)
        return fired


@pytest.mark.slow
@pytest.mark.parametrize("read", ["layers.16", "layers.20"])
def test_forty_causes_have_their_effects_in_the_real_model(read: str) -> None:
    settings = SubjectSettings(model="part:smollm2-135m-instruct", dtype="float32", device="cpu", context_tokens=128)
    subject = Subject.load(settings)
    corpus = CorpusSettings(sources=[TextSource(path="part:sotu")], max_tokens=6000, document_tokens=500)
    documents = list(read_documents(corpus, 0, subject, CorpusCounts()))
    concepts: list[Any] = [EveryNth(number) for number in range(N)]
    words = {concept.label: [word, "7"] for concept, word in zip(concepts, WORDS.split(), strict=True)}
    planting = PlantingSettings(strength=(0.1, 0.2))
    world = causal_world(subject, "layers.15", concepts, words, documents, 128, planting, read=read)
    passage = world.passage("The President sent a message to the Senate about the")
    activity = torch.zeros(N, 1, N, dtype=torch.float64)
    activity[range(N), 0, range(N)] = torch.from_numpy(world.planting.maxima) / 2
    natural = torch.zeros(N, passage.token_ids.shape[1] - 1, N, dtype=torch.float64)
    token_ids = passage.token_ids.expand(N, -1)
    before = world.log_probs(token_ids).log_probs[:, -1].double()
    after = world.log_probs(token_ids, torch.cat([natural, activity], dim=1)).log_probs[:, -1].double()
    for number, cause in enumerate(world.causes):
        targets = list(cause.targets.token_ids)
        gained = after[number, targets].logsumexp(0) - before[number, targets].logsumexp(0)
        assert gained.item() == pytest.approx(cause.delta / 2, abs=2e-5)
        if cause.kind == "inert":
            assert torch.equal(before[number], after[number])
