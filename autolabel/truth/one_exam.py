"""Whether judges rank labels alike that sat the benchmark's own exam: the one place for which an LLM's replies are recorded."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations

import numpy as np

from autolabel.config import TruthSettings
from autolabel.store.run_store import RunStore
from autolabel.truth.built import build
from autolabel.truth.features import Relation
from autolabel.truth.models import load_truth_models
from autolabel.truth.repeatability import ALL_JUDGES, TRUE, TURNS, Agreement, agreement
from autolabel.truth.score_table import Pair
from autolabel.truth.scoring import SCORERS, measure_scorer

JUDGES = ("embedding", "likelihood", "detection")


async def judges_on_one_exam(settings: TruthSettings, store: RunStore, report: Callable[[str], None]) -> list[Agreement]:
    """Have the judges that the models and replies at hand allow score the shipped labels, and compare them.

    Raises:
        AutolabelError: the text, a model or the replies cannot be used.
    """
    built = build(settings, store, report)
    models = load_truth_models(settings, store)
    features = [feature.index for feature in built.subset(settings.n_judge)]
    pairs: dict[str, list[Pair]] = {}
    await models.open()
    try:
        for name in JUDGES:
            spec = SCORERS[name]
            needs = () if spec.needs is None else (spec.needs,)
            if spec.can_run(models) and models.can_replay(f"scorer {name}", needs):
                report(f"scorer {name}")
                pairs[name] = (await measure_scorer(built, models, name, features)).pairs
    finally:
        await models.close()
    return compared(pairs)


def compared(pairs: Mapping[str, Sequence[Pair]]) -> list[Agreement]:
    """Agreement of every two judges and of all, over the features that all have scored: on one label of each, which relation taking
    turns, and on right labels alone."""
    if len(pairs) < 2:
        return []
    values = [_by_label(found) for found in pairs.values()]
    common: dict[int, list[Relation]] = defaultdict(list)
    for index, relation in values[0]:
        if all((index, relation) in one for one in values):
            common[index].append(relation)
    turns = [(index, relations[number % len(relations)]) for number, (index, relations) in enumerate(sorted(common.items()))]
    right = [(index, "true") for index, relations in sorted(common.items()) if "true" in relations]
    found = []
    for labels, keys in ((TURNS, turns), (TRUE, right)):
        if len(keys) < 2:
            continue
        scores = np.array([[one[key] for one in values] for key in keys])[:, :, None, None]  # type: ignore[index]
        sets = [*combinations(range(len(pairs)), 2), *([tuple(range(len(pairs)))] if len(pairs) > 2 else [])]
        for places in sets:
            named = " and ".join(list(pairs)[place] for place in places) if len(places) == 2 else ALL_JUDGES
            found.append(agreement(labels, named, scores[:, list(places)]))
    return found


def _by_label(pairs: Sequence[Pair]) -> dict[tuple[int, Relation], float]:
    """Scores by feature and relation, where a feature has one label of that relation."""
    found: dict[tuple[int, Relation], list[float | None]] = defaultdict(list)
    for pair in pairs:
        found[pair.index, pair.relation].append(pair.value)
    return {key: values[0] for key, values in found.items() if len(values) == 1 and values[0] is not None}
