"""The canonical form: blocks, normalisation, hashes, devices."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import torch

from autolabel.evidence.sae import Coder, SparseCoder
from autolabel.evidence.sae import coder as coder_module
from autolabel.evidence.sae.coder import BLOCK_BYTES
from tests.evidence.sae.cases import BY_NAME, CASES, Case

BY_CASE = pytest.mark.parametrize("case", CASES, ids=lambda case: case.case)


def plain(d_in: int = 6, d_sae: int = 16, **changes: Any) -> SparseCoder:
    generator = torch.Generator().manual_seed(3)
    weights = {
        "W_enc": torch.randn(d_in, d_sae, generator=generator),
        "b_enc": torch.randn(d_sae, generator=generator),
        "W_dec": torch.randn(d_sae, d_in, generator=generator),
        "b_dec": torch.randn(d_in, generator=generator),
    }
    rest = {"architecture": "topk", "k": 3, "hookpoint": "layers.1", "name": "small", "format": "none", "subject_model": "none"}
    return SparseCoder(**(weights | rest | changes))


def inputs(n: int, d: int = 6, seed: int = 0) -> torch.Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


@BY_CASE
def test_a_token_yields_the_same_bits_whatever_stands_beside_it(case: Case) -> None:
    coder, x = case.load(), case.expected()["x"]
    together = coder.encode(x)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    shuffled, alone = coder.encode(x[order]), coder.encode(x[7:8])
    for place, token in enumerate(order.tolist()):
        here, there = shuffled.tokens == place, together.tokens == token
        assert torch.equal(shuffled.features[here], together.features[there])
        assert torch.equal(shuffled.values[here], together.values[there])
    assert torch.equal(alone.values, together.values[together.tokens == 7])


@BY_CASE
def test_entries_are_positive_and_sorted_by_token_and_feature(case: Case) -> None:
    coder = case.load()
    code = coder.encode(case.expected()["x"])
    assert (code.values > 0).all()
    assert (code.tokens * coder.d_sae + code.features).diff().min() > 0
    assert (code.tokens.dtype, code.features.dtype, code.values.dtype) == (torch.int64, torch.int64, torch.float32)


@pytest.mark.parametrize("case", ["saelens-topk", "saelens-gated", "saelens-jumprelu", "sparsify-groupmax"])
def test_more_rows_than_a_block_holds(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    coder, x = BY_NAME[case].load(), BY_NAME[case].expected()["x"]
    whole = coder.encode(x)
    monkeypatch.setattr(coder_module, "_CPU_ROWS", 5)
    blocked = coder.encode(x)
    assert torch.equal(blocked.tokens, whole.tokens)
    assert torch.equal(blocked.features, whole.features)
    torch.testing.assert_close(blocked.values, whole.values)


def test_dense_values_of_a_wide_sae_stay_within_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    coder, seen = plain(d_sae=2**17), []
    real = coder_module.largest

    def spy(pre: torch.Tensor, k: int) -> Any:
        seen.append(pre.untyped_storage().nbytes())
        return real(pre, k)

    monkeypatch.setattr(coder_module, "largest", spy)
    assert len(coder.encode(inputs(300)).values) == 900
    assert seen == [BLOCK_BYTES, BLOCK_BYTES]


@pytest.mark.parametrize("case", ["saelens-topk", "saelens-jumprelu", "saelens-gated"])
def test_memory_that_is_used_again_changes_no_result_that_was_given_out(case: str) -> None:
    coder, x = BY_NAME[case].load(), BY_NAME[case].expected()["x"]
    with torch.inference_mode():
        first = coder.encode(x)
    kept = [column.clone() for column in first]
    coder.encode(-2 * x)
    plain(architecture="relu", k=None).encode(inputs(7))
    assert all(torch.equal(column, copy) for column, copy in zip(first, kept, strict=True))
    assert all(torch.equal(column, copy) for column, copy in zip(coder.encode(x), kept, strict=True))


def test_threads_do_not_share_memory() -> None:
    cases = [BY_NAME[name] for name in ("saelens-topk", "saelens-jumprelu", "saelens-standard", "saelens-transcoder")]
    work = [(case.load(), case.expected()["x"].repeat(20, 1)) for case in cases]
    alone = [coder.encode(x).values for coder, x in work]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda job: job[0].encode(job[1]).values, work * 8))
    assert all(torch.equal(values, alone[i % 4]) for i, values in enumerate(together))


def test_half_precision_input_and_no_input() -> None:
    coder = plain()
    assert torch.equal(coder.encode(inputs(4).half()).values, coder.encode(inputs(4).half().float()).values)
    code, out = coder.reconstruct(torch.empty(0, 6))
    assert [len(column) for column in code] == [0, 0, 0]
    assert out.shape == (0, 6)


def test_a_token_without_active_features_is_decoded_to_the_bias() -> None:
    coder = plain(architecture="relu", k=None, b_enc=torch.full((16,), -1e4))
    assert torch.equal(coder.reconstruct(inputs(3))[1], coder.b_dec.expand(3, -1))


def test_a_row_of_zeros_or_nan_fires_nothing_that_is_not_a_number() -> None:
    for normalisation in ("none", "constant_norm_rescale", "layer_norm", "scalar", "centre"):
        coder = plain(normalisation=normalisation)
        assert torch.isfinite(coder.encode(torch.zeros(2, 6)).values).all()
        assert torch.isfinite(coder.reconstruct(torch.zeros(2, 6))[1]).all()
    assert len(plain().encode(torch.full((2, 6), float("nan"))).values) == 0


def test_selection_by_decoder_norm_chooses_by_it_and_reports_it_or_not() -> None:
    x, coder = inputs(40), plain()
    pre = (x - coder.b_dec) @ coder.W_enc + coder.b_enc
    norms = coder.W_dec.norm(dim=1)
    chosen = [set(row.tolist()) for row in (pre * norms).relu().topk(3, dim=1).indices]
    selected, scaled = replace(coder, decoder_norm="select"), replace(coder, decoder_norm="scale")
    for kind, factor in ((selected, 1.0), (scaled, norms)):
        code = kind.encode(x)
        assert all(feature in chosen[token] for token, feature in zip(code.tokens.tolist(), code.features.tolist(), strict=True))
        torch.testing.assert_close(code.values, (pre * factor)[code.tokens, code.features])
    torch.testing.assert_close(selected.reconstruct(x)[1], scaled.reconstruct(x)[1])
    assert not torch.equal(selected.encode(x).features, coder.encode(x).features)


def test_a_scalar_may_differ_between_input_and_output() -> None:
    x, coder = inputs(9), plain()
    scaled = replace(coder, normalisation="scalar", input_scale=0.5, output_scale=4.0, hookpoint_out="layers.1.mlp")
    torch.testing.assert_close(scaled.reconstruct(x)[1], coder.reconstruct(0.5 * x)[1] / 4.0)


def test_normalisation_is_undone_for_an_sae_and_not_for_a_transcoder() -> None:
    x, coder = 5 * inputs(9) + 2, plain(normalisation="layer_norm")
    ours, transcoder = coder.reconstruct(x)[1], replace(coder, hookpoint_out="layers.1.mlp").reconstruct(x)[1]
    torch.testing.assert_close(ours, transcoder * x.std(1, keepdim=True) + x.mean(1, keepdim=True))


CHANGES: list[dict[str, Any]] = [
    {"subtract_b_dec": False},
    {"decoder_norm": "select"},
    {"decoder_norm": "scale"},
    {"normalisation": "layer_norm"},
    {"normalisation": "centre"},
    {"normalisation": "scalar", "input_scale": 2.0},
    {"normalisation": "scalar", "input_scale": 5.0},
    {"normalisation": "scalar", "input_scale": 2.0, "output_scale": 3.0},
    {"hookpoint_out": "layers.1.mlp"},
    {"W_skip": torch.ones(6, 6)},
    {"W_skip": torch.zeros(6, 6)},
    {"architecture": "relu", "k": None},
    {"architecture": "groupmax", "k": 4},
    {"architecture": "jumprelu", "k": None, "threshold": torch.ones(16)},
    {"architecture": "jumprelu", "k": None, "threshold": torch.zeros(16)},
    {"architecture": "gated", "k": None, "b_gate": torch.ones(16), "r_mag": torch.zeros(16)},
    {"architecture": "gated", "k": None, "b_gate": torch.zeros(16), "r_mag": torch.ones(16)},
    {"k": 4},
    {"hookpoint": "layers.2"},
    {"b_dec": torch.zeros(6)},
]


def test_every_tensor_and_rule_changes_the_id() -> None:
    ids = [plain().sae_id("m"), plain().sae_id("n"), *(plain(**changes).sae_id("m") for changes in CHANGES)]
    assert len(set(ids)) == len(ids)
    rules = [plain(**changes).weights_hash for changes in CHANGES if changes.keys() - {"k", "hookpoint"}]
    assert len({*rules, plain().weights_hash}) == len(rules) + 1


def test_the_id_of_a_plain_top_k_sae_is_that_of_earlier_versions() -> None:
    ones = {"W_enc": torch.ones(2, 3), "b_enc": torch.zeros(3), "W_dec": torch.ones(3, 2), "b_dec": torch.zeros(2)}
    coder = plain(**ones)
    assert coder.weights_hash == "f4da30a9d3159237934a2581316689d7b8e383044dac682bba6f26bef4c4168c"
    assert coder.sae_id("m") == "13439ffaed64a5584a2d399743070d0f"
    assert (
        replace(coder, advertised_l0=9.0, prepend_bos=True, config={"a": 1}, name="b").sae_id("m")
        == "13439ffaed64a5584a2d399743070d0f"
    )


def test_a_copy_on_a_device_computes_the_same() -> None:
    coder = BY_NAME["saelens-skip-transcoder"].load()
    x = BY_NAME["saelens-skip-transcoder"].expected()["x"]
    moved = coder.to("cpu")
    assert moved.device == torch.device("cpu")
    assert torch.equal(moved.reconstruct(x)[1], coder.reconstruct(x)[1])
    on_meta = coder.to("meta")
    assert {tensor.device.type for tensor in vars(on_meta).values() if isinstance(tensor, torch.Tensor)} == {"meta"}


def test_widths_are_those_of_the_tensors() -> None:
    coder: Coder = BY_NAME["saelens-transcoder"].load()
    assert (coder.d_in, coder.d_out, coder.d_sae) == (16, 12, 48)


def test_gradients_are_not_recorded() -> None:
    coder = plain(W_enc=torch.nn.Parameter(torch.randn(6, 16)))
    assert not coder.encode(inputs(3)).values.requires_grad
