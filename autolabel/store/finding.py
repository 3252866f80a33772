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
    control: str | None = None


def collected_sets(db: Database) -> list[CollectedSet]:
    """Every SAE's newest evidence set, those of controls included, newest first."""
    with db.read() as connection:
        rows = connection.execute(
            "SELECT e.evidence_set_id, e.sae_id, r.config, e.control FROM evidence_sets e LEFT JOIN runs r USING (run_id) "
            "QUALIFY row_number() OVER (PARTITION BY e.sae_id ORDER BY e.created_utc DESC, e.evidence_set_id DESC) = 1 "
            "ORDER BY e.created_utc DESC, e.evidence_set_id DESC"
        ).fetchall()
    return [CollectedSet(set_id, sae_id, json.loads(config or "{}"), control) for set_id, sae_id, config, control in rows]
