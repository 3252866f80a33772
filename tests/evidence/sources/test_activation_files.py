from itertools import groupby
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autolabel.errors import DataError
from autolabel.evidence.sources import activations as kind
from autolabel.sampling import TILE_TOKENS, grid_offset, split_of
from tests.evidence.sources.layouts import SEED, SHARES, batches, firings, opened, write

DOG, CAT = [" the", " dog", " ran"], [" a", " cat"]
CONTEXTS = [(3, "a", DOG), (5, "a", CAT), (9, "b", DOG)]
ACTIVATIONS = [(3, 4, [1, 2], [0.5, 2.0]), (3, 0, [1], [1.0]), (9, 4, [1], [3.0])]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Any], list[Any]]:
    """Contexts with unique texts, and activations of some features in some of them, features in any order."""
    ids = sorted(draw(st.sets(st.integers(-5, 60), min_size=1, max_size=12)))
    contexts, activations = [], []
    for context_id in ids:
        n_tokens = draw(st.integers(1, 70))
        tokens = [f" {context_id}", *draw(st.lists(st.text(max_size=3), min_size=n_tokens - 1, max_size=n_tokens - 1))]
        contexts.append((context_id, draw(st.sampled_from(["x", "y", "z"])), tokens))
        for feature in draw(st.lists(st.integers(0, 6), unique=True, max_size=4)):
            positions = draw(st.lists(st.integers(0, n_tokens - 1), unique=True, max_size=4))
            values = draw(st.lists(st.floats(0, 9, width=32), min_size=len(positions), max_size=len(positions)))
            activations.append((context_id, feature, positions, values))
    return contexts, activations


def expected(contexts: list[Any], activations: list[Any], skip: int = 0) -> list[Any]:
    found = []
    for context_id, _, tokens in contexts[skip:]:
        entries = [
            (position, feature, value)
            for of_context, feature, positions, values in activations
            for position, value in zip(positions, values, strict=True)
            if of_context == context_id and value > 0
        ]
        found += [("".join(tokens), tokens[position], position, feature, value) for position, feature, value in sorted(entries)]
    return found


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(worlds(), st.integers(1, 9), st.integers(0, 13), st.integers(1, 7))
def test_what_is_written_is_read_whatever_the_batch_and_wherever_one_starts(
    tmp_path: Path, world: tuple[list[Any], list[Any]], batch_contexts: int, skip: int, group: int
) -> None:
    contexts, activations = world
    source = opened(write(tmp_path / "w", contexts, activations, row_group_size=group), d_sae=7, token_style="text")
    read = batches(source, batch_contexts, skip)
    assert firings(read) == expected(contexts, activations, skip)
    assert [c.document.text for batch in read for c in batch.contexts] == ["".join(tokens) for _, _, tokens in contexts[skip:]]
    assert all(len(batch.contexts) <= batch_contexts for batch in read)
    done = skip
    for batch in read:
        done += len(batch.contexts)
        assert batch.complete_through == done
        assert batch.n_tokens == sum(c.n_tokens for c in batch.contexts)
        assert (np.diff(batch.rows) >= 0).all()
    assert source.n_contexts == len(contexts)
    assert source.n_tokens == sum(len(tokens) for _, _, tokens in contexts)


def test_a_source_describes_itself(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "mine", CONTEXTS, ACTIVATIONS))
    assert (source.name, source.kind, source.format, source.complete) == ("mine", "activations", "autolabel-activations", True)
    assert (source.d_sae, source.n_contexts, source.n_tokens, source.subject_model) == (5, 3, 8, None)
    assert source.config == {"token_style": "text", "negative": "refuse", "directions": None}
    named = opened(tmp_path / "mine", name="my neurons", d_sae=12, subject_model="gpt2")
    assert (named.name, named.d_sae, named.subject_model) == ("my neurons", 12, "gpt2")


def test_the_hash_follows_the_bytes_and_not_the_folder(tmp_path: Path) -> None:
    hashes = [opened(write(tmp_path / name, CONTEXTS, ACTIVATIONS)).content_hash for name in "ab"]
    other = opened(write(tmp_path / "c", CONTEXTS, ACTIVATIONS[:2])).content_hash
    assert hashes[0] == hashes[1] != other


def test_contexts_of_a_document_share_its_split_and_have_names_of_their_own(tmp_path: Path) -> None:
    contexts = [(i, f"doc {i // 4}", [f" {i}", " word"]) for i in range(400)]
    source = opened(write(tmp_path / "w", contexts, ACTIVATIONS[:0]), d_sae=1)
    documents = [c.document for batch in batches(source, 64) for c in batch.contexts]
    assert [d.name for d in documents] == [document_id for _, document_id, _ in contexts]
    assert {d.source for d in documents} == {"w"}
    assert len({d.hash for d in documents}) == 400
    assert len({d.source_hash for d in documents}) == 100
    assert all(d.split == split_of(d.source_hash, SEED, SHARES) for d in documents)
    by_source = {(d.source_hash, d.split) for d in documents}
    assert len(by_source) == 100
    counts = source.counts(SEED, SHARES)
    assert counts.source_documents_by_split == {name: sum(split == name for _, split in by_source) for name in SHARES}
    assert (counts.n_source_documents, counts.n_contexts, counts.n_tokens, counts.n_duplicates) == (100, 400, 800, 0)


def test_names_and_splits_do_not_depend_on_the_numbers_of_contexts(tmp_path: Path) -> None:
    rows = [(f"doc {i % 7}", [f" {i}"] * 40) for i in range(30)]
    forward = [(i, *row) for i, row in enumerate(rows)]
    backward = [(i * 3, *row) for i, row in enumerate(reversed(rows))]

    def of(contexts: list[Any], name: str) -> dict[str, Any]:
        read = batches(opened(write(tmp_path / name, contexts, []), d_sae=1))
        return {
            c.document.text: (c.document.hash, c.document.source_hash, c.document.split, c.offset) for b in read for c in b.contexts
        }

    assert of(forward, "f") == of(backward, "b")


def test_a_document_id_differs_from_one_in_capitals(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "w", [(0, "A", DOG), (1, "a", DOG)], []), d_sae=1)
    assert source.counts(SEED, SHARES).n_source_documents == 2


def test_the_tile_grid_is_that_of_the_collector(tmp_path: Path) -> None:
    contexts = [(i, str(i), [f" {i}"] * n) for i, n in enumerate([1, 31, 32, 63, 64, 128, 200])]
    source = opened(write(tmp_path / "w", contexts, []), d_sae=1)
    found = [c for batch in batches(source) for c in batch.contexts]
    assert [c.n_tokens for c in found] == [1, 31, 32, 63, 64, 128, 200]
    for c in found:
        assert (c.start, c.first_tile, c.offset) == (0, 0, grid_offset(c.document.hash, 0))
        assert c.n_tiles == max(c.n_tokens - c.offset, 0) // TILE_TOKENS
    assert [c.n_tiles for c in found[:2]] == [0, 0]
    assert all(c.n_tiles >= 1 for c in found[3:])
    assert sum(source.counts(SEED, SHARES).tiles_by_split.values()) == sum(c.n_tiles for c in found)


def test_a_repeated_text_of_a_document_is_left_out_with_its_activations(tmp_path: Path) -> None:
    contexts = [(0, "a", DOG), (1, "a", CAT), (2, "a", DOG), (3, "b", DOG), (4, "a", [" the dog", " ran"])]
    activations = [(i, 1, [0], [1.0 + i]) for i in range(5)]
    source = opened(write(tmp_path / "w", contexts, activations))
    for batch_contexts in (1, 2, 5):
        read = batches(source, batch_contexts)
        assert [value for *_, value in firings(read)] == [1.0, 2.0, 4.0]
        assert [c.document.text for b in read for c in b.contexts] == [" the dog ran", " a cat", " the dog ran"]
    assert [batch.complete_through for batch in batches(source, 1)] == [1, 2, 4]
    assert (source.n_contexts, source.n_tokens, source.counts(SEED, SHARES).n_duplicates) == (3, 8, 2)


def test_tokens_in_the_alphabet_of_bpe_are_turned_into_text(tmp_path: Path) -> None:
    folder = write(tmp_path / "w", [(0, "a", ["The", "Ġdog", "Ċ", "Ġâ", "Ģ", "Ļ"])], [(0, 0, [3, 5], [1.0, 2.0])])
    source = opened(folder)
    document = batches(source)[0].contexts[0].document
    assert (document.text, document.bounds.tolist()) == ("The dog\n ’", [0, 3, 7, 8, 10, 10, 10])
    assert [token for _, token, *_ in firings(batches(source))] == [" ’", ""]
    assert source.config["token_style"] == "bpe"
    assert batches(opened(folder, token_style="text"))[0].contexts[0].document.text == "TheĠdogĊĠâĢĻ"


@pytest.mark.parametrize(
    "types",
    [
        {
            "context_id": pa.int16(),
            "feature_index": pa.uint8(),
            "positions": pa.list_(pa.int64()),
            "values": pa.list_(pa.float64()),
        },
        {"context_id": pa.uint64(), "document_id": pa.large_string(), "values": pa.large_list(pa.float16())},
        {"document_id": pa.dictionary(pa.int8(), pa.string()), "tokens": pa.list_(pa.dictionary(pa.int32(), pa.string()))},
        {"tokens": pa.large_list(pa.large_string()), "positions": pa.large_list(pa.uint16())},
    ],
    ids=["narrow", "large", "dictionary", "large lists"],
)
def test_wider_and_narrower_columns_of_the_same_kind_are_read(tmp_path: Path, types: dict[str, pa.DataType]) -> None:
    plain = opened(write(tmp_path / "plain", CONTEXTS, ACTIVATIONS))
    other = opened(write(tmp_path / "other", CONTEXTS, ACTIVATIONS, types))
    assert firings(batches(other)) == firings(batches(plain))
    assert other.d_sae == plain.d_sae == 5


def test_files_of_duckdb_are_read_and_further_columns_are_left_alone(tmp_path: Path) -> None:
    folder = write(tmp_path / "w", CONTEXTS, ACTIVATIONS)
    before = firings(batches(opened(folder)))
    for name in ("contexts", "activations"):
        path = folder / f"{name}.parquet"
        duckdb.sql(f"COPY (SELECT 'more' AS more, * FROM read_parquet('{path}')) TO '{path}.new' (FORMAT parquet)")
        Path(f"{path}.new").replace(path)
    assert firings(batches(opened(folder))) == before != []


def test_files_without_statistics_are_read_alike(tmp_path: Path) -> None:
    folder = write(tmp_path / "w", CONTEXTS, ACTIVATIONS, write_statistics=False, row_group_size=1)
    source = opened(folder)
    assert source.d_sae == 5
    for skip in range(4):
        assert firings(batches(source, 2, skip)) == expected(CONTEXTS, ACTIVATIONS, skip)


def test_going_on_skips_what_was_done_by_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contexts = [(i, str(i), DOG) for i in range(100)]
    source = opened(write(tmp_path / "w", contexts, [(i, 0, [0], [1.0]) for i in range(100)], row_group_size=10))
    starts = []
    original = kind.read_rows

    def spy(path: Path, file: Any, columns: Any, rows: int, first_group: int = 0) -> Any:
        starts.append(first_group)
        return original(path, file, columns, rows, first_group)

    monkeypatch.setattr(kind, "read_rows", spy)
    assert len(firings(batches(source, 8, skip=57))) == 43
    assert starts == [5, 5]


@pytest.mark.parametrize(("value", "kept"), [({}, None), ({"negative": "drop"}, [2.0])], ids=["refused", "dropped"])
def test_negative_values_are_refused_or_dropped(tmp_path: Path, value: dict[str, str], kept: list[float] | None) -> None:
    source = opened(write(tmp_path / "w", CONTEXTS, [(3, 4, [0, 1, 2], [-0.5, 2.0, 0.0])]), **value)
    if kept is None:
        with pytest.raises(
            DataError, match=r"context_id 3, feature_index 4, position 0: the value -0\.5 is negative; .*two features"
        ):
            batches(source)
    else:
        assert [found for *_, found in firings(batches(source))] == kept


@pytest.mark.parametrize(
    ("contexts", "message"),
    [
        ([(1, "a", DOG), (1, "a", CAT)], r"contexts\.parquet' has context_id 1 twice"),
        ([(2, "a", DOG), (1, "a", CAT)], r"contexts\.parquet' is not sorted by context_id: 1 comes after 2; .*ORDER BY context_id"),
        ([(None, "a", DOG)], r"contexts\.parquet', context_id None: column 'context_id' is NULL"),
        ([(1, None, DOG)], r"contexts\.parquet', context_id 1: column 'document_id' is NULL"),
        ([(0, "a", DOG), (1, "a", None)], r"contexts\.parquet', context_id 1: column 'tokens' is NULL"),
        ([(0, "a", DOG), (1, "a", [" a", None])], r"contexts\.parquet', context_id 1: column 'tokens' has a NULL in its list"),
        ([(7, "a", [])], r"contexts\.parquet', context_id 7 has no tokens; leave empty contexts out"),
        ([(7, "a", ["x"] * 8193)], r"contexts\.parquet', context_id 7 has 8193 tokens, at most 8192 are possible; cut it"),
        ([], r"contexts\.parquet' holds no contexts"),
    ],
)
def test_contexts_that_make_no_sense_are_refused_on_opening(tmp_path: Path, contexts: list[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        opened(write(tmp_path / "w", contexts, ACTIVATIONS))


@pytest.mark.parametrize("style", ["text", "auto"])
def test_text_that_is_no_utf8_is_refused(tmp_path: Path, style: str) -> None:
    folder = write(tmp_path / "w", CONTEXTS, ACTIVATIONS)
    bad = pa.Array.from_buffers(pa.string(), 3, [None, pa.py_buffer(np.array([0, 1, 3, 4], np.int32)), pa.py_buffer(b"a\xff\xfeb")])
    lists = pa.ListArray.from_arrays(pa.array([0, 1, 3], pa.int32()), bad)
    pq.write_table(
        pa.table([pa.array([3, 9]), pa.array(["a", "b"]), lists], ["context_id", "document_id", "tokens"]),
        folder / "contexts.parquet",
    )
    with pytest.raises(DataError, match=r"contexts\.parquet', context_id 9: 'tokens' is not UTF-8"):
        opened(folder, token_style=style)


@pytest.mark.parametrize(
    ("activations", "message"),
    [
        ([(3, 4, [1], [1.0]), (4, 4, [1], [1.0])], r"activations\.parquet' has context_id 4, which 'contexts\.parquet' lacks"),
        ([(2, 4, [1], [1.0])], r"has context_id 2, which 'contexts\.parquet' lacks"),
        ([(3, 4, [1], [1.0]), (10, 4, [1], [1.0])], r"has context_id 10, which 'contexts\.parquet' lacks"),
        ([(3, 4, [1], [1.0]), (3, 1, [1], [1.0]), (3, 4, [2], [1.0])], r"context_id 3: feature_index 4 has two rows"),
        ([(3, 4, [1, 1], [1.0, 2.0])], r"context_id 3, feature_index 4: position 1 is listed twice"),
        (
            [(3, 4, [3], [1.0])],
            r"context_id 3, feature_index 4: position 3 is outside the context, whose 3 tokens have positions 0 to 2",
        ),
        ([(5, 4, [-1], [1.0])], r"context_id 5, feature_index 4: position -1 is outside the context, whose 2 tokens"),
        ([(3, 4, [0, 1], [1.0])], r"context_id 3, feature_index 4: 2 positions but 1 values"),
        ([(9, 2, [0], [float("nan")])], r"context_id 9, feature_index 2, position 0: the value is nan"),
        ([(9, 2, [0], [float("inf")])], r"context_id 9, feature_index 2, position 0: the value is inf"),
        ([(3, -1, [0], [1.0])], r"context_id 3: feature_index -1 is not within 0 to"),
        ([(9, 2, [0], [1.0]), (3, 2, [0], [1.0])], r"activations\.parquet' is not sorted by context_id: 3 comes after 9"),
        ([(3, 4, None, [1.0])], r"context_id 3: column 'positions' is NULL"),
        ([(3, 4, [None], [1.0])], r"context_id 3: column 'positions' has a NULL in its list"),
        ([(3, 4, [1], [None])], r"context_id 3: column 'values' has a NULL in its list"),
        ([(3, None, [1], [1.0])], r"context_id 3: column 'feature_index' is NULL"),
    ],
)
def test_activations_that_make_no_sense_are_refused_with_context_and_value(
    tmp_path: Path, activations: list[Any], message: str
) -> None:
    source = opened(write(tmp_path / "w", CONTEXTS, activations), d_sae=6)
    with pytest.raises(DataError, match=message):
        batches(source)


def test_a_value_too_large_for_32_bits_is_refused(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "w", CONTEXTS, [(3, 4, [1], [1e300])], {"values": pa.list_(pa.float64())}))
    with pytest.raises(DataError, match=r"position 1: the value is inf in 32-bit floating point"):
        batches(source)


def test_a_feature_beyond_d_sae_is_refused(tmp_path: Path) -> None:
    source = opened(write(tmp_path / "w", CONTEXTS, ACTIVATIONS), d_sae=4)
    with pytest.raises(DataError, match=r"feature_index 4 is not within 0 to 3; .*\[source\] d_sae = 4"):
        batches(source)


def test_a_feature_index_that_would_fill_the_memory_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "w", CONTEXTS, [(3, 1 << 40, [0], [1.0])], {"feature_index": pa.int64()})
    with pytest.raises(DataError, match=r"feature_index 1099511627776 is beyond 16777215"):
        opened(folder)
    with pytest.raises(DataError, match=r"feature_index 1099511627776 is not within 0 to 16777215"):
        batches(opened(folder, d_sae=5))


def test_nothing_that_fires_needs_d_sae(tmp_path: Path) -> None:
    folder = write(tmp_path / "w", CONTEXTS, [])
    with pytest.raises(DataError, match=r"activations\.parquet' holds no activations; .*set \[source\] d_sae"):
        opened(folder)
    assert firings(batches(opened(folder, d_sae=3))) == []


def test_shuffled_row_groups_are_refused_on_opening_and_the_sql_sorts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path / "w", CONTEXTS, ACTIVATIONS[::-1], row_group_size=1)
    with pytest.raises(DataError, match=r"activations\.parquet' is not sorted by context_id: 3 comes after 9") as caught:
        opened(folder)
    sql = str(caught.value).split("DuckDB, ")[1].removesuffix(", and rename the file")
    monkeypatch.chdir(folder)
    duckdb.sql(sql)
    (folder / "sorted.parquet").replace(folder / "activations.parquet")
    assert firings(batches(opened(folder))) == expected(CONTEXTS, ACTIVATIONS)


@pytest.mark.parametrize("name", ["contexts", "activations"])
def test_shuffled_row_groups_without_statistics_are_refused_in_reading(tmp_path: Path, name: str) -> None:
    rows = {"contexts": CONTEXTS, "activations": ACTIVATIONS} | {
        name: {"contexts": CONTEXTS, "activations": ACTIVATIONS}[name][::-1]
    }
    folder = write(tmp_path / "w", *rows.values(), write_statistics=False, row_group_size=1)
    with pytest.raises(DataError, match=rf"{name}\.parquet' is not sorted by context_id"):
        batches(opened(folder))


@pytest.mark.parametrize("name", ["contexts", "activations"])
@pytest.mark.parametrize("left", [0, 3, 100, -1, -9])
def test_truncated_files_are_refused(tmp_path: Path, name: str, left: int) -> None:
    path = write(tmp_path / "w", CONTEXTS, ACTIVATIONS) / f"{name}.parquet"
    path.write_bytes(path.read_bytes()[:left])
    with pytest.raises(DataError, match=rf"{name}\.parquet' cannot be read .*truncated or no Parquet"):
        opened(tmp_path / "w")


@pytest.mark.parametrize("name", ["contexts", "activations"])
def test_damaged_pages_are_refused(tmp_path: Path, name: str) -> None:
    contexts = [(i, str(i), [f" {i * 7919 % 1000}"] * 20) for i in range(300)]
    activations = [(i, i % 7, [i % 20], [float(i)]) for i in range(300)]
    path = write(tmp_path / "w", contexts, activations, compression="zstd") / f"{name}.parquet"
    content = bytearray(path.read_bytes())
    content[40:300] = b"\xa5" * 260
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name}\.parquet' cannot be read"):
        batches(opened(tmp_path / "w", d_sae=7))


@pytest.mark.parametrize(
    ("column", "found", "values", "message"),
    [
        ("context_id", "contexts", pa.array(["1"]), r"contexts\.parquet': column 'context_id' has type string, expected BIGINT"),
        ("document_id", "contexts", pa.array([1]), r"column 'document_id' has type int64, expected VARCHAR"),
        ("tokens", "contexts", pa.array(["a"]), r"column 'tokens' has type string, expected VARCHAR\[\]"),
        ("tokens", "contexts", pa.array([[1]]), r"column 'tokens' has type list<.*int64>, expected VARCHAR\[\]"),
        ("feature_index", "activations", pa.array([1.0]), r"column 'feature_index' has type double, expected INTEGER"),
        ("positions", "activations", pa.array([[1.0]]), r"column 'positions' has type list<.*double>, expected INTEGER\[\]"),
        ("values", "activations", pa.array([1.0]), r"column 'values' has type double, expected FLOAT\[\]"),
        (
            "values",
            "activations",
            None,
            r"activations\.parquet' has no column 'values' \(FLOAT\[\]\); it has context_id, feature_index",
        ),
    ],
)
def test_columns_are_refused_by_name_and_type(tmp_path: Path, column: str, found: str, values: Any, message: str) -> None:
    path = write(tmp_path / "w", CONTEXTS[:1], ACTIVATIONS[:1]) / f"{found}.parquet"
    table = pq.read_table(path)
    at = table.schema.get_field_index(column)
    table = table.remove_column(at) if values is None else table.set_column(at, column, values)
    pq.write_table(table, path)
    with pytest.raises(DataError, match=message):
        opened(tmp_path / "w")


def test_an_id_beyond_64_bits_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "w", [(2**63, "a", DOG)], [], {"context_id": pa.uint64()})
    with pytest.raises(DataError, match=r"column 'context_id' is no BIGINT .*9223372036854775808"):
        opened(folder, d_sae=1)


@pytest.mark.parametrize("name", ["tokens", "positions", "values"])
def test_lists_that_would_fill_the_memory_are_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("autolabel.evidence.sources.parquet._MOST_VALUES", 5)
    many = 8200
    contexts = [(3, "a", ["x"] * (many if name == "tokens" else 2))]
    lists = {"positions": [0] * (many if name == "positions" else 2), "values": [1.0] * (many if name == "values" else 2)}
    folder = write(tmp_path / "w", contexts, [(3, 0, lists["positions"], lists["values"])])
    monkeypatch.setattr(kind, "read_rows", None)
    with pytest.raises(DataError, match=rf"the lists of '{name}' in row group 0 hold 8200 values in 1 rows, at most 8192 in each"):
        opened(folder)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no folder '.*nowhere'; \[source\] path must name"):
        opened(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"there is no '.*contexts\.parquet'; docs/activation-files\.md"):
        opened(tmp_path)


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "w", CONTEXTS, ACTIVATIONS) / "contexts.parquet"
    pq.write_table(pq.read_table(path).replace_schema_metadata({"autolabel_format": "2"}), path)
    with pytest.raises(DataError, match=r"autolabel_format = 2, this version reads 1; update autolabel"):
        opened(tmp_path / "w")


def test_memory_does_not_hold_the_files(tmp_path: Path) -> None:
    numbers = np.random.default_rng(0)
    contexts = [(i, str(i), [f" {word}" for word in numbers.integers(0, 1 << 40, 20)]) for i in range(8000)]
    activations = [(i, 0, list(range(20)), numbers.random(20).tolist()) for i in range(8000)]
    folder = write(tmp_path / "w", contexts, activations, row_group_size=200, compression="none", use_dictionary=False)
    source = opened(folder)
    before = pa.total_allocated_bytes()
    held = [pa.total_allocated_bytes() - before for _ in source.read(SEED, SHARES, 50)]
    assert len(held) == 160
    assert max(held) < sum(path.stat().st_size for path in folder.iterdir())


def test_entries_of_a_context_come_by_position_then_feature(tmp_path: Path) -> None:
    rows = [(3, feature, [2, 0], [1.0, 2.0]) for feature in (4, 1, 3)]
    (batch,) = batches(opened(write(tmp_path / "w", CONTEXTS, rows)))
    order = list(zip(batch.rows.tolist(), batch.positions.tolist(), batch.features.tolist(), strict=True))
    assert order == sorted(order)
    assert [key for key, _ in groupby(order, key=lambda entry: entry[1])] == [0, 2]
    assert (batch.rows.dtype, batch.positions.dtype, batch.features.dtype, batch.values.dtype) == (
        "int64",
        "int64",
        "int64",
        "float32",
    )


@pytest.mark.parametrize("most", [1, 7, 20, 1 << 22])
@pytest.mark.parametrize("skip", [0, 5])
def test_a_block_ends_where_it_holds_enough_activations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, skip: int
) -> None:
    contexts = [(2 * i, f"d{i // 2}", [f" {i}:{j}" for j in range(6)]) for i in range(20)]
    activations = [(2 * i, feature, list(range(i % 7)), [1.0] * (i % 7)) for i in range(20) if i != 3 for feature in (4, 1)]
    source = opened(write(tmp_path / "w", contexts, activations, row_group_size=11))
    whole = batches(source, 8, skip)
    monkeypatch.setattr("autolabel.evidence.sources.cursor.BLOCK_ENTRIES", most)
    read = batches(source, 8, skip)
    assert firings(read) == firings(whole) == expected(contexts, activations, skip)
    assert [c.document.hash for b in read for c in b.contexts] == [c.document.hash for b in whole for c in b.contexts]
    for batch in read:
        before_last = int((batch.rows < len(batch.contexts) - 1).sum())
        assert before_last < most
    assert [b.complete_through for b in read] == (skip + np.cumsum([len(b.contexts) for b in read])).tolist()
    assert (len(read) > len(whole)) == (most < 1 << 22)


def test_wrong_activations_are_named_alike_wherever_a_block_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.evidence.sources.cursor.BLOCK_ENTRIES", 1)
    source = opened(write(tmp_path / "w", CONTEXTS, [*ACTIVATIONS, (9, 1, [3], [1.0])]))
    with pytest.raises(DataError, match=r"activations\.parquet', context_id 9, feature_index 1: position 3 is outside"):
        batches(source)


def test_rows_with_long_lists_are_read_few_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = opened(write(tmp_path / "w", [(0, "a", [" x"] * 50)], [(0, i, list(range(50)), [1.0] * 50) for i in range(40)]))
    asked = []
    original = kind.read_rows

    def spy(path: Path, file: Any, columns: Any, rows: int, first_group: int = 0) -> Any:
        asked.append(rows)
        return original(path, file, columns, rows, first_group)

    monkeypatch.setattr(kind, "read_rows", spy)
    monkeypatch.setattr(kind, "BLOCK_ENTRIES", 400)
    assert len(firings(batches(source, 3))) == 2000
    assert asked == [3, 8]


@pytest.mark.parametrize(("batch_contexts", "skip"), [(0, 0), (4, -1)])
def test_sizes_that_make_no_sense_are_programming_errors(tmp_path: Path, batch_contexts: int, skip: int) -> None:
    source = opened(write(tmp_path / "w", CONTEXTS, ACTIVATIONS))
    with pytest.raises(ValueError, match="batch_contexts"):
        batches(source, batch_contexts, skip)
