-- The views: what is current, seen from the facts. They are made anew whenever a file is opened for a run or migrated.
-- The first comment on each view says what one row of it is.

CREATE OR REPLACE VIEW current_choices AS
SELECT * FROM choices
QUALIFY row_number() OVER (
    PARTITION BY sae_id, evidence_set_id, feature_index
    ORDER BY chosen_by = 'human' DESC, created_utc DESC, choice_id DESC
) = 1;
COMMENT ON VIEW current_choices IS 'decision in force: the newest human choice of a feature, else the newest of a run';

CREATE OR REPLACE VIEW current_evidence_sets AS
SELECT * FROM evidence_sets WHERE control IS NULL
QUALIFY row_number() OVER (PARTITION BY sae_id ORDER BY created_utc DESC, evidence_set_id DESC) = 1;
COMMENT ON VIEW current_evidence_sets IS 'newest evidence set of an SAE that is not a control';

-- The headline judge of a run is the first in the fixed order below, among those that scored at least 90% as many of the
-- run's chosen labels as the one that scored most: a judge that covers a handful must not stand for all.
CREATE OR REPLACE VIEW headline_scorers AS
WITH preference(place, scorer, answer_mode) AS (
    VALUES (1, 'detection', 'probability'), (2, 'detection', 'binary'), (3, 'embedding', NULL), (4, 'likelihood', NULL)
), eligible AS (
    SELECT
        c.run_id, c.evidence_set_id, s.scorer, s.judge, s.config_hash, s.answer_mode, p.place,
        count(DISTINCT c.label_id) FILTER (WHERE s.value IS NOT NULL) AS n_labels, max(s.created_utc) AS newest_utc
    FROM choices c
    JOIN scores s ON s.label_id = c.label_id AND s.evidence_set_id = c.evidence_set_id AND s.feature_index = c.feature_index
    JOIN preference p ON p.scorer = s.scorer AND coalesce(p.answer_mode, s.answer_mode) = s.answer_mode
    WHERE s.metric = 'label_score' AND s.split = 'test' AND NOT s.is_null AND s.part IS NULL AND s.judge_status <> 'judge_unfit'
    GROUP BY ALL
), compared AS (
    SELECT *, n_labels >= 0.9 * max(n_labels) OVER (PARTITION BY run_id, evidence_set_id) AS covers_enough FROM eligible
)
SELECT run_id, evidence_set_id, scorer, judge, config_hash, answer_mode, n_labels FROM compared
WHERE covers_enough
QUALIFY row_number() OVER (
    PARTITION BY run_id, evidence_set_id ORDER BY place, n_labels DESC, newest_utc DESC, config_hash, judge
) = 1;
COMMENT ON VIEW headline_scorers IS 'judge whose label_score is the headline of a run: the first of detection by probability, detection by yes or no, embedding and likelihood that is admitted and covers enough of its labels';

-- Each piece below holds at most one row per feature, so that the joins at the end can neither lose a feature nor repeat one.
CREATE OR REPLACE VIEW feature_labels AS
WITH decisions AS (
    SELECT
        c.*, l.text, l.method, l.model_served,
        h.scorer AS head_scorer, h.judge AS head_judge, h.config_hash AS head_config, h.answer_mode AS head_mode
    FROM current_choices c
    JOIN current_evidence_sets e USING (evidence_set_id, sae_id)
    LEFT JOIN labels l ON l.label_id = c.label_id
    LEFT JOIN headline_scorers h ON h.run_id = c.run_id AND h.evidence_set_id = c.evidence_set_id
), own_test_scores AS (
    SELECT s.*, d.head_scorer, d.head_judge, d.head_config, d.head_mode
    FROM decisions d
    JOIN scores s ON s.label_id = d.label_id AND s.evidence_set_id = d.evidence_set_id AND s.feature_index = d.feature_index
    WHERE s.split = 'test' AND NOT s.is_null AND s.part IS NULL
), headline_rows AS (
    SELECT * FROM own_test_scores
    WHERE scorer = head_scorer AND judge = head_judge AND config_hash = head_config AND answer_mode = head_mode
    QUALIFY row_number() OVER (PARTITION BY evidence_set_id, feature_index, metric ORDER BY created_utc DESC, score_id) = 1
), headline AS (
    SELECT
        evidence_set_id, feature_index,
        max(reason) FILTER (metric = 'label_score') AS reason,
        max(value) FILTER (metric = 'label_score') AS label_score, max(low) FILTER (metric = 'label_score') AS label_score_low, max(high) FILTER (metric = 'label_score') AS label_score_high,
        max(value) FILTER (metric = 'lift_null') AS lift_null, max(low) FILTER (metric = 'lift_null') AS lift_null_low, max(high) FILTER (metric = 'lift_null') AS lift_null_high,
        max(value) FILTER (metric = 'beyond_token') AS beyond_token, max(low) FILTER (metric = 'beyond_token') AS beyond_token_low, max(high) FILTER (metric = 'beyond_token') AS beyond_token_high,
        max(value) FILTER (metric = 'population_precision') AS population_precision, max(low) FILTER (metric = 'population_precision') AS population_precision_low, max(high) FILTER (metric = 'population_precision') AS population_precision_high
    FROM headline_rows GROUP BY ALL
), unscored AS (
    SELECT evidence_set_id, feature_index, arg_max(reason, created_utc) AS reason
    FROM own_test_scores WHERE metric = 'label_score' AND value IS NULL GROUP BY ALL
), auroc_rows AS (
    SELECT * FROM own_test_scores WHERE metric = 'auroc'
    QUALIFY row_number() OVER (PARTITION BY evidence_set_id, feature_index, scorer ORDER BY created_utc DESC, score_id) = 1
), aurocs AS (
    SELECT
        evidence_set_id, feature_index,
        max(value) FILTER (scorer = 'detection') AS detection, max(low) FILTER (scorer = 'detection') AS detection_low, max(high) FILTER (scorer = 'detection') AS detection_high,
        max(value) FILTER (scorer = 'fuzzing') AS fuzzing, max(low) FILTER (scorer = 'fuzzing') AS fuzzing_low, max(high) FILTER (scorer = 'fuzzing') AS fuzzing_high,
        max(value) FILTER (scorer = 'embedding') AS embedding, max(low) FILTER (scorer = 'embedding') AS embedding_low, max(high) FILTER (scorer = 'embedding') AS embedding_high,
        max(value) FILTER (scorer = 'likelihood') AS likelihood, max(low) FILTER (scorer = 'likelihood') AS likelihood_low, max(high) FILTER (scorer = 'likelihood') AS likelihood_high,
        max(value) FILTER (scorer = 'rule') AS rule, max(low) FILTER (scorer = 'rule') AS rule_low, max(high) FILTER (scorer = 'rule') AS rule_high
    FROM auroc_rows GROUP BY ALL
), nulls AS (
    SELECT d.evidence_set_id, d.feature_index, avg(s.value) AS null_score, count(s.value) AS n_nulls
    FROM decisions d
    JOIN scores s ON s.evidence_set_id = d.evidence_set_id AND s.feature_index = d.feature_index
        AND s.scorer = d.head_scorer AND s.judge = d.head_judge AND s.config_hash = d.head_config AND s.answer_mode = d.head_mode
    WHERE s.is_null AND s.split = 'test' AND s.metric = 'label_score' AND s.part IS NULL
    GROUP BY ALL
), baselines AS (
    SELECT
        d.evidence_set_id, d.feature_index,
        arg_max(s.value, s.created_utc) FILTER (
            l.method = 'lexical' AND s.scorer = d.head_scorer AND s.judge = d.head_judge
            AND s.config_hash = d.head_config AND s.answer_mode = d.head_mode
        ) AS lexical_score,
        arg_max(s.value, s.created_utc) FILTER (l.method = 'token_lookup' AND s.scorer = 'rule') AS token_lookup_score
    FROM decisions d
    JOIN labels l ON l.evidence_set_id = d.evidence_set_id AND l.feature_index = d.feature_index
        AND l.method IN ('lexical', 'token_lookup')
    JOIN scores s ON s.label_id = l.label_id AND s.evidence_set_id = d.evidence_set_id AND s.feature_index = d.feature_index
    WHERE NOT s.is_null AND s.split = 'test' AND s.metric = 'label_score' AND s.part IS NULL
    GROUP BY ALL
), attempts AS (
    SELECT evidence_set_id, feature_index, count(*) AS n_attempts, count(*) FILTER (status = 'ok') AS n_ok
    FROM labels WHERE origin = 'run' GROUP BY ALL
), judged AS (
    SELECT label_id, evidence_set_id, feature_index FROM predictions WHERE split = 'test' AND value IS NOT NULL
    UNION
    SELECT label_id, evidence_set_id, feature_index FROM scores WHERE split = 'test' AND value IS NOT NULL AND NOT is_null
), reads AS (
    SELECT j.evidence_set_id, j.feature_index, count(*) AS test_reads
    FROM judged j
    JOIN labels l ON l.label_id = j.label_id AND l.feature_index = j.feature_index AND l.origin <> 'baseline'
    GROUP BY ALL
), set_runs AS (
    SELECT evidence_set_id, run_id FROM labels
    UNION SELECT evidence_set_id, run_id FROM scores
    UNION SELECT evidence_set_id, run_id FROM choices
), job_runs AS ( -- a run that ended before it kept anything of the set counts with the run that resumed it
    SELECT evidence_set_id, run_id FROM set_runs
    UNION SELECT s.evidence_set_id, o.run_id FROM set_runs s JOIN runs r USING (run_id) JOIN runs o ON o.job_hash = r.job_hash
), spending AS (
    SELECT
        r.evidence_set_id, a.feature_index,
        CASE WHEN bool_or(a.cost_usd IS NULL AND a.charged_tokens > 0) THEN NULL ELSE coalesce(sum(a.cost_usd), 0) END AS cost_usd,
        (coalesce(sum(a.prompt_tokens), 0) + coalesce(sum(a.completion_tokens), 0))::BIGINT AS llm_tokens
    FROM llm_attempts a JOIN job_runs r USING (run_id)
    WHERE a.feature_index IS NOT NULL
    GROUP BY ALL
)
SELECT
    f.sae_id, s.name AS sae_name, f.evidence_set_id, f.feature_index,
    CASE
        WHEN d.label_id IS NOT NULL THEN 'labelled'
        WHEN d.verdict = 'uninterpretable' THEN 'abstained'
        WHEN d.verdict = 'failed' OR (a.n_attempts > 0 AND a.n_ok = 0) THEN 'failed'
        WHEN f.evidence_status IN ('silent', 'too_few') THEN f.evidence_status
        ELSE 'pending'
    END AS status,
    f.evidence_status, d.verdict, f.firing_rate, f.density, f.max_activation, f.n_tiles_fired, f.token_entropy,
    d.text AS label, d.label_id, d.method AS label_method, d.model_served AS label_model,
    h.label_score, h.label_score_low, h.label_score_high, d.head_judge AS judge, d.head_mode AS answer_mode,
    d.head_scorer AS headline_scorer,
    CASE
        WHEN h.label_score IS NOT NULL THEN NULL
        WHEN d.label_id IS NULL THEN coalesce(d.reason, 'no label')
        ELSE coalesce(h.reason, i.reason, 'not scored on test tiles by an admitted judge')
    END AS label_score_reason,
    n.null_score, coalesce(n.n_nulls, 0) AS n_nulls,
    h.lift_null, h.lift_null_low, h.lift_null_high, h.beyond_token, h.beyond_token_low, h.beyond_token_high,
    b.lexical_score, b.token_lookup_score,
    u.detection, u.detection_low, u.detection_high, u.fuzzing, u.fuzzing_low, u.fuzzing_high, u.embedding, u.embedding_low, u.embedding_high, u.likelihood, u.likelihood_low, u.likelihood_high, u.rule, u.rule_low, u.rule_high,
    h.population_precision, h.population_precision_low, h.population_precision_high,
    coalesce(t.test_reads, 0) AS test_reads, k.unseen_by_labeler, k.unseen_by_sae, k.unseen_by_subject,
    CASE WHEN p.feature_index IS NULL THEN 0 ELSE p.cost_usd END AS cost_usd, coalesce(p.llm_tokens, 0) AS llm_tokens,
    d.validation_score, d.created_utc AS chosen_utc
FROM features f
JOIN current_evidence_sets e USING (evidence_set_id)
LEFT JOIN saes s ON s.sae_id = f.sae_id
LEFT JOIN corpora k ON k.corpus_id = e.corpus_id
LEFT JOIN decisions d ON d.evidence_set_id = f.evidence_set_id AND d.feature_index = f.feature_index
LEFT JOIN headline h ON h.evidence_set_id = f.evidence_set_id AND h.feature_index = f.feature_index
LEFT JOIN unscored i ON i.evidence_set_id = f.evidence_set_id AND i.feature_index = f.feature_index
LEFT JOIN aurocs u ON u.evidence_set_id = f.evidence_set_id AND u.feature_index = f.feature_index
LEFT JOIN nulls n ON n.evidence_set_id = f.evidence_set_id AND n.feature_index = f.feature_index
LEFT JOIN baselines b ON b.evidence_set_id = f.evidence_set_id AND b.feature_index = f.feature_index
LEFT JOIN attempts a ON a.evidence_set_id = f.evidence_set_id AND a.feature_index = f.feature_index
LEFT JOIN reads t ON t.evidence_set_id = f.evidence_set_id AND t.feature_index = f.feature_index
LEFT JOIN spending p ON p.evidence_set_id = f.evidence_set_id AND p.feature_index = f.feature_index
ORDER BY f.sae_id, f.feature_index;
COMMENT ON VIEW feature_labels IS 'feature of the newest evidence set of an SAE, with its status, its label in force and what is known about it on test tiles';

-- Runs of active tokens stand between << and >>. For people: text that holds these marks itself is shown as it is.
CREATE OR REPLACE VIEW examples_text AS
SELECT
    x.evidence_set_id, x.feature_index, x.kind, x.stratum, x.split, x.in_exam, x.quantile, x.sample_rank, x.max_activation,
    array_to_string(list_transform(range(len(w.token_starts)), lambda i:
        CASE WHEN list_contains(x.positions, i) AND NOT list_contains(x.positions, i - 1) THEN '<<' ELSE '' END
        || substring(w.text, w.token_starts[i + 1] + 1, coalesce(w.token_starts[i + 2], length(w.text)) - w.token_starts[i + 1])
        || CASE WHEN list_contains(x.positions, i) AND NOT list_contains(x.positions, i + 1) THEN '>>' ELSE '' END
    ), '') AS text_marked,
    x.window_id
FROM examples x
JOIN windows w USING (evidence_set_id, window_id);
COMMENT ON VIEW examples_text IS 'example as text, with << and >> around the tokens on which the feature is active';

CREATE OR REPLACE VIEW failures AS
WITH outcomes AS (
    SELECT run_id, 'labels' AS kept_in, 'label' AS stage, status FROM labels
    UNION ALL SELECT run_id, 'predictions', scorer, status FROM predictions
    UNION ALL SELECT run_id, 'llm_attempts', stage, status FROM llm_attempts
), counted AS (
    SELECT run_id, kept_in, stage, status, count(*) AS n,
        sum(count(*)) OVER (PARTITION BY run_id, kept_in, stage)::BIGINT AS n_all
    FROM outcomes GROUP BY run_id, kept_in, stage, status
)
SELECT * FROM counted WHERE status <> 'ok' ORDER BY run_id, kept_in, stage, status;
COMMENT ON VIEW failures IS 'run, stage and status other than ok, with how many rows ended so (n) of how many (n_all)';

CREATE OR REPLACE VIEW spend AS
SELECT
    a.run_id, r.command, r.status AS run_status, a.stage, a.endpoint_id, a.model_requested, a.via, a.feature_index,
    count(*) AS n_attempts, count(*) FILTER (a.status = 'ok') AS n_ok, count(*) FILTER (a.status <> 'ok') AS n_failed,
    coalesce(sum(a.prompt_tokens), 0)::BIGINT AS prompt_tokens,
    coalesce(sum(a.cached_tokens), 0)::BIGINT AS cached_tokens,
    coalesce(sum(a.completion_tokens), 0)::BIGINT AS completion_tokens,
    coalesce(sum(a.reasoning_tokens), 0)::BIGINT AS reasoning_tokens,
    sum(a.charged_tokens)::BIGINT AS charged_tokens,
    sum(a.cost_usd) AS cost_usd,
    count(*) FILTER (a.cost_usd IS NULL) AS n_unpriced
FROM llm_attempts a
LEFT JOIN runs r ON r.run_id = a.run_id
GROUP BY ALL
ORDER BY min(a.started_utc), a.run_id, a.stage, a.endpoint_id, a.model_requested, a.via, a.feature_index NULLS FIRST;
COMMENT ON VIEW spend IS 'run, stage, endpoint, model, way of sending and feature (NULL where none), with what was sent and charged';
COMMENT ON COLUMN spend.n_failed IS 'attempts that were not ok, whatever the reason';
COMMENT ON COLUMN spend.prompt_tokens IS 'input tokens used, cached ones included, as far as the endpoint said';
COMMENT ON COLUMN spend.cached_tokens IS 'of these, served from the endpoint''s cache';
COMMENT ON COLUMN spend.completion_tokens IS 'output tokens used, thinking included';
COMMENT ON COLUMN spend.reasoning_tokens IS 'of these, spent thinking';
COMMENT ON COLUMN spend.charged_tokens IS 'tokens counted against a budget: used, or reserved where the endpoint did not say';
COMMENT ON COLUMN spend.cost_usd IS 'money charged, USD, for the attempts with a known price; NULL when there are none';
COMMENT ON COLUMN spend.n_unpriced IS 'attempts whose price is unknown and which cost_usd leaves out';

-- One row per label in force at most, the newest word of the newest model.
CREATE OR REPLACE VIEW label_trust AS
SELECT
    s.evidence_set_id, s.feature_index, s.label_id, m.name AS model,
    s.value AS p_correct, s.low AS p_correct_low, s.high AS p_correct_high, s.reason,
    m.threshold, s.value >= m.threshold AS trusted
FROM current_choices c
JOIN scores s ON s.label_id = c.label_id AND s.evidence_set_id = c.evidence_set_id AND s.feature_index = c.feature_index
LEFT JOIN trust_models m ON m.model_id = s.config_hash
WHERE s.metric = 'p_correct' AND s.split = 'test' AND NOT s.is_null AND s.part IS NULL
QUALIFY row_number() OVER (PARTITION BY s.evidence_set_id, s.feature_index ORDER BY s.created_utc DESC, s.score_id) = 1;
COMMENT ON VIEW label_trust IS 'label in force with the probability that it is right, and whether it is trusted';
COMMENT ON COLUMN label_trust.model IS 'which model said so, by the scorers that it reads; NULL where none can';
COMMENT ON COLUMN label_trust.reason IS 'why p_correct is NULL';
COMMENT ON COLUMN label_trust.threshold IS 'p_correct from which on labels are trusted; NULL where the benchmark supports no such stamp';
COMMENT ON COLUMN label_trust.trusted IS 'p_correct reaches the threshold; NULL where one of them is NULL';

-- A rater's newest answers to an audit are in force; the label of a check belongs to another feature.
CREATE OR REPLACE VIEW audit_results AS
WITH newest AS (
    SELECT * FROM audit_answers
    QUALIFY answers_id = first(answers_id) OVER (PARTITION BY audit_id, rater ORDER BY created_utc DESC, answers_id)
)
SELECT
    i.audit_id, i.item_number, i.evidence_set_id, i.feature_index, i.label_id, l.text AS label, i.kind, i.group_name, i.p_correct,
    i.group_name = 'trusted' AS trusted, a.rater, a.verdict, a.note,
    CASE WHEN a.verdict <> 'cannot tell' THEN a.verdict <> 'right' END AS failed
FROM audit_items i
JOIN newest a USING (audit_id, item_number)
LEFT JOIN labels l ON l.label_id = i.label_id
ORDER BY i.audit_id, i.item_number, a.rater;
COMMENT ON VIEW audit_results IS 'item of an audit and rater, with the verdict in force';
COMMENT ON COLUMN audit_results.failed IS 'the rater says that the label is not right; NULL where the rater cannot tell';

-- What feature_labels says, in as many columns as a comparison needs, of evidence from models whose weights were permuted (docs/controls.md).
CREATE OR REPLACE VIEW control_labels AS
WITH sets AS (
    SELECT * FROM evidence_sets WHERE control IS NOT NULL
    QUALIFY row_number() OVER (PARTITION BY sae_id ORDER BY created_utc DESC, evidence_set_id DESC) = 1
), decisions AS (
    SELECT c.*, l.text, l.method, l.model_served, h.scorer AS head_scorer, h.judge AS head_judge, h.config_hash AS head_config, h.answer_mode AS head_mode
    FROM current_choices c
    JOIN sets e USING (evidence_set_id, sae_id)
    LEFT JOIN labels l ON l.label_id = c.label_id
    LEFT JOIN headline_scorers h ON h.run_id = c.run_id AND h.evidence_set_id = c.evidence_set_id
), headline_rows AS (
    SELECT s.* FROM decisions d
    JOIN scores s ON s.label_id = d.label_id AND s.evidence_set_id = d.evidence_set_id AND s.feature_index = d.feature_index
        AND s.scorer = d.head_scorer AND s.judge = d.head_judge AND s.config_hash = d.head_config AND s.answer_mode = d.head_mode
    WHERE s.split = 'test' AND NOT s.is_null AND s.part IS NULL
    QUALIFY row_number() OVER (PARTITION BY s.evidence_set_id, s.feature_index, s.metric ORDER BY s.created_utc DESC, s.score_id) = 1
), headline AS (
    SELECT
        evidence_set_id, feature_index,
        max(reason) FILTER (metric = 'label_score') AS reason,
        max(value) FILTER (metric = 'label_score') AS label_score, max(low) FILTER (metric = 'label_score') AS label_score_low, max(high) FILTER (metric = 'label_score') AS label_score_high,
        max(value) FILTER (metric = 'lift_null') AS lift_null, max(low) FILTER (metric = 'lift_null') AS lift_null_low, max(high) FILTER (metric = 'lift_null') AS lift_null_high,
        max(value) FILTER (metric = 'beyond_token') AS beyond_token, max(low) FILTER (metric = 'beyond_token') AS beyond_token_low, max(high) FILTER (metric = 'beyond_token') AS beyond_token_high
    FROM headline_rows GROUP BY ALL
), nulls AS (
    SELECT d.evidence_set_id, d.feature_index, avg(s.value) AS null_score, count(s.value) AS n_nulls
    FROM decisions d
    JOIN scores s ON s.evidence_set_id = d.evidence_set_id AND s.feature_index = d.feature_index
        AND s.scorer = d.head_scorer AND s.judge = d.head_judge AND s.config_hash = d.head_config AND s.answer_mode = d.head_mode
    WHERE s.is_null AND s.split = 'test' AND s.metric = 'label_score' AND s.part IS NULL
    GROUP BY ALL
), attempts AS (
    SELECT evidence_set_id, feature_index, count(*) FILTER (status = 'ok') AS n_ok
    FROM labels JOIN sets USING (evidence_set_id) WHERE origin = 'run' GROUP BY ALL
), judged AS (
    SELECT label_id, evidence_set_id, feature_index FROM predictions WHERE split = 'test' AND value IS NOT NULL
    UNION
    SELECT label_id, evidence_set_id, feature_index FROM scores WHERE split = 'test' AND value IS NOT NULL AND NOT is_null
), reads AS (
    SELECT j.evidence_set_id, j.feature_index, count(*) AS test_reads
    FROM judged j
    JOIN labels l ON l.label_id = j.label_id AND l.feature_index = j.feature_index AND l.origin <> 'baseline'
    GROUP BY ALL
), set_runs AS (
    SELECT evidence_set_id, run_id FROM labels
    UNION SELECT evidence_set_id, run_id FROM scores
    UNION SELECT evidence_set_id, run_id FROM choices
), job_runs AS (
    SELECT evidence_set_id, run_id FROM set_runs
    UNION SELECT s.evidence_set_id, o.run_id FROM set_runs s JOIN runs r USING (run_id) JOIN runs o ON o.job_hash = r.job_hash
), spending AS (
    SELECT
        r.evidence_set_id, a.feature_index,
        CASE WHEN bool_or(a.cost_usd IS NULL AND a.charged_tokens > 0) THEN NULL ELSE coalesce(sum(a.cost_usd), 0) END AS cost_usd,
        (coalesce(sum(a.prompt_tokens), 0) + coalesce(sum(a.completion_tokens), 0))::BIGINT AS llm_tokens
    FROM llm_attempts a JOIN job_runs r USING (run_id)
    WHERE a.feature_index IS NOT NULL
    GROUP BY ALL
)
SELECT
    e.control, f.sae_id, s.name AS sae_name, f.evidence_set_id, f.feature_index,
    CASE
        WHEN d.label_id IS NOT NULL THEN 'labelled'
        WHEN d.verdict = 'uninterpretable' THEN 'abstained'
        WHEN d.verdict = 'failed' OR a.n_ok = 0 THEN 'failed'
        WHEN f.evidence_status IN ('silent', 'too_few') THEN f.evidence_status
        ELSE 'pending'
    END AS status,
    f.evidence_status, d.verdict, f.firing_rate, f.density, f.max_activation, f.n_tiles_fired, f.token_entropy,
    d.text AS label, d.label_id, d.method AS label_method, d.model_served AS label_model,
    h.label_score, h.label_score_low, h.label_score_high, d.head_judge AS judge, d.head_mode AS answer_mode,
    d.head_scorer AS headline_scorer,
    CASE
        WHEN h.label_score IS NOT NULL THEN NULL
        WHEN d.label_id IS NULL THEN coalesce(d.reason, 'no label')
        ELSE coalesce(h.reason, 'not scored on test tiles by an admitted judge')
    END AS label_score_reason,
    n.null_score, coalesce(n.n_nulls, 0) AS n_nulls,
    h.lift_null, h.lift_null_low, h.lift_null_high, h.beyond_token, h.beyond_token_low, h.beyond_token_high,
    coalesce(t.test_reads, 0) AS test_reads, k.unseen_by_labeler, k.unseen_by_sae, k.unseen_by_subject,
    CASE WHEN p.feature_index IS NULL THEN 0 ELSE p.cost_usd END AS cost_usd, coalesce(p.llm_tokens, 0) AS llm_tokens,
    d.validation_score, d.created_utc AS chosen_utc
FROM features f
JOIN sets e USING (evidence_set_id)
LEFT JOIN saes s ON s.sae_id = f.sae_id
LEFT JOIN decisions d ON d.evidence_set_id = f.evidence_set_id AND d.feature_index = f.feature_index
LEFT JOIN headline h ON h.evidence_set_id = f.evidence_set_id AND h.feature_index = f.feature_index
LEFT JOIN nulls n ON n.evidence_set_id = f.evidence_set_id AND n.feature_index = f.feature_index
LEFT JOIN corpora k ON k.corpus_id = e.corpus_id
LEFT JOIN reads t ON t.evidence_set_id = f.evidence_set_id AND t.feature_index = f.feature_index
LEFT JOIN spending p ON p.evidence_set_id = f.evidence_set_id AND p.feature_index = f.feature_index
LEFT JOIN attempts a ON a.evidence_set_id = f.evidence_set_id AND a.feature_index = f.feature_index
ORDER BY f.sae_id, f.feature_index;
COMMENT ON VIEW control_labels IS 'feature of the newest control set of an SAE (random_weights), with its label in force and headline numbers, named as in feature_labels';
