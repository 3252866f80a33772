"""MLP neurons in the place of features."""

from typing import Any

import pytest
import torch
from transformers.pytorch_utils import Conv1D

from autolabel.errors import DataError
from autolabel.evidence.sae import Coder, NeuronCoder

HOOK = "layers.3.mlp.down_proj:input"


def coder(k: int | None = None, bias: bool = False, **changes: Any) -> NeuronCoder:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 10, generator=generator)
    return NeuronCoder(weight, HOOK, "tiny", k=k, bias=torch.ones(4) if bias else None, **changes)


def inputs(n: int = 20) -> torch.Tensor:
    x = torch.randn(n, 10, generator=torch.Generator().manual_seed(1))
    x[:, 4] = 0.0
    return x


def test_both_signs_of_a_neuron_are_features_of_their_own() -> None:
    x = torch.zeros(2, 10)
    x[0, 3], x[0, 7], x[1, 3] = 2.0, -0.5, -4.0
    code = coder().encode(x)
    assert code.tokens.tolist() == [0, 0, 1]
    assert code.features.tolist() == [6, 15, 7]
    assert code.values.tolist() == [2.0, 0.5, 4.0]


def test_together_they_make_the_output_of_the_down_projection() -> None:
    x = inputs()
    for neurons in (coder(), coder(bias=True)):
        code, out = neurons.reconstruct(x)
        bias = 0.0 if neurons.bias is None else neurons.bias
        torch.testing.assert_close(out, x @ neurons.down_proj.T + bias)
        dense = torch.zeros(len(x), neurons.d_sae)
        dense[code.tokens, code.features] = code.values
        torch.testing.assert_close(out, dense @ neurons.W_dec + bias)
        assert not {8, 9} & set(code.features.tolist())


def test_k_keeps_the_largest_of_either_sign() -> None:
    x, neurons = inputs(), coder(k=3)
    code = neurons.encode(x)
    dense = torch.zeros_like(x)
    dense[code.tokens, code.features // 2] = code.values * (1.0 - 2.0 * (code.features % 2))
    kept = torch.zeros_like(x)
    largest = x.abs().topk(3, dim=1).indices
    kept.scatter_(1, largest, x.gather(1, largest))
    assert torch.equal(dense, kept)
    assert (code.tokens * neurons.d_sae + code.features).diff().min() > 0


def test_it_is_what_the_rest_asks_of_a_source_of_features() -> None:
    neurons: Coder = coder()
    assert (neurons.d_in, neurons.d_out, neurons.d_sae) == (10, 4, 20)
    assert (neurons.hookpoint, neurons.hookpoint_out) == (HOOK, "layers.3.mlp.down_proj")
    assert coder().name == "neurons of layers.3.mlp.down_proj"
    assert torch.equal(neurons.W_dec[1::2], -neurons.W_dec[::2])
    assert [len(column) for column in neurons.encode(torch.empty(0, 10))] == [0, 0, 0]


def test_the_id_follows_weights_bias_k_hookpoint_and_model() -> None:
    neurons = [coder(), coder(k=2), coder(k=3), coder(bias=True)]
    ids = [source.sae_id("m") for source in neurons] + [coder().sae_id("n")]
    other_place = NeuronCoder(coder().down_proj, "layers.4.mlp.down_proj:input", "tiny")
    other_weights = NeuronCoder(coder().down_proj + 1, HOOK, "tiny")
    ids += [other_place.sae_id("m"), other_weights.sae_id("m")]
    assert len(set(ids)) == len(ids)
    assert coder().sae_id("m") == ids[0]


@pytest.mark.parametrize("k", [0, 11, -1])
def test_a_k_beyond_the_neurons_is_refused(k: int) -> None:
    with pytest.raises(DataError, match=rf"k = {k}; expected between 1 and the 10 neurons of '{HOOK}'"):
        coder(k=k)


@pytest.mark.parametrize("bias", [True, False])
def test_a_linear_module_and_its_gpt_2_twin_give_the_same_neurons(bias: bool) -> None:
    linear, twin = torch.nn.Linear(10, 4, bias=bias), Conv1D(4, 10)
    twin.weight.data = linear.weight.data.T.contiguous()
    twin.bias.data = linear.bias.data if bias else torch.zeros(4)
    ours, theirs = (NeuronCoder.of_module(module, HOOK, "tiny", k=3) for module in (linear, twin))
    code, out = ours.reconstruct(inputs())
    same, out_of_twin = theirs.reconstruct(inputs())
    assert torch.equal(code.features, same.features)
    torch.testing.assert_close(out, out_of_twin)
    torch.testing.assert_close(NeuronCoder.of_module(linear, HOOK, "tiny").reconstruct(inputs())[1], linear(inputs()).detach())
    assert not out.requires_grad


def test_a_module_without_a_weight_matrix_is_refused() -> None:
    with pytest.raises(DataError, match=rf"'{HOOK}' belongs to a LayerNorm; neurons are read where a linear down projection"):
        NeuronCoder.of_module(torch.nn.LayerNorm(4), HOOK, "tiny")


def test_quantised_weights_are_refused() -> None:
    linear = torch.nn.Linear(10, 4)
    linear.weight = torch.nn.Parameter(torch.ones(4, 10, dtype=torch.int8), requires_grad=False)
    with pytest.raises(DataError, match=r"are quantised \(torch\.int8\); load the model without quantization"):
        NeuronCoder.of_module(linear, HOOK, "tiny")


def test_a_copy_on_a_device_computes_the_same() -> None:
    neurons = coder(bias=True, k=2)
    moved = neurons.to("cpu")
    assert torch.equal(moved.reconstruct(inputs())[1], neurons.reconstruct(inputs())[1])
    assert moved.weights_hash == neurons.weights_hash
    assert moved.device.type == "cpu"


def test_half_precision_weights_are_used_in_full() -> None:
    half = NeuronCoder(coder().down_proj.half(), HOOK, "tiny")
    code, out = half.reconstruct(inputs().half())
    assert code.values.dtype == out.dtype == half.W_dec.dtype == torch.float32


def test_offloaded_weights_are_refused() -> None:
    module = torch.nn.Linear(4, 3, device="meta")
    with pytest.raises(DataError, match=r"weights of 'layers\.0\.down:input' are offloaded .* leave out \[subject\] device_map"):
        NeuronCoder.of_module(module, "layers.0.down:input", "tiny")
