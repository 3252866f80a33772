"""Reading what the pipeline needs from the database, a bulk query at a time, as the plain records of the rest of the
program.

The invariant: what is read back is what was stored, in an order that does not depend on how it was stored.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import duckdb

from autolabel.errors import StoreError
from autolabel.records import Example, FeatureEvidence, Label, Prediction, Split
from autolabel.store.connection import Database

PredictionKey = tuple[str, int, str, str, Split]
"""label_id, feature_index, scorer, config_hash, split."""


@dataclass(frozen=True, slots=True)
class Choice:
    """The decision in force about a feature. `label_id` is None when no label was chosen."""

    choice_id: str
    label_id: str | None
    verdict: str
    reason: str
    validation_score: float | None
    scorer: str | None
    chosen_by: Literal["run", "human"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """What came of testing a judge on the solved examples."""

    calibration_id: str
    scorer: str
    judge: str
    answer_mode: str
    config_hash: str
    prompt_hash: str | None
    auroc: float | None
    low: float | None
    high: float | None
    n: int
    n_failed: int
    true_positive_rate: float | None
    false_positive_rate: float | None
    verdict: Literal["admitted", "judge_unfit"]


def latest_evidence_set(db: Database, sae_id: str | None = None, *, controls: bool = False) -> str:
    """The newest evidence set of one SAE, a control included, since its SAE is named; or of all SAEs, of controls alone or of others."""
    with db.read() as connection:
        row = connection.execute(
            "SELECT evidence_set_id FROM evidence_sets "
            "WHERE CASE WHEN $sae_id IS NULL THEN (control IS NOT NULL) = $controls ELSE sae_id = $sae_id END "
            "ORDER BY created_utc DESC, evidence_set_id DESC LIMIT 1",
            {"sae_id": sae_id, "controls": controls},
        ).fetchone()
    if row is None:
        of_sae = f" for SAE {sae_id}" if sae_id else ""
        raise StoreError(f"{db.path} holds no evidence{of_sae}; collect some with `autolabel collect CONFIG.toml --db {db.path}`")
    return str(row[0])


def alive_features(db: Database, evidence_set_id: str) -> list[int]:
    """The features whose evidence status is alive, in order."""
    with db.read() as connection:
        rows = connection.execute(
            "SELECT feature_index FROM features WHERE evidence_set_id = ? AND evidence_status = 'alive' ORDER BY ALL",
            [evidence_set_id],
        ).fetchall()
    return [index for (index,) in rows]


def load_feature_evidence(
    db: Database, evidence_set_id: str, feature_indices: Iterable[int], split: Split | None = None
) -> dict[int, FeatureEvidence]:
    """What is stored about these features, by index; examples of one split or of all, ordered by split, kind and rank.

    Raises:
        StoreError: a feature that the evidence set does not hold.
    """
    wanted = sorted(set(feature_indices))
    parameters = {"evidence_set_id": evidence_set_id, "wanted": wanted}
    with db.read() as connection:
        features = _rows(
            connection,
            "SELECT feature_index, sae_id, evidence_status, firing_rate, coalesce(max_activation, 0) AS max_activation "
            "FROM features WHERE evidence_set_id = $evidence_set_id AND feature_index IN (SELECT unnest($wanted)) "
            "ORDER BY feature_index",
            parameters,
        )
        examples = _rows(connection, _EXAMPLES, parameters | {"split": split})
    by_feature: dict[int, list[Example]] = defaultdict(list)
    for row in examples:
        by_feature[row.pop("feature_index")].append(_example(row))
    found = {
        row["feature_index"]: FeatureEvidence(
            evidence_set_id=evidence_set_id, examples=tuple(by_feature[row["feature_index"]]), **row
        )
        for row in features
    }
    missing = [index for index in wanted if index not in found]
    if missing:
        raise StoreError(f"{db.path}: evidence set {evidence_set_id} has no feature {', '.join(map(str, missing[:10]))}")
    return found


def load_firing_rates(db: Database, evidence_set_id: str) -> dict[int, float]:
    """Share of tiles that fire, of every feature of an evidence set."""
    with db.read() as connection:
        sql = "SELECT feature_index, firing_rate FROM features WHERE evidence_set_id = ? ORDER BY feature_index"
        return dict(connection.execute(sql, [evidence_set_id]).fetchall())


def load_labels(db: Database, evidence_set_id: str, feature_indices: Iterable[int]) -> list[Label]:
    """Every attempt at a label of these features, failed ones included, by feature and then oldest first."""
    with db.read() as connection:
        rows = _rows(
            connection,
            f"SELECT {_LABEL}, predicate, shown_window_ids FROM labels "
            "WHERE evidence_set_id = $evidence_set_id AND feature_index IN (SELECT unnest($wanted)) "
            "ORDER BY feature_index, created_utc, label_id",
            {"evidence_set_id": evidence_set_id, "wanted": sorted(set(feature_indices))},
        )
    return [_label(row) for row in rows]


def load_chosen_labels(db: Database, evidence_set_id: str) -> dict[int, Label]:
    """The label in force of each feature that has one, without its predicate and the windows it came from: light enough for all."""
    with db.read() as connection:
        rows = _rows(
            connection,
            f"SELECT {_LABEL}, NULL AS predicate, [] AS shown_window_ids FROM labels WHERE evidence_set_id = $evidence_set_id "
            "AND label_id IN (SELECT label_id FROM current_choices WHERE evidence_set_id = $evidence_set_id) ORDER BY feature_index",
            {"evidence_set_id": evidence_set_id},
        )
    return {label.feature_index: label for label in map(_label, rows)}


def stored_labels(db: Database, label_ids: Iterable[str]) -> set[str]:
    """Those of these labels that are in the database."""
    with db.read() as connection:
        sql = "SELECT label_id FROM labels WHERE label_id IN (SELECT unnest($wanted))"
        return {label_id for (label_id,) in connection.execute(sql, {"wanted": list(label_ids)}).fetchall()}


def load_current_choices(db: Database, evidence_set_id: str) -> dict[int, Choice]:
    """The decision in force about each feature that has one."""
    with db.read() as connection:
        rows = _rows(
            connection,
            "SELECT feature_index, choice_id, label_id, verdict, reason, validation_score, scorer, chosen_by FROM current_choices "
            "WHERE evidence_set_id = $evidence_set_id ORDER BY feature_index",
            {"evidence_set_id": evidence_set_id},
        )
    return {row.pop("feature_index"): Choice(**row) for row in rows}


def existing_predictions(
    db: Database, evidence_set_id: str, feature_indices: Iterable[int] | None = None, split: Split | None = None
) -> dict[PredictionKey, list[Prediction]]:
    """What scorers have said already about the windows of an evidence set (of some features and of one split, or of all), by what
    was asked."""
    wanted = None if feature_indices is None else sorted(set(feature_indices))
    with db.read() as connection:
        rows = _rows(
            connection,
            "SELECT label_id, feature_index, scorer, config_hash, split, window_id, value, status, error, request_hash, "
            "asked_again, inclusion FROM predictions WHERE evidence_set_id = $evidence_set_id AND ($split IS NULL OR split = $split) "
            "AND ($wanted::INTEGER[] IS NULL OR feature_index IN (SELECT unnest($wanted::INTEGER[]))) ORDER BY ALL",
            {"evidence_set_id": evidence_set_id, "wanted": wanted, "split": split},
        )
    found: dict[PredictionKey, list[Prediction]] = defaultdict(list)
    for row in rows:
        key = (
            row.pop("label_id"),
            row.pop("feature_index"),
            row.pop("scorer"),
            row.pop("config_hash"),
            row.pop("split"),
        )
        found[key].append(Prediction(**row))
    return dict(found)


def score_ids(db: Database) -> set[str]:
    """The ids of every score stored."""
    with db.read() as connection:
        return {score_id for (score_id,) in connection.execute("SELECT score_id FROM scores").fetchall()}


def calibration(db: Database, calibration_id: str) -> Calibration | None:
    """A calibration made before, or None."""
    with db.read() as connection:
        rows = _rows(
            connection,
            "SELECT calibration_id, scorer, judge, answer_mode, config_hash, prompt_hash, auroc, low, high, n, n_failed, "
            "true_positive_rate, false_positive_rate, verdict FROM calibrations WHERE calibration_id = $calibration_id",
            {"calibration_id": calibration_id},
        )
    return next((Calibration(**row) for row in rows), None)


def evidence_sets(db: Database) -> set[str]:
    """Ids of all evidence sets there are."""
    with db.read() as connection:
        return {row[0] for row in connection.execute("SELECT evidence_set_id FROM evidence_sets").fetchall()}


def co_firing(
    db: Database, evidence_set_id: str, feature_indices: Iterable[int], among: Iterable[int], above: float
) -> dict[int, dict[int, float]]:
    """Jaccard index of the background tiles in which one of the features and one `among` others fire: feature → other feature → index,
    where it exceeds `above`, which is at least 0."""
    wanted = sorted(set(feature_indices))
    parameters = {"evidence_set_id": evidence_set_id, "wanted": wanted, "among": sorted({*wanted, *among}), "above": above}
    with db.read() as connection:
        rows = _rows(connection, _CO_FIRING, parameters)
    found: dict[int, dict[int, float]] = defaultdict(dict)
    for row in rows:
        found[row["feature"]][row["other"]] = row["jaccard"]
    return dict(found)


_LABEL = (
    "label_id, evidence_set_id, sae_id, feature_index, status, method, text, prompt_hash, model_requested, model_served, "
    "request_hash, sample_number, origin, error"
)
_ROWS_AT_ONCE = 256

_EXAMPLES = """
SELECT
    x.feature_index, x.window_id, w.document_id, w.source_document_id, w.tile_index, x.split, x.kind, x.stratum,
    w.text, w.token_starts, w.n_context_tokens, x.positions, x.activations, x.max_activation, x.quantile,
    x.sample_rank, x.in_exam, x.mark_positions
FROM examples x
JOIN windows w USING (evidence_set_id, window_id)
WHERE x.evidence_set_id = $evidence_set_id AND x.feature_index IN (SELECT unnest($wanted)) AND ($split IS NULL OR x.split = $split)
ORDER BY
    x.feature_index, list_position(['train', 'validation', 'test'], x.split),
    list_position(['strongest', 'firing', 'background', 'lookalike', 'neighbour', 'same_document'], x.kind),
    x.sample_rank, x.window_id
"""

_CO_FIRING = """
WITH fired AS MATERIALIZED (
    SELECT window_id, feature FROM (
        SELECT window_id, unnest(fired_features) AS feature FROM windows
        WHERE evidence_set_id = $evidence_set_id AND fired_features IS NOT NULL
    )
    WHERE feature IN (SELECT unnest($among))
),
tiles AS (SELECT feature, count(*) AS n FROM fired GROUP BY feature),
shared AS (
    SELECT a.feature AS feature, b.feature AS other, count(*) AS n
    FROM fired a JOIN fired b ON a.window_id = b.window_id AND a.feature <> b.feature
    WHERE a.feature IN (SELECT unnest($wanted)) GROUP BY ALL
)
SELECT s.feature, s.other, s.n / (a.n + b.n - s.n) AS jaccard
FROM shared s JOIN tiles a ON a.feature = s.feature JOIN tiles b ON b.feature = s.other
WHERE jaccard > $above
"""


def _example(row: dict[str, Any]) -> Example:
    for name in ("token_starts", "positions", "activations", "mark_positions"):
        row[name] = tuple(row[name])
    return Example(**row)


def _label(row: dict[str, Any]) -> Label:
    predicate = row.pop("predicate")
    shown = tuple(row.pop("shown_window_ids"))
    return Label(**row, predicate=None if predicate is None else json.loads(predicate), shown_window_ids=shown)


def _rows(connection: duckdb.DuckDBPyConnection, sql: str, parameters: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What a query finds: read at once, so that the file can be closed, and made into Python values a few hundred rows at a time,
    because the interpreter does nothing else meanwhile and an event loop may be waiting for it."""
    batches = connection.sql(sql, params=parameters).to_arrow_table().to_batches(max_chunksize=_ROWS_AT_ONCE)
    return (row for batch in batches for row in batch.to_pylist())
