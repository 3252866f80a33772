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
from autolabel.scorers.base import Scorer
from autolabel.scorers.embedding import EmbeddingScorer
from autolabel.scorers.likelihood import LikelihoodScorer
from autolabel.store.run_store import RunStore
from autolabel.truth.bench import Bench, Results
from autolabel.truth.halves import build_halves
from autolabel.truth.models import load_truth_models
from autolabel.truth.one_exam import judges_on_one_exam
from autolabel.truth.planted import PlantedResults, planted_concepts, run_planted
from autolabel.truth.repeatability import Agreement, Repeatability, measure_repeatability
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


def run_repeatability(settings: TruthSettings, features: int, say: Callable[[str], None]) -> tuple[Repeatability, list[Agreement]]:
    """How repeatable scores are, by the local models of the settings; and how judges agree on the benchmark's own exam, where replies are
    recorded or an LLM is set up.

    Raises:
        AutolabelError: the text or a model cannot be used; what was answered is kept.
    """
    with RunStore.open(Path(settings.db), uuid4().hex) as store:
        config = settings.model_dump(mode="json") | {"features": features}
        store.start_run("bench repeatability", config, content_id("settings", config), settings.seed)
        with ending_recorded(store):
            return asyncio.run(_repeated(settings, features, store, say))


async def _repeated(
    settings: TruthSettings, features: int, store: RunStore, say: Callable[[str], None]
) -> tuple[Repeatability, list[Agreement]]:
    models = load_truth_models(settings.model_copy(update={"replies": None}), store)
    scorers: list[Scorer] = [EmbeddingScorer(models.embedder)] if models.embedder is not None else []
    scorers += [LikelihoodScorer(models.likelihood)] if models.likelihood is not None else []
    found = await measure_repeatability(build_halves(settings, features, store, say), scorers, settings.seed, store, say)
    if settings.replies is None:
        return found, []
    recorded = settings.local.model_copy(update={"likelihood_model": None})
    return found, await judges_on_one_exam(settings.model_copy(update={"local": recorded}), store, say)


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
