from typing import Any

import pytest
import torch

from autolabel.config import Settings, validated
from autolabel.errors import DataError
from autolabel.evidence.batches import run_contexts, run_contexts_at
from autolabel.evidence.collect import Collection
from autolabel.evidence.corpus import Document
from autolabel.evidence.subject import Subject
from autolabel.planted.planting import Planting
from autolabel.planted.subject import PlantedSubject

INFINITE = float("inf")


@pytest.fixture(scope="module")
def planted(subject: Subject, planting: Planting) -> PlantedSubject:
    return PlantedSubject(subject, planting)


@pytest.mark.parametrize("bos", [True, False])
def test_the_stream_gains_amount_times_activation_along_each_direction(
    subject: Subject, planted: PlantedSubject, planting: Planting, documents: list[Document], bos: bool
) -> None:
    some = documents[:7]  # the last batch is not full
    plain, changed = (list(run_contexts(model, "layers.1", some, 96, 4, INFINITE, bos)) for model in (subject, planted))
    n_planted = 0
    for one, two in zip(plain, changed, strict=True):
        for row, context in enumerate(one.contexts):
            own = slice(0, context.n_tokens)
            gained = (two.activations - one.activations)[row, own]
            activations = planting.activations.of(context.document)[context.start : context.start + context.n_tokens].toarray()
            expected = torch.from_numpy(activations * planting.amounts).float() @ planting.directions
            torch.testing.assert_close(gained, expected, atol=2e-4, rtol=1e-4)
            n_planted += (activations > 0).sum()
        beyond = ~one.usable
        torch.testing.assert_close(two.activations[beyond], one.activations[beyond])
        if bos:
            torch.testing.assert_close(two.first, one.first)
    assert n_planted > 20


def test_what_comes_later_sees_it_and_what_comes_earlier_does_not(
    subject: Subject, planted: PlantedSubject, documents: list[Document]
) -> None:
    limits = {"layers.0": INFINITE, "layers.1": INFINITE, "layers.3": INFINITE}
    (plain, *_), (changed, *_) = (list(run_contexts_at(model, limits, documents[:4], 96, 4)) for model in (subject, planted))
    assert torch.equal(plain["layers.0"].activations, changed["layers.0"].activations)
    for later in ("layers.1", "layers.3"):
        assert (plain[later].activations - changed[later].activations).abs().max() > 0.1


def test_nothing_stays_behind_on_the_plain_model(subject: Subject, planted: PlantedSubject, documents: list[Document]) -> None:
    (before, *_) = run_contexts(subject, "layers.1", documents[:4], 96, 4, INFINITE)
    list(run_contexts(planted, "layers.1", documents[:4], 96, 4, INFINITE))
    with pytest.raises(DataError, match="has no module"):
        list(run_contexts(planted, "layers.77", documents[:4], 96, 4, INFINITE))
    (after, *_) = run_contexts(subject, "layers.1", documents[:4], 96, 4, INFINITE)
    assert torch.equal(before.activations, after.activations)


def test_it_is_a_model_of_its_own_and_refuses_ids_without_text(subject: Subject, planted: PlantedSubject) -> None:
    assert planted.identity != subject.identity
    assert planted.name == f"{subject.name} with 3 planted directions"
    with pytest.raises(DataError, match="reads documents only"):
        planted.activations(torch.tensor([[1, 2]]), "layers.1")


def test_a_changed_model_is_not_sent_to_a_cluster(planted: PlantedSubject, content: dict[str, Any], tmp_path: Any) -> None:
    given = {"subject": content["subject"], "corpus": content["corpus"], "sae": {"path": "x"}, "engine": {"kind": "ray"}}
    with pytest.raises(DataError, match="a changed model cannot be sent to other machines"):
        Collection(validated(given, Settings, "test"), tmp_path, subject=planted)
