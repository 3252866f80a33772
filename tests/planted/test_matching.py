"""Matching on worlds made by hand: 100 tokens in five tiles of 20, of which a concept has 0…39 and its child 0…9."""

import json
from typing import Any

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from autolabel.planted.concepts import Activations
from autolabel.planted.matching import ConceptMatch, MatchSummary, agreement, match
from autolabel.planted.observing import Observed
from autolabel.planted.planting import Planting

N, D = 100, 400
PARENT, CHILD = range(40), range(10)


def named(label: str) -> Any:
    return type("Named", (), {"label": label})()


def planting(n: int = 2) -> Planting:
    labels = ["parent", "child", "other"][:n]
    concepts = tuple(named(label) for label in labels)
    ones = np.ones(n)
    return Planting("layers.1", concepts, torch.eye(D)[:n], ones, 10.0, ones, ones, Activations(concepts))


def truth(*tokens: Any) -> csr_array:
    found = np.zeros((N, len(tokens)), dtype=np.float32)
    for column, fired in enumerate(tokens):
        found[list(fired), column] = 1
    return csr_array(found)


def world(features: dict[int, tuple[list[float], Any]], value: float = 10.0) -> tuple[torch.Tensor, Observed]:
    """Feature → what it writes along the first directions, and where it fires; the rest of its row points elsewhere, to norm 1."""
    n = max(features) + 1
    W_dec, code = torch.zeros(n, D), np.zeros((N, n), dtype=np.float32)
    for feature, (written, tokens) in features.items():
        W_dec[feature, : len(written)] = torch.tensor(written)
        W_dec[feature, 100 + feature] = (1 - W_dec[feature].square().sum()).clamp(min=0).sqrt()
        code[list(tokens), feature] = value
    tiles = np.kron(np.eye(5), np.ones(20)).astype(np.float32)
    return W_dec, Observed(csr_array(code), truth(PARENT, CHILD), csr_array(tiles))


def matched(features: dict[int, tuple[list[float], Any]], value: float = 10.0) -> tuple[list[ConceptMatch], MatchSummary]:
    W_dec, observed = world(features, value)
    return match(W_dec, planting(), observed)


def test_an_sae_with_a_feature_for_each_concept_is_perfect() -> None:
    (parent, child), summary = matched({0: ([0.0, 1.0], CHILD), 1: ([0.0, 0.0], range(50, 60)), 2: ([1.0], PARENT)})
    assert (parent.feature, child.feature) == (2, 0)
    assert (parent.cosine, parent.recovered, parent.splitting, parent.absorption) == (pytest.approx(1), True, 1, 0.0)
    assert (parent.n_tokens, parent.n_tiles, child.n_tiles) == (40, 2, 1)
    assert (parent.precision, parent.recall, parent.f1) == (1, 1, 1)
    assert (summary.recovered_share, summary.split_share, summary.mean_f1, summary.mean_absorption) == (1, 0, 1, 0)
    assert (summary.n_tokens, summary.n_tiles, summary.n_absent) == (N, 5, 0)
    assert summary.chance_cosine < 0.3
    assert summary.mean_cosine == pytest.approx(1)


def test_a_child_that_fills_an_exception_of_its_parent_is_absorption() -> None:
    (parent, child), _ = matched({0: ([1.0], range(10, 40)), 1: ([0.45, 0.8], CHILD)}, value=12)
    assert (parent.feature, child.feature) == (0, 1)
    assert parent.absorption == pytest.approx(10 / 40)
    assert parent.absorbers == (1,)
    assert (parent.n_aligned, parent.n_within, parent.splitting) == (1, 1, 2)
    assert parent.recall == 1  # the second tile lies in the parent's rest: tiles hide what tokens show
    assert (child.absorption, child.absorbers) == (0.0, ())


def test_tokens_are_not_absorbed_when_too_little_is_written_or_by_features_that_fire_elsewhere() -> None:
    (weak, _), _ = matched({0: ([1.0], range(10, 40)), 1: ([0.45, 0.8], CHILD)}, value=11)
    assert weak.absorption == 0  # 4.95 of 10
    (wide, _), _ = matched({0: ([1.0], range(10, 40)), 1: ([0.45, 0.8], [*CHILD, 60, 61])}, value=12)
    assert wide.absorption == 0  # 10 of its 12 tokens are within
    (rare, _), _ = matched({0: ([1.0], range(4, 40)), 1: ([0.45, 0.8], range(4))}, value=12)
    assert rare.absorption == 0  # it fires on four tokens


def test_a_second_feature_along_the_direction_is_splitting_and_no_absorption() -> None:
    (parent, _), summary = matched({0: ([0.9], range(10, 40)), 1: ([0.8], CHILD), 2: ([0.0, 1.0], CHILD)})
    assert (parent.feature, parent.n_aligned, parent.absorption) == (0, 2, 0.0)
    assert parent.splitting == 2
    assert summary.split_share == 0.5


def test_several_absorbers_together_and_the_one_on_most_tokens_first() -> None:
    (parent, _), _ = matched(
        {0: ([1.0], range(15, 40)), 1: ([0.45, 0.2], range(5)), 2: ([0.45, 0.1], range(5, 15)), 3: ([0.0, 1.0], CHILD)}, value=12
    )
    assert parent.absorption == pytest.approx(15 / 40)
    assert parent.absorbers == (2, 1)


def test_an_unrelated_sae_recovers_nothing() -> None:
    (parent, child), summary = matched({0: ([0.1, 0.0], range(60, 90)), 1: ([0.0, 0.05], [])})
    assert (parent.recovered, child.recovered) == (False, False)
    assert (parent.precision, parent.recall, parent.f1) == (0, 0, 0)
    assert (child.precision, child.recall, child.f1) == (None, 0, 0)
    assert summary.recovered_share == 0


def test_a_concept_that_is_absent_or_has_no_feature_has_no_numbers() -> None:
    W_dec, observed = world({0: ([1.0], PARENT)})
    absent = Observed(observed.features, truth(PARENT, []), observed.tiles)
    (_, child), summary = match(W_dec, planting(), absent)
    assert (child.feature, child.cosine, child.recovered, child.absorption) == (None, None, False, None)
    assert (child.recall, child.f1, child.n_tokens) == (None, None, 0)
    assert (summary.n_absent, summary.mean_f1) == (1, 1.0)


def test_the_assignment_is_best_in_all_and_not_first_come() -> None:
    (parent, child), _ = matched({0: ([0.8, 0.6], PARENT), 1: ([0.7, 0.0], CHILD)})
    assert (parent.feature, child.feature) == (1, 0)


def test_rows_are_json(tmp_path: Any) -> None:
    rows, summary = matched({0: ([1.0], range(10, 40)), 1: ([0.45, 0.8], CHILD)}, value=12)
    found = json.loads(json.dumps([row.row() for row in rows], allow_nan=False))
    assert found[0]["absorbers"] == [1]
    assert found[0]["splitting"] == 2
    assert json.loads(json.dumps(summary.row(), allow_nan=False))["n_concepts"] == 2


def test_agreement_of_what_is_empty() -> None:
    some, none = np.array([True, False]), np.array([False, False])
    assert agreement(some, some) == (1, 1, 1)
    assert agreement(some, none) == (None, 0, 0)
    assert agreement(none, some) == (0, None, None)
    assert agreement(none, none) == (None, None, None)
