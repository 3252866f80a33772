import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from autolabel.config import CorpusSettings
from autolabel.errors import DataError
from autolabel.evidence.corpus import CorpusCounts, Document, contexts_of, n_tiles, read_documents, require_splits, require_tiles
from autolabel.evidence.subject import Subject
from autolabel.hashing import document_hash
from autolabel.records import Split
from autolabel.sampling import TILE_TOKENS, grid_offset, split_of
from tests.evidence.worlds import document

CORPUS_SHARES: dict[Split, float] = {"train": 0.35, "validation": 0.2, "test": 0.45}


class Letters:
    """A tokenizer for which every character is a token."""

    def encode(self, text: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        return np.array([ord(c) for c in text], dtype=np.int32), np.arange(len(text) + 1, dtype=np.int32)


def read(path: Path | str, counts: CorpusCounts | None = None, tokenizer: Any = None, **changes: Any) -> list[Document]:
    source = {"path": str(path)} | {key: changes.pop(key) for key in ("format", "text_column", "share", "name") if key in changes}
    corpus = CorpusSettings.model_validate({"sources": [source], **changes})
    return list(read_documents(corpus, 0, tokenizer or Letters(), counts or CorpusCounts()))


def json_lines(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def test_each_text_is_read_once(tmp_path: Path) -> None:
    counts = CorpusCounts()
    path = json_lines(tmp_path / "a.jsonl", *({"text": text} for text in ("One  dog", "one dog\n", "two dogs", "  ", "")))
    assert [d.text for d in read(path, counts)] == ["One  dog", "two dogs"]
    assert (counts.n_documents, counts.n_tokens) == (2, 16)
    assert counts.by_source == {"a": {"documents": 2, "tokens": 16}}


def test_counts_add_up_and_survive_json(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", *({"text": f"text {i}"} for i in range(40)))
    whole, halves = CorpusCounts(), [CorpusCounts(), CorpusCounts()]
    for number, one in enumerate(read(path, whole)):
        halves[number % 2].count(one)
    halves[0].merge(CorpusCounts.from_dict(json.loads(json.dumps(halves[1].as_dict()))))
    assert halves[0] == whole


def test_a_share_and_a_limit_of_tokens(tmp_path: Path) -> None:
    path = json_lines(tmp_path / "a.jsonl", *({"text": f"document number {i:04d}"} for i in range(1000)))
    half = {d.hash for d in read(path, share=0.5)}
    assert 430 < len(half) < 570
    assert {d.hash for d in read(path, share=0.2)} < half
    assert len(read(path, max_tokens=100)) == 5


def test_parts_must_be_known_and_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOLABEL_CACHE", str(tmp_path))
    with pytest.raises(DataError, match=r"there is no part 'novels'; the parts are .*sotu"):
        read("part:novels")
    with pytest.raises(DataError, match=r"the part 'sotu' has not been fetched; `autolabel demo --fetch` does that"):
        read("part:sotu")


def counted(tmp_path: Path, texts: list[str]) -> CorpusCounts:
    counts = CorpusCounts()
    for one in read(json_lines(tmp_path / "a.jsonl", *({"text": text} for text in texts)), counts):
        counts.tiles_by_split[one.split] += n_tiles(one, 128)
    return counts


def test_a_corpus_too_small_to_split_is_refused_with_the_split_and_its_count(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="the corpus holds no text"):
        require_splits(counted(tmp_path, ["  "]))
    counts = counted(tmp_path, [f"text {i}" for i in range(70)])
    short = next(split for split in ("train", "validation", "test") if counts.by_split[split] < 20)
    with pytest.raises(DataError, match=f"the {short} split holds {counts.by_split[short]} documents, at least 20 are needed; add"):
        require_splits(counts)


def test_a_corpus_without_a_tile_is_refused(tmp_path: Path) -> None:
    counts = counted(tmp_path, [f"text {i}" for i in range(300)])
    require_splits(counts)
    with pytest.raises(DataError, match=f"the {counts.by_split['train']} documents of the train split hold no tile of 32 tokens"):
        require_tiles(counts)
    require_tiles(counted(tmp_path, [f"text {i}" * 20 for i in range(300)]))


def test_long_documents_are_cut_at_line_ends_and_remember_their_source(tmp_path: Path) -> None:
    paragraphs = [f"{i:02d} " + "x" * 40 for i in range(12)]
    text = "\n\n".join(paragraphs)
    (tmp_path / "a.txt").write_text(text)
    blocks = read(tmp_path / "a.txt", document_tokens=100)
    assert [block.text for block in blocks] == [f"{a}\n\n{b}" for a, b in zip(paragraphs[::2], paragraphs[1::2], strict=True)]
    assert {block.source_hash for block in blocks} == {document_hash(text)}
    assert len({block.hash for block in blocks}) == len(blocks)
    assert [block.split for block in blocks] == [split_of(document_hash(block.text), 0, CORPUS_SHARES) for block in blocks]


def test_a_text_in_one_piece_is_a_document_under_its_own_hash(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("short\n")
    (only,) = read(tmp_path / "a.txt")
    assert only.hash == only.source_hash == document_hash("short")


def test_blocks_of_equal_text_are_told_apart_and_stay_in_one_split(tmp_path: Path) -> None:
    block = "the same words again and again\n"
    (tmp_path / "a.txt").write_text(block * 40)
    blocks = read(tmp_path / "a.txt", document_tokens=64)
    assert len({one.text for one in blocks}) < len(blocks) / 2
    assert len({one.hash for one in blocks}) == len(blocks)
    assert len({(one.text, one.split) for one in blocks}) == len({one.text for one in blocks})


def test_a_text_of_any_length_is_cut_before_it_is_tokenised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.evidence.corpus.PIECE_CHARACTERS", 100)
    lengths: list[int] = []

    class Watching(Letters):
        def encode(self, text: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
            lengths.append(len(text))
            return super().encode(text)

    text = "\n".join(["x" * 30] * 20) + "y" * 250
    (tmp_path / "a.txt").write_text(text)
    blocks = read(tmp_path / "a.txt", document_tokens=70, tokenizer=Watching())
    assert max(lengths) <= 100
    assert "".join("".join(one.text.split()) for one in blocks) == "".join(text.split())


@given(st.text(alphabet="ab \n", max_size=600))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_cutting_loses_nothing_but_white_space(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.txt").write_text(text)
    counts = CorpusCounts()
    blocks = read(tmp_path / "a.txt", counts, document_tokens=64)
    assert all(0 < len(block.token_ids) <= 64 for block in blocks)
    assert "".join("".join(block.text.split()) for block in blocks) == "".join(text.split())


@given(st.integers(0, 3000), st.integers(65, 400))
@settings(max_examples=80)
def test_contexts_cover_a_document_and_fit_the_model(n_tokens: int, context_tokens: int) -> None:
    one = document(np.arange(n_tokens) % 1000)
    contexts = list(contexts_of(one, context_tokens))
    assert sum(context.n_tokens for context in contexts) == n_tokens
    at, tile = 0, 0
    for index, context in enumerate(contexts):
        assert (context.start, context.first_tile) == (at, tile)
        assert 0 < context.n_tokens < context_tokens
        assert context.offset == grid_offset(one.hash, index)
        assert context.offset + context.n_tiles * TILE_TOKENS <= context.n_tokens or context.n_tiles == 0
        at, tile = at + context.n_tokens, tile + context.n_tiles
    assert n_tiles(one, context_tokens) == tile
    assert n_tokens < 2 * context_tokens or tile >= (n_tokens // context_tokens)


HOSTILE = [
    "<bos> and <eos> <|user|>",
    "<|im_end|>",
    "naïve café 🐕🐈 漢字",
    "a\u0000b\u200b",
    "  spaces  ",
    "\n\n",
    "<<<>>>",
    "𝔘𝔫𝔦",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_tokens_cover_the_text_and_special_tokens_are_ordinary_text(subject: Subject, text: str) -> None:
    token_ids, bounds = subject.encode(text)
    assert len(bounds) == len(token_ids) + 1
    assert bounds[0] == 0
    assert bounds[-1] == len(text)
    assert np.all(np.diff(bounds) >= 0)
    assert not set(token_ids.tolist()) & set(range(5))
    assert "".join(text[a:b] for a, b in pairwise(bounds)) == text


@given(st.text(max_size=40))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_text_is_covered_by_its_tokens(subject: Subject, text: str) -> None:
    _, bounds = subject.encode(text)
    assert bounds[-1] == len(text)
    assert np.all(np.diff(bounds) >= 0)


def test_no_text_has_no_tokens(subject: Subject) -> None:
    token_ids, bounds = subject.encode("")
    assert (len(token_ids), bounds.tolist()) == (0, [0])


def test_window_positions_point_at_the_right_tokens(subject: Subject) -> None:
    encode: Callable[[str], Any] = subject.encode
    text = "the dog ran over the hill and the cat sat on the mat"
    token_ids, bounds = encode(text)
    for place, token in enumerate(token_ids.tolist()):
        piece = text[bounds[place] : bounds[place + 1]]
        assert subject._tokenizer.decode([token]) == piece  # type: ignore[attr-defined]
