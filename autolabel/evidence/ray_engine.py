"""Collecting on the workers of a Ray cluster: the one module that needs the optional library `ray`.

Documents are sharded by hash. A worker runs its shard through the collector of a single machine and puts the result under a URL as
Parquet files; the driver merges what is finished. So a lost worker costs a shard, a killed run goes on from finished shards, and the
evidence is that of one machine, bit for bit on like processors.
"""

import logging
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import torch

from autolabel.config import EngineSettings, Settings
from autolabel.errors import DataError
from autolabel.evidence.coders import open_coder
from autolabel.evidence.collector import Collector
from autolabel.evidence.shard_files import merge_shard, remove_shards, shard_is_finished, write_shard
from autolabel.evidence.shards import MIN_EXAMPLES_SHARDS, EvidenceSet, gather_shard, has_enough
from autolabel.evidence.spill import Spill
from autolabel.evidence.subject import Subject
from autolabel.evidence.survey import Survey

ATTEMPTS = 4
"""How often a shard is tried before the run gives up on it."""
_SHARDS_PER_WORKER = 4


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker needs to know."""

    settings: Settings
    survey: Survey
    sets: list[tuple[int, str, float]]
    """Of each evidence set: which of the settings' SAEs, its id, the norm above which tokens are outliers."""
    url: str
    n_shards: int

    def shard_url(self, identity: str, shard: int) -> str:
        """Where a shard of an evidence set is put."""
        return f"{self.url}/{identity}/shard-{shard:05d}-of-{self.n_shards:05d}"

    def is_finished(self, shard: int) -> bool:
        """Whether a shard of every evidence set is there."""
        return all(shard_is_finished(self.shard_url(identity, shard), identity) for _, identity, _ in self.sets)


class Worker:
    """Holds the model and collects shards, one after the other."""

    def __init__(self, job: Job) -> None:
        torch.set_num_threads(max(int(job.settings.engine.worker_cpus), 1))
        self._job = job
        self._subject = Subject.load(job.settings.subject_or_refuse)
        self._coders = [open_coder(job.settings.saes[number], self._subject) for number, _, _ in job.sets]

    def collect(self, shard: int) -> int:
        """Collect a shard and put it where the driver finds it; tokens read."""
        job, settings = self._job, self._job.settings
        with tempfile.TemporaryDirectory(prefix="autolabel-shard-") as folder:
            collectors = [
                Collector(coder.d_sae, settings.evidence, settings.seed, Spill(Path(folder) / str(number)))
                for number, coder in enumerate(self._coders)
            ]
            limits = [limit for _, _, limit in job.sets]
            together = list(zip(self._coders, limits, collectors, strict=True))
            gather_shard(settings, self._subject, job.survey, together, (shard, job.n_shards, 0), None, lambda tokens: None)
            for (_, identity, _), collector in zip(job.sets, collectors, strict=True):
                write_shard(job.shard_url(identity, shard), collector, identity)
            return collectors[0].counts.all_tokens


def gather(
    settings: Settings,
    survey: Survey,
    sets: Sequence[EvidenceSet],
    collectors: Sequence[Collector],
    folder: Path,
    report_tokens: Callable[[int], None],
) -> None:
    """Collect all shards of the corpus into the collectors of some evidence sets; `folder` is for files in between.

    Raises:
        DataError: a worker cannot use its input, or is lost again and again.
    """
    engine = settings.engine
    if engine.address is not None and engine.shard_url is None:
        raise DataError(
            f"engine.address = '{engine.address}' needs engine.shard_url: a folder or fsspec URL that all workers and this process reach"
        )
    with _cluster(engine):
        workers = _n_workers(engine)
        n_shards = MIN_EXAMPLES_SHARDS if settings.evidence.min_examples else engine.shards or _SHARDS_PER_WORKER * workers
        numbered = [(one.number, one.evidence_set_id, one.norm_limit) for one in sets]
        job = Job(settings, survey, numbered, _url(settings, folder), n_shards)
        before, done = collectors[0].counts.all_tokens, 0
        lacking = list(zip(sets, collectors, strict=True))
        for shard in _in_order(job, workers):
            for one, collector in lacking:
                with tempfile.TemporaryDirectory(dir=folder) as between:
                    merge_shard(job.shard_url(one.evidence_set_id, shard), collector, one.evidence_set_id, Path(between))
                collector.compact(factor=2.0)
                collector.spill.remove_unnamed()
            done = collectors[0].counts.all_tokens - before
            report_tokens(done)
            lacking = [(one, collector) for one, collector in lacking if not has_enough(collector)]
            if not lacking:
                break


def discard_shards(settings: Settings, folder: Path, identities: Iterable[str]) -> None:
    """Remove the shards of evidence sets, once what they hold is saved elsewhere."""
    for identity in identities:
        remove_shards(f"{_url(settings, folder)}/{identity}")


def _url(settings: Settings, folder: Path) -> str:
    return settings.engine.shard_url or str((folder / "shards").absolute())


def _n_workers(engine: EngineSettings) -> int:
    """As many workers as are wanted and the cluster has room for: one that finds none would be waited for without end.

    Raises:
        DataError: there is no room for a single one.
    """
    there, needed = ray.cluster_resources(), {"CPU": engine.worker_cpus, "GPU": _gpus_of_worker(engine)}
    wanted = engine.workers or max(int(there.get("GPU", 0)), 1)
    room = min(int(there.get(name, 0) / amount) for name, amount in needed.items() if amount)
    if room < 1:
        raise DataError(
            f"the cluster has {there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs, a worker takes {needed['CPU']:g} and "
            f"{needed['GPU']:g}; lower engine.worker_cpus or engine.worker_gpus, or add machines"
        )
    if room < wanted:
        logging.getLogger(__name__).warning("the cluster has room for %s workers, not for %s", room, wanted)
    return min(wanted, room)


def _gpus_of_worker(engine: EngineSettings) -> float:
    if engine.worker_gpus is not None:
        return engine.worker_gpus
    return 1 if ray.cluster_resources().get("GPU", 0) else 0


def _in_order(job: Job, n_workers: int) -> Iterator[int]:
    """Have the shards collected, each yielded once it and all before it are finished."""
    finished = {shard for shard in range(job.n_shards) if job.is_finished(shard)}
    waiting = deque(shard for shard in range(job.n_shards) if shard not in finished)
    attempts = dict.fromkeys(waiting, 0)
    shared = ray.put(job)
    make = _remote_worker(job.settings.engine)
    workers = [make(shared) for _ in range(min(n_workers, len(waiting)))]
    running: dict[Any, tuple[int, Any]] = {}
    for following in range(job.n_shards):
        while following not in finished:
            while waiting and workers:
                shard, worker = waiting.popleft(), workers.pop()
                attempts[shard] += 1
                running[worker.collect.remote(shard)] = (shard, worker)
            (task,), _ = ray.wait(list(running), num_returns=1)
            shard, worker = running.pop(task)
            error = _outcome(task)
            if error is None:
                finished.add(shard)
                workers.append(worker)
                continue
            if attempts[shard] >= ATTEMPTS:
                raise DataError(f"shard {shard} was lost {ATTEMPTS} times ({error}); run the command again to go on")
            logging.getLogger(__name__).warning("shard %s was lost (%s) and is collected again", shard, error)
            waiting.append(shard)
            ray.kill(worker)
            workers.append(make(shared))
        yield following


def _outcome(task: Any) -> str | None:
    """None when a task ended well, why not when its worker was lost.

    Raises:
        DataError: what autolabel itself raised, or why a worker could not be made, which it could not be the next time either.
    """
    try:
        ray.get(task)
    except ray.exceptions.RayTaskError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, DataError):
            raise DataError(str(cause)) from None
        return " ".join(str(cause or error).split())[:300]
    except ray.exceptions.ActorDiedError as error:
        if error.actor_init_failed:
            raise DataError(f"a worker cannot begin: {' '.join(str(error).split())[-600:]}") from None
        return " ".join(str(error).split())[:300]
    except ray.exceptions.RayError as error:
        return " ".join(str(error).split())[:300]
    return None


def _remote_worker(engine: EngineSettings) -> Callable[[Any], Any]:
    return ray.remote(num_cpus=engine.worker_cpus, num_gpus=_gpus_of_worker(engine))(Worker).remote  # type: ignore[no-any-return]


@contextmanager
def _cluster(engine: EngineSettings) -> Iterator[None]:
    """A cluster to work on: the one named, or one of our own on this machine's loopback address."""
    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if engine.address is not None:
        ray.init(address=engine.address, **quiet)
    else:
        workers = engine.workers or max(torch.cuda.device_count(), 1)
        cpus = max(round(workers * engine.worker_cpus + 0.5), 1)
        ray.init(num_cpus=cpus, include_dashboard=False, _node_ip_address="127.0.0.1", **quiet)
    try:
        yield
    finally:
        ray.shutdown()
