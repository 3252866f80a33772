import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autolabel.config import SourceSettings, validated
from autolabel.errors import ConfigError, DataError
from autolabel.evidence.sources import ActivationFiles
from autolabel.hashing import document_hash
from autolabel.sampling import split_of
from tests.evidence.sources.layouts import SEED, SHARES, batches, firings, opened

DOG, CAT = [" the", " dog", " ran"], [" a", " cat"]


def line(index: Any, tokens: Any, values: Any, **changes: Any) -> dict[str, Any]:
    """A row of Neuronpedia's table of activations, as its exports have them."""
    return {
        "id": "clx0",
        "modelId": "gpt2-small",
        "layer": "8-res-jb",
        "index": index,
        "creatorId": "clkht01d40000jv08hvalcvly",
        "dataSource": None,
        "tokens": tokens,
        "maxValue": 1.0,
        "minValue": 0.0,
        "values": values,
        "maxValueTokenIndex": 1,
        "dfaValues": [],
        "dfaMaxValue": None,
        "dfaTargetIndex": None,
        "binContains": -1,
        "binMin": -1,
        "binMax": -1,
    } | changes


def export(folder: Path, *files: list[Any]) -> Path:
    (folder / "activations").mkdir(parents=True)
    for number, lines in enumerate(files):
        content = "".join(json.dumps(one) + "\n" for one in lines)
        (folder / "activations" / f"batch-{number}.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    return folder


def published(folder: Path, **changes: Any) -> ActivationFiles:
    return opened(folder, "neuronpedia", **changes)


def test_a_context_is_put_together_from_the_lines_of_its_features(tmp_path: Path) -> None:
    source = published(
        export(
            tmp_path / "8-res-jb",
            [line("3", DOG, [0, 1.5, 0.25]), line("0", CAT, [0.0, 2.0]), line("0", DOG, [0, 0.5, 0]), line("7", DOG, [0, 0, 0])],
        )
    )
    text = "".join(DOG)
    assert firings(batches(source)) == [
        (text, " dog", 1, 0, 0.5),
        (text, " dog", 1, 3, 1.5),
        (text, " ran", 2, 3, 0.25),
        ("".join(CAT), " cat", 1, 0, 2.0),
    ]
    assert (source.name, source.kind, source.format) == ("gpt2-small/8-res-jb", "imported", "neuronpedia")
    assert (source.complete, source.directions, source.subject_model) == (False, None, "gpt2-small")
    assert (source.d_sae, source.n_contexts, source.n_tokens) == (8, 2, 5)
    assert source.config["neuronpedia"] == {"modelId": "gpt2-small", "layer": "8-res-jb"}
    assert published(tmp_path / "8-res-jb", d_sae=24576, name="mine").d_sae == 24576


def test_a_text_of_a_later_file_is_another_document_of_the_same_split(tmp_path: Path) -> None:
    source = published(export(tmp_path / "s", [line("0", DOG, [1, 0, 0])], [line("9", CAT, [1, 0]), line("8", DOG, [0, 0, 2])]))
    documents = [context.document for batch in batches(source) for context in batch.contexts]
    assert [document.text for document in documents] == ["".join(DOG), "".join(CAT), "".join(DOG)]
    assert [document.name for document in documents] == ["batch-0.jsonl.gz:1", "batch-1.jsonl.gz:1", "batch-1.jsonl.gz:2"]
    assert len({document.hash for document in documents}) == 3
    assert documents[0].source_hash == documents[2].source_hash == document_hash("".join(DOG))
    assert documents[0].split == documents[2].split == split_of(documents[0].source_hash, SEED, SHARES)
    counts = source.counts(SEED, SHARES)
    assert (counts.n_source_documents, counts.n_contexts, counts.n_duplicates, counts.n_tokens) == (2, 3, 1, 8)


def test_a_feature_shown_twice_for_a_context_counts_once(tmp_path: Path) -> None:
    source = published(
        export(tmp_path / "s", [line("1", DOG, [1, 0, 0]), line("1", DOG, [1, 0, 0], binMin=0.5, binMax=1.5, binContains=0.2)])
    )
    assert [value for *_, value in firings(batches(source))] == [1.0]


def test_files_come_in_the_order_of_their_numbers_packed_or_not(tmp_path: Path) -> None:
    folder = export(tmp_path / "s", *([line(str(i), [f" {i}"], [1.0])] for i in range(12)))
    packed = folder / "activations" / "batch-10.jsonl.gz"
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    assert [feature for *_, feature, _ in firings(batches(published(folder), 5))] == list(range(12))
    assert firings(batches(published(folder / "activations"))) == firings(batches(published(folder)))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 5), st.integers(0, 7)), max_size=8), min_size=1, max_size=4),
    st.integers(1, 6),
    st.integers(0, 25),
)
def test_whatever_the_batch_and_wherever_one_starts_the_same_is_read(
    tmp_path_factory: pytest.TempPathFactory, files: list[list[tuple[int, int, int]]], batch_contexts: int, skip: int
) -> None:
    rows = [[line(str(feature), [f" {text}"] * 3, [0.0, value, 0.0]) for text, feature, value in of_file] for of_file in files]
    if not any(files):
        rows[0].append(line("0", [" one"], [1.0]))
    source = published(export(tmp_path_factory.mktemp("np") / "s", *rows), d_sae=6)
    whole = batches(source, 1000)
    contexts = [context.document.hash for batch in whole for context in batch.contexts]
    assert len(contexts) == source.n_contexts
    read = batches(source, batch_contexts, skip)
    assert [context.document.hash for batch in read for context in batch.contexts] == contexts[skip:]

    def named(these: Any, allowed: set[int]) -> list[Any]:
        return [
            (batch.contexts[row].document.hash, int(position), int(feature), float(value))
            for batch in these
            for row, position, feature, value in zip(batch.rows, batch.positions, batch.features, batch.values, strict=True)
            if batch.contexts[row].document.hash in allowed
        ]

    assert named(read, set(contexts)) == named(whole, set(contexts[skip:]))
    if read:
        assert read[-1].complete_through == len(contexts)
    first: dict[Any, float] = {}
    for number, of_file in enumerate(rows):
        for one in of_file:
            first.setdefault((number, one["tokens"][0], one["index"]), max(one["values"]))
    assert sorted(value for *_, value in named(whole, set(contexts))) == sorted(value for value in first.values() if value > 0)


def test_files_that_are_done_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = published(export(tmp_path / "s", [line("0", DOG, [1, 0, 0]), line("0", CAT, [1, 0])], [line("9", CAT, [1, 0])]))
    (tmp_path / "s" / "activations" / "batch-0.jsonl.gz").unlink()
    assert [batch.complete_through for batch in batches(source, 1, skip=2)] == [3]


def test_a_file_that_changes_under_way_is_found_out(tmp_path: Path) -> None:
    source = published(export(tmp_path / "s", [line("0", DOG, [1, 0, 0])]))
    (tmp_path / "s" / "activations" / "batch-0.jsonl.gz").write_bytes(gzip.compress(b""))
    with pytest.raises(DataError, match=r"batch-0\.jsonl\.gz' has changed since it was opened"):
        batches(source)


@pytest.mark.parametrize("first", ["<bos>", "<|endoftext|>", "<|begin_of_text|>"])
def test_what_stands_before_the_text_is_left_out_with_its_value(tmp_path: Path, first: str) -> None:
    source = published(export(tmp_path / "s", [line("0", [first, *DOG, first], [99.0, 0, 1.0, 0, 0.5])]))
    text = "".join(DOG) + first
    assert firings(batches(source)) == [(text, " dog", 1, 0, 1.0), (text, first, 3, 0, 0.5)]


def test_tokens_are_turned_into_text_and_leftovers_are_mended(tmp_path: Path) -> None:
    raw = published(export(tmp_path / "a", [line("0", [" don", "âĢĻ", "t"], [1, 0, 0])]))
    assert batches(raw)[0].contexts[0].document.text == " don’t"
    bpe = published(export(tmp_path / "b", [line("0", ["The", "Ġdog", "Ċ"], [1, 0, 0])]))
    assert batches(bpe)[0].contexts[0].document.text == "The dog\n"
    gemma = published(export(tmp_path / "c", [line("0", ["The", "▁dog", "<0x0A>"], [1, 0, 0])]))
    assert batches(gemma)[0].contexts[0].document.text == "The dog\n"
    assert gemma.config["token_style"] == "sentencepiece"


def test_features_that_never_fired_have_lines_without_context(tmp_path: Path) -> None:
    source = published(export(tmp_path / "s", [line("0", DOG, [1, 0, 0]), line("1", [], []), line("2", ["<bos>"], [3.0])]))
    assert source.n_contexts == 1


def test_negative_values_are_refused_or_dropped(tmp_path: Path) -> None:
    folder = export(tmp_path / "s", [line("0", CAT, [1, 0]), line("5", DOG, [-1.5, 2.0, 0])])
    with pytest.raises(DataError, match=r"batch-0\.jsonl\.gz' line 2, feature_index 5, position 0: the value -1\.5 is negative"):
        batches(published(folder))
    assert [value for *_, value in firings(batches(published(folder, negative="drop")))] == [1.0, 2.0]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (line("0", DOG, [1.0]), r"line 2: values are 1 numbers, expected 3, one for each token"),
        (line("0", DOG, [1.0, None, 0]), r"line 2: values are no list of numbers, expected 3"),
        (line("0", DOG, ["1", "2", "3"]), r"line 2: values are no list of numbers"),
        (line("0", DOG, [[1], [2], [3]]), r"line 2: values are no list of numbers"),
        (line("0", DOG, [[1], 2, 3]), r"line 2: values are no list of numbers"),
        (line("0", DOG, 7), r"line 2: values are no list of numbers"),
        (line("0", "text", [1]), r"line 2: tokens must be a list of texts"),
        (line("0", [" a", None, " b"], [1, 2, 3]), r"line 2: tokens must be a list of texts"),
        (line("x", DOG, [1, 2, 3]), r"line 2: index 'x' is no feature number"),
        (line("-1", DOG, [1, 2, 3]), r"line 2: index '-1' is no feature number"),
        (line(99999999, DOG, [1, 2, 3]), r"line 2: index '99999999' is no feature number from 0 to 16777215"),
        (line("0", ["x"] * 9000, [0] * 9000), r"line 2 has 9000 tokens, at most 8192"),
        (line("0", DOG, [1, 2, 3], layer="9-res-jb"), r"line 2 is of gpt2-small/9-res-jb, the first line of gpt2-small/8-res-jb"),
        (line("0", DOG, [1, 2, 3], modelId=["x"]), r"line 2: modelId and layer must be text"),
        ({"index": "0", "tokens": DOG}, r"line 2 lacks values; expected an activation with index, tokens and values"),
        ([1, 2], r"line 2 is a list; expected an activation"),
    ],
)
def test_lines_that_make_no_sense_are_refused(tmp_path: Path, bad: Any, message: str) -> None:
    with pytest.raises(DataError, match=rf"batch-0\.jsonl\.gz' {message}"):
        published(export(tmp_path / "s", [line("0", CAT, [1, 0]), bad]))


@pytest.mark.parametrize(("value", "said"), [("NaN", "nan"), ("Infinity", "inf"), ("1e300", "inf")])
def test_values_that_are_not_finite_are_refused(tmp_path: Path, value: str, said: str) -> None:
    folder = export(tmp_path / "s", [])
    content = json.dumps(line("0", CAT, [0, 7])).replace("[0, 7]", f"[0, {value}]")
    (folder / "activations" / "batch-0.jsonl.gz").write_bytes(gzip.compress(content.encode()))
    with pytest.raises(DataError, match=rf"line 1, feature_index 0, position 1: the value is {said}"):
        batches(published(folder))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"\n{"), r"line 2 is not JSON"),
        (gzip.compress(b"[" * 200_000), r"line 1 is not JSON"),
        (gzip.compress(b'{"a": "\xff"}'), r"line 1 is not JSON"),
        (gzip.compress(b"9" * 6000), r"line 1 is not JSON"),
        (gzip.compress(b" " * (1 << 24) + b" "), r"has a line of more than 16 MiB"),
        (gzip.compress(b"{}" * 1000)[:-12], r"is truncated or no gzip file"),
        (b"plain", r"is truncated or no gzip file"),
        (b"", r"' holds no activations|activations' holds no activations"),
    ],
)
def test_files_that_are_damaged_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    folder = export(tmp_path / "s", [])
    (folder / "activations" / "batch-0.jsonl.gz").write_bytes(content)
    with pytest.raises(DataError, match=message):
        published(folder)


def test_folders_without_an_export_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds no activations/batch-0\.jsonl\.gz; name the folder of one source"):
        published(tmp_path)
    folder = export(tmp_path / "s", [line("0", DOG, [1, 0, 0])])
    (folder / "activations" / "batch-00.jsonl").touch()
    with pytest.raises(DataError, match=r"have the same number; remove one"):
        published(folder)


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"kind": "neuronpedia", "path": "x", "directions": "d.npy"}, "directions are of no use with kind = 'neuronpedia'"),
        ({"kind": "neuronpedia", "path": "x", "tokenizer": "gpt2"}, "tokenizer belongs to kind = 'delphi'"),
        ({"kind": "activations", "path": "x", "tokenizer": "gpt2"}, "tokenizer belongs to kind = 'delphi'"),
        ({"kind": "other", "path": "x"}, "kind = 'other'"),
        ({"kind": "delphi", "path": "x", "d_sae": 0}, "d_sae = 0"),
        ({"kind": "delphi", "path": "x", "d_sae": 1 << 25}, "d_sae = 33554432"),
    ],
)
def test_settings_that_do_not_belong_together_are_refused(section: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validated(section, SourceSettings, "run.toml")


def test_entries_ascend_and_have_the_types_of_a_batch(tmp_path: Path) -> None:
    (batch,) = batches(published(export(tmp_path / "s", [line("5", DOG, [1, 2, 3]), line("2", DOG, [1, 2, 3])])))
    keys = list(zip(batch.rows.tolist(), batch.positions.tolist(), batch.features.tolist(), strict=True))
    assert keys == sorted(keys)
    assert [part.dtype for part in (batch.rows, batch.positions, batch.features, batch.values)] == [np.int64] * 3 + [np.float32]
