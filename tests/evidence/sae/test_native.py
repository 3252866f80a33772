import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from autolabel.errors import DataError
from autolabel.evidence.sae import SparseCoder, load_sae, native


def coder(architecture: str = "topk", d_model: int = 6, d_sae: int = 10) -> SparseCoder:
    generator = torch.Generator().manual_seed(0)
    W_dec = torch.nn.functional.normalize(torch.randn(d_sae, d_model, generator=generator), dim=1)
    return SparseCoder(
        W_enc=W_dec.T.clone(),
        b_enc=torch.zeros(d_sae),
        W_dec=W_dec,
        b_dec=torch.randn(d_model, generator=generator),
        architecture="topk" if architecture == "topk" else "relu",
        k=3 if architecture == "topk" else None,
        hookpoint="layers.1",
        name="small",
        format=native.FORMAT,
        subject_model="tiny",
        config={"seed": 3, "shares": {"train": 0.35}},
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    native.save(tmp_path / "sae", coder())
    return tmp_path / "sae"


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / native.CONFIG_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def edit_weights(folder: Path, **changes: torch.Tensor | None) -> None:
    path = folder / native.WEIGHTS_FILE
    tensors = load_file(path) | changes
    save_file({name: tensor for name, tensor in tensors.items() if tensor is not None}, path)


@pytest.mark.parametrize("architecture", ["topk", "relu"])
def test_what_is_saved_is_what_is_loaded(tmp_path: Path, architecture: str) -> None:
    before = coder(architecture)
    native.save(tmp_path / "a" / "sae", before, torch.float32)
    after = load_sae(str(tmp_path / "a" / "sae"))
    for name in ("W_enc", "b_enc", "W_dec", "b_dec"):
        assert torch.equal(getattr(before, name), getattr(after, name))
    assert (after.architecture, after.k, after.hookpoint, after.name) == (before.architecture, before.k, "layers.1", "small")
    assert after.config == before.config
    assert after.advertised_l0 == (3.0 if architecture == "topk" else None)
    assert after.weights_hash == before.weights_hash
    assert after.sae_id("m") == before.sae_id("m") != before.sae_id("another model")


def test_half_precision_costs_a_thousandth(folder: Path) -> None:
    torch.testing.assert_close(native.load(folder).W_dec, coder().W_dec, rtol=2**-10, atol=1e-6)


@pytest.mark.parametrize("architecture", ["topk", "relu"])
def test_encoding_follows_the_rule_and_comes_sorted(architecture: str) -> None:
    sae = coder(architecture)
    x = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
    dense = ((x - sae.b_dec) @ sae.W_enc + sae.b_enc).relu()
    if architecture == "topk":
        dense = dense * (dense >= dense.topk(3, dim=1).values[:, -1:])
    code = sae.encode(x)
    tokens, features = dense.nonzero(as_tuple=True)
    assert torch.equal(code.tokens, tokens)
    assert torch.equal(code.features, features)
    torch.testing.assert_close(code.values, dense[tokens, features])
    torch.testing.assert_close(sae.decode(code, 50), dense @ sae.W_dec + sae.b_dec)


def test_nothing_in_gives_nothing_out() -> None:
    assert len(coder().encode(torch.empty(0, 6)).values) == 0


@pytest.mark.parametrize("name", ["W_enc", "b_enc", "W_dec", "b_dec"])
def test_a_missing_tensor_is_named(folder: Path, name: str) -> None:
    edit_weights(folder, **{name: None})
    with pytest.raises(DataError, match=rf"sae\.safetensors' lacks the tensor '{name}'; it holds"):
        native.load(folder)


def test_a_wrong_shape_is_told_with_the_right_one(folder: Path) -> None:
    edit_weights(folder, W_dec=torch.zeros(6, 10))
    with pytest.raises(DataError, match=r"sae\.safetensors': 'W_dec' has shape \(6, 10\), expected \(10, 6\)"):
        native.load(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_counted(folder: Path, value: float) -> None:
    edit_weights(folder, b_enc=torch.tensor([value] * 2 + [0.0] * 8))
    with pytest.raises(DataError, match=r"sae\.safetensors': 'b_enc' holds 2 values that are NaN or infinite"):
        native.load(folder)


@pytest.mark.parametrize("left", [0, 5, 200, -3])
def test_a_truncated_file_is_refused(folder: Path, left: int) -> None:
    path = folder / native.WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DataError, match=r"sae\.safetensors' cannot be read .* truncated"):
        native.load(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"d_model": "wide"}, r"d_model: .*integer.*found 'wide'"),
        ({"architecture": "gated"}, r"architecture: .*found 'gated'"),
        ({"format": "other"}, r"format: .*found 'other'"),
        ({"size": 1}, r"size: Extra inputs are not permitted"),
        ({"k": None}, r"a topk SAE needs k between 1 and d_sae = 10, found None"),
        ({"k": 0}, r"a topk SAE needs k between 1 and d_sae = 10, found 0"),
        ({"k": 11}, r"a topk SAE needs k between 1 and d_sae = 10, found 11"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused_with_file_and_value(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit_config(folder, **changes)
    with pytest.raises(DataError, match=rf"config\.json'.*{message}"):
        native.load(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b'{"format": "autolabel"}'])
def test_a_config_that_is_no_object_is_refused(folder: Path, content: bytes) -> None:
    (folder / native.CONFIG_FILE).write_bytes(content)
    with pytest.raises(DataError, match=r"config\.json' is no autolabel SAE config") as caught:
        native.load(folder)
    assert "\n" not in str(caught.value)


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot read '.*config\.json': No such file"):
        native.load(tmp_path)
    with pytest.raises(DataError, match=r"there is no SAE folder 'nowhere'"):
        load_sae("nowhere")
    (tmp_path / "weights.bin").touch()
    with pytest.raises(DataError, match=r"holds no SAE of a known format \(saelens, .*\); found weights\.bin"):
        load_sae(str(tmp_path))
