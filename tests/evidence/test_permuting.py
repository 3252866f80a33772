"""Permuted weights: which ones move, that none is lost, and that the same seed moves them to the same places on any machine."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, GPT2Config

from autolabel.config import SaeSettings, SubjectSettings
from autolabel.errors import DataError
from autolabel.evidence.coders import open_coder
from autolabel.evidence.permuting import permutation, permute_blocks
from autolabel.evidence.sae import native
from autolabel.evidence.subject import Subject
from tests.evidence.worlds import identity_coder


def model_in(folder: Path, seed: int | None = None) -> torch.nn.Module:
    model: torch.nn.Module = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    if seed is not None:
        permute_blocks(model, seed)
    return model


def permuted(settings: SubjectSettings, seed: int) -> SubjectSettings:
    return settings.model_copy(update={"weights": "permuted", "permutation_seed": seed})


def test_every_matrix_of_the_blocks_keeps_its_entries_in_another_order(model_folder: Path) -> None:
    before, after = dict(model_in(model_folder).named_parameters()), dict(model_in(model_folder, seed=0).named_parameters())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if ".layers." in name and before[name].dim() == 2}
    assert len(moved) == 4 * 7
    for name in moved:
        assert torch.equal(before[name].flatten().sort().values, after[name].flatten().sort().values)
        assert (before[name] == after[name]).float().mean() < 0.02, "most entries are elsewhere"


def test_embedding_and_norms_stay(model_folder: Path) -> None:
    before, after = dict(model_in(model_folder).named_parameters()), dict(model_in(model_folder, seed=0).named_parameters())
    stay = [name for name in before if "norm" in name or "embed" in name]
    assert len(stay) == 2 * 4 + 2
    assert all(torch.equal(before[name], after[name]) for name in stay)


def test_the_order_follows_from_seed_and_name_alone(model_folder: Path) -> None:
    first, again, other = (dict(model_in(model_folder, seed).named_parameters()) for seed in (3, 3, 4))
    name = "model.layers.0.mlp.up_proj.weight"
    assert all(torch.equal(first[one], again[one]) for one in first)
    assert not torch.equal(first[name], other[name])
    assert permutation(3, name, 0, 6).tolist() == [4, 1, 3, 0, 5, 2], "it must be the same on any machine, for good"
    assert permutation(3, "model.layers.1.mlp.up_proj.weight", 0, 50).tolist() != permutation(3, name, 0, 50).tolist()


def test_a_permutation_is_one_and_close_to_uniform() -> None:
    for n in (1, 2, 1000):
        assert sorted(permutation(0, "w", 0, n).tolist()) == list(range(n))
    firsts = np.bincount([int(permutation(seed, "w", 0, 4)[0]) for seed in range(2000)], minlength=4)
    assert (abs(firsts - 500) < 100).all()


def test_each_matrix_of_a_stack_keeps_its_own_entries() -> None:
    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList([torch.nn.Module()])
    experts = torch.arange(2 * 3 * 4.0).reshape(2, 3, 4)
    model.layers[0].experts = torch.nn.Parameter(experts.clone())
    assert permute_blocks(model, 0) == 1
    found = model.layers[0].experts.detach()
    for number in range(2):
        assert found[number].flatten().sort().values.tolist() == experts[number].flatten().tolist()
    assert (found[0] + 12 != found[1]).any(), "and an order of its own"


def test_a_model_with_another_name_for_its_blocks_is_permuted_too() -> None:
    config = GPT2Config(n_layer=2, n_embd=16, n_head=2, vocab_size=50, n_positions=32, bos_token_id=0, eos_token_id=0)
    assert permute_blocks(AutoModelForCausalLM.from_config(config), 0) == 2 * 4


def test_what_is_seen_or_heard_is_left_alone() -> None:
    model = torch.nn.Module()
    model.vision_tower = torch.nn.Module()
    model.vision_tower.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4)])
    model.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4)])
    kept = model.vision_tower.layers[0].weight.clone()
    assert permute_blocks(model, 0) == 1
    assert torch.equal(model.vision_tower.layers[0].weight, kept)


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(DataError, match=r"no weight matrix .* \(it has 0\.weight, 0\.bias, …\).*as_they_are"):
        permute_blocks(torch.nn.Sequential(torch.nn.Linear(3, 3)), 0)


@pytest.mark.parametrize(("what", "said"), [("meta", "is not in memory"), ("int8", "holds int8")])
def test_weights_that_are_not_here_or_no_plain_numbers_are_refused_before_any_is_moved(what: str, said: str) -> None:
    model = torch.nn.Module()
    model.layers = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)])
    first = model.layers[0].weight.clone()
    weight = torch.empty(4, 4, device="meta") if what == "meta" else torch.zeros(4, 4, dtype=torch.int8)
    model.layers[1].weight = torch.nn.Parameter(weight, requires_grad=False)
    with pytest.raises(DataError, match=rf"'layers\.1\.weight' {said}, .*without quantization"):
        permute_blocks(model, 0)
    assert torch.equal(model.layers[0].weight, first)


def test_a_permuted_subject_says_so(subject: Subject, subject_settings: SubjectSettings) -> None:
    control = Subject.load(permuted(subject_settings, 5))
    assert (subject.control, control.control) == (None, "random_weights")
    assert control.name == f"{subject.name} with permuted weights"
    assert len({subject.identity, control.identity, Subject.load(permuted(subject_settings, 6)).identity}) == 3
    assert control.identity == Subject.load(permuted(subject_settings, 5)).identity
    ids = torch.randint(5, 250, (2, 20), generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(control.activations(ids, "layers.1"), subject.activations(ids, "layers.1"), atol=0.1)


def test_a_permutation_without_a_seed_is_refused(subject_settings: SubjectSettings) -> None:
    with pytest.raises(DataError, match=r"needs a seed here; give permutation_seed, or settings of a run"):
        Subject.load(subject_settings.model_copy(update={"weights": "permuted"}))


@pytest.mark.parametrize(
    ("record", "seed", "said"),
    [
        ({}, 0, "made from a model with weights as they are, and this run's has weights permuted by seed 0"),
        ({"subject_weights": "permuted", "permutation_seed": 1}, 0, "weights permuted by seed 1, and this run's .* by seed 0"),
        (
            {"subject_weights": "permuted", "permutation_seed": 1},
            None,
            "permuted by seed 1, and this run's has weights as they are",
        ),
    ],
)
def test_an_sae_of_the_other_model_is_refused(
    subject_settings: SubjectSettings, tmp_path: Path, record: dict[str, object], seed: int | None, said: str
) -> None:
    coder = identity_coder(32)
    coder.config.update(record)
    native.save(tmp_path / "sae", coder)
    subject = Subject.load(subject_settings if seed is None else permuted(subject_settings, seed))
    with pytest.raises(DataError, match=rf"the SAE 'identity' was {said}.*docs/controls\.md" if not record else said):
        open_coder(SaeSettings(path=str(tmp_path / "sae")), subject)


def test_an_sae_of_the_same_permutation_is_opened(subject_settings: SubjectSettings, tmp_path: Path) -> None:
    coder = identity_coder(32)
    subject = Subject.load(permuted(subject_settings, 1))
    coder.config.update(subject.weights_record)
    native.save(tmp_path / "sae", coder)
    assert open_coder(SaeSettings(path=str(tmp_path / "sae")), subject).name == "identity"


def test_neurons_of_a_permuted_model_need_no_files(subject_settings: SubjectSettings) -> None:
    subject = Subject.load(permuted(subject_settings, 1))
    coder = open_coder(SaeSettings(kind="neurons", hookpoint="layers.1.mlp.down_proj:input"), subject)
    assert coder.d_sae == 2 * 64
