"""Installed effects, seen from inside by interventions and from outside by whoever hooks the model and knows nothing of it."""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from autolabel.errors import DataError
from autolabel.evidence.corpus import Document
from autolabel.evidence.subject import Subject
from autolabel.planted.causes import Cause, Targets
from autolabel.planted.interventions import Intervention
from autolabel.planted.planting import Planting, PlantingSettings, plan
from autolabel.planted.world import CausalWorld

TEXT = "the cat and a dog sat on the boat while a puppy ran over the hill in"
DOGS, BOATS, HILLS = range(3)


@pytest.fixture(scope="module", params=["layers.2", "layers.3"])
def world(request: pytest.FixtureRequest, subject: Subject, planting: Planting, causes: list[Cause]) -> CausalWorld:
    """Read right behind the planted layer, and with a layer between."""
    return CausalWorld(subject, planting, causes, request.param)


@contextmanager
def edited(module: torch.nn.Module, edit: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[None]:
    """What anybody's hook on a layer's output looks like."""
    handle = module.register_forward_hook(lambda *passed: edit(passed[2]))
    try:
        yield
    finally:
        handle.remove()


def mass(log_probs: torch.Tensor, targets: Targets) -> torch.Tensor:
    """log p of a set of tokens."""
    return log_probs[..., list(targets.token_ids)].double().logsumexp(-1)


@torch.inference_mode()
def said(subject: Subject, token_ids: torch.Tensor, **given: Any) -> torch.Tensor:
    return subject.language_model(token_ids, **given).logits.log_softmax(-1)


@pytest.mark.parametrize(("dose", "share"), [(0.0, 0), (0.25, 0.25), (0.5, 0.5), (1.0, 1), (3.0, 1), (-0.5, -0.5), (-2.0, -1)])
def test_targets_gain_delta_times_dose_and_others_give_way_by_one_factor(world: CausalWorld, dose: float, share: float) -> None:
    token_ids = world.passage(TEXT).token_ids
    plain = world.log_probs(token_ids).log_probs
    value = dose * float(world.planting.maxima[DOGS])
    found = world.log_probs(token_ids, interventions=[Intervention(DOGS, "set", value, (4, -1))])
    targets = world.causes[DOGS].targets
    gained = mass(found.log_probs, targets) - mass(plain, targets)
    expected = torch.zeros_like(gained)
    expected[0, [4, -1]] = 0.5 * share
    torch.testing.assert_close(gained, expected, atol=1e-5, rtol=0)
    change = found.log_probs - plain
    others = [token for token in range(change.shape[-1]) if token not in targets.token_ids]
    assert (change[..., others].amax(-1) - change[..., others].amin(-1)).max() < 1e-5
    np.testing.assert_allclose(found.activity[0, [4, -1], DOGS], value, atol=1e-5)
    assert not found.clipped.any()


def test_without_activity_and_with_that_of_inert_plants_it_is_the_plain_model(
    subject: Subject, world: CausalWorld, planting: Planting
) -> None:
    token_ids = world.passage(TEXT).token_ids
    plain = said(subject, token_ids)
    without = world.log_probs(token_ids).log_probs
    torch.testing.assert_close(without, plain, atol=1e-5, rtol=0)
    for dose in (1.0, 20.0, -5.0):
        value = dose * float(planting.maxima[HILLS])
        found = world.log_probs(token_ids, interventions=[Intervention(HILLS, "set", value)])
        assert torch.equal(found.log_probs, without)


def test_a_plant_that_promotes_another_leaves_its_own_targets_alone(world: CausalWorld, planting: Planting) -> None:
    token_ids = world.passage(TEXT).token_ids
    plain = world.log_probs(token_ids).log_probs
    value = float(planting.maxima[BOATS])
    found = world.log_probs(token_ids, interventions=[Intervention(BOATS, "set", value)]).log_probs
    cause = world.causes[BOATS]
    gained = mass(found, cause.targets) - mass(plain, cause.targets)
    torch.testing.assert_close(gained, torch.ones_like(gained), atol=1e-5, rtol=0)
    before, after = (mass(log_probs, cause.targets).exp() for log_probs in (plain, found))
    shrunk = torch.log1p(-after) - torch.log1p(-before)
    torch.testing.assert_close(mass(found, cause.own) - mass(plain, cause.own), shrunk, atol=1e-5, rtol=0)
    assert shrunk.abs().max() < 0.2


@pytest.mark.parametrize("dose", [0.1, 0.6, 1.0])
def test_steering_from_outside_has_the_installed_effect(
    subject: Subject, world: CausalWorld, planting: Planting, dose: float
) -> None:
    token_ids = world.passage(TEXT).token_ids
    plain = said(subject, token_ids)
    added = dose * planting.maxima[DOGS] * planting.amounts[DOGS] * planting.directions[DOGS]
    targets = world.causes[DOGS].targets
    layers = [planting.hookpoint, "layers.2"] if world.read == "layers.3" else [planting.hookpoint]
    for layer in layers:
        with world, edited(subject.module_at(layer), lambda stream: stream + added.float()):
            steered = said(subject, token_ids)
        gained = mass(steered, targets) - mass(plain, targets)
        torch.testing.assert_close(gained, torch.full_like(gained, 0.5 * dose), atol=1e-4, rtol=0)


def test_natural_activity_acts_and_projecting_the_direction_out_undoes_it(
    subject: Subject, world: CausalWorld, planting: Planting
) -> None:
    passage = world.passage(TEXT)
    plain = said(subject, passage.token_ids)
    targets = world.causes[DOGS].targets
    share = passage.activity[..., DOGS] / planting.maxima[DOGS]
    assert (share > 0).sum() >= 2
    natural = world.log_probs(passage.token_ids, passage.activity)
    only_dogs = world.log_probs(passage.token_ids, passage.activity, [Intervention(BOATS, "ablate")]).log_probs
    torch.testing.assert_close(mass(only_dogs, targets) - mass(plain, targets), 0.5 * share, atol=1e-5, rtol=0)
    torch.testing.assert_close(natural.activity, passage.activity, atol=1e-4, rtol=1e-4)
    ablated = world.log_probs(passage.token_ids, passage.activity, [Intervention(DOGS, "ablate")]).log_probs
    u = planting.directions[DOGS]
    with world, world.showing(passage.activity):
        torch.testing.assert_close(said(subject, passage.token_ids), natural.log_probs, atol=1e-5, rtol=0)
        with edited(subject.module_at("layers.1"), lambda stream: stream - (stream @ u)[..., None] * u):
            from_outside = said(subject, passage.token_ids)
    torch.testing.assert_close(from_outside, ablated, atol=1e-5, rtol=0)
    assert (from_outside - natural.log_probs).abs().max() > 0.1
    halved = world.log_probs(passage.token_ids, passage.activity, [Intervention(DOGS, "scale", 0.5)])
    torch.testing.assert_close(halved.activity[..., DOGS], passage.activity[..., DOGS] / 2, atol=1e-4, rtol=1e-4)


def test_behind_the_read_point_nothing_is_left_of_it(subject: Subject, world: CausalWorld, planting: Planting) -> None:
    passage = world.passage(TEXT)
    places = ["layers.1", "layers.2", "layers.3"]
    plain = subject.capture(passage.token_ids, places)
    with world, world.showing(passage.activity):
        found = subject.capture(passage.token_ids, places)
    last = "layers.3"
    assert torch.equal(found[last], plain[last])
    for layer in places[: places.index(world.read)]:
        along = found[layer].double() @ planting.directions.T.double() / torch.from_numpy(planting.amounts)
        torch.testing.assert_close(along, passage.activity, atol=1e-4, rtol=1e-4)


def test_in_bfloat16_too_nothing_is_lost_but_digits_of_the_activity(
    subject: Subject, world: CausalWorld, causes: list[Cause]
) -> None:
    model = copy.deepcopy(subject.language_model).to(torch.bfloat16)
    coarse = Subject(model, subject._tokenizer, "coarse", subject.device)
    rounded = CausalWorld(coarse, world.planting, causes, world.read)
    token_ids = world.passage(TEXT).token_ids
    plain, targets = rounded.log_probs(token_ids).log_probs, causes[DOGS].targets
    torch.testing.assert_close(plain, said(coarse, token_ids).float(), atol=0.05, rtol=0)
    found = rounded.log_probs(token_ids, interventions=[Intervention(DOGS, "set", float(world.planting.maxima[DOGS]))])
    gained = mass(found.log_probs, targets) - mass(plain, targets)
    torch.testing.assert_close(gained, torch.full_like(gained, 0.5), atol=0.01, rtol=0)


def test_a_direction_found_about_so_well_has_about_the_effect_and_acts_on_the_real_model(
    subject: Subject, world: CausalWorld, planting: Planting
) -> None:
    token_ids = world.passage(TEXT).token_ids
    found = world.decoder(DOGS, 0.8)
    cosines = planting.directions @ found
    assert cosines.tolist() == pytest.approx([0.8, 0, 0], abs=1e-5)
    assert found.norm().item() == pytest.approx(1)
    torch.testing.assert_close(world.decoder(DOGS), planting.directions[DOGS])
    length = planting.maxima[DOGS] * planting.amounts[DOGS]
    with world, edited(subject.module_at("layers.1"), lambda stream: stream + (length * found).float()):
        steered = said(subject, token_ids)
        activity = world._carried / world._amounts
    np.testing.assert_allclose(activity[..., DOGS], 0.8 * planting.maxima[DOGS], rtol=1e-4)
    downstream = said(subject, token_ids) - steered
    others = [token for token in range(downstream.shape[-1]) if token not in world.causes[DOGS].targets.token_ids]
    assert (downstream[..., others].amax(-1) - downstream[..., others].amin(-1)).min() > 0.05


def test_a_cache_and_the_last_logits_alone_give_the_same(subject: Subject, world: CausalWorld, planting: Planting) -> None:
    passage = world.passage(TEXT)
    whole = world.log_probs(passage.token_ids, passage.activity).log_probs
    with world, torch.inference_mode():
        with world.showing(passage.activity):
            last = said(subject, passage.token_ids, logits_to_keep=2)
        torch.testing.assert_close(last, whole[:, -2:], atol=1e-5, rtol=0)
        n = int((passage.activity[0, :, DOGS] > 0).nonzero()[-1])
        cache = subject.language_model(passage.token_ids[:, :n], use_cache=True).past_key_values
        with world.showing(passage.activity[:, n : n + 1]):
            branch = said(subject, passage.token_ids[:, n : n + 1], past_key_values=cache)
    torch.testing.assert_close(branch[:, 0], whole[:, n], atol=1e-4, rtol=0)


def test_doses_of_a_batch_do_not_meet(world: CausalWorld, planting: Planting) -> None:
    token_ids = world.passage(TEXT).token_ids.expand(3, -1)
    plain = world.log_probs(token_ids[:1]).log_probs
    activity = torch.zeros(3, token_ids.shape[1], 3)
    activity[1, -1, DOGS], activity[2, -1, DOGS] = 0.5 * planting.maxima[DOGS], planting.maxima[DOGS]
    targets = world.causes[DOGS].targets
    gained = mass(world.log_probs(token_ids, activity).log_probs, targets) - mass(plain, targets)
    assert gained[:, -1].tolist() == pytest.approx([0, 0.25, 0.5], abs=1e-5)


def test_hooks_are_gone_afterwards_whatever_happens(subject: Subject, world: CausalWorld, planting: Planting) -> None:
    passage = world.passage(TEXT)
    plain = said(subject, passage.token_ids)
    wrong = passage.activity[:, :2]
    with pytest.raises(ValueError, match=r"activity of shape \(1, 2\) cannot be shown to a pass over"), world, world.showing(wrong):
        said(subject, passage.token_ids)
    assert torch.equal(said(subject, passage.token_ids), plain)
    with world, pytest.raises(RuntimeError, match="installed already"):
        world.__enter__()
    assert torch.equal(said(subject, passage.token_ids), plain)


def test_clipping_is_said_so(subject: Subject, planting: Planting, causes: list[Cause]) -> None:
    token_ids = torch.tensor([[1, 5, 9, 20]])
    wide = Targets(("many",), tuple(range(100, 330)))
    world = CausalWorld(subject, planting, [replace(causes[0], own=wide, targets=wide, delta=10.0), *causes[1:]])
    found = world.log_probs(token_ids, interventions=[Intervention(DOGS, "set", float(planting.maxima[DOGS]), (3,))])
    assert found.clipped.tolist() == [[False, False, False, True]]
    assert mass(found.log_probs, wide)[0, 3].exp().item() == pytest.approx(0.99, abs=1e-5)


@pytest.mark.parametrize(
    ("intervention", "said"),
    [
        (Intervention(3, "ablate"), "there is no plant 3; the plants are 0 to 2"),
        (Intervention(0, "set", 1.0, (0, 4)), "there is no position 4; the text has 4 tokens"),
        (Intervention(0, "twist"), "'twist' is no kind of intervention"),  # type: ignore[arg-type]
    ],
)
def test_interventions_on_nothing_are_refused(world: CausalWorld, intervention: Intervention, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        world.log_probs(torch.tensor([[1, 2, 3, 4]]), interventions=[intervention])


def test_worlds_that_cannot_be_are_refused(subject: Subject, planting: Planting, causes: list[Cause]) -> None:
    with pytest.raises(DataError, match="not those of the planted concepts"):
        CausalWorld(subject, planting, causes[::-1])
    with pytest.raises(DataError, match="'boats' fires nowhere in the text"):
        CausalWorld(subject, replace(planting, maxima=np.array([1.0, 0.0, 1.0])), causes)
    beyond = Targets(("beyond",), (5, 337))
    with pytest.raises(DataError, match="'dogs' promotes the token 337, but the model has 337 tokens, 0 to 336"):
        CausalWorld(subject, planting, [replace(causes[0], own=beyond, targets=beyond), *causes[1:]])
    with pytest.raises(DataError, match=r"'layers\.3' is the last layer"):
        CausalWorld(subject, replace(planting, hookpoint="layers.3"), causes)
    with pytest.raises(DataError, match=r"'layers\.1' is no layer behind 'layers\.1'; read at one of layers\.2 … layers\.3"):
        CausalWorld(subject, planting, causes, "layers.1")
    with pytest.raises(DataError, match=r"in the output of a whole layer, which 'layers\.1\.mlp' is not"):
        CausalWorld(subject, replace(planting, hookpoint="layers.1.mlp"), causes)


def test_forty_plants_at_once_each_have_their_own_effect(subject: Subject, documents: list[Document]) -> None:
    """A wider model; all plants are active at one position, and every label's tokens gain what was installed for it and no more."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=400, hidden_size=96, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4, initializer_range=0.1
    )
    wide = Subject(LlamaForCausalLM(config).eval(), subject._tokenizer, "wide", torch.device("cpu"))

    class Positions:
        def __init__(self, number: int) -> None:
            self.label, self._number = f"every 41st token, the {number}th", number

        def activations(self, text: str, bounds: Any) -> Any:
            return (np.arange(len(bounds) - 1) % 41 == self._number).astype(np.float32) * (1 + self._number)

    concepts = [Positions(number) for number in range(40)]
    planting = plan(wide, "layers.0", concepts, documents[:40], 96, PlantingSettings(n_components=8))
    own = [Targets((label,), tuple(range(20 + 5 * number, 24 + 5 * number))) for number, label in enumerate(planting.labels)]
    deltas = [(0.1, 0.25, 0.5, 1.0)[number % 4] for number in range(40)]
    causes = [
        Cause(label, "causal", delta, targets, label, targets)
        for label, delta, targets in zip(planting.labels, deltas, own, strict=True)
    ]
    causes[7] = replace(causes[7], kind="inert", delta=0.0)
    causes[9] = replace(causes[9], kind="promotes_other", promotes=planting.labels[7], targets=own[7])
    world = CausalWorld(wide, planting, causes)
    token_ids = torch.tensor([[1, 7, 300, 8]])
    activity = torch.zeros(1, 4, 40)
    activity[0, 2] = torch.from_numpy(planting.maxima).float() * 0.4
    plain, found = world.log_probs(token_ids).log_probs, world.log_probs(token_ids, activity)
    gained = torch.stack([mass(found.log_probs, targets) - mass(plain, targets) for targets in own], dim=-1)[0]
    expected = torch.tensor(deltas, dtype=torch.float64) * 0.4
    expected[7] = 0.25 * 0.4
    others = [number for number in range(40) if number != 9]
    torch.testing.assert_close(gained[2, others], expected[others], atol=1e-5, rtol=0)
    assert gained[2, 9] < 0
    assert gained[[0, 1, 3]].abs().max() < 1e-5
    assert not found.clipped.any()
    assert len(world.truth()) == 40
