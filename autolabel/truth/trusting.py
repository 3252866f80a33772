"""Fitting the shipped trust models: TruthBench twice over, its labels as cases, a model for each set of signals, one file.

Seed 0 gives the shipped labels under the encoder and, from recorded replies, under the judge; seeds 0 and 1, which have no feature in
common, give the labels that carry rules.
"""

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

from autolabel.config import TruthSettings
from autolabel.errors import DataError
from autolabel.pipeline.running import ending_recorded
from autolabel.store.run_store import RunStore
from autolabel.trust import CORRECT_F1, FORMAT, MODEL_SIGNALS, read_models
from autolabel.truth.built import build
from autolabel.truth.models import load_truth_models
from autolabel.truth.replies import replacing
from autolabel.truth.trust_cases import Case, rule_cases, shipped_cases
from autolabel.truth.trust_fit import Trained, train
from autolabel.truth.trust_worth import worth

OTHER_CUTS = (0.7, 0.9)
"""Exact F1 from which on a label might count as correct instead: how much hangs on the definition."""
TOLERANCE = 0.02
"""Numbers may move by as much from one machine to another: embeddings differ in their last digits, and so do ties."""


def gather(settings: TruthSettings, say: Callable[[str], None], with_shipped: bool) -> tuple[dict[str, Any], list[Case]]:
    """Build one benchmark and make cases of its labels; what they come from, and the cases.

    Raises:
        AutolabelError: the text or a model cannot be used.
    """
    with RunStore.open(Path(settings.db), uuid4().hex) as store:
        config = settings.model_dump(mode="json")
        store.start_run("bench trust", config, settings.config_hash, settings.seed, job_hash=settings.job_hash)
        with ending_recorded(store):
            built = build(settings, store, say)
            models = load_truth_models(settings, store)

            async def both() -> list[Case]:
                say(f"seed {settings.seed}: labels and their rules under scorers")
                own = await shipped_cases(built, models) if with_shipped else []
                return [*own, *await rule_cases(built, models)]

            cases = asyncio.run(both())
        source = {"seed": settings.seed, "evidence_set_id": built.evidence_set_id, "n_features": len(built.features)}
        if with_shipped:
            source |= {"encoder": getattr(models.embedder, "model_id", None), "judge": models.recorded.model}
        return source, cases


def fit_all(sources: Sequence[Mapping[str, Any]], cases: Sequence[Case]) -> dict[str, Any]:
    """The content of a file of models.

    Raises:
        DataError: no model can be fitted on these cases.
    """
    trained = {name: one for name in MODEL_SIGNALS if (one := train(name, cases)) is not None}
    if not trained:
        raise DataError(
            "no label of this benchmark has the signals of any trust model, or all are right or all wrong; use more features"
        )
    return {
        "format": FORMAT,
        "correct_f1": CORRECT_F1,
        "fitted_on": [dict(source) for source in sources],
        "models": [_described(name, one, cases) for name, one in trained.items()],
    }


def _described(name: str, trained: Trained, cases: Sequence[Case]) -> dict[str, Any]:
    model = trained.model
    others = {cut: train(name, cases, cut) for cut in OTHER_CUTS}
    short = ("share_right", "auroc", "brier", "calibration_error", "aurc")
    return {
        "name": name,
        "signals": list(model.signals),
        "threshold": model.threshold,
        "centres": list(model.centres),
        "scales": list(model.scales),
        "coefficients": list(model.coefficients),
        "worth": worth(trained),
        "if_correct_from": {
            str(cut): {key: value for key, value in worth(other).items() if key in short} | {"threshold": other.model.threshold}
            for cut, other in others.items()
            if other is not None
        },
        "draws": [list(draw) for draw in model.draws],
    }


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file of models, whole or not at all; each draw on a line of its own."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    draws = {json.dumps(draw, indent=1): json.dumps(draw) for model in content["models"] for draw in model["draws"]}
    for spread, short in draws.items():
        text = text.replace(spread.replace("\n", "\n    "), short)
    with replacing(path) as beside:
        beside.write_text(text + "\n", encoding="utf-8")


def read_file(path: Path) -> dict[str, Any]:
    """The content of a file of models, as it was written.

    Raises:
        DataError: it is no such file.
    """
    read_models(path)
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def differences(before: Any, now: Any, where: str = "models") -> list[str]:
    """Where the content of two files differs by more than machines do; a line for each number. Draws are not compared one by one."""
    if isinstance(before, Mapping) and isinstance(now, Mapping):
        keys = [key for key in {**before, **now} if key != "draws"]
        return [line for key in keys for line in differences(before.get(key), now.get(key), f"{where}, {key}")]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        pairs = enumerate(zip(before, now, strict=True))
        return [line for place, (one, other) in pairs for line in differences(one, other, f"{where} {place}")]
    if isinstance(before, int | float) and isinstance(now, int | float) and not isinstance(before, bool):
        return [] if abs(now - before) <= TOLERANCE * max(1.0, abs(before)) else [f"{where}: {now:g}, in the file {before:g}"]
    return [] if before == now else [f"{where}: {now}, in the file {before}"]
