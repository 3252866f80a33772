"""Collections that are killed, extended, cut short, or made for several SAEs at once; run as a program, one that kills itself."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from autolabel.config import SaeSettings, Settings, SubjectSettings
from autolabel.errors import DataError
from autolabel.evidence.collect import Collection
from autolabel.evidence.finishing import Evidence
from autolabel.evidence.sae import native
from autolabel.evidence.subject import Subject
from autolabel.hashing import document_hash
from tests.evidence.test_collect import sae as sae
from tests.evidence.test_collect import settings, texts, written


def collected(chosen: Settings, folder: Path, parent: str | None = None) -> list[Evidence]:
    return list(Collection(chosen, folder, parent).run(lambda tokens: None))


def often(chosen: Settings) -> Settings:
    """With a checkpoint after every second batch or so."""
    return chosen.model_copy(update={"engine": chosen.engine.model_copy(update={"checkpoint_batches": 2})})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("corpus") / "texts.jsonl", texts())


@pytest.fixture(scope="module")
def expected(corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    (evidence,) = collected(settings(corpus, sae, subject_settings), tmp_path_factory.mktemp("whole"))
    return evidence


def test_a_collection_killed_twice_goes_on_and_finds_the_same(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, expected: Evidence, tmp_path: Path
) -> None:
    chosen = often(settings(corpus, sae, subject_settings))
    for reports in (5, 9):
        command = [sys.executable, "-m", "tests.evidence.test_collections", chosen.model_dump_json(), str(tmp_path), str(reports)]
        done = subprocess.run(command, cwd=Path(__file__).parents[2], check=False, timeout=300)
        assert done.returncode == -signal.SIGKILL
    seen: list[int] = []
    (evidence,) = Collection(chosen, tmp_path).run(seen.append)
    assert seen[0] > 2 * 4 * 95, "it began anew"
    assert evidence.evidence_set == expected.evidence_set
    assert evidence.corpus == expected.corpus


@pytest.mark.parametrize("dying", ["Collection._all_documents", "has_enough"])
def test_one_cut_off_twice_where_a_shard_ends_reads_nothing_twice(
    corpus: Path,
    sae: Path,
    subject_settings: SubjectSettings,
    expected: Evidence,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    dying: str,
) -> None:
    def cut(*given: object) -> None:
        raise KeyboardInterrupt

    chosen = settings(corpus, sae, subject_settings)
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(f"autolabel.evidence.collect.{dying}", cut)
            with pytest.raises(KeyboardInterrupt):
                collected(chosen, tmp_path)
    (evidence,) = collected(chosen, tmp_path)
    assert evidence.evidence_set == expected.evidence_set


def test_what_one_machine_has_begun_is_not_counted_again_on_a_cluster(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*given: object) -> None:
        raise KeyboardInterrupt

    chosen = settings(corpus, sae, subject_settings)
    monkeypatch.setattr("autolabel.evidence.collect.has_enough", cut)
    with pytest.raises(KeyboardInterrupt):
        collected(chosen, tmp_path)
    on_ray = chosen.model_copy(update={"engine": chosen.engine.model_copy(update={"kind": "ray"})})
    with pytest.raises(DataError, match=r'one machine has begun; set engine\.kind = "local" to go on'):
        collected(on_ray, tmp_path)


def test_a_finished_collection_whose_rows_were_not_stored_runs_no_model(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, expected: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(corpus, sae, subject_settings)
    collected(chosen, tmp_path)
    collection = Collection(chosen, tmp_path)
    collection.gate(force=False)
    monkeypatch.setattr("autolabel.evidence.collect.gather_shard", lambda *given: pytest.fail("the model was run"))
    (again,) = collection.run(lambda tokens: None)
    assert again.evidence_set == expected.evidence_set


def test_text_added_later_gives_what_all_text_at_once_gives(sae: Path, subject_settings: SubjectSettings, tmp_path: Path) -> None:
    distinct = {document_hash(text): text for text in texts()}
    found = list(distinct.values())
    for name, part in (("first", found[:120]), ("more", found[100:]), ("all", found)):
        (tmp_path / name).mkdir()
        written(tmp_path / name / "texts.jsonl", part)
    base = {name: settings(tmp_path / name / "texts.jsonl", sae, subject_settings) for name in ("first", "more", "all")}
    (whole,) = collected(base["all"], tmp_path)
    (parent,) = collected(base["first"], tmp_path)
    (extended,) = collected(base["more"], tmp_path, parent.evidence_set["evidence_set_id"])
    assert extended.evidence_set["gate"]["norm_limit"] == parent.evidence_set["gate"]["norm_limit"]
    assert whole.evidence_set["gate"]["norm_limit"] == parent.evidence_set["gate"]["norm_limit"], "else outliers may differ"
    assert extended.evidence_set["parent_evidence_set_id"] == parent.evidence_set["evidence_set_id"]
    assert extended.evidence_set["evidence_hash"] == whole.evidence_set["evidence_hash"]
    assert extended.evidence_set["evidence_set_id"] != whole.evidence_set["evidence_set_id"]
    differing = {name for name in whole.corpus if extended.corpus[name] != whole.corpus[name]}
    assert differing == {"corpus_id", "n_duplicates"}, "what is found again counts as a repetition"
    assert whole.corpus["n_tokens"] > parent.corpus["n_tokens"]


def test_only_what_is_there_can_be_extended(corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is gone, so nothing can be added"):
        Collection(settings(corpus, sae, subject_settings), tmp_path, "nothing")


def test_what_is_added_must_be_collected_as_its_parent_was(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path: Path
) -> None:
    base = settings(corpus, sae, subject_settings)
    (parent,) = collected(base, tmp_path)
    parent_id = parent.evidence_set["evidence_set_id"]
    native.save(tmp_path / "other", replace(native.load(sae), k=5))
    changes = {
        "seed was 0 and is 1": {"seed": 1},
        "sae_id was": {"sae": SaeSettings(path=str(tmp_path / "other"))},
        "firing_test was 60 and is 70": {"evidence": base.evidence.model_copy(update={"firing_test": 70})},
        "only as much is read": {"evidence": base.evidence.model_copy(update={"min_examples": 3})},
        "batch_contexts was 4 and is 2": {"subject": subject_settings.model_copy(update={"batch_contexts": 2})},
    }
    for said, change in changes.items():
        with pytest.raises(DataError, match=said):
            Collection(base.model_copy(update=change), tmp_path, parent_id)


def test_several_saes_in_one_pass_find_what_each_finds_alone(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, expected: Evidence, tmp_path: Path
) -> None:
    coder = native.load(sae)
    native.save(tmp_path / "narrow", replace(coder, k=5, hookpoint="layers.1", name="narrow"))
    also = SaeSettings(path=str(tmp_path / "narrow"))
    base = settings(corpus, sae, subject_settings)
    together = collected(base.model_copy(update={"also": [also]}), tmp_path / "together")
    assert [one.sae["name"] for one in together] == ["components", "narrow"]
    assert together[0].evidence_set == expected.evidence_set
    (alone,) = collected(base.model_copy(update={"sae": also}), tmp_path / "alone")
    assert together[1].evidence_set == alone.evidence_set


def test_each_of_several_saes_reads_as_much_as_it_needs_and_no_more(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path: Path
) -> None:
    native.save(tmp_path / "sparser", replace(native.load(sae), k=1, name="sparser"))
    also = SaeSettings(path=str(tmp_path / "sparser"))
    base = settings(corpus, sae, subject_settings)
    few = base.model_copy(update={"evidence": base.evidence.model_copy(update={"min_examples": 6, "min_examples_share": 0.4})})
    together = collected(few.model_copy(update={"also": [also]}), tmp_path / "together")
    alone = [*collected(few, tmp_path / "one"), *collected(few.model_copy(update={"sae": also}), tmp_path / "other")]
    assert [one.evidence_set for one in together] == [one.evidence_set for one in alone]
    assert [one.corpus for one in together] == [one.corpus for one in alone]
    read, read_by_sparser = (one.corpus["n_tokens"] for one in together)
    assert read < read_by_sparser
    assert together[0].corpus["corpus_id"] != together[1].corpus["corpus_id"]


def test_what_is_known_of_one_sae_is_not_said_of_another(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path: Path
) -> None:
    known = native.load(sae)
    document_tokens = {"document_tokens": 200}
    native.save(tmp_path / "known", replace(known, config={**known.config, **document_tokens}))
    native.save(tmp_path / "unknown", replace(known, config={}, W_enc=known.W_enc.flip(0), name="nonsense"))
    base = settings(corpus, tmp_path / "known", subject_settings)
    collection = Collection(base.model_copy(update={"also": [SaeSettings(path=str(tmp_path / "unknown"))]}), tmp_path)
    collection.gate(force=True)
    good, bad = collection.run(lambda tokens: None)
    assert (good.corpus["unseen_by_sae"], bad.corpus["unseen_by_sae"]) == ("yes", "unknown")
    assert good.corpus["corpus_id"] != bad.corpus["corpus_id"]
    assert (good.evidence_set["gate_forced"], bad.evidence_set["gate_forced"]) == (False, True)


def test_files_in_another_order_are_not_gone_on_with(
    sae: Path, subject_settings: SubjectSettings, expected: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*given: object) -> None:
        raise KeyboardInterrupt

    path = written(tmp_path / "texts.jsonl", texts())
    chosen = settings(path, sae, subject_settings)
    with monkeypatch.context() as patch:
        patch.setattr("autolabel.evidence.collect.has_enough", cut)
        with pytest.raises(KeyboardInterrupt):
            collected(chosen, tmp_path)
    written(path, texts()[::-1])
    assert Collection(chosen, tmp_path).evidence_set_id == expected.evidence_set["evidence_set_id"]
    with pytest.raises(DataError, match="begun when its files were in another order"):
        collected(chosen, tmp_path)
    written(path, texts())
    (evidence,) = collected(chosen, tmp_path)
    assert evidence.evidence_set == expected.evidence_set


def test_an_sae_trained_without_bos_is_collected_without(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_ids: set[int] = set()
    real = Subject.capture

    def watching(self: Subject, token_ids: torch.Tensor, hookpoints: Sequence[str]) -> dict[str, torch.Tensor]:
        first_ids.update(token_ids[:, 0].tolist())
        return real(self, token_ids, hookpoints)

    base = settings(corpus, sae, subject_settings)
    collection = Collection(base, tmp_path)
    with_bos = collection.evidence_set_id
    for one in collection.sets:
        one.coder = replace(one.coder, prepend_bos=False)
    collection.gate(force=True)
    monkeypatch.setattr(Subject, "capture", watching)
    list(collection.run(lambda tokens: None))
    assert len(first_ids) > 3
    monkeypatch.setattr("autolabel.evidence.collect.open_coder", lambda *_: replace(native.load(sae), prepend_bos=False))
    assert Collection(base, tmp_path).evidence_set_id != with_bos


def test_reading_ends_when_enough_features_have_enough(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, expected: Evidence, tmp_path: Path
) -> None:
    base = settings(corpus, sae, subject_settings)
    few = base.model_copy(update={"evidence": base.evidence.model_copy(update={"min_examples": 8, "min_examples_share": 0.5})})
    (evidence,) = collected(few, tmp_path / "few")
    assert 0 < evidence.corpus["n_tokens"] < expected.corpus["n_tokens"]
    rows = [row for row in evidence.tables["features"].to_pylist() if row["n_tiles_fired"]]
    assert sum(row["n_tiles_fired_test"] >= 8 for row in rows) >= 0.5 * len(rows)
    shuffled = written(tmp_path / "shuffled.jsonl", texts()[::-1])
    (again,) = collected(few.model_copy(update={"corpus": settings(shuffled, sae, subject_settings).corpus}), tmp_path / "again")
    assert again.evidence_set == evidence.evidence_set
    all_of_it = base.model_copy(update={"evidence": base.evidence.model_copy(update={"min_examples": 10**6})})
    (whole,) = collected(all_of_it, tmp_path / "whole")
    assert whole.evidence_set["evidence_hash"] == expected.evidence_set["evidence_hash"]


if __name__ == "__main__":
    left = int(sys.argv[3])

    def count_down(tokens: int) -> None:
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    list(Collection(Settings.model_validate_json(sys.argv[1]), Path(sys.argv[2])).run(count_down))
