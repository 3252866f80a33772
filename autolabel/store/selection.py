"""Which features a command works on.

The invariant: the same selection over the same evidence names the same features, on any machine; a sample is
stratified by firing rate, so that rare features are not crowded out, and chosen by hash, so that a larger sample
contains a smaller one.
"""

import math
import re
from collections import defaultdict

from autolabel.errors import ConfigError, StoreError
from autolabel.hashing import combine
from autolabel.store.connection import Database
from autolabel.store.sandbox import query, require_one_expression

_RANGE = re.compile(r"^(?P<first>\d{1,9})(?:-(?P<last>\d{1,9}))?$")


def select_features(
    db: Database,
    evidence_set_id: str,
    *,
    features: str | None = None,
    where: str | None = None,
    sample: int | None = None,
    seed: int = 0,
) -> list[int]:
    """The features to work on, in order: those named, for which the condition holds, and of these a sample of the alive ones.

    Args:
        db: the database.
        evidence_set_id: the evidence set.
        features: indices and ranges with both ends included, as in `3,17,100-120`; without it every feature that is not silent.
        where: an SQL condition on the columns of the view `feature_labels`.
        sample: how many alive features to draw, spread evenly over octaves of the firing rate; all of them when there are fewer.
        seed: of the draw.

    Raises:
        ConfigError: an index outside the SAE, a condition that cannot be used, or nothing selected.
    """
    rates, statuses = _features(db, evidence_set_id)
    if features is not None:
        chosen = _named(features, len(rates))
    else:
        chosen = [index for index, status in statuses.items() if status != "silent"]
    if where is not None:
        holds = _matching(db, evidence_set_id, where)
        chosen = [index for index in chosen if index in holds]
    if sample is not None:
        chosen = _sample({index: rates[index] for index in chosen if statuses[index] == "alive"}, sample, seed)
    if not chosen:
        raise ConfigError("no feature is selected; loosen --features, --where or --sample")
    return sorted(chosen)


def _features(db: Database, evidence_set_id: str) -> tuple[dict[int, float], dict[int, str]]:
    with db.read() as connection:
        rows = connection.execute(
            "SELECT feature_index, firing_rate, evidence_status FROM features WHERE evidence_set_id = ? ORDER BY feature_index",
            [evidence_set_id],
        ).fetchall()
    if not rows:
        raise StoreError(f"{db.path} holds no features of evidence set {evidence_set_id}")
    return {index: rate for index, rate, _ in rows}, {index: status for index, _, status in rows}


def _named(features: str, d_sae: int) -> list[int]:
    indices: set[int] = set()
    for part in features.split(","):
        match = _RANGE.match(part.strip())
        if match is None:
            raise ConfigError(
                f"--features {features!r}: {part.strip()!r} is neither an index nor a range; expected something like 3,17,100-120"
            )
        first, last = int(match["first"]), int(match["last"] or match["first"])
        if last < first:
            raise ConfigError(f"--features {features!r}: the range {part.strip()!r} ends before it begins")
        if last >= d_sae:
            raise ConfigError(
                f"--features {features!r}: there is no feature {last}; the SAE has d_sae = {d_sae} features, 0 to {d_sae - 1}"
            )
        indices.update(range(first, last + 1))
    return sorted(indices)


def _matching(db: Database, evidence_set_id: str, where: str) -> set[int]:
    require_one_expression(where)
    restricted = (
        "(SELECT * FROM (FROM feature_labels UNION ALL BY NAME FROM control_labels) WHERE evidence_set_id = $evidence_set_id)"
    )
    # The condition's own line keeps a trailing comment from swallowing the parenthesis.
    sql = f"SELECT feature_index FROM {restricted} AS feature_labels WHERE (\n{where}\n)"
    result = query(db.path, sql, params={"evidence_set_id": evidence_set_id}, max_rows=2**31)
    return set(result.table["feature_index"].to_pylist())


def _sample(rates: dict[int, float], sample: int, seed: int) -> list[int]:
    """Take one feature of each octave of the firing rate in turn, each octave in the order of a hash."""
    if sample < 1:
        raise ConfigError(f"--sample {sample}: expected at least 1")
    octaves: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for index, rate in rates.items():
        draw = int(combine(seed, index))
        octaves[math.floor(math.log2(rate))].append((draw, index))
    turns = [(turn, draw, index) for members in octaves.values() for turn, (draw, index) in enumerate(sorted(members))]
    return [index for _, _, index in sorted(turns)[:sample]]
