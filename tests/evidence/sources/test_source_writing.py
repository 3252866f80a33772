from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from autolabel.errors import DataError
from autolabel.evidence.sources import ActivationWriter, write_activations
from tests.evidence.sources.layouts import ACTIVATION_TYPES, CONTEXT_TYPES, batches, firings, opened

DOG = [" the", " dog", " ran"]


def test_the_files_have_the_documented_columns_and_say_their_format(tmp_path: Path) -> None:
    write_activations(tmp_path / "new" / "folder", [(0, "a", DOG)], [(0, 3, [1], [0.5])], subject_model="gpt2")
    for name, types in (("contexts", CONTEXT_TYPES), ("activations", ACTIVATION_TYPES)):
        schema = pq.read_schema(tmp_path / "new" / "folder" / f"{name}.parquet")
        assert {field.name: field.type for field in schema} == types
        assert schema.metadata[b"autolabel_format"] == b"1"
    assert opened(tmp_path / "new" / "folder").subject_model == "gpt2"
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == ["activations.parquet", "contexts.parquet"]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(1, 5), st.integers(1, 40), st.integers(0, 2**32)), min_size=1, max_size=30), st.integers(1, 9)
)
def test_any_matrix_of_activations_comes_back(tmp_path: Path, contexts: list[tuple[int, int, int]], batch_contexts: int) -> None:
    expected, number = [], -1
    with pytest.MonkeyPatch.context() as patch, ActivationWriter(tmp_path / "w") as writer:
        patch.setattr("autolabel.evidence.sources.writing._FLUSH_CONTEXTS", 4)
        for step, n_tokens, seed in contexts:
            number += step
            dense = torch.rand(n_tokens, 6, generator=torch.Generator().manual_seed(seed)) - 0.5
            dense = dense.relu()
            positions, features = dense.nonzero(as_tuple=True)
            tokens = [f" {number}:{i}" for i in range(n_tokens)]
            writer.add(f"doc {number % 3}", tokens, positions, features, dense[positions, features], context_id=number)
            for position, feature in zip(positions.tolist(), features.tolist(), strict=True):
                expected.append(("".join(tokens), tokens[position], position, feature, dense[position, feature].item()))
    assert firings(batches(opened(tmp_path / "w", d_sae=6), batch_contexts)) == expected


def test_rows_of_both_files_are_put_together_by_context(tmp_path: Path) -> None:
    contexts = [(2, "a", DOG), (4, "a", [" x"]), (7, "b", DOG)]
    activations = [(2, 5, [2, 0], [1.0, 2.0]), (2, 1, [0], [0.0]), (7, 1, [1], [3.0])]
    write_activations(tmp_path, iter(contexts), iter(activations))
    text = "".join(DOG)
    assert firings(batches(opened(tmp_path))) == [(text, " the", 0, 5, 2.0), (text, " ran", 2, 5, 1.0), (text, " dog", 1, 1, 3.0)]
    assert pq.read_table(tmp_path / "activations.parquet")["feature_index"].to_pylist() == [5, 1]


def test_contexts_are_numbered_where_no_number_is_given(tmp_path: Path) -> None:
    with ActivationWriter(tmp_path) as writer:
        writer.add("a", DOG, [], [], [])
        writer.add("a", [" x"], [0], [2], np.array([1.0]), context_id=10)
        writer.add("b", [" y"], torch.tensor([0]), torch.tensor([1]), torch.tensor([2.0]))
    assert pq.read_table(tmp_path / "contexts.parquet")["context_id"].to_pylist() == [0, 10, 11]


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float64])
def test_tensors_in_any_precision_are_written(tmp_path: Path, kind: torch.dtype) -> None:
    with ActivationWriter(tmp_path) as writer:
        values = torch.tensor([1.5, 0.0], dtype=kind, requires_grad=True)
        writer.add("a", DOG, torch.tensor([0, 1], dtype=torch.int16), torch.tensor([3, 3], dtype=torch.uint8), values)
    assert [entry[1:] for entry in firings(batches(opened(tmp_path)))] == [(" the", 0, 3, 1.5)]


def add(writer: ActivationWriter, **changes: Any) -> None:
    entry = {"document_id": "a", "tokens": DOG, "positions": [1], "features": [0], "values": [1.0], "context_id": 5} | changes
    writer.add(**entry)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"context_id": 4}, r"context_id 4 comes after 4; write contexts in the order of their ids"),
        ({"context_id": -7}, r"context_id -7 comes after 4"),
        ({"tokens": []}, r"context_id 5 has no tokens"),
        ({"tokens": ["x"] * 8193}, r"context_id 5 has 8193 tokens, at most 8192"),
        ({"tokens": [" a", 7, " b"]}, r"context_id 5: document_id and every token must be text"),
        ({"document_id": 3}, r"context_id 5: document_id and every token must be text"),
        ({"tokens": [" a", "\ud800"]}, r"context_id 5: '\\ud800' holds half a surrogate pair, which is no text"),
        ({"document_id": "d\udfff"}, r"context_id 5: 'd\\udfff' holds half a surrogate pair"),
        ({"tokens": ["é" * 2049]}, r"context_id 5 holds a text of 4098 bytes, at most 4096"),
        ({"document_id": "x" * 4097}, r"context_id 5 holds a text of 4097 bytes, at most 4096"),
        ({"tokens": ["x" * 4000] * 300}, r"context_id 5 has a text of 1200000 bytes, at most 1048576"),
        ({"context_id": 5.5}, r"context_id 5\.5 is no whole number up to 9223372036854775807"),
        ({"context_id": float("nan")}, r"context_id nan is no whole number"),
        ({"context_id": True}, r"context_id True is no whole number"),
        ({"context_id": "5"}, r"context_id '5' is no whole number"),
        ({"context_id": 1 << 63}, r"context_id 9223372036854775808 is no whole number up to"),
        ({"positions": [3]}, r"context_id 5, feature_index 0: position 3 is outside the context, whose 3 tokens"),
        ({"features": [-1]}, r"context_id 5, feature_index -1 is not within 0 to 16777215"),
        ({"features": [1.5]}, r"context_id 5: positions, features and values are int64, float64 and float64; expected whole"),
        ({"positions": ["a"]}, r"context_id 5: positions, features and values are <U1, int64 and float64"),
        ({"values": ["a"]}, r"context_id 5: positions, features and values are int64, int64 and <U1"),
        ({"values": [1.0, 2.0]}, r"context_id 5: 1 positions, 1 features and 2 values; expected as many of each"),
        ({"values": [float("nan")]}, r"context_id 5, feature_index 0, position 1: the value is nan"),
        ({"values": [1e300]}, r"context_id 5, feature_index 0, position 1: the value is inf"),
        ({"values": [-1.0]}, r"context_id 5, feature_index 0, position 1: the value -1\.0 is negative"),
        ({"positions": [1, 1], "features": [0, 0], "values": [1.0, 2.0]}, r"feature_index 0: position 1 is listed twice"),
    ],
)
def test_what_makes_no_sense_is_refused_and_leaves_no_files(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    def write() -> None:
        with ActivationWriter(tmp_path) as writer:
            add(writer, context_id=4)
            add(writer, **changes)

    with pytest.raises(DataError, match=message):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("activations", "message"),
    [
        ([(0, 3, [1], [0.5]), (1, 3, [1], [0.5])], r"activations of context_id 1 have no context"),
        ([(2, 3, [1], [0.5]), (0, 3, [1], [0.5])], r"activations of context_id 0 have no context; .*ascending"),
        ([(0, 3, [1], [0.5]), (0, 3, [2], [0.5])], r"context_id 0, feature_index 3 has two rows"),
        ([(0, 3, [1, 2], [0.5])], r"context_id 0, feature_index 3: 2 positions but 1 values"),
    ],
)
def test_rows_that_do_not_belong_together_are_refused(tmp_path: Path, activations: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        write_activations(tmp_path, [(0, "a", DOG), (2, "a", DOG)], activations)
    assert list(tmp_path.iterdir()) == []


def test_a_refused_context_leaves_the_others_as_they_are(tmp_path: Path) -> None:
    with ActivationWriter(tmp_path) as writer:
        add(writer, context_id=np.int64(4))
        for changes in ({"tokens": ["\ud800"]}, {"context_id": 1 << 63}, {"values": [-1.0]}):
            with pytest.raises(DataError):
                add(writer, **changes)
        add(writer, context_id=(1 << 63) - 1, document_id="b")
        with pytest.raises(DataError, match="context_id 9223372036854775808 is no whole number"):
            writer.add("a", DOG, [], [], [])
    assert pq.read_table(tmp_path / "contexts.parquet")["context_id"].to_pylist() == [4, (1 << 63) - 1]
    assert [batch.complete_through for batch in batches(opened(tmp_path))] == [2]


def test_activations_are_written_before_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.evidence.sources.writing.BLOCK_ENTRIES", 5)
    with ActivationWriter(tmp_path) as writer:
        for number in range(6):
            writer.add("a", [f" {number}", " x"], [0, 1], [0, 0], [1.0, 2.0])
    rows = [pq.ParquetFile(tmp_path / "contexts.parquet").metadata.row_group(group).num_rows for group in range(2)]
    assert rows == [3, 3]
    assert len(firings(batches(opened(tmp_path)))) == 12


def test_what_is_below_zero_is_dropped_where_asked(tmp_path: Path) -> None:
    write_activations(tmp_path, [(0, "a", DOG)], [(0, 3, [1, 2], [-0.5, 0.5])], negative="drop")
    assert [value for *_, value in firings(batches(opened(tmp_path)))] == [0.5]


def test_files_of_before_stay_until_the_new_ones_are_whole(tmp_path: Path) -> None:
    write_activations(tmp_path, [(0, "a", DOG)], [(0, 3, [1], [0.5])])
    before = opened(tmp_path).content_hash
    with pytest.raises(DataError):
        write_activations(tmp_path, [(0, "a", DOG), (0, "a", DOG)], [])
    assert opened(tmp_path).content_hash == before
    assert len(list(tmp_path.iterdir())) == 2


def test_rows_that_cannot_be_written_leave_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("autolabel.evidence.sources.writing._rows", full)
    with pytest.raises(OSError, match="No space left"):
        write_activations(tmp_path, [(0, "a", DOG)], [])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write activations to '.*file'"):
        ActivationWriter(tmp_path / "file")


DIRECTIONS = np.arange(10, dtype=np.float64).reshape(5, 2)


def safetensors(path: Path, **tensors: Any) -> None:
    save_file({name: torch.as_tensor(value) for name, value in tensors.items()}, path)


@pytest.mark.parametrize(
    ("name", "save"),
    [
        ("directions.npy", lambda path: np.save(path, DIRECTIONS)),
        ("directions.safetensors", lambda path: safetensors(path, anything=DIRECTIONS.astype(np.float16))),
        ("directions.safetensors", lambda path: safetensors(path, W_dec=torch.tensor(DIRECTIONS).bfloat16(), b_dec=np.zeros(2))),
    ],
    ids=["npy", "one tensor", "a decoder"],
)
def test_directions_beside_the_files_are_found(tmp_path: Path, name: str, save: Callable[[Path], None]) -> None:
    write_activations(tmp_path / "w", [(0, "a", DOG)], [(0, 3, [1], [0.5])])
    without = opened(tmp_path / "w")
    assert (without.directions, without.d_sae) == (None, 4)
    save(tmp_path / "w" / name)
    source = opened(tmp_path / "w")
    assert source.directions is not None
    assert source.directions.dtype == np.float32
    assert source.directions.tolist() == DIRECTIONS.tolist()
    assert source.d_sae == 5
    assert source.config["directions"] == name
    assert source.content_hash != without.content_hash


@pytest.mark.parametrize(
    ("name", "save", "message"),
    [
        (
            "d.npy",
            lambda path: np.save(path, DIRECTIONS.T),
            r"d\.npy' holds float64 of shape \(2, 5\), expected numbers of shape \(5, d_model\)",
        ),
        ("d.npy", lambda path: np.save(path, np.zeros(5)), r"d\.npy' holds float64 of shape \(5,\)"),
        ("d.npy", lambda path: np.save(path, np.full((5, 2), np.inf)), r"d\.npy' holds 10 values that are NaN or infinite"),
        ("d.npy", lambda path: np.save(path, np.array([["a"]] * 5)), r"d\.npy' holds <U1 of shape"),
        ("d.npy", lambda path: np.save(path, np.array([print, 1]), allow_pickle=True), r"d\.npy' cannot be read as \.npy"),
        ("d.npy", lambda path: path.write_bytes(b"garbage"), r"d\.npy' cannot be read as \.npy"),
        ("d.npy", lambda path: promise_too_much(path), r"d\.npy' cannot be read as \.npy"),
        ("d.npy", lambda path: None, r"d\.npy' cannot be read as \.npy \(.*No such file"),
        (
            "d.safetensors",
            lambda path: safetensors(path, a=DIRECTIONS, b=np.zeros(2)),
            r"holds a, b; call the decoder directions 'directions'",
        ),
        ("d.safetensors", lambda path: path.write_bytes(b"\xff" * 20), r"d\.safetensors' cannot be read"),
        ("d.safetensors", lambda path: None, r"d\.safetensors' cannot be read"),
    ],
)
def test_directions_that_are_none_are_refused(tmp_path: Path, name: str, save: Callable[[Path], None], message: str) -> None:
    write_activations(tmp_path / "w", [(0, "a", DOG)], [(0, 3, [1], [0.5])])
    save(tmp_path / name)
    with pytest.raises(DataError, match=message):
        opened(tmp_path / "w", directions=str(tmp_path / name), d_sae=5)


def test_more_directions_than_features_can_be_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.evidence.sources.files.MAX_FEATURES", 4)
    write_activations(tmp_path, [(0, "a", DOG)], [(0, 3, [1], [0.5])])
    np.save(tmp_path / "directions.npy", DIRECTIONS)
    with pytest.raises(DataError, match=r"directions\.npy' holds 5 directions, at most 4 are possible"):
        opened(tmp_path)


def promise_too_much(path: Path) -> None:
    """A header that speaks of a terabyte, and no numbers."""
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 19, 1 << 19)})
