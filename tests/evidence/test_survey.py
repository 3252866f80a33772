"""The first reading of a corpus: same texts, same answers, whatever their order, and no tokenising of what need not be."""

import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from autolabel.config import CorpusSettings
from autolabel.errors import DataError
from autolabel.evidence.corpus import SourceText
from autolabel.evidence.survey import GATE_DOCUMENTS, Survey, _Hashes
from autolabel.evidence.texts import RawText
from autolabel.hashing import document_hash
from tests.evidence.test_corpus import Letters, json_lines

SEED = 3


def texts(n: int = 400) -> list[str]:
    generator = random.Random(1)
    return [f"{i} " + "".join(generator.choices("abcdefgh ", k=generator.randint(120, 200))) for i in range(n)]


def survey(path: Path, found: list[str], known: Any = None, **changes: Any) -> Survey:
    json_lines(path, *({"text": text} for text in found))
    corpus = CorpusSettings.model_validate({"sources": [{"path": str(path), "name": "s"}], **changes})
    return Survey(corpus, SEED, Letters(), 128, known)


def read(one: Survey, **given: Any) -> list[str]:
    return [document.text for _, document in one.documents(Letters(), **given)]


def test_order_changes_neither_content_nor_choice_nor_the_gates_documents(tmp_path: Path) -> None:
    found = [*texts(), "One dog " * 20, "one DOG " * 20, "ONE  dog " * 20, "one DOG " * 20]
    seen = set()
    for number in range(3):
        random.Random(number).shuffle(found)
        one = survey(tmp_path / f"{number}.jsonl", found)
        assert (one.n_source_documents, one.n_duplicates) == (404, 3)
        gate = tuple(document.text for document in one.gate_documents(Letters()))
        seen.add((one.content, frozenset(read(one)), gate, tuple(one.hashes.tolist())))
    assert len(seen) == 1
    (content, documents, gate, hashes) = seen.pop()
    assert len(documents) == len(hashes) == 401
    assert len(gate) == GATE_DOCUMENTS
    other = survey(tmp_path / "other.jsonl", texts()[1:])
    assert other.content != content


def test_gate_documents_are_test_documents(tmp_path: Path) -> None:
    one = survey(tmp_path / "a.jsonl", texts())
    assert {document.split for document in one.gate_documents(Letters())} == {"test"}


def test_a_text_counts_once_however_often_it_is_there(tmp_path: Path) -> None:
    found = texts(30)
    repeated = [text for text in found for _ in range(40)]
    with pytest.raises(DataError) as once:
        survey(tmp_path / "once.jsonl", found)
    with pytest.raises(DataError, match=r"the \w+ split holds \d+ documents, at least 20 are needed") as often:
        survey(tmp_path / "often.jsonl", repeated)
    assert str(once.value) == str(often.value)


def test_characters_are_those_of_the_texts_that_are_read(tmp_path: Path) -> None:
    found = [*texts(), "One  dog  " * 20, "One dog " * 20]
    one = survey(tmp_path / "a.jsonl", found * 3)
    assert one.n_duplicates == 2 * len(found) + 1
    assert one.n_characters == sum(map(len, read(one)))


def test_a_limit_of_tokens_counts_no_text_twice(tmp_path: Path) -> None:
    once = survey(tmp_path / "once.jsonl", texts(), max_tokens=30_000)
    often = survey(tmp_path / "often.jsonl", [text for text in texts() for _ in range(3)], max_tokens=30_000)
    assert read(often) == read(once)
    assert often.hashes.tolist() == once.hashes.tolist()


def test_a_set_of_hashes_forgets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("autolabel.evidence.survey._RECENT", 8)
    generator = random.Random(2)
    found, expected = _Hashes(), set[int]()
    for _ in range(2000):
        word = generator.choice([generator.randrange(500), 2**64 - 1 - generator.randrange(500)])
        assert found.add(word) == (word not in expected)
        expected.add(word)
        assert len(found._recent) <= max(8, len(expected) // 16)


def test_memory_is_a_few_words_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    n_texts, hashes = 20_000, random.Random(4)

    def many(*_: object, **__: object) -> Iterator[SourceText]:
        for i in range(n_texts):
            yield SourceText(i, "s", RawText(f"{i} {'word ' * 8}", str(i)), hashes.getrandbits(64))

    monkeypatch.setattr("autolabel.evidence.survey.source_texts", many)
    monkeypatch.setattr("autolabel.evidence.survey._PIECE", 1024)
    tracemalloc.start()
    try:
        one = Survey(CorpusSettings.model_validate({"sources": [{"path": "s"}]}), SEED, Letters(), 128)
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert one.n_source_documents == len(one.hashes) == n_texts
    assert held < n_texts * 8 + 2**18
    assert peak < n_texts * 70 + 2**18


def test_shards_divide_the_documents(tmp_path: Path) -> None:
    one = survey(tmp_path / "a.jsonl", texts())
    shards = [read(one, shard=i, n_shards=5) for i in range(5)]
    assert min(len(shard) for shard in shards) > 40
    assert sorted(text for shard in shards for text in shard) == sorted(read(one))


@pytest.mark.parametrize("skip", [0, 1, 57, 199, 200, 201, 399])
def test_reading_goes_on_where_it_was_cut_off(tmp_path: Path, skip: int) -> None:
    found = texts()
    json_lines(tmp_path / "a.jsonl", *({"text": text} for text in [*found[:199], " "]))
    json_lines(tmp_path / "b.jsonl", *({"text": text} for text in found[199:]))
    sources = [{"path": str(tmp_path / name), "name": "s"} for name in ("a.jsonl", "b.jsonl")]
    one = Survey(CorpusSettings.model_validate({"sources": sources}), SEED, Letters(), 128)
    everything = list(one.documents(Letters()))
    rest = list(one.documents(Letters(), skip=skip))
    assert [d.text for _, d in rest] == [d.text for done, d in everything if done > skip]
    assert [done for done, _ in rest] == [done for done, _ in everything if done > skip]


def test_texts_that_a_parent_holds_are_passed_over(tmp_path: Path) -> None:
    found = texts()
    before = survey(tmp_path / "a.jsonl", found[:250])
    after = survey(tmp_path / "b.jsonl", found[200:], known=before.hashes)
    whole = survey(tmp_path / "c.jsonl", found)
    assert after.n_known == 50
    assert sorted(read(before) + read(after)) == sorted(read(whole))
    assert (before.content + after.content) % 2**64 == whole.content


def test_text_that_a_parent_holds_already_is_nothing_to_add(tmp_path: Path) -> None:
    before = survey(tmp_path / "a.jsonl", texts())
    with pytest.raises(DataError, match="all 10 texts are in the evidence set already"):
        survey(tmp_path / "b.jsonl", texts()[:10], known=before.hashes)


def test_few_documents_can_extend_a_parent(tmp_path: Path) -> None:
    before = survey(tmp_path / "a.jsonl", texts())
    assert read(survey(tmp_path / "b.jsonl", ["one text more " * 9], known=before.hashes)) == ["one text more " * 9]
    with pytest.raises(DataError, match="at least 20 are needed"):
        survey(tmp_path / "c.jsonl", ["one text more " * 9])


def test_a_limit_of_tokens_ends_both_readings_at_the_same_text(tmp_path: Path) -> None:
    one = survey(tmp_path / "a.jsonl", texts(), max_tokens=30_000)
    lengths = [len(text) for text in read(one)]
    assert sum(lengths) >= 30_000 > sum(lengths[:-1])
    assert one.n_source_documents == len(lengths)


def test_little_is_tokenised(tmp_path: Path) -> None:
    encoded: list[int] = []

    class Watching(Letters):
        def encode(self, text: str) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
            encoded.append(document_hash(text))
            return super().encode(text)

    path = json_lines(tmp_path / "a.jsonl", *({"text": text} for text in texts(2000)))
    corpus = CorpusSettings.model_validate({"sources": [{"path": str(path)}]})
    found = Survey(corpus, SEED, Watching(), 128)
    assert found.n_source_documents == 2000
    assert len(encoded) < 300
