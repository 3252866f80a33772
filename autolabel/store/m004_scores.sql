-- Scores of parts of an exam, tiles judged by chance alone, and what else it takes to say how far a label can be trusted.
-- The comments follow the rules of m001_initial.sql.
--
-- every run_id: run that first produced the row; part of no id
-- every created_utc: when the row was made, UTC
-- every evidence_set_id: the evidence set
-- every feature_index: the feature
-- every label_id: the label

ALTER TABLE scores ADD COLUMN part VARCHAR;
COMMENT ON COLUMN scores.part IS
    'part of the examples that it rests on: against negatives of one kind (random, lookalike, neighbour, same_document), or firing tiles of one strength (quantile 0 = strongest …); NULL for all';
COMMENT ON COLUMN scores.metric IS
    'what the number says; docs/scores.md explains each: label_score, auroc, recall, lift_null, population_precision, p_value, …';

ALTER TABLE predictions ADD COLUMN inclusion DOUBLE;
COMMENT ON COLUMN predictions.inclusion IS
    'probability with which this tile was drawn for judging, where only some were; NULL where all of an exam were';

-- table: text written from a label, and what the subject model made of it
CREATE TABLE written_texts (
    label_id VARCHAR NOT NULL,
    evidence_set_id VARCHAR NOT NULL,
    feature_index INTEGER NOT NULL,
    scorer VARCHAR NOT NULL,                        --: generation or fade
    config_hash VARCHAR NOT NULL,                   --: scorer settings, model and prompt
    text_number INTEGER NOT NULL,                   --: which of the label's texts
    text VARCHAR NOT NULL,                          --: what was written
    is_meant BOOLEAN NOT NULL,                      --: the feature was meant to fire on it
    max_activation DOUBLE CHECK (max_activation IS NULL OR NOT isnan(max_activation)), --: the feature's largest activation on it; NULL where the subject model could not be run
    rank INTEGER,                                   --: place of the feature among all features by how far the text lifts them, 1 first
    request_hash VARCHAR,                           --: the call it came from
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL
);

-- table: model that says how probably a label is right, as a run used it
CREATE TABLE trust_models (
    model_id VARCHAR PRIMARY KEY,                   --: hash of the model; the config_hash of its p_correct scores
    name VARCHAR NOT NULL,                          --: the set of scorers whose numbers it reads
    threshold DOUBLE CHECK (threshold IS NULL OR NOT isnan(threshold)), --: p_correct from which on a label is trusted; NULL where the benchmark supports no such stamp
    parameters JSON NOT NULL,                       --: its signals and coefficients
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL
);

-- table: sample of labels drawn for people to judge blindly
CREATE TABLE audits (
    audit_id VARCHAR PRIMARY KEY,                   --: hash of what was drawn
    evidence_set_id VARCHAR NOT NULL,
    seed BIGINT NOT NULL,                           --: seed of the draw
    groups JSON NOT NULL,                           --: of each group of labels, how many there were and how many were drawn
    n_items INTEGER NOT NULL,                       --: items to judge, checks included
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL
);

-- table: item of an audit: a label beside windows of a feature
CREATE TABLE audit_items (
    audit_id VARCHAR NOT NULL,                      --: the audit
    item_number INTEGER NOT NULL,                   --: place in the form, 1 first; the order is random
    evidence_set_id VARCHAR NOT NULL,
    feature_index INTEGER NOT NULL,                 --: the feature whose windows are shown
    label_id VARCHAR NOT NULL,                      --: the label shown; another feature's in a check
    kind VARCHAR NOT NULL CHECK (kind IN ('label', 'check')), --: check: the label belongs to another feature, and attentive raters say so
    group_name VARCHAR NOT NULL,                    --: group that it was drawn from: trusted, high, low, unscored, or check
    p_correct DOUBLE CHECK (p_correct IS NULL OR NOT isnan(p_correct)), --: what the label's p_correct was when drawn
    window_ids VARCHAR[] NOT NULL,                  --: the windows shown, those that fire first
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL
);

-- table: what a rater said of an item of an audit
CREATE TABLE audit_answers (
    audit_id VARCHAR NOT NULL,                      --: the audit
    rater VARCHAR NOT NULL,                         --: who judged
    answers_id VARCHAR NOT NULL,                    --: hash of the rater's answers and of those that they replace
    item_number INTEGER NOT NULL,                   --: the item
    verdict VARCHAR NOT NULL CHECK (verdict IN ('right', 'too broad', 'too narrow', 'wrong', 'cannot tell')), --: whether the label says when the feature fires
    note VARCHAR,                                   --: the rater's own words
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL
);
