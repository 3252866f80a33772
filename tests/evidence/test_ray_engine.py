"""Collecting on a Ray cluster of this machine: the evidence of one process, lost workers and killed runs included."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from autolabel.config import EngineSettings, Settings, SubjectSettings
from autolabel.errors import DataError
from autolabel.evidence.collect import Collection
from tests.evidence.test_collect import sae as sae
from tests.evidence.test_collect import settings, texts, written

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    here = str(Path(__file__).parents[2])
    ray.init(
        num_cpus=2,
        include_dashboard=False,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
        logging_level=logging.ERROR,
        runtime_env={"env_vars": {"PYTHONPATH": here, "OMP_NUM_THREADS": "1"}},
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(tmp_path_factory.mktemp("corpus") / "texts.jsonl", texts())


@pytest.fixture(scope="module")
def expected(corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path_factory: pytest.TempPathFactory) -> str:
    return collected(settings(corpus, sae, subject_settings), tmp_path_factory.mktemp("local"))


def on_ray(base: Settings, **changes: object) -> Settings:
    engine = base.engine.model_copy(update={"kind": "ray", "workers": 2, "shards": 5, **changes})
    return base.model_copy(update={"engine": engine})


def cut(*given: object, **named: object) -> None:
    raise KeyboardInterrupt


def collected(chosen: Settings, folder: Path) -> str:
    (evidence,) = Collection(chosen, folder).run(lambda tokens: None)
    return str(evidence.evidence_set["evidence_hash"])


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
class TestOnRay:
    def test_two_workers_find_what_one_process_finds(
        self, cluster: None, corpus: Path, sae: Path, subject_settings: SubjectSettings, expected: str, tmp_path: Path
    ) -> None:
        assert collected(on_ray(settings(corpus, sae, subject_settings)), tmp_path) == expected
        assert not list(tmp_path.rglob("shard-*"))

    def test_a_killed_run_goes_on_from_finished_shards_and_a_lost_worker_costs_a_shard(
        self,
        cluster: None,
        corpus: Path,
        sae: Path,
        subject_settings: SubjectSettings,
        expected: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from autolabel.evidence import ray_engine

        real_merge, merged = ray_engine.merge_shard, []

        def dying_merge(url: str, *rest: object) -> None:
            merged.append(url)
            if len(merged) == 2:
                raise KeyboardInterrupt
            real_merge(url, *rest)

        chosen = on_ray(settings(corpus, sae, subject_settings), shard_url=str(tmp_path / "shards"))
        monkeypatch.setattr(ray_engine, "merge_shard", dying_merge)
        with pytest.raises(KeyboardInterrupt):
            collected(chosen, tmp_path)
        finished = sorted((tmp_path / "shards").rglob("manifest.json"))
        finished[-1].unlink()
        before = {path.parent.name: path.stat().st_mtime_ns for path in finished[:-1]}

        real_outcome, outcomes = ray_engine._outcome, []

        def losing_outcome(task: object) -> str | None:
            outcomes.append(real_outcome(task))
            return "its machine went away" if len(outcomes) == 1 else outcomes[-1]

        after: dict[str, int] = {}

        def watching_merge(url: str, *rest: object) -> None:
            after[Path(url).name] = (Path(url) / "manifest.json").stat().st_mtime_ns
            real_merge(url, *rest)

        monkeypatch.setattr(ray_engine, "merge_shard", watching_merge)
        monkeypatch.setattr(ray_engine, "_outcome", losing_outcome)
        assert collected(chosen, tmp_path) == expected
        assert 2 <= len(outcomes) <= 5 - len(before) + 1  # a worker of the first run may have ended what it was at
        assert outcomes.count(None) == len(outcomes)
        assert len(after) == 5
        assert {name: after[name] for name in before} == before

    def test_shards_stay_until_what_they_hold_is_saved(
        self,
        cluster: None,
        corpus: Path,
        sae: Path,
        subject_settings: SubjectSettings,
        expected: str,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        from autolabel.evidence import ray_engine

        chosen = on_ray(settings(corpus, sae, subject_settings))
        with monkeypatch.context() as patch:
            patch.setattr("autolabel.evidence.state.Checkpoint.save", cut)
            with pytest.raises(KeyboardInterrupt):
                collected(chosen, tmp_path)
        assert len(list(tmp_path.rglob("shard-*"))) == 5
        monkeypatch.setattr(ray_engine, "_remote_worker", lambda engine: lambda job: pytest.fail("a worker was made"))
        assert collected(chosen, tmp_path) == expected
        assert not list(tmp_path.rglob("shard-*"))

    def test_no_more_workers_are_waited_for_than_there_is_room_for(self, cluster: None) -> None:
        from autolabel.evidence.ray_engine import _n_workers

        assert _n_workers(EngineSettings(kind="ray", workers=8)) == 2
        assert _n_workers(EngineSettings(kind="ray")) == 1
        with pytest.raises(DataError, match=r"the cluster has 2 CPUs and 0 GPUs, a worker takes 1 and 1; lower"):
            _n_workers(EngineSettings(kind="ray", worker_gpus=1))
        with pytest.raises(DataError, match="a worker takes 3 and 0"):
            _n_workers(EngineSettings(kind="ray", worker_cpus=3))

    def test_a_worker_that_cannot_begin_is_not_tried_again(
        self, cluster: None, corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path: Path
    ) -> None:
        model = tmp_path / "model"
        shutil.copytree(subject_settings.model, model)
        moved = subject_settings.model_copy(update={"model": str(model)})
        collection = Collection(on_ray(settings(corpus, sae, moved)), tmp_path)
        collection.gate(force=False)
        shutil.rmtree(model)
        with pytest.raises(DataError, match=r"a worker cannot begin: .*model"):
            list(collection.run(lambda tokens: None))

    def test_what_a_worker_refuses_is_said_once(
        self, cluster: None, corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path: Path
    ) -> None:
        moved = written(tmp_path / "moved.jsonl", texts())
        collection = Collection(on_ray(settings(moved, sae, subject_settings)), tmp_path)
        moved.unlink()
        with pytest.raises(DataError, match="no text at"):
            list(collection.run(lambda tokens: None))

    def test_a_cluster_elsewhere_needs_a_place_for_shards(
        self, corpus: Path, sae: Path, subject_settings: SubjectSettings, tmp_path: Path
    ) -> None:
        chosen = on_ray(settings(corpus, sae, subject_settings), address="ray://head:10001")
        with pytest.raises(DataError, match=r"needs engine\.shard_url"):
            collected(chosen, tmp_path)
