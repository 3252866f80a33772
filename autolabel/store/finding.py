"""Which evidence belongs to settings, found without reading an SAE or a model: by the settings that each evidence set was collected with."""

import json
from dataclasses import dataclass
from typing import Any

from autolabel.store.connection import Database


@dataclass(frozen=True, slots=True)
class CollectedSet:
    """An evidence set and the settings of the run that collected it."""

    evidence_set_id: str
    sae_id: str
    config: dict[str, Any]


def collected_sets(db: Database) -> list[CollectedSet]:
    """Every SAE's newest evidence set that is no control, newest first."""
    with db.read() as connection:
        rows = connection.execute(
            "SELECT e.evidence_set_id, e.sae_id, r.config FROM current_evidence_sets e LEFT JOIN runs r USING (run_id) "
            "ORDER BY e.created_utc DESC, e.evidence_set_id DESC"
        ).fetchall()
    return [CollectedSet(set_id, sae_id, json.loads(config) if config else {}) for set_id, sae_id, config in rows]
