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
