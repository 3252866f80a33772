"""Running the benchmark on a database, as a run of its own."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from autolabel.config import TrainSettings, TruthSettings
from autolabel.hashing import content_id
from autolabel.parts import locate
from autolabel.pipeline.running import ending_recorded
from autolabel.planted.planting import PlantingSettings
from autolabel.store.run_store import RunStore
from autolabel.truth.bench import Bench, Results
from autolabel.truth.planted import PlantedResults, planted_concepts, run_planted
from autolabel.truth.replies import write_replies


def run_bench(settings: TruthSettings, say: Callable[[str], None], record: Path | None = None) -> Results:
    """Build the benchmark, measure on it, and record every reply into a file if one is named.

    Raises:
        AutolabelError: the text or a model cannot be used; what was answered is kept, and the same call goes on from there.
    """
    with RunStore.open(Path(settings.db), uuid4().hex) as store:
        bench = Bench(settings, store, say)
        config = settings.model_dump(mode="json")
        store.start_run("bench truth", config, settings.config_hash, settings.seed, job_hash=settings.job_hash)
        with ending_recorded(store):
            results = asyncio.run(bench.run())
            if record is not None:
                say(f"{write_replies(record, store, results.recorded, results.needed):,} replies written to {record}")
        return results


def run_planted_bench(
    settings: TrainSettings, n_concepts: int, strength: tuple[float, float], folder: Path, encoder: str, say: Callable[[str], None]
) -> PlantedResults:
    """Level 1 in `folder`: the SAE, its evidence and a database of its own.

    Raises:
        AutolabelError: the model, the text or the concepts cannot be used.
    """
    from autolabel.local.minilm import SentenceEncoder

    folder.mkdir(parents=True, exist_ok=True)
    config = settings.model_dump(mode="json") | {"n_concepts": n_concepts, "strength": list(strength)}
    concepts = planted_concepts(n_concepts, settings.seed)
    embedder = SentenceEncoder.load(locate(encoder), name=encoder.removeprefix("part:"))
    with RunStore.open(folder / "planted.duckdb", uuid4().hex) as store:
        store.start_run("bench planted", config, content_id("settings", config), settings.seed)
        with ending_recorded(store):
            planting = PlantingSettings(strength=strength, seed=settings.seed)
            return asyncio.run(run_planted(settings, concepts, planting, folder, store, embedder, say))
