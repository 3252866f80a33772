import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from autolabel.errors import DataError
from autolabel.evidence.sources import ActivationFiles
from autolabel.hashing import document_hash
from tests.evidence.sources.layouts import SEED, SHARES, batches, firings, opened

MADE = Path(__file__).parents[2] / "data" / "sources" / "delphi-cache"
HOOKPOINT = "model.layers.1"
BOS_ROW = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(MADE, tmp_path / "latents")
    return tmp_path / "latents" / HOOKPOINT


def cache(folder: Path, **changes: Any) -> ActivationFiles:
    return opened(folder, "delphi", **({"tokenizer": str(MADE)} | changes))


def once(text: str) -> str:
    """The text with one sign for a stretch of bytes that are no text, of which the tokenizer's decoder makes one and we one each."""
    return re.sub("\N{REPLACEMENT CHARACTER}+", "\N{REPLACEMENT CHARACTER}", text)


def edit(path: Path, **changes: NDArray[Any] | None) -> None:
    tensors = load_file(path) | changes
    save_file({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items() if tensor is not None}, path)


def edit_all(folder: Path, change: Callable[[dict[str, NDArray[Any]]], dict[str, NDArray[Any]]]) -> None:
    for path in folder.glob("*.safetensors"):
        save_file(change(load_file(path)), path)


@pytest.mark.parametrize(("batch_contexts", "skip"), [(1, 0), (3, 0), (100, 0), (2, 1), (3, 3), (2, 7), (2, 8), (2, 99)])
def test_what_delphi_had_in_memory_comes_back(folder: Path, batch_contexts: int, skip: int) -> None:
    expected = np.load(MADE / "expected.npz")
    locations = expected["locations"].astype(np.int64)
    wanted = (locations[:, 0] >= skip) & ~((locations[:, 0] == BOS_ROW) & (locations[:, 1] == 0))
    rows, positions, latents = locations[wanted].T
    positions = positions - (rows == BOS_ROW)
    read = batches(cache(folder), batch_contexts, skip)
    contexts = [context for batch in read for context in batch.contexts]
    assert [context.document.name for context in contexts] == [f"row {row}" for row in range(skip, 8)]
    numbers = {context.document.hash: skip + i for i, context in enumerate(contexts)}
    found = [
        (numbers[batch.contexts[row].document.hash], position, feature, value)
        for batch in read
        for row, position, feature, value in zip(
            *(part.tolist() for part in (batch.rows, batch.positions, batch.features, batch.values)), strict=True
        )
    ]
    assert found == list(
        zip(rows.tolist(), positions.tolist(), latents.tolist(), expected["activations"][wanted].tolist(), strict=True)
    )
    assert [batch.complete_through for batch in read] == [min(skip + batch_contexts * (i + 1), 8) for i in range(len(read))]


def test_the_texts_are_those_of_the_tokenizer(folder: Path) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(MADE)
    token_ids = load_file(folder / "0_5.safetensors")["tokens"]
    read = [context.document for batch in batches(cache(folder)) for context in batch.contexts]
    for row, document in enumerate(read):
        ids = token_ids[row][int(row == BOS_ROW) :]
        decoded = tokenizer.decode(ids, clean_up_tokenization_spaces=False)
        assert once(document.text) == once(decoded)
        assert len(document.bounds) == len(document.token_ids) + 1 == len(ids) + 1
        assert document.bounds[-1] == len(document.text)
    assert "🐕" in "".join(document.text for document in read)
    assert any((np.diff(document.bounds) == 0).any() for document in read)
    assert not any("<bos>" in document.text for document in read)


def test_a_cache_describes_itself(folder: Path) -> None:
    source = cache(folder)
    assert (source.name, source.kind, source.format, source.complete) == (HOOKPOINT, "imported", "delphi", True)
    assert (source.d_sae, source.n_contexts, source.n_tokens) == (20, 8, 8 * 48 - 1)
    assert source.subject_model == "tiny-model"
    assert source.config["delphi"] == json.loads((folder / "config.json").read_text())
    assert source.config["token_style"] == "bpe"
    assert source.directions is None
    assert (cache(folder, d_sae=32).d_sae, cache(folder, name="mine").name) == (32, "mine")


def test_the_hash_follows_every_file(folder: Path) -> None:
    before = cache(folder).content_hash
    assert cache(folder).content_hash == before
    (folder / "config.json").write_text((folder / "config.json").read_text() + " ")
    assert cache(folder).content_hash != before


def test_directions_are_read_from_the_file_named(folder: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "decoder.npy", np.ones((20, 4)))
    directions = cache(folder, directions=str(tmp_path / "decoder.npy")).directions
    assert directions is not None
    assert directions.shape == (20, 4)
    np.save(tmp_path / "decoder.npy", np.ones((19, 4)))
    with pytest.raises(DataError, match=r"shape \(19, 4\), expected numbers of shape \(20, d_model\)"):
        cache(folder, directions=str(tmp_path / "decoder.npy"))


def test_rows_with_the_same_text_are_one_document(folder: Path) -> None:
    def repeat(tensors: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        tokens = tensors["tokens"].copy()
        tokens[6] = tokens[1]
        return tensors | {"tokens": tokens}

    edit_all(folder, repeat)
    source = cache(folder)
    documents = [context.document for batch in batches(source) for context in batch.contexts]
    assert len(documents) == source.n_contexts == 7
    assert source.counts(SEED, SHARES).n_duplicates == 1
    assert all(document.source_hash == document_hash(document.text) for document in documents)
    assert [batch.complete_through for batch in batches(source, 1)] == [1, 2, 3, 4, 5, 6, 8]


@pytest.mark.parametrize("kind", [np.uint32, np.int32, np.int64])
def test_wider_locations_are_read_alike(folder: Path, kind: type[np.integer[Any]]) -> None:
    before = firings(batches(cache(folder)))
    edit_all(folder, lambda tensors: tensors | {"locations": tensors["locations"].astype(kind)})
    assert firings(batches(cache(folder))) == before


def test_pieces_of_a_file_are_put_together(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = firings(batches(cache(folder)))
    monkeypatch.setattr("autolabel.evidence.sources.delphi_files._CHUNK_ENTRIES", 7)
    assert firings(batches(cache(folder), 3)) == before


@pytest.mark.parametrize("most", [1, 150])
def test_a_block_ends_where_it_holds_enough_activations(folder: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    before = [batches(cache(folder), 8, skip) for skip in (0, 3)]
    monkeypatch.setattr("autolabel.evidence.sources.cursor.BLOCK_ENTRIES", most)
    after = [batches(cache(folder), 8, skip) for skip in (0, 3)]
    assert list(map(firings, after)) == list(map(firings, before))
    assert all(len(ours) > len(theirs) for ours, theirs in zip(after, before, strict=True))
    names = [[context.document.name for batch in read for context in batch.contexts] for read in after]
    assert names == [[f"row {row}" for row in range(skip, 8)] for skip in (0, 3)]
    assert [read[-1].complete_through for read in after] == [8, 8]


def test_a_cache_without_config_needs_a_tokenizer(folder: Path) -> None:
    (folder / "config.json").unlink()
    assert cache(folder).subject_model is None
    with pytest.raises(DataError, match=r"does not say which model it comes from; set \[source\] tokenizer"):
        cache(folder, tokenizer=None)


def test_a_tokenizer_that_cannot_be_loaded_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"cannot load the tokenizer '.*empty' \(.*\); set \[source\] tokenizer"):
        cache(folder, tokenizer=str(tmp_path / "empty"))


def test_code_that_a_tokenizer_brings_along_is_not_run(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "evil").mkdir()
    config = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    (tmp_path / "evil" / "tokenizer_config.json").write_text(json.dumps(config))
    (tmp_path / "evil" / "evil.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n\nclass Evil:\n    ...\n")
    with pytest.raises(DataError, match=r"cannot load the tokenizer '.*evil'"):
        cache(folder, tokenizer=str(tmp_path / "evil"))
    assert not (tmp_path / "was_run").exists()


def test_a_word_piece_tokenizer_is_refused(folder: Path, tmp_path: Path) -> None:
    pieces = Tokenizer(models.WordPiece({"[UNK]": 0, "dog": 1, "##s": 2}, unk_token="[UNK]"))
    PreTrainedTokenizerFast(tokenizer_object=pieces).save_pretrained(tmp_path / "bert")
    with pytest.raises(DataError, match=r"bert' is a WordPiece, .*write activation files instead"):
        cache(folder, tokenizer=str(tmp_path / "bert"))


def test_a_tokenizer_of_another_model_is_found_out(folder: Path, tmp_path: Path) -> None:
    small = Tokenizer(models.BPE({"a": 0, "Ġb": 1, "c": 2}, []))
    PreTrainedTokenizerFast(tokenizer_object=small).save_pretrained(tmp_path / "small")
    with pytest.raises(DataError, match=r"row 0, position \d+: token \d+ is not among the 3 of the tokenizer '.*small'"):
        cache(folder, tokenizer=str(tmp_path / "small"))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", r"config\.json' is no config\.json of a delphi cache \(Expecting"),
        ("[]", r"config\.json' is no config\.json of a delphi cache: expected an object"),
        ('{"model_name": 3}', r"expected an object whose model_name is text"),
        ('{"n_splits": 5}', r"holds 3 files, its config\.json says n_splits = 5; copy all files"),
        ("[" * 100_000, r"config\.json' is no config\.json of a delphi cache"),
        (" " * (1 << 21), r"config\.json' is no config\.json of a delphi cache \(2097152 bytes\)"),
    ],
)
def test_a_config_that_makes_no_sense_is_refused(folder: Path, config: str, message: str) -> None:
    (folder / "config.json").write_text(config)
    with pytest.raises(DataError, match=message):
        cache(folder)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0_5", None, r"6_12\.safetensors' follows latent -1, expected a file '0_….safetensors'"),
        ("6_12", None, r"13_19\.safetensors' follows latent 5, expected a file '6_….safetensors'"),
        ("13_19", None, r"holds 2 files, its config\.json says n_splits = 3"),
        ("6_12", "5_12", r"5_12\.safetensors' follows latent 5, expected a file '6_….safetensors'"),
        ("13_19", "13_12", r"13_12\.safetensors' follows latent 12"),
        ("13_19", "13_999999999", r"named for latent 999999999, at most 16777215 is possible"),
        ("13_19", "13_15", r"latent 1[6-9] is not within the 13 to 15 of the file's name"),
    ],
)
def test_a_missing_or_renamed_file_is_found_out(folder: Path, old: str, new: str | None, message: str) -> None:
    path = folder / f"{old}.safetensors"
    if new is None:
        path.unlink()
    else:
        path.rename(folder / f"{new}.safetensors")
    with pytest.raises(DataError, match=message):
        batches(cache(folder))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tokens": None}, r"6_12\.safetensors' holds no tokens; make the cache with save_splits\(…, save_tokens=True\)"),
        ({"locations": None}, r"6_12\.safetensors' lacks the tensor 'locations'; it holds activations, tokens"),
        (
            {"activations": np.zeros(3, np.float16)},
            r"are U16 \(306, 3\), F16 \(3,\), I64 \(8, 48\); expected whole numbers \(n, 3\)",
        ),
        ({"activations": np.zeros(306, np.int8)}, r"are U16 \(306, 3\), I8 \(306,\)"),
        ({"locations": np.zeros((306, 2), np.uint16)}, r"are U16 \(306, 2\)"),
        ({"tokens": np.zeros(8, np.int64)}, r"I64 \(8,\); expected"),
        ({"tokens": np.zeros((8, 0), np.int64)}, r"each row has no tokens"),
        ({"tokens": np.zeros((8, 9000), np.int64)}, r"each row has 9000 tokens, at most 8192"),
        ({"tokens": np.ones((8, 48), np.int64)}, r"6_12\.safetensors' holds other tokens than '0_5\.safetensors'"),
        ({"tokens": np.ones((9, 48), np.int64)}, r"6_12\.safetensors' holds other tokens"),
    ],
)
def test_tensors_that_make_no_sense_are_refused_on_opening(folder: Path, changes: dict[str, Any], message: str) -> None:
    edit(folder / "6_12.safetensors", **changes)
    with pytest.raises(DataError, match=message):
        cache(folder)


def located(folder: Path, entry: int, column: int, value: int) -> dict[str, NDArray[Any]]:
    locations = load_file(folder / "6_12.safetensors")["locations"].astype(np.int64)
    locations[entry, column] = value
    return {"locations": locations}


@pytest.mark.parametrize(
    ("entry", "column", "value", "message"),
    [
        (5, 0, 7, r"6_12\.safetensors': locations are not sorted, row 0 comes after a later one"),
        (0, 0, -1, r"locations are not sorted, row -1"),
        (-1, 0, 8, r"6_12\.safetensors' has activations in row 8, but only 8 rows of tokens"),
        (-1, 1, 48, r"model\.layers\.1', row 7, feature_index \d+: position 48 is outside the context, whose 48 tokens"),
        (-1, 1, -1, r"row 7, feature_index \d+: position -1 is outside"),
        (0, 2, 7, r"6_12\.safetensors', row 0: latent 13 is not within the 6 to 12"),
        (0, 2, -1, r"latent 5 is not within the 6 to 12"),
    ],
)
def test_locations_that_make_no_sense_are_refused(folder: Path, entry: int, column: int, value: int, message: str) -> None:
    edit(folder / "6_12.safetensors", **located(folder, entry, column, value))
    with pytest.raises(DataError, match=message):
        batches(cache(folder), 3)


def test_rows_that_fall_between_two_pieces_of_a_file_are_found_out(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.evidence.sources.delphi_files._CHUNK_ENTRIES", 100)
    tensors = load_file(folder / "6_12.safetensors")
    swapped = {
        name: np.concatenate([tensors[name][100:200], tensors[name][:100], tensors[name][200:]])
        for name in ("locations", "activations")
    }
    assert (swapped["locations"][99, 0], swapped["locations"][100, 0]) != (0, 0)
    edit(folder / "6_12.safetensors", **swapped)
    with pytest.raises(DataError, match=r"6_12\.safetensors': locations are not sorted, row 0 comes after a later one"):
        batches(cache(folder))


@pytest.mark.parametrize(
    ("value", "message"), [(np.inf, "the value is inf"), (np.nan, "the value is nan"), (-2.0, r"-2\.0 is negative")]
)
def test_values_that_make_no_sense_are_refused(folder: Path, value: float, message: str) -> None:
    activations = load_file(folder / "0_5.safetensors")["activations"]
    activations[4] = value
    edit(folder / "0_5.safetensors", activations=activations)
    with pytest.raises(DataError, match=rf"model\.layers\.1', row 0, feature_index \d, position \d+: .*{message}"):
        batches(cache(folder))
    if value == -2.0:
        assert len(firings(batches(cache(folder, negative="drop")))) == len(firings(batches(cache(MADE / HOOKPOINT)))) - 1


def test_a_latent_listed_twice_is_refused(folder: Path) -> None:
    tensors = load_file(folder / "6_12.safetensors")
    twice = {name: np.concatenate([tensors[name][:1], tensors[name]]) for name in ("locations", "activations")}
    edit(folder / "6_12.safetensors", **twice)
    with pytest.raises(DataError, match=r"row 0, feature_index \d+: position \d+ is listed twice"):
        batches(cache(folder))


def test_token_ids_below_zero_are_refused(folder: Path) -> None:
    edit_all(folder, lambda tensors: tensors | {"tokens": np.where(np.arange(48) == 5, -1, tensors["tokens"])})
    with pytest.raises(DataError, match=r"row 0, position 5: token -1 is not among the 337"):
        cache(folder)


def test_a_row_of_bos_alone_is_refused(folder: Path) -> None:
    edit_all(folder, lambda tensors: tensors | {"tokens": np.zeros((8, 1), np.int64)})
    with pytest.raises(DataError, match=r"row 0 has no tokens"):
        cache(folder)


def test_a_cache_of_no_rows_is_refused(folder: Path) -> None:
    edit_all(
        folder,
        lambda tensors: (
            {"locations": tensors["locations"][:0], "activations": tensors["activations"][:0]} | {"tokens": tensors["tokens"][:0]}
        ),
    )
    with pytest.raises(DataError, match=r"holds no tokens; cache some"):
        cache(folder)


@pytest.mark.parametrize("left", [0, 5, 400, -2])
def test_truncated_files_are_refused(folder: Path, left: int) -> None:
    path = folder / "6_12.safetensors"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DataError, match=r"6_12\.safetensors' cannot be read .*truncated"):
        cache(folder)


def test_the_folder_above_names_its_hookpoints(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=re.escape(f"name one of its hookpoints, {HOOKPOINT}")):
        cache(folder.parent)
    with pytest.raises(DataError, match="name the folder of one hookpoint within `latents`"):
        cache(tmp_path)


def test_fewer_features_than_the_files_hold_are_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"13_19\.safetensors' holds latents up to 19; correct \[source\] d_sae = 19"):
        cache(folder, d_sae=19)
