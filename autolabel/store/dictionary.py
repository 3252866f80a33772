"""What is known of a whole dictionary of features at once, and of what it was collected with."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from autolabel.errors import StoreError
from autolabel.store.connection import Database

_SOURCE = """
SELECT e.sae_id, s.d_sae, TRY_CAST(json_extract_string(e.gate, '$.norm_limit') AS DOUBLE)
FROM evidence_sets e JOIN saes s USING (sae_id) WHERE e.evidence_set_id = ?
"""
_FEATURES = """
SELECT feature_index, evidence_status = 'alive' AS alive, firing_threshold FROM features WHERE evidence_set_id = ? ORDER BY feature_index
"""


@dataclass(frozen=True, slots=True)
class StoredDictionary:
    """The features of an evidence set."""

    sae_id: str
    d_sae: int
    norm_limit: float | None
    """Norm above which tokens were left out; None where no model was measured, as with files of activations."""
    alive: NDArray[np.bool_]
    """Which features have evidence enough to be labelled and scored, shape (d_sae,)."""
    thresholds: NDArray[np.float64]
    """The activation above which each fires in scores, shape (d_sae,)."""


def load_dictionary(db: Database, evidence_set_id: str) -> StoredDictionary:
    """All features of an evidence set.

    Raises:
        StoreError: there is no such set, or it holds a feature that its SAE does not have.
    """
    with db.read() as connection:
        source = connection.execute(_SOURCE, [evidence_set_id]).fetchone()
        found = connection.execute(_FEATURES, [evidence_set_id]).fetchnumpy()
    if source is None:
        raise StoreError(
            f"{db.path} holds no evidence set {evidence_set_id}, or not the SAE it is of; `autolabel db check` says what else lacks"
        )
    sae_id, d_sae, norm_limit = source
    index = np.asarray(found["feature_index"], dtype=np.int64)
    if len(index) and not 0 <= index.min() <= index.max() < d_sae:
        raise StoreError(f"{db.path}: evidence set {evidence_set_id} holds feature {index.max()}, but its SAE has {d_sae} features")
    alive, thresholds = np.zeros(d_sae, dtype=bool), np.zeros(d_sae)
    alive[index], thresholds[index] = found["alive"], found["firing_threshold"]
    return StoredDictionary(sae_id, d_sae, norm_limit, alive, thresholds)


def stored_scores(db: Database, score_ids: Iterable[str]) -> set[str]:
    """Those of these scores that are in the database."""
    with db.read() as connection:
        sql = "SELECT score_id FROM scores WHERE score_id IN (SELECT unnest($wanted))"
        return {score_id for (score_id,) in connection.execute(sql, {"wanted": list(score_ids)}).fetchall()}
