"""Files that are broken, lie about their size, or want to run code."""

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from autolabel.errors import DataError
from autolabel.evidence.sae import files as files_module
from autolabel.evidence.sae import load_sae
from autolabel.evidence.sae.files import open_npz, open_safetensors, open_torch, read_json
from tests.evidence.sae.cases import copied, edit_tensors

WEIGHTS = {
    "goodfire": "",
    "qwen-scope": "",
    "saelens-standard": "sae_weights.safetensors",
    "saelens-gated": "sae_weights.safetensors",
    "sparsify-topk": "sae.safetensors",
    "dictionary-learning-AutoEncoder": "ae.pt",
    "dictionary-learning-MatryoshkaBatchTopKSAE": "ae.pt",
    "gemma-scope-sae": "params.npz",
    "gemma-scope-2-sae": "params.safetensors",
    "llama-scope-first": "checkpoints/final.safetensors",
    "llama-scope-2-jumprelu": "sae_weights.safetensors",
}


class Touches:
    """Pickles into a call that makes a file."""

    def __init__(self, sentinel: Path) -> None:
        self._sentinel = str(sentinel)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mknod, (self._sentinel,)


def read_all(path: Path) -> dict[str, np.ndarray[Any, Any]]:
    if path.suffix == ".npz":
        return dict(np.load(path))
    tensors = torch.load(path, weights_only=True) if path.suffix in (".pt", ".pth") else load_file(path)
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def write_all(path: Path, arrays: dict[str, np.ndarray[Any, Any]]) -> None:
    tensors = {name: torch.from_numpy(np.ascontiguousarray(array)).reshape(array.shape) for name, array in arrays.items()}
    if path.suffix == ".npz":
        np.savez(path, **arrays)  # type: ignore[arg-type]
    elif path.suffix in (".pt", ".pth"):
        torch.save(tensors, path)
    else:
        save_file(tensors, path)


@pytest.mark.parametrize("left", [0, 7, 300, -40])
@pytest.mark.parametrize("case", WEIGHTS)
def test_a_truncated_file_is_refused_by_name(tmp_path: Path, case: str, left: int) -> None:
    folder = copied(tmp_path, case)
    path = folder / WEIGHTS[case]
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DataError, match=rf"{path.name}' cannot be read") as caught:
        load_sae(str(folder))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("case", WEIGHTS)
def test_a_value_that_is_not_finite_is_named_with_tensor_and_row(tmp_path: Path, case: str, value: float) -> None:
    folder = copied(tmp_path, case)
    arrays = read_all(folder / WEIGHTS[case])
    name = next(name for name in sorted(arrays) if arrays[name].ndim == 2)
    arrays[name][11, 3:5] = value
    write_all(folder / WEIGHTS[case], arrays)
    with pytest.raises(
        DataError, match=rf"'{name}' holds 2 values that are NaN or infinite, the first in row 11; the file is damaged"
    ):
        load_sae(str(folder))


@pytest.mark.parametrize("case", WEIGHTS)
def test_every_tensor_is_needed(tmp_path: Path, case: str) -> None:
    folder = copied(tmp_path, case)
    arrays = read_all(folder / WEIGHTS[case])
    unused = {"k", "group_sizes"}
    for name in arrays.keys() - unused:
        write_all(folder / WEIGHTS[case], {other: array for other, array in arrays.items() if other != name})
        with pytest.raises(
            DataError, match=rf"lacks the tensor '{name}'; it holds|(norm\.in|norm\.out|threshold) is None, expected"
        ):
            load_sae(str(folder))


@pytest.mark.parametrize("case", WEIGHTS)
def test_a_transposed_or_cut_tensor_is_refused_with_both_shapes(tmp_path: Path, case: str) -> None:
    folder = copied(tmp_path, case)
    arrays = read_all(folder / WEIGHTS[case])
    matrices = [name for name in arrays if arrays[name].ndim == 2]
    for name in matrices:
        write_all(folder / WEIGHTS[case], arrays | {name: arrays[name].T})
        with pytest.raises(DataError, match=r"has shape \(.*\), expected \(|expected (16|48), the size of its tensors"):
            load_sae(str(folder))
    for name in (name for name in arrays if arrays[name].ndim == 1 and len(arrays[name]) == 48):
        write_all(folder / WEIGHTS[case], arrays | {name: arrays[name][:-1]})
        with pytest.raises(DataError, match=rf"'{name}' has shape \(47,\), expected"):
            load_sae(str(folder))


@pytest.mark.parametrize("case", WEIGHTS)
def test_whole_numbers_are_no_weights(tmp_path: Path, case: str) -> None:
    folder = copied(tmp_path, case)
    arrays = read_all(folder / WEIGHTS[case])
    name = next(name for name in sorted(arrays) if arrays[name].ndim == 2)
    write_all(folder / WEIGHTS[case], arrays | {name: np.ones(arrays[name].shape, dtype=np.int64)})
    with pytest.raises(DataError, match=rf"'{name}' holds torch\.int64, expected floating-point numbers"):
        load_sae(str(folder))


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    folder, sentinel = copied(tmp_path, "dictionary-learning-AutoEncoder"), tmp_path / "ran"
    state = torch.load(folder / "ae.pt", weights_only=True)
    torch.save(state | {"bias": Touches(sentinel)}, folder / "ae.pt")
    with pytest.raises(DataError, match=r"ae\.pt' cannot be read as tensors .* Convert it to safetensors"):
        load_sae(str(folder))
    assert not sentinel.exists()
    torch.load(folder / "ae.pt", weights_only=False)
    assert sentinel.exists(), "the file would have run code"


def test_a_bare_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    sentinel, path = tmp_path / "ran", tmp_path / "ae.pt"
    path.write_bytes(pickle.dumps(Touches(sentinel)))
    with pytest.raises(DataError, match="cannot be read as tensors"):
        open_torch(path)
    assert not sentinel.exists()


def test_an_archive_with_python_objects_is_refused_and_not_run(tmp_path: Path) -> None:
    folder, sentinel = copied(tmp_path, "gemma-scope-sae"), tmp_path / "ran"
    arrays = dict(np.load(folder / "params.npz"))
    objects = np.empty(48, dtype=object)
    objects[:] = [Touches(sentinel)] * 48
    np.savez(folder / "params.npz", **arrays | {"threshold": objects})  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"params\.npz': 'threshold' holds Python objects, which autolabel does not load"):
        load_sae(str(folder))
    assert not sentinel.exists()


@pytest.mark.parametrize("content", [[torch.ones(2)], {"a": torch.ones(2).to_sparse()}, {"a": torch.ones(1).expand(10**6)}])
def test_a_state_that_is_not_made_of_ordinary_tensors_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "ae.pt")
    with pytest.raises(DataError, match=r"holds a list, expected named tensors|'a' is no ordinary dense tensor"):
        open_torch(tmp_path / "ae.pt")


def test_sizes_are_checked_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {case: copied(tmp_path, case) for case in ("saelens-standard", "gemma-scope-sae", "dictionary-learning-AutoEncoder")}
    monkeypatch.setattr(files_module.os, "sysconf", lambda name: 4096 if name == "SC_PAGE_SIZE" else 1)
    for case, folder in folders.items():
        with pytest.raises(DataError, match=rf"{WEIGHTS[case]}' needs 0\.0 GiB of memory and this machine has 0\.0"):
            load_sae(str(folder))


def test_a_header_that_promises_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path, "gemma-scope-sae")
    with zipfile.ZipFile(folder / "params.npz", "w") as archive, archive.open("W_enc.npy", "w") as member:
        np.lib.format.write_array_header_1_0(member, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)})
        member.write(b"\0" * 64)
    with pytest.raises(
        DataError, match=r"the header of 'W_enc' states the shape \(1000000, 1000000\), for which its \d+ bytes are"
    ):
        load_sae(str(folder))


@pytest.mark.parametrize("shape", ["(-1, 4)", "('a',)", "(1e9,)", "()" * 6000])
def test_a_header_that_makes_no_sense_is_refused(tmp_path: Path, shape: str) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode()
    with zipfile.ZipFile(tmp_path / "params.npz", "w") as archive:
        archive.writestr("W_enc.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"\0" * 64)
    with pytest.raises(DataError, match=r"params\.npz'.*(cannot be read|states the shape)"):
        open_npz(tmp_path / "params.npz")


def test_an_archive_with_a_damaged_stream_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.npz"
    np.savez_compressed(path, W_enc=np.arange(4096.0))
    content = bytearray(path.read_bytes())
    content[120:400] = bytes(280)
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"params\.npz'.* cannot be read"):
        open_npz(path).take("W_enc", 4096)


@pytest.mark.parametrize(
    "header",
    ["{'descr': '<f4', 'shape': (", "'", "{1: 2, 'a': 3}", "{'descr': '|V0', 'fortran_order': False, 'shape': (99,)}"],
)
def test_an_array_with_a_damaged_header_is_refused(tmp_path: Path, header: str) -> None:
    path = tmp_path / "params.npz"
    with zipfile.ZipFile(path, "w") as archive:
        text = header.encode().ljust(117) + b"\n"
        archive.writestr("W_enc.npy", b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(64))
    with pytest.raises(DataError, match=r"params\.npz'.*(cannot be read|states the shape)"):
        open_npz(path)


def test_two_arrays_of_one_name_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "params.npz"
    np.savez(path, W_enc=np.zeros((2, 2), dtype=np.float32))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("W_enc", archive.read("W_enc.npy"))
    with pytest.raises(DataError, match=r"params\.npz' holds two arrays called 'W_enc'"):
        open_npz(path)


def test_a_matrix_with_other_than_two_axes_is_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path, "saelens-standard")
    for shape in [(16,), (16, 48, 1), (0, 48)]:
        edit_tensors(folder / "sae_weights.safetensors", W_enc=torch.zeros(shape))
        with pytest.raises(DataError, match=r"'W_enc' has shape \(.*\), expected a matrix"):
            load_sae(str(folder))


def test_a_single_number_must_be_single_and_finite(tmp_path: Path) -> None:
    save_file({"two": torch.ones(2), "nan": torch.tensor(float("nan"))}, tmp_path / "a.safetensors")
    tensors = open_safetensors(tmp_path / "a.safetensors")
    with pytest.raises(DataError, match=r"'two' has shape \(2,\), expected a single number"):
        tensors.take_number("two")
    with pytest.raises(DataError, match=r"'nan' is nan, expected a finite number"):
        tensors.take_number("nan")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no JSON"),
        (b"[" * 100_000, "is no JSON"),
        (b"[1]", "holds a JSON list, expected an object"),
        (b'{"k": NaN}', "is no JSON .NaN is no JSON number"),
        (b"\xff\xfe{", "is no JSON"),
        (b'{"a": "' + b"x" * 17 * 2**20 + b'"}', "is 17 MiB large"),
        (b'{"k": ' + b"9" * 6000 + b"}", "is no JSON"),
    ],
)
def test_settings_that_are_no_object_are_refused_on_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "cfg.json"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"cfg\.json' {message}") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_numbers_that_no_float_can_hold_are_refused(tmp_path: Path) -> None:
    folder = copied(tmp_path, "llama-scope-first")
    settings = json.loads((folder / "hyperparams.json").read_text())
    (folder / "hyperparams.json").write_text(json.dumps(settings | {"jump_relu_threshold": 10**400}))
    with pytest.raises(DataError, match=r"jump_relu_threshold is 1000.*, expected a number"):
        load_sae(str(folder))
