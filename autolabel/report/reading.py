"""What the pages show, read from the database a bulk query at a time.

The invariant: every number comes from a stored row; nothing is scored, guessed or filled in here. Callers that read more than once do so
inside one `with db.read()` block, so that a page is of one moment.
"""

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from autolabel.errors import ConfigError, StoreError
from autolabel.store.connection import Database

Row = dict[str, Any]


def table(db: Database, sql: str, **parameters: Any) -> pa.Table:
    """The rows of a query as they are stored."""
    with db.read() as connection:
        return connection.sql(sql, params=parameters or None).to_arrow_table()


def rows(db: Database, sql: str, **parameters: Any) -> list[Row]:
    """The rows of a query as dictionaries."""
    found: list[Row] = table(db, sql, **parameters).to_pylist()
    return found


def current_sets(db: Database) -> list[Row]:
    """The newest evidence set of each SAE, with its SAE and its text; controls last, with their kind in `control`."""
    return rows(db, _SETS)


def chosen_set(db: Database, sae: str | None) -> Row:
    """The evidence set to show: of the SAE with this name, id or start of an id, or the only one there is that is no control.

    Raises:
        StoreError: the database holds no evidence.
        ConfigError: no SAE, or more than one, is meant.
    """
    sets = current_sets(db)
    if not sets:
        raise StoreError(f"{db.path} holds no evidence; collect some with `autolabel collect CONFIG.toml --db {db.path}`")
    meant = [row for row in sets if row["control"] is None] or sets
    fitting = meant if sae is None else [row for row in sets if sae == row["sae_name"] or row["sae_id"].startswith(sae)]
    if len(fitting) != 1:
        known = ", ".join(f"{row['sae_id'][:12]} ({row['sae_name']})" for row in sets)
        given = f"--sae {sae!r} fits {len(fitting)} SAEs" if sae is not None else f"{db.path} holds {len(fitting)} SAEs"
        raise ConfigError(f"{given}; pass --sae with one of: {known}")
    return fitting[0]


def feature_labels(db: Database, evidence_set_id: str) -> list[Row]:
    """The view `feature_labels` for one evidence set, by feature; of a control `control_labels`, NULL in the columns it lacks."""
    return rows(db, f"SELECT * FROM {_LABELS} WHERE evidence_set_id = $id ORDER BY feature_index", id=evidence_set_id)


def feature_labels_table(db: Database, evidence_set_id: str | None) -> pa.Table:
    """The view `feature_labels` of one evidence set, a control included, or of all that are no controls, as Arrow."""
    if evidence_set_id is None:
        return table(db, "SELECT * FROM feature_labels ORDER BY sae_id, feature_index")
    return table(db, f"SELECT * FROM {_LABELS} WHERE evidence_set_id = $id ORDER BY feature_index", id=evidence_set_id)


def feature_facts(db: Database, evidence_set_id: str, features: Sequence[int]) -> dict[int, Row]:
    """Counts and tokens of features, by index; `top_tokens` parsed."""
    found = rows(db, _FACTS, id=evidence_set_id, features=list(features))
    for row in found:
        row["top_tokens"] = json.loads(row["top_tokens"]) if row["top_tokens"] else []
    return {row["feature_index"]: row for row in found}


def decisions(db: Database, evidence_set_id: str, features: Sequence[int]) -> dict[int, Row]:
    """The choice in force of each feature that has one, with where its label came from and the judge of its headline."""
    return {row["feature_index"]: row for row in rows(db, _DECISIONS, id=evidence_set_id, features=list(features))}


def own_scores(db: Database, evidence_set_id: str, features: Sequence[int]) -> dict[int, list[Row]]:
    """Every score on test tiles of the labels in force, the newest of each kind; `is_headline` marks the headline judge's."""
    return _grouped(rows(db, _OWN_SCORES, id=evidence_set_id, features=list(features)))


def null_scores(db: Database, evidence_set_id: str) -> dict[int, list[Row]]:
    """What labels of other features score on each feature's test tiles with the headline judge: `label_id`, `value`."""
    return _grouped(rows(db, _NULLS, id=evidence_set_id))


def headline_predictions(db: Database, evidence_set_id: str, features: Sequence[int]) -> dict[int, dict[str, Row]]:
    """What the headline judge said of each feature's test tiles under the label in force, by window."""
    found: dict[int, dict[str, Row]] = defaultdict(dict)
    for row in rows(db, _PREDICTIONS, id=evidence_set_id, features=list(features)):
        found[row["feature_index"]][row["window_id"]] = row
    return found


def latest_errors(db: Database, evidence_set_id: str) -> dict[int, str]:
    """Why the newest failed attempt at a label failed, for features with no usable one."""
    found = rows(db, _ERRORS, id=evidence_set_id)
    return {row["feature_index"]: f"{row['status']}: {row['error'] or 'no reason was kept'}" for row in found}


def near_copies(db: Database, evidence_set_id: str) -> Row:
    """Pairs of a feature and a test tile passed over because the tile repeats what the feature's labeler was shown, and those drawn.

    Both strata without firing come from one background sample, so its near-copies count once.
    """
    return rows(
        db,
        "SELECT coalesce(sum(n_near_copies) FILTER (stratum <> 'hard'), 0)::BIGINT AS n_near_copies, "
        "coalesce(sum(n_sampled), 0)::BIGINT AS n_sampled "
        "FROM strata WHERE evidence_set_id = $id AND split = 'test'",
        id=evidence_set_id,
    )[0]


def calibrations(db: Database) -> list[Row]:
    """What came of testing each judge, newest first."""
    return rows(db, "SELECT * FROM calibrations ORDER BY created_utc DESC, calibration_id")


def _grouped(found: list[Row]) -> dict[int, list[Row]]:
    groups: dict[int, list[Row]] = defaultdict(list)
    for row in found:
        groups[row["feature_index"]].append(row)
    return groups


_SETS = """
SELECT e.*, s.name AS sae_name, s.kind, s.format, s.subject_model, s.hookpoint_in, s.architecture, s.d_model, s.d_sae,
    k.name AS corpus_name, k.n_documents, k.n_source_documents, k.unseen_by_labeler, k.unseen_by_sae, k.unseen_by_subject
FROM (
    FROM evidence_sets QUALIFY row_number() OVER (PARTITION BY sae_id ORDER BY created_utc DESC, evidence_set_id DESC) = 1
) e
JOIN saes s USING (sae_id)
JOIN corpora k USING (corpus_id)
ORDER BY e.control IS NOT NULL, s.name, e.sae_id
"""

_LABELS = "(FROM feature_labels UNION ALL BY NAME SELECT * EXCLUDE (control) FROM control_labels)"

_FACTS = """
SELECT * EXCLUDE (histogram) FROM features
WHERE evidence_set_id = $id AND feature_index IN (SELECT unnest($features))
"""

_HEADLINE = "LEFT JOIN headline_scorers h ON h.run_id = c.run_id AND h.evidence_set_id = c.evidence_set_id"

_DECISIONS = f"""
SELECT
    c.feature_index, c.verdict, c.reason, c.validation_score, c.scorer AS chosen_by_scorer, c.chosen_by, c.author AS chooser,
    c.run_id AS choice_run_id, c.created_utc AS chosen_utc,
    l.label_id, l.text, l.method, l.origin, l.author, l.model_requested, l.model_served, l.prompt_hash, l.round, l.sample_number,
    len(l.shown_window_ids) AS n_shown, p.role AS prompt_role, p.version AS prompt_version,
    h.scorer, h.judge, h.answer_mode, h.config_hash
FROM current_choices c
LEFT JOIN labels l ON l.label_id = c.label_id
LEFT JOIN prompts p ON p.prompt_hash = l.prompt_hash
{_HEADLINE}
WHERE c.evidence_set_id = $id AND c.feature_index IN (SELECT unnest($features))
"""

_IS_HEADLINE = (
    "coalesce(s.scorer = h.scorer AND s.judge = h.judge AND s.config_hash = h.config_hash AND s.answer_mode = h.answer_mode, false)"
)

_OWN_SCORES = f"""
SELECT
    s.feature_index, s.scorer, s.judge, s.answer_mode, s.judge_status, s.metric, s.value, s.low, s.high, s.n, s.n_failed, s.chance,
    s.reason, {_IS_HEADLINE} AS is_headline
FROM current_choices c
JOIN scores s ON s.label_id = c.label_id AND s.evidence_set_id = c.evidence_set_id AND s.feature_index = c.feature_index
{_HEADLINE}
WHERE c.evidence_set_id = $id AND c.feature_index IN (SELECT unnest($features)) AND s.split = 'test' AND NOT s.is_null
QUALIFY row_number() OVER (
    PARTITION BY s.feature_index, s.scorer, s.judge, s.answer_mode, is_headline, s.metric ORDER BY s.created_utc DESC, s.score_id
) = 1
ORDER BY s.feature_index, is_headline DESC, s.scorer, s.judge, s.answer_mode, s.metric
"""

_NULLS = f"""
SELECT s.feature_index, s.label_id, s.value
FROM current_choices c
{_HEADLINE}
JOIN scores s ON s.evidence_set_id = c.evidence_set_id AND s.feature_index = c.feature_index AND {_IS_HEADLINE}
WHERE c.evidence_set_id = $id AND s.is_null AND s.split = 'test' AND s.metric = 'label_score' AND s.value IS NOT NULL
ORDER BY s.feature_index, s.label_id
"""

_PREDICTIONS = f"""
SELECT q.feature_index, q.window_id, q.value, q.status, q.error
FROM current_choices c
{_HEADLINE}
JOIN predictions q ON q.label_id = c.label_id AND q.evidence_set_id = c.evidence_set_id AND q.feature_index = c.feature_index
    AND q.scorer = h.scorer AND q.config_hash = h.config_hash
WHERE c.evidence_set_id = $id AND c.feature_index IN (SELECT unnest($features)) AND q.split = 'test'
ORDER BY q.feature_index, q.window_id
"""

_ERRORS = """
SELECT feature_index, arg_max(status, created_utc) AS status, arg_max(coalesce(error, ''), created_utc) AS error
FROM labels WHERE evidence_set_id = $id AND origin = 'run'
GROUP BY feature_index HAVING count(*) FILTER (status = 'ok') = 0
"""
