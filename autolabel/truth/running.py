"""Running the benchmark on a database, as a run of its own."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

from autolabel.config import TruthSettings
from autolabel.pipeline.running import ending_recorded
from autolabel.store.run_store import RunStore
from autolabel.truth.bench import Bench, Results
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
                say(f"{write_replies(record, store, results.recorded):,} replies written to {record}")
        return results
