from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from autolabel.errors import DataError
from autolabel.evidence.corpus import Document
from autolabel.evidence.fit import sample
from autolabel.evidence.subject import Subject
from autolabel.planted.planting import Planting, PlantingSettings, orthogonal_directions, plan

FEW = PlantingSettings(n_components=4)


def test_directions_are_orthogonal_to_each_other_and_to_what_varies_most() -> None:
    torch.manual_seed(0)
    stream = torch.randn(500, 20) * torch.tensor([30.0, 20.0, 10.0, *[1.0] * 17]) + 5
    found = orthogonal_directions(stream, 6, 3, seed=4)
    torch.testing.assert_close(found @ found.T, torch.eye(6), atol=1e-5, rtol=0)
    components = torch.linalg.svd(stream - stream.mean(0), full_matrices=False).Vh[:3]
    assert (found @ components.T).abs().max() < 1e-4
    assert (found @ stream.mean(0)).abs().max() < 1e-3
    assert torch.equal(found, orthogonal_directions(stream, 6, 3, seed=4))
    assert not torch.allclose(found, orthogonal_directions(stream, 6, 3, seed=5))


def test_strength_is_in_median_norms_at_the_median_activation_whatever_the_scale_of_a_concept(
    subject: Subject, planting: Planting, documents: list[Document], concepts: list[Any]
) -> None:
    tokens = sample(subject, ["layers.1"], documents, 96).tokens["layers.1"]
    assert planting.median_norm == pytest.approx(float(tokens.norm(dim=1).median()), rel=0.05)
    assert ((planting.strengths >= 0.5) & (planting.strengths <= 1)).all()
    for number in range(len(concepts)):
        values = np.concatenate([planting.activations.of(document)[:, [number]].data for document in documents])
        assert planting.medians[number] == pytest.approx(np.median(values))
        assert planting.maxima[number] == pytest.approx(values.max())
    lengths = planting.amounts * planting.medians
    np.testing.assert_allclose(lengths, planting.strengths * planting.median_norm)


def test_a_concept_that_never_fires_has_a_direction_all_the_same(
    subject: Subject, documents: list[Document], concepts: list[Any]
) -> None:
    never = replace(concepts[0], label="never", words=("zebra",))
    found = plan(subject, "layers.1", [*concepts, never], documents[:30], 96, FEW)
    assert (found.medians[3], found.maxima[3]) == (1, 0)
    assert found.directions.shape == (4, subject.d_model)


def test_the_hash_tells_plantings_apart(
    subject: Subject, planting: Planting, documents: list[Document], concepts: list[Any]
) -> None:
    assert plan(subject, "layers.1", concepts, documents, 96, FEW).identity == planting.identity
    hashes = {planting.direction_hash(number) for number in range(3)}
    assert len(hashes) == 3
    for changed in (replace(planting, hookpoint="layers.2"), replace(planting, strengths=planting.strengths * 2)):
        assert changed.identity != planting.identity
    assert plan(subject, "layers.1", concepts, documents, 96, replace(FEW, seed=1)).identity != planting.identity


@pytest.mark.parametrize(
    ("hookpoint", "changes", "said"),
    [
        ("layers.9", {}, r"has no module 'layers\.9'"),
        ("layers.1:input", {}, "which is no module's output"),
        ("layers.1", {"n_components": 29}, "3 directions do not fit beside the mean and 29 principal components into 32"),
        ("layers.1", {"strength": (0.0, 1.0)}, r"the strengths 0\.0 to 1\.0 are not a range above 0"),
        ("layers.1", {"strength": (1.0, 0.5)}, "are not a range above 0"),
    ],
)
def test_what_cannot_be_planted_is_refused(
    subject: Subject, documents: list[Document], concepts: list[Any], hookpoint: str, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        plan(subject, hookpoint, concepts, documents[:10], 96, replace(FEW, **changes))


def test_concepts_are_wanted_and_each_by_its_own_label(subject: Subject, documents: list[Document], concepts: list[Any]) -> None:
    with pytest.raises(DataError, match="there is no concept to plant"):
        plan(subject, "layers.1", [], documents[:10], 96, FEW)
    with pytest.raises(DataError, match="two concepts have the label 'boats'"):
        plan(subject, "layers.1", [*concepts, replace(concepts[0], label="boats")], documents[:10], 96, FEW)
