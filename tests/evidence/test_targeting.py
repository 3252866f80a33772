"""Collections that look for rare features: a model whose embeddings an SAE reads, so that each feature fires on one known token."""

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from autolabel.cli.overriding import settings_with
from autolabel.config import Settings, SubjectSettings, validated
from autolabel.errors import ConfigError, DataError
from autolabel.evidence.collect import Collection
from autolabel.evidence.finishing import Evidence
from autolabel.evidence.sae import SparseCoder, native
from autolabel.evidence.state import Checkpoint
from autolabel.evidence.subject import Subject
from autolabel.evidence.targeting import begin
from tests.evidence.test_collect import WORDS, written

RARE_LETTERS = "QZXJ"
"""Each in one text of eight."""
COMMON = (
    "dog",
    "cat",
    "hill",
    "boat",
    "rain",
    "label",
    "text",
    "asked",
    "where",
    "she",
    "over",
    "and",
    "sat",
    "mat",
    "says",
    "what",
)
MIN_TEST_TILES = 20


def texts(n: int = 700) -> list[str]:
    generator = random.Random(3)
    others = ["".join(generator.choices("bcdfghklmnprstv", k=3)) for _ in range(150)]
    often = [1 + 2 * (i % 5) for i in range(len(WORDS))] + [1] * len(others)
    found = []
    for number in range(n):
        words = generator.choices([*WORDS, *others], often, k=generator.randint(40, 70))
        if number % 2 == 0:
            words[generator.randrange(10, 30)] = RARE_LETTERS[number // 2 % 4]
        found.append(" ".join(words) + f" {number}")
    return found


@pytest.fixture(scope="module")
def sae(tmp_path_factory: pytest.TempPathFactory, subject: Subject) -> Path:
    """A feature for the last token of each common word, then one for each rare letter, and one that never fires."""
    tokens = [int(subject.encode(f" {word}")[0][-1]) for word in COMMON] + [int(subject.encode(x)[0][-1]) for x in RARE_LETTERS]
    assert len(set(tokens)) == len(tokens)
    embedded = subject.activations(torch.tensor([tokens]), "layers.0:input")[0]
    directions = torch.cat([embedded, -embedded[:1]])
    coder = SparseCoder(
        W_enc=(40 * directions / directions.norm(dim=1, keepdim=True) ** 2).T.contiguous(),
        b_enc=torch.full((len(directions),), -39.0),
        W_dec=directions,
        b_dec=torch.zeros(32),
        architecture="relu",
        k=None,
        hookpoint="layers.0:input",
        name="words",
        format=native.FORMAT,
        subject_model="tiny",
    )
    folder = tmp_path_factory.mktemp("words")
    native.save(folder, coder)
    return folder


def settings(corpus: Path, sae: Path, subject: SubjectSettings, **evidence: Any) -> Settings:
    small = {"background_train": 100, "background_validation": 100, "background_test": 200, "min_examples": MIN_TEST_TILES}
    content = {
        "subject": subject.model_dump() | {"batch_contexts": 16},
        "sae": {"path": str(sae)},
        "corpus": {"sources": [{"path": str(corpus), "name": "texts"}], "document_tokens": 400},
        "evidence": small | {"min_examples_share": 0.7, "target_rare": True} | evidence,
        "engine": {"checkpoint_batches": 1},
    }
    return validated(content, Settings, "test")


def collected(chosen: Settings, folder: Path, report: Callable[[int], None] = lambda tokens: None) -> Evidence:
    collection = Collection(chosen, folder)
    collection.gate(force=True)
    (evidence,) = collection.run(report)
    return evidence


def rows(evidence: Evidence, table: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = evidence.tables[table].drop_columns("evidence_set_id").to_pylist()
    return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("corpus") / "texts.jsonl", texts())


@pytest.fixture(scope="module")
def plain(corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return collected(settings(corpus, sae, subject_settings, target_rare=False), tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def reports() -> list[int]:
    """Tokens reported while `targeted` was collected."""
    return []


@pytest.fixture(scope="module")
def targeted(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path_factory: pytest.TempPathFactory, reports: list[int]
) -> Evidence:
    return collected(settings(corpus, sae, subject_settings), tmp_path_factory.mktemp("targeted"), reports.append)


@pytest.fixture(scope="module")
def whole(corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    chosen = settings(corpus, sae, subject_settings, target_rare=False, min_examples=None)
    return collected(chosen, tmp_path_factory.mktemp("whole"))


def rare_ones(evidence: Evidence) -> set[int]:
    return {row["feature_index"] for row in rows(evidence, "features") if row["n_tiles_targeted"] is not None}


def test_more_features_are_alive_for_the_same_text_in_the_first_stage(plain: Evidence, targeted: Evidence) -> None:
    before, after = ({row["feature_index"]: row for row in rows(one, "features")} for one in (plain, targeted))
    letters = range(len(COMMON), len(COMMON) + len(RARE_LETTERS))
    assert {before[feature]["evidence_status"] for feature in letters} == {"too_few"}
    assert {after[feature]["evidence_status"] for feature in letters} == {"alive"}
    assert rare_ones(targeted) >= set(letters)
    assert targeted.evidence_set["n_tokens"] == plain.evidence_set["n_tokens"]
    assert targeted.corpus["n_tokens"] == plain.corpus["n_tokens"]
    assert targeted.evidence_set["evidence_set_id"] != plain.evidence_set["evidence_set_id"]


def test_features_that_are_not_rare_have_the_same_rows_bit_for_bit(plain: Evidence, targeted: Evidence) -> None:
    rare = rare_ones(targeted)
    assert 4 <= len(rare) <= len(COMMON)
    for table in ("features", "examples", "strata"):
        same = [[row for row in rows(one, table) if row["feature_index"] not in rare] for one in (plain, targeted)]
        assert same[0] == same[1]
        assert same[0]
    windows = [{row["window_id"]: row for row in rows(one, "windows")} for one in (plain, targeted)]
    used = {row["window_id"] for row in rows(plain, "examples") if row["feature_index"] not in rare}
    background = {name for name, row in windows[0].items() if row["fired_features"] is not None}
    assert background == {name for name, row in windows[1].items() if row["fired_features"] is not None}
    assert all(windows[0][name] == windows[1][name] for name in used | background)


def test_what_is_counted_of_rare_features_is_that_of_the_first_stage(plain: Evidence, targeted: Evidence) -> None:
    drawn = ("evidence_status", "n_tiles_targeted", "top_tokens", "token_entropy", "neighbours")
    counted = [[{k: v for k, v in row.items() if k not in drawn} for row in rows(one, "features")] for one in (plain, targeted)]
    assert counted[0] == counted[1]


def test_features_of_one_token_are_found_as_if_all_text_had_been_read(targeted: Evidence, whole: Evidence) -> None:
    """Their documents all hold a trigger, so nothing is estimated: the tiles sampled and those they stand for are those of the corpus."""
    rare = rare_ones(targeted)
    for number in (len(COMMON), len(COMMON) + len(RARE_LETTERS) - 1):
        assert number in rare
    strata = [
        {(r["feature_index"], r["split"]): r["n_tiles"] for r in rows(one, "strata") if r["stratum"] == "firing"}
        for one in (targeted, whole)
    ]
    letters = range(len(COMMON), len(COMMON) + len(RARE_LETTERS))
    of_letters = [{key: n for key, n in one.items() if key[0] in letters} for one in strata]
    assert of_letters[0] == of_letters[1]
    assert of_letters[0]
    firing = [
        {
            (r["feature_index"], r["window_id"])
            for r in rows(one, "examples")
            if r["stratum"] == "firing" and r["feature_index"] in letters
        }
        for one in (targeted, whole)
    ]
    assert firing[0] == firing[1]
    for row in rows(targeted, "examples"):
        if row["feature_index"] in letters and row["stratum"] == "firing":
            assert row["inclusion_weight"] == pytest.approx(1.0)
            assert row["max_activation"] > 0


def test_a_sample_is_uniform_and_weights_add_up_to_the_population(targeted: Evidence, plain: Evidence) -> None:
    rare = rare_ones(targeted)
    drawn = [(row["feature_index"], row["window_id"], row["kind"]) for row in rows(targeted, "examples")]
    assert len(set(drawn)) == len(drawn)
    weights: dict[tuple[int, str], list[float]] = {}
    for row in rows(targeted, "examples"):
        if row["stratum"] == "firing":
            weights.setdefault((row["feature_index"], row["split"]), []).append(row["inclusion_weight"])
    before = {(r["feature_index"], r["split"]): r["n_tiles"] for r in rows(plain, "strata") if r["stratum"] == "firing"}
    larger = 0
    for row in rows(targeted, "strata"):
        key = (row["feature_index"], row["split"])
        if row["stratum"] == "firing" and row["n_sampled"]:
            assert len(set(weights[key])) == 1
            if row["feature_index"] in rare:
                assert sum(weights[key]) == pytest.approx(row["n_tiles"], rel=0.5)
                larger += row["n_tiles"] > before.get(key, 0)
            else:
                assert sum(weights[key]) == pytest.approx(row["n_tiles"])
                assert row["n_tiles"] == before[key]
    assert larger > 2 * len(RARE_LETTERS)


def test_order_of_the_text_changes_nothing(
    sae: Path, subject_settings: SubjectSettings, targeted: Evidence, tmp_path: Path
) -> None:
    lines = texts()
    random.Random(8).shuffle(lines)
    shuffled = written(tmp_path / "shuffled.jsonl", lines)
    again = collected(settings(shuffled, sae, subject_settings), tmp_path)
    assert again.evidence_set["evidence_hash"] == targeted.evidence_set["evidence_hash"]
    assert again.evidence_set["evidence_set_id"] == targeted.evidence_set["evidence_set_id"]


def test_a_collection_killed_in_both_stages_goes_on(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, targeted: Evidence, reports: list[int], tmp_path: Path
) -> None:
    chosen = settings(corpus, sae, subject_settings)
    first_stage = targeted.evidence_set["n_tokens"]
    seen: list[int] = []
    for tokens in (first_stage // 2, first_stage + 3 * (reports[-1] - first_stage) // 5):
        command = [sys.executable, "-m", "tests.evidence.test_targeting", chosen.model_dump_json(), str(tmp_path), str(tokens)]
        done = subprocess.run(command, cwd=Path(__file__).parents[2], check=False, timeout=300)
        assert done.returncode == -signal.SIGKILL
        manifest = json.loads(next(tmp_path.glob("*/manifest.json")).read_text())
        assert manifest["has_rare"] == (tokens > first_stage)
    evidence = collected(chosen, tmp_path, seen.append)
    assert min(seen) >= first_stage, "the first stage began anew"
    assert len(seen) < 0.7 * sum(tokens > first_stage for tokens in reports), "the second stage began anew"
    assert evidence.evidence_set == targeted.evidence_set


def test_one_cut_off_twice_where_the_text_ends_finds_nothing_twice(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, targeted: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*given: Any) -> Any:
        raise KeyboardInterrupt

    chosen = settings(corpus, sae, subject_settings)
    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoint, "save_documents", cut)
            with pytest.raises(KeyboardInterrupt):
                collected(chosen, tmp_path)
    assert collected(chosen, tmp_path).evidence_set == targeted.evidence_set


def test_one_cut_off_between_the_stages_goes_on(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, targeted: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(corpus, sae, subject_settings)
    for dying in ("begin", "gather_rare"):

        def cut(*given: Any) -> Any:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(f"autolabel.evidence.collect.{dying}", cut)
            with pytest.raises(KeyboardInterrupt):
                collected(chosen, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("autolabel.evidence.collect.gather_shard", lambda *given: pytest.fail("the first stage was run again"))
        assert collected(chosen, tmp_path).evidence_set == targeted.evidence_set


def test_a_finished_collection_is_read_back(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, targeted: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = settings(corpus, sae, subject_settings)
    collected(chosen, tmp_path)
    for stage in ("gather_shard", "gather_rare", "begin"):
        monkeypatch.setattr(f"autolabel.evidence.collect.{stage}", lambda *given: pytest.fail("text was read again"))
    assert collected(chosen, tmp_path).evidence_set == targeted.evidence_set
    identity = targeted.evidence_set["evidence_set_id"]
    collector, _ = Checkpoint(tmp_path / identity, identity).load(len(COMMON) + len(RARE_LETTERS) + 1, chosen.evidence, chosen.seed)
    assert collector.rare is not None
    quotas = collector.quotas
    assert collector.rare.n_kept == sum(np.minimum(n, quotas[split] + 1).sum() for split, n in collector.rare.found.items())
    (state,) = tmp_path.glob("*/state-*.rare.parquet")
    state.write_bytes(state.read_bytes()[:50])
    with pytest.raises(DataError, match=r"rare\.parquet' is missing or damaged"):
        collected(chosen, tmp_path)


def test_several_saes_find_what_each_finds_alone(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, targeted: Evidence, tmp_path: Path
) -> None:
    coder = native.load(sae)
    coder.W_dec.mul_(2)
    native.save(tmp_path / "doubled", coder)
    base = settings(corpus, sae, subject_settings)
    doubled = base.saes[0].model_copy(update={"path": str(tmp_path / "doubled")})
    collection = Collection(base.model_copy(update={"also": [doubled]}), tmp_path)
    collection.gate(force=True)
    together = list(collection.run(lambda tokens: None))
    assert together[0].evidence_set == targeted.evidence_set
    assert rows(together[1], "strata") == rows(targeted, "strata")


def test_text_that_is_needed_whole_has_no_second_stage(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autolabel.evidence.collect.begin", begin_is_not_called)
    evidence = collected(settings(corpus, sae, subject_settings, min_examples=10**6), tmp_path)
    assert not rare_ones(evidence)


def begin_is_not_called(*given: Any) -> Any:
    return pytest.fail(f"{begin.__name__} was called though nothing is left to read")


def test_what_cannot_be_targeted_is_refused(corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="target_rare needs min_examples"):
        settings(corpus, sae, subject_settings, min_examples=None)
    chosen = settings(corpus, sae, subject_settings)
    content = chosen.model_dump(exclude_none=True)
    with pytest.raises(ConfigError, match="target_rare is for one machine"):
        validated(content | {"engine": {"kind": "ray"}}, Settings, "test")
    source = {"source": {"kind": "activations", "path": "x"}, "evidence": {"min_examples": 5, "target_rare": True}}
    with pytest.raises(ConfigError, match=r"target_rare .* need a model and text"):
        validated(source, Settings, "test")
    with pytest.raises(DataError, match="text cannot be added where only as much is read as min_examples needs"):
        Collection(chosen, tmp_path, "parent")


def test_the_option_sets_the_setting(sae: Path, tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text(f"subject.model = 'tiny'\nsae.path = '{sae}'\n[[corpus.sources]]\npath = 'texts.jsonl'\n")
    assert settings_with(file, min_examples=30, target_rare=True).evidence.target_rare
    assert not settings_with(file, min_examples=30, target_rare=False).evidence.target_rare
    with pytest.raises(ConfigError, match="target_rare needs min_examples"):
        settings_with(file, target_rare=True)


def test_a_set_with_targeted_features_cannot_be_extended(
    corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path: Path
) -> None:
    parent = collected(settings(corpus, sae, subject_settings), tmp_path)
    more = written(tmp_path / "more.jsonl", [f"{text} more" for text in texts(200)])
    chosen = settings(more, sae, subject_settings, target_rare=False, min_examples=None)
    with pytest.raises(DataError, match=r"text cannot be added.*target_rare was True and is False"):
        Collection(chosen, tmp_path, parent.evidence_set["evidence_set_id"])


if __name__ == "__main__":
    most = int(sys.argv[3])

    def kill_at(tokens: int) -> None:
        if tokens >= most:
            os.kill(os.getpid(), signal.SIGKILL)

    killed = Collection(Settings.model_validate_json(sys.argv[1]), Path(sys.argv[2]))
    killed.gate(force=True)
    list(killed.run(kill_at))
