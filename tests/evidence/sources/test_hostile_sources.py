"""Activation files that would take the memory or end in a traceback are refused by name."""

import gzip
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from autolabel.config import SourceSettings
from autolabel.errors import DataError
from autolabel.evidence.from_files import file_sae_id
from autolabel.evidence.sources import ActivationWriter, write_activations
from autolabel.evidence.sources.parquet import CONTEXT_COLUMNS, open_parquet, read_rows
from tests.evidence.sources.layouts import batches, firings, opened, write
from tests.evidence.sources.test_delphi_cache import MADE, cache, edit_all, folder
from tests.evidence.sources.test_neuronpedia_export import export, line, published

__all__ = ["folder"]
DOG = [" the", " dog", " ran"]


def repeated(path: Path, value: str, n_tokens: int, n_rows: int, document_id: str = "a") -> Path:
    """contexts.parquet whose tokens are one value, which the file holds once."""
    indices = pa.array(np.zeros(n_rows * n_tokens, np.int32))
    tokens = pa.ListArray.from_arrays(
        pa.array(np.arange(n_rows + 1, dtype=np.int32) * n_tokens), pa.DictionaryArray.from_arrays(indices, pa.array([value]))
    )
    documents = pa.DictionaryArray.from_arrays(pa.array(np.zeros(n_rows, np.int32)), pa.array([document_id]))
    folder = write(path, [(0, "a", DOG)], [])
    columns = [pa.array(range(n_rows)), documents, tokens]
    pq.write_table(
        pa.table(columns, list(CONTEXT_COLUMNS)),
        folder / "contexts.parquet",
        compression="zstd",
        store_schema=False,
        write_statistics=False,
    )
    return folder


def test_a_text_that_a_file_holds_once_is_in_memory_once(tmp_path: Path) -> None:
    path = repeated(tmp_path / "w", "x" * 4000, 8192, 4, document_id="y" * 4000) / "contexts.parquet"
    assert path.stat().st_size < 4000
    (batch,) = read_rows(path, open_parquet(path, CONTEXT_COLUMNS), CONTEXT_COLUMNS, 8)
    assert batch.get_total_buffer_size() < 1 << 20  # 131 MB, were every token written out


@pytest.mark.parametrize(
    ("value", "n_tokens", "document_id", "message"),
    [
        ("x" * 5000, 8192, "a", r"context_id 0: 'tokens' holds a text of 5000 bytes, at most 4096 are possible"),
        ("x", 3, "y" * 5000, r"context_id 0: 'document_id' holds a text of 5000 bytes, at most 4096"),
        ("x" * 4000, 300, "a", r"context_id 0 has a text of 1200000 bytes, at most 1048576 are possible; cut it"),
        ("é" * 2049, 3, "a", r"context_id 0: 'tokens' holds a text of 4098 bytes"),
    ],
)
def test_long_texts_are_refused(tmp_path: Path, value: str, n_tokens: int, document_id: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"contexts\.parquet', {message}"):
        opened(repeated(tmp_path / "w", value, n_tokens, 3, document_id), d_sae=1)


def test_the_context_with_the_long_token_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "w", [(3, "a", DOG), (5, "a", [" x", " y"]), (9, "b", [" z", "x" * 5000])], [])
    with pytest.raises(DataError, match=r"contexts\.parquet', context_id 9: 'tokens' holds a text of 5000 bytes"):
        opened(folder, d_sae=1, token_style="text")


def test_long_documents_are_read_from_exactly_the_limit(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "w", [(0, "y" * 4096, ["x" * 4096] * 256)], []), d_sae=1)
    assert [len(context.document.text) for batch in batches(source) for context in batch.contexts] == [1 << 20]


@pytest.mark.parametrize("name", ["tokens", "document_id"])
@pytest.mark.parametrize("encoding", ["DELTA_BYTE_ARRAY", "DELTA_LENGTH_BYTE_ARRAY"])
def test_encodings_that_cannot_be_bounded_are_refused(tmp_path: Path, name: str, encoding: str) -> None:
    leaf = {"tokens": "tokens.list.element", "document_id": "document_id"}[name]
    folder = write(tmp_path / "w", [(0, "a", DOG)], [])
    table = pq.read_table(folder / "contexts.parquet")
    pq.write_table(table, folder / "contexts.parquet", use_dictionary=False, column_encoding={leaf: encoding})
    with pytest.raises(
        DataError, match=rf"column '{name}' has the encoding {encoding}, expected PLAIN or RLE_DICTIONARY; write ver"
    ):
        opened(folder, d_sae=1)


def test_a_dictionary_that_is_given_up_half_way_is_read(tmp_path: Path) -> None:
    contexts = [(i, f"d{i}", [f" {i}:{j}" for j in range(50)]) for i in range(300)]
    plain = opened(write(tmp_path / "plain", contexts, []), d_sae=1)
    given_up = write(tmp_path / "other", contexts, [], dictionary_pagesize_limit=500, data_page_size=1000)
    texts = [[c.document.text for b in batches(source, 64) for c in b.contexts] for source in (plain, opened(given_up, d_sae=1))]
    assert texts[0] == texts[1] == ["".join(tokens) for _, _, tokens in contexts]


def test_a_column_whose_name_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "w", [(0, "a", DOG)], []) / "contexts.parquet"
    table = pq.read_table(path)
    pq.write_table(table.append_column("AAAA", pa.array([1])), path, store_schema=False)
    path.write_bytes(path.read_bytes().replace(b"AAAA", b"A\xff\xfeA"))
    with pytest.raises(DataError, match=r"contexts\.parquet' has a column whose name is not UTF-8; rename it"):
        opened(tmp_path / "w", d_sae=1)


def test_a_stray_index_does_not_ask_for_gigabytes_unless_told_to(tmp_path: Path) -> None:
    folder = write(tmp_path / "w", [(0, "a", DOG)], [(0, 1 << 20, [0], [1.0])])
    message = (
        r"activations\.parquet', feature_index 1048576 makes 1048577 features, .* about 2\.0 GB of memory; .* set \[source\] d_sae"
    )
    with pytest.raises(DataError, match=message):
        opened(folder)
    assert opened(folder, d_sae=(1 << 20) + 1).d_sae == (1 << 20) + 1
    assert opened(write(tmp_path / "v", [(0, "a", DOG)], [(0, (1 << 20) - 1, [0], [1.0])])).d_sae == 1 << 20


def test_a_stray_index_of_an_export_is_asked_about(tmp_path: Path) -> None:
    folder = export(tmp_path / "s", [line("16000000", DOG, [1, 0, 0])])
    with pytest.raises(DataError, match=r"activations', index 16000000 makes 16000001 features, .* about 30\.4 GB of memory"):
        published(folder)
    assert published(folder, d_sae=1 << 24).d_sae == 1 << 24


def test_a_range_of_latents_that_is_very_wide_is_asked_about(folder: Path) -> None:
    (folder / "13_19.safetensors").rename(folder / "13_16000000.safetensors")
    with pytest.raises(DataError, match=r"13_16000000\.safetensors' makes 16000001 features, .*set \[source\] d_sae"):
        cache(folder)
    assert cache(folder, d_sae=1 << 24).d_sae == 1 << 24


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.replace('"model":{"type":"BPE"', '"model":{"type":"Later"'),
        lambda content: content.replace('"type":"ByteLevel"', '"type":"Later"'),
        lambda content: content[: len(content) // 2],
        lambda content: "[]",
        lambda content: "",
    ],
    ids=["later model", "later piece", "cut off", "list", "empty"],
)
def test_a_damaged_or_later_tokenizer_is_named(folder: Path, damage: Callable[[str], str]) -> None:
    path = folder.parent / "tokenizer.json"
    content = json.dumps(json.loads(path.read_text()), separators=(",", ":"))
    changed = damage(content)
    assert changed != content
    path.write_text(changed)
    with pytest.raises(DataError, match=r"cannot load the tokenizer '.*latents' \(.*\); set \[source\] tokenizer to a folder"):
        cache(folder, tokenizer=str(folder.parent))


def test_a_tokenizer_with_an_endless_token_is_refused(folder: Path, tmp_path: Path) -> None:
    pieces = Tokenizer(models.BPE({"a": 0, "x" * 5000: 1}, []))
    PreTrainedTokenizerFast(tokenizer_object=pieces).save_pretrained(tmp_path / "long")
    with pytest.raises(DataError, match=r"the tokenizer '.*long' has a token of 5000 bytes, at most 4096 are possible"):
        cache(folder, tokenizer=str(tmp_path / "long"))


def test_rows_of_long_tokens_are_refused(folder: Path, tmp_path: Path) -> None:
    pieces = Tokenizer(models.BPE({"x" * 4096: 0}, []))
    PreTrainedTokenizerFast(tokenizer_object=pieces).save_pretrained(tmp_path / "long")
    edit_all(folder, lambda tensors: tensors | {"tokens": np.zeros((8, 300), np.int64)})
    with pytest.raises(DataError, match=r"model\.layers\.1', row 0 has a text of 1228800 bytes, at most 1048576"):
        cache(folder, tokenizer=str(tmp_path / "long"))


def test_names_that_are_no_text_are_cleaned(tmp_path: Path) -> None:
    folder = export(tmp_path / "s", [line("0", DOG, [1, 0, 0], modelId="gpt\ud800", layer="8\udfff")])
    source = published(folder)
    assert (source.name, source.subject_model) == ("gpt?/8?", "gpt?")
    assert source.config["neuronpedia"] == {"modelId": "gpt?", "layer": "8?"}
    assert file_sae_id(SourceSettings(kind="neuronpedia", path=str(folder)))


def test_what_a_config_says_is_cleaned(folder: Path) -> None:
    (folder / "config.json").write_text(r'{"model_name": "m\ud800", "a\udc00": ["\ud800", {"b": 1.5}], "c": null}')
    source = cache(folder)
    assert source.config["delphi"] == {"model_name": "m?", "a?": ["?", {"b": 1.5}], "c": None}
    assert source.subject_model == "m?"
    assert file_sae_id(SourceSettings(kind="delphi", path=str(folder), tokenizer=str(MADE)))


@pytest.mark.parametrize(("value", "said"), [("NaN", "nan"), ("-Infinity", "-inf"), ("1e999", "inf")])
def test_numbers_of_a_config_that_are_none_are_named(folder: Path, value: str, said: str) -> None:
    (folder / "config.json").write_text(f'{{"cache": {{"sizes": [1, {value}]}}}}')
    with pytest.raises(
        DataError, match=rf"config\.json' is no config\.json of a delphi cache \(cache\.sizes\[1\] = {said} is no number"
    ):
        cache(folder)


def test_a_folder_whose_name_is_no_text_is_refused_or_called_by_what_can_be_read(tmp_path: Path) -> None:
    folder = export(tmp_path / "w\udcff", [line("0", DOG, [1, 0, 0], modelId=None, layer=None)])
    with pytest.raises(DataError, match="is not UTF-8; rename the folder"):
        published(folder)
    with pytest.raises(DataError, match="is not UTF-8; rename the folder"):
        ActivationWriter(folder)
    (tmp_path / "link").symlink_to(folder)
    source = published(tmp_path / "link")
    assert source.name == "w?"
    assert [context.document.source for batch in batches(source) for context in batch.contexts] == ["w?"]


@pytest.mark.parametrize("content", [b"PK\x03\x04 cut off", b"PK\x05\x06"], ids=["begun", "ended"])
def test_directions_that_are_a_broken_archive_are_refused(tmp_path: Path, content: bytes) -> None:
    folder = write(tmp_path / "w", [(0, "a", DOG)], [(0, 0, [0], [1.0])])
    (folder / "directions.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"directions\.npy' cannot be read as \.npy \(.*magic string"):
        opened(folder)


def test_directions_that_are_a_whole_archive_are_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "w", [(0, "a", DOG)], [(0, 0, [0], [1.0])])
    with zipfile.ZipFile(folder / "directions.npy", "w") as archive:
        archive.writestr("a.npy", b"")
    with pytest.raises(DataError, match=r"directions\.npy' cannot be read as \.npy"):
        opened(folder)


@pytest.mark.parametrize("kind", ["activations", "delphi", "neuronpedia"])
def test_a_folder_that_may_not_be_looked_into_is_named(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(path: Path, *_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    for look in ("is_dir", "iterdir"):
        with monkeypatch.context() as patch:
            patch.setattr(Path, look, forbidden)
            if kind == "activations" and look == "iterdir":
                patch.setattr(Path, "is_file", forbidden)
                write(tmp_path, [(0, "a", DOG)], [])
            with pytest.raises(DataError, match=rf"cannot read '{tmp_path}.*': Permission denied"):
                opened(tmp_path, kind)


@pytest.mark.parametrize("kind", ["activations", "delphi", "neuronpedia"])
def test_the_home_of_nobody_is_no_folder(kind: str) -> None:
    with pytest.raises(DataError, match=r"'~nobody-of-this-name/x' names no place \(.*home directory.*\); write the path out"):
        opened(Path("~nobody-of-this-name/x"), kind)


def test_the_home_of_nobody_holds_no_directions_and_takes_no_files(tmp_path: Path) -> None:
    folder = write(tmp_path / "w", [(0, "a", DOG)], [(0, 0, [0], [1.0])])
    with pytest.raises(DataError, match=r"'~nobody-of-this-name/d\.npy' names no place"):
        opened(folder, directions="~nobody-of-this-name/d.npy")
    with pytest.raises(DataError, match=r"'~nobody-of-this-name' names no place"):
        ActivationWriter("~nobody-of-this-name")


def test_lines_of_long_texts_are_refused(tmp_path: Path) -> None:
    folder = export(tmp_path / "s", [])
    content = json.dumps(line("0", ["x" * 400_000] * 3, [1, 0, 0]))
    (folder / "activations" / "batch-0.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    with pytest.raises(DataError, match=r"batch-0\.jsonl\.gz' line 1 has a text of 1200000 bytes, at most 1048576"):
        published(folder)


def test_what_the_writer_takes_can_be_read(tmp_path: Path) -> None:
    write_activations(tmp_path, [(0, "y" * 4096, ["x" * 4096] * 256)], [(0, 0, [255], [1.0])], subject_model="gpt\ud800")
    source = opened(tmp_path)
    assert source.subject_model == "gpt?"
    assert [entry[1:] for entry in firings(batches(source))] == [("x" * 4096, 255, 0, 1.0)]
