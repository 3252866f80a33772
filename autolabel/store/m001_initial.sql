-- The first schema. Facts are appended, never changed (`runs` is the one mutable table); what is current is a view.
-- Big tables carry no primary key: an index would make the file several times larger. The writer and `db check` keep their keys unique.
-- The text after `--:` is the column's comment, stored in the file and printed by `autolabel db schema`.
-- `-- table:` says what one row is; `-- every NAME:` is the comment of each column of that name without its own.
--
-- every run_id: run that first produced the row; part of no id
-- every created_utc: when the row was made, UTC
-- every sae_id: the source of the feature
-- every evidence_set_id: the evidence set
-- every feature_index: the feature, 0 first
-- every corpus_id: the text
-- every window_id: the window
-- every label_id: the label
-- every split: train is shown to the labeler, validation chooses, test is reported
-- every stratum: firing, hard or random tiles
-- every scorer: detection, fuzzing, embedding, likelihood, rule, …
-- every judge: the model that judged
-- every answer_mode: never compared or averaged across modes
-- every config_hash: settings of the scorer, judge and prompt included
-- every prompt_hash: the prompt file
-- every status: what came of it
-- every error: why it is not ok
-- every n_tiles_train: tiles of the train split
-- every n_tiles_validation: tiles of the validation split
-- every n_tiles_test: tiles of the test split
-- every n_tiles_fired_train: of these, in the train split
-- every n_tiles_fired_validation: of these, in the validation split
-- every n_tiles_fired_test: of these, in the test split
-- every calibration_id: hash of judge, prompt and solved examples
-- every intervention_id: hash of what was done
-- every low: lower end of the 95% interval
-- every high: upper end of the 95% interval
-- every n: examples answered
-- every n_failed: examples without a usable answer
-- every false_positive_rate: at the same threshold
-- every verdict: what follows from it

-- table: start of a command that writes
CREATE TABLE runs (
    run_id VARCHAR PRIMARY KEY,                     --: one start of a command that writes
    command VARCHAR NOT NULL,                       --: run, collect, label, score, …
    config JSON NOT NULL,                           --: the settings as used, keys and secrets left out
    config_hash VARCHAR NOT NULL,                   --: hash of the settings
    seed BIGINT NOT NULL,                           --: seed of every sample drawn
    code_version VARCHAR NOT NULL,                  --: version of autolabel
    status VARCHAR NOT NULL CHECK (status IN ('running', 'done', 'failed', 'interrupted')), --: how it ended
    message VARCHAR,                                --: what stopped it, if anything did
    started_utc TIMESTAMP NOT NULL,                 --: when it started, UTC
    finished_utc TIMESTAMP                          --: when it ended, UTC; NULL while running or after a crash
);

-- table: version of a prompt file
CREATE TABLE prompts (
    prompt_hash VARCHAR PRIMARY KEY,                --: sha256 of the file's body, solved examples included
    role VARCHAR NOT NULL,                          --: what the prompt is for
    version INTEGER NOT NULL,                       --: version of its wording; a released version never changes
    body VARCHAR NOT NULL                           --: the whole file
);

-- table: distinct LLM request with its accepted reply: the cache that keeps anything from being paid for twice
CREATE TABLE llm_calls (
    request_hash VARCHAR PRIMARY KEY,               --: hash of endpoint, model, messages, sampling and sample number: the cache key
    kind VARCHAR NOT NULL CHECK (kind IN ('chat', 'likelihood', 'completion')), --: what was asked of the model
    endpoint_id VARCHAR NOT NULL,                   --: the API that answered, without keys; `local` for a model in this process
    model_requested VARCHAR NOT NULL,               --: model asked for
    model_served VARCHAR NOT NULL,                  --: model that answered
    prompt_hash VARCHAR,                            --: the prompt file, if the request came from one
    reply JSON NOT NULL,                            --: the accepted reply, token probabilities included
    prompt_tokens BIGINT NOT NULL,                  --: input tokens, cached ones included
    cached_tokens BIGINT NOT NULL,                  --: input tokens the endpoint served from its own cache
    completion_tokens BIGINT NOT NULL,              --: output tokens
    run_id VARCHAR NOT NULL,                        --: run that first asked
    created_utc TIMESTAMP NOT NULL                  --: when the reply arrived, UTC
);

-- table: LLM request sent once, whatever came of it: the ledger of time and money
CREATE TABLE llm_attempts (
    attempt_id VARCHAR NOT NULL,                    --: one request sent once
    request_hash VARCHAR NOT NULL,                  --: what was asked
    run_id VARCHAR NOT NULL,                        --: run that sent it
    stage VARCHAR NOT NULL,                         --: calibrate, label, validate, score or null
    feature_index INTEGER,                          --: feature it was sent for
    endpoint_id VARCHAR NOT NULL,                   --: where it was sent
    model_requested VARCHAR NOT NULL,               --: model asked for
    status VARCHAR NOT NULL CHECK (status IN ('ok', 'refused', 'truncated', 'unparsable', 'failed')), --: what came back
    error VARCHAR,                                  --: why it was not ok
    prompt_tokens BIGINT,                           --: input tokens; NULL when the endpoint did not say
    cached_tokens BIGINT,                           --: input tokens served from the endpoint's cache
    completion_tokens BIGINT,                       --: output tokens
    cost_usd DOUBLE CHECK (cost_usd IS NULL OR NOT isnan(cost_usd)), --: money, USD; 0 for a local model, NULL when the price is unknown
    latency_ms DOUBLE CHECK (latency_ms IS NULL OR NOT isnan(latency_ms)), --: time from sending to the whole reply
    started_utc TIMESTAMP NOT NULL                  --: when it was sent, UTC
);

-- table: source of features
CREATE TABLE saes (
    sae_id VARCHAR PRIMARY KEY,                     --: hash of weights, settings, subject and hookpoint
    name VARCHAR NOT NULL,                          --: what people call it
    kind VARCHAR NOT NULL CHECK (kind IN ('sae', 'transcoder', 'neurons', 'activations', 'functions', 'imported')), --: where the features come from
    format VARCHAR NOT NULL,                        --: file format it was read from
    subject_model VARCHAR,                          --: model whose activations it reads
    hookpoint_in VARCHAR,                           --: module whose output it reads
    hookpoint_out VARCHAR,                          --: module whose output it reconstructs
    architecture VARCHAR,                           --: topk, relu, …
    d_model INTEGER,                                --: width of the activations it reads
    d_sae INTEGER NOT NULL CHECK (d_sae > 0),       --: number of features
    weights_hash VARCHAR,                           --: sha256 over its weights
    config JSON NOT NULL,                           --: its own settings, training included
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL
);

-- table: body of text
CREATE TABLE corpora (
    corpus_id VARCHAR PRIMARY KEY,                  --: hash of its documents and how they were cut
    name VARCHAR NOT NULL,                          --: what people call it
    sources JSON NOT NULL,                          --: where the text came from, with documents and tokens of each
    n_source_documents BIGINT NOT NULL,             --: documents as found
    n_documents BIGINT NOT NULL,                    --: documents as used: blocks of at most 2,000 tokens
    n_duplicates BIGINT NOT NULL,                   --: documents passed over because an equal one came before
    n_tokens BIGINT NOT NULL,                       --: tokens run through the subject model
    unseen_by_labeler VARCHAR NOT NULL CHECK (unseen_by_labeler IN ('yes', 'no', 'unknown')), --: whether the labeling LLM never trained on it
    unseen_by_sae VARCHAR NOT NULL CHECK (unseen_by_sae IN ('yes', 'no', 'unknown')),         --: whether the SAE never trained on its test documents
    unseen_by_subject VARCHAR NOT NULL CHECK (unseen_by_subject IN ('yes', 'no', 'unknown')), --: whether the subject model never trained on it
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL
);

-- table: collection of evidence: one SAE over one corpus with one group of settings
CREATE TABLE evidence_sets (
    evidence_set_id VARCHAR PRIMARY KEY,            --: hash of SAE, corpus and collection settings
    sae_id VARCHAR NOT NULL,
    corpus_id VARCHAR NOT NULL,
    parent_evidence_set_id VARCHAR,                 --: the set this one extends
    control VARCHAR,                                --: NULL for the real model; random_weights, … for a control
    settings JSON NOT NULL,                         --: tile and sample sizes, seed, dtype
    seed BIGINT NOT NULL,                           --: seed of splits and samples
    n_tokens BIGINT NOT NULL,                       --: tokens counted (special and outlier tokens excluded)
    n_excluded_tokens BIGINT NOT NULL,              --: tokens left out because their residual norm exceeds 10 × the median
    n_contexts BIGINT NOT NULL,                     --: contexts run
    n_tiles BIGINT NOT NULL,                        --: tiles of 32 tokens, all splits
    n_tiles_train BIGINT NOT NULL,
    n_tiles_validation BIGINT NOT NULL,
    n_tiles_test BIGINT NOT NULL,
    gate JSON,                                      --: what the load gate measured; NULL where there is no model
    gate_forced BOOLEAN NOT NULL,                   --: the gate refused and was overridden
    fvu DOUBLE CHECK (fvu IS NULL OR NOT isnan(fvu)),                      --: fraction of variance unexplained on held-out tokens, lower is better, ≥ 1 is useless
    fvu_median DOUBLE CHECK (fvu_median IS NULL OR NOT isnan(fvu_median)), --: the same per token, median
    l0 DOUBLE CHECK (l0 IS NULL OR NOT isnan(l0)),                         --: mean number of active features per token
    evidence_hash VARCHAR NOT NULL,                 --: hash of everything collected: equal evidence, equal hash
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL
);

-- table: feature in an evidence set
CREATE TABLE features (
    evidence_set_id VARCHAR NOT NULL,
    sae_id VARCHAR NOT NULL,
    feature_index INTEGER NOT NULL CHECK (feature_index >= 0),
    evidence_status VARCHAR NOT NULL CHECK (evidence_status IN ('alive', 'silent', 'too_few', 'dense')), --: whether it can be labelled and scored
    n_tokens_fired BIGINT NOT NULL,                 --: tokens on which it is active
    n_tiles_fired BIGINT NOT NULL,                  --: tiles in which any token is active
    n_tiles_fired_train BIGINT NOT NULL,
    n_tiles_fired_validation BIGINT NOT NULL,
    n_tiles_fired_test BIGINT NOT NULL,
    n_contexts_fired BIGINT NOT NULL,               --: contexts in which any token is active
    firing_rate DOUBLE NOT NULL CHECK (firing_rate BETWEEN 0 AND 1),       --: share of tiles that fire: the prevalence in every population number
    firing_rate_high DOUBLE NOT NULL CHECK (firing_rate_high BETWEEN 0 AND 1), --: 95% upper bound of the firing rate; 3/n for a silent feature
    density DOUBLE NOT NULL CHECK (density BETWEEN 0 AND 1),               --: share of tokens on which it is active
    max_activation DOUBLE CHECK (max_activation IS NULL OR NOT isnan(max_activation)),    --: largest activation seen, unnormalised
    mean_activation DOUBLE CHECK (mean_activation IS NULL OR NOT isnan(mean_activation)), --: mean over the tokens on which it is active
    firing_threshold DOUBLE NOT NULL CHECK (NOT isnan(firing_threshold)),  --: activation a tile must exceed to count as firing in scores: 0, or the 90th percentile for a dense feature
    histogram BIGINT[] NOT NULL,                    --: tokens per activation bin; bin i holds [2^((i-32)/4), 2^((i-31)/4)), ends open
    top_tokens JSON,                                --: tokens it fires on in the train sample: token, share of activation mass, n
    token_entropy DOUBLE CHECK (token_entropy IS NULL OR NOT isnan(token_entropy)),       --: entropy of that distribution, bits; 0 = always one token
    neighbours INTEGER[],                           --: features whose decoder directions or firing are closest
    run_id VARCHAR NOT NULL
);

-- table: piece of text kept, once per evidence set
CREATE TABLE windows (
    evidence_set_id VARCHAR NOT NULL,
    window_id VARCHAR NOT NULL,                     --: hash of document and tile
    document_id VARCHAR NOT NULL,                   --: hash of the document's normalised text
    source_document_id VARCHAR NOT NULL,            --: the document as found, before cutting: the cluster of intervals
    source VARCHAR NOT NULL,                        --: which text source
    split VARCHAR NOT NULL CHECK (split IN ('train', 'validation', 'test')),
    tile_index INTEGER NOT NULL,                    --: which tile of the document
    text VARCHAR NOT NULL,                          --: left context and tile
    token_starts INTEGER[] NOT NULL,                --: character at which each token starts
    token_ids INTEGER[],                            --: the subject model's ids; NULL where there is no model
    n_context_tokens INTEGER NOT NULL,              --: how many of the tokens are left context
    fired_features INTEGER[],                       --: every feature active in the tile; only for the background sample
    fired_max FLOAT[],                              --: its largest activation there
    fired_peak UTINYINT[]                           --: token of the window at which it peaks
);

-- table: window as evidence about a feature
CREATE TABLE examples (
    evidence_set_id VARCHAR NOT NULL,
    feature_index INTEGER NOT NULL,
    window_id VARCHAR NOT NULL,
    split VARCHAR NOT NULL CHECK (split IN ('train', 'validation', 'test')),
    kind VARCHAR NOT NULL CHECK (kind IN ('strongest', 'firing', 'background', 'lookalike', 'neighbour', 'same_document')), --: how it was drawn
    stratum VARCHAR CHECK (stratum IN ('firing', 'hard', 'random')), --: the group it stands for in an exam
    in_exam BOOLEAN NOT NULL,                       --: one of the tiles every label of this feature is scored on
    sample_rank INTEGER NOT NULL,                   --: place in its sample, 0 first
    quantile INTEGER,                               --: tenth of the feature's firing tiles by strength, 0 = strongest
    inclusion_weight DOUBLE NOT NULL CHECK (NOT isnan(inclusion_weight)), --: tiles of the population that it stands for
    max_activation DOUBLE NOT NULL CHECK (NOT isnan(max_activation)),     --: the feature's largest activation in the tile
    positions UTINYINT[] NOT NULL,                  --: tokens of the window on which the feature is active
    activations FLOAT[] NOT NULL,                   --: its activations there
    mark_positions UTINYINT[] NOT NULL              --: tokens that fuzzing marks
);

-- table: group of tiles of a feature and split, with its size in the population
CREATE TABLE strata (
    evidence_set_id VARCHAR NOT NULL,
    feature_index INTEGER NOT NULL,
    split VARCHAR NOT NULL CHECK (split IN ('train', 'validation', 'test')),
    stratum VARCHAR NOT NULL CHECK (stratum IN ('firing', 'hard', 'random')),
    n_tiles BIGINT NOT NULL,                        --: tiles of the population in this group
    n_sampled BIGINT NOT NULL,                      --: tiles drawn
    n_near_copies BIGINT NOT NULL                   --: tiles passed over because they share a 13-token run with a window kept for showing
);

-- table: attempt at saying what a feature means
CREATE TABLE labels (
    label_id VARCHAR PRIMARY KEY,                   --: hash of evidence, feature, method, prompt and request
    evidence_set_id VARCHAR NOT NULL,
    sae_id VARCHAR NOT NULL,
    feature_index INTEGER NOT NULL,
    status VARCHAR NOT NULL CHECK (status IN ('ok', 'refused', 'truncated', 'unparsable', 'failed')), --: what came of the attempt
    text VARCHAR,                                   --: the label; present exactly when status is ok
    concepts JSON,                                  --: its concepts: mass share, trigger, conditions, exceptions
    predicate JSON,                                 --: a rule that runs without an LLM
    method VARCHAR NOT NULL,                        --: explain, lexical, token_lookup, …
    origin VARCHAR NOT NULL CHECK (origin IN ('run', 'baseline', 'imported', 'human')), --: who proposed it; a baseline is scored but never chosen
    parent_label_id VARCHAR,                        --: the label it refines
    round INTEGER NOT NULL,                         --: round of refinement, 0 first
    author VARCHAR,                                 --: person, for a human label
    prompt_hash VARCHAR,                            --: prompt file it came from
    model_requested VARCHAR,                        --: LLM asked
    model_served VARCHAR,                           --: LLM that answered
    request_hash VARCHAR,                           --: the call that made it
    sample_number INTEGER NOT NULL,                 --: which draw of that request
    shown_window_ids VARCHAR[] NOT NULL,            --: windows its labeler was shown
    error VARCHAR,                                  --: why there is no label
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL,
    CHECK ((status = 'ok') = (text IS NOT NULL))
);

-- table: decision about the label of a feature; the one in force is in current_choices
CREATE TABLE choices (
    choice_id VARCHAR PRIMARY KEY,                  --: hash of the decision and its grounds
    evidence_set_id VARCHAR NOT NULL,
    sae_id VARCHAR NOT NULL,
    feature_index INTEGER NOT NULL,
    label_id VARCHAR,                               --: the label chosen; NULL when none was
    verdict VARCHAR NOT NULL CHECK (verdict IN ('labelled', 'several_concepts', 'one_token', 'position', 'uninterpretable', 'failed')), --: what was decided
    reason VARCHAR NOT NULL,                        --: why, in words
    validation_score DOUBLE CHECK (validation_score IS NULL OR NOT isnan(validation_score)), --: the score it was chosen by; −0.5 … 1, 0 = chance
    scorer VARCHAR,                                 --: scorer that gave it
    chosen_by VARCHAR NOT NULL CHECK (chosen_by IN ('run', 'human')), --: the newest human choice wins, else the newest of a run
    author VARCHAR,                                 --: person, for a human choice
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL,
    CHECK ((verdict IN ('labelled', 'several_concepts', 'one_token', 'position')) = (label_id IS NOT NULL))
);

-- table: what a scorer said of one window under one label
CREATE TABLE predictions (
    label_id VARCHAR NOT NULL,
    evidence_set_id VARCHAR NOT NULL,
    feature_index INTEGER NOT NULL,                 --: the feature whose tiles are judged; another than the label's own in a null
    scorer VARCHAR NOT NULL,
    config_hash VARCHAR NOT NULL,                   --: scorer settings, judge and prompt
    split VARCHAR NOT NULL CHECK (split IN ('train', 'validation', 'test')),
    window_id VARCHAR NOT NULL,
    value DOUBLE CHECK (value IS NULL OR NOT isnan(value)), --: higher = more likely to fire; its kind is the score's answer_mode
    asked_again DOUBLE CHECK (asked_again IS NULL OR NOT isnan(asked_again)), --: the same question in another pack, where asked twice
    status VARCHAR NOT NULL CHECK (status IN ('ok', 'refused', 'truncated', 'unparsable', 'failed')),
    error VARCHAR,
    request_hash VARCHAR,                           --: the call it came from
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL,
    CHECK ((status = 'ok') = (value IS NOT NULL))
);

-- table: value of one metric for one label on the tiles of one feature; a null when the label belongs to another
CREATE TABLE scores (
    score_id VARCHAR NOT NULL,                      --: hash of label, feature, scorer, config, split and metric
    label_id VARCHAR NOT NULL,
    evidence_set_id VARCHAR NOT NULL,
    sae_id VARCHAR NOT NULL,
    feature_index INTEGER NOT NULL,                 --: the feature whose tiles were judged
    is_null BOOLEAN NOT NULL,                       --: the label belongs to another feature
    scorer VARCHAR NOT NULL,
    judge VARCHAR NOT NULL,                         --: the model that judged, or `rule`
    answer_mode VARCHAR NOT NULL CHECK (answer_mode IN ('probability', 'binary', 'rating')), --: never compared or averaged across modes
    judge_status VARCHAR NOT NULL CHECK (judge_status IN ('admitted', 'judge_unfit', 'not_needed')), --: an unfit judge has no value
    config_hash VARCHAR NOT NULL,
    prompt_hash VARCHAR,
    split VARCHAR NOT NULL CHECK (split IN ('train', 'validation', 'test')),
    metric VARCHAR NOT NULL,                        --: label_score, auroc, balanced_accuracy, recall, lift_null, beyond_token, flip_rate, …
    value DOUBLE CHECK (value IS NULL OR NOT isnan(value)), --: NULL = not scored, with the reason in `reason`
    low DOUBLE CHECK (low IS NULL OR NOT isnan(low)),       --: lower end of the 95% interval
    high DOUBLE CHECK (high IS NULL OR NOT isnan(high)),    --: upper end
    n INTEGER NOT NULL,                             --: examples judged (nulls averaged, for lift_null)
    n_failed INTEGER NOT NULL,                      --: examples without a usable answer
    chance DOUBLE,                                  --: what guessing gives
    reason VARCHAR,                                 --: why value is NULL
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL,
    CHECK (value IS NULL OR (low IS NOT NULL AND high IS NOT NULL AND low <= value AND value <= high)),
    CHECK (judge_status <> 'judge_unfit' OR value IS NULL)
);

-- table: test of a judge on solved examples before it is believed
CREATE TABLE calibrations (
    calibration_id VARCHAR PRIMARY KEY,
    scorer VARCHAR NOT NULL,
    judge VARCHAR NOT NULL,
    answer_mode VARCHAR NOT NULL CHECK (answer_mode IN ('probability', 'binary', 'rating')),
    config_hash VARCHAR NOT NULL,
    prompt_hash VARCHAR,
    auroc DOUBLE CHECK (auroc IS NULL OR NOT isnan(auroc)), --: on the shipped solved examples; .5 = guessing, below .65 the judge is unfit
    low DOUBLE,
    high DOUBLE,
    n INTEGER NOT NULL,
    n_failed INTEGER NOT NULL,
    true_positive_rate DOUBLE,                      --: at threshold one half, for binary and probability answers
    false_positive_rate DOUBLE,
    verdict VARCHAR NOT NULL CHECK (verdict IN ('admitted', 'judge_unfit')),
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL
);

-- table: causal test of a feature
CREATE TABLE interventions (
    intervention_id VARCHAR PRIMARY KEY,
    label_id VARCHAR,
    evidence_set_id VARCHAR NOT NULL,
    feature_index INTEGER NOT NULL,
    kind VARCHAR NOT NULL,                          --: ablate, clamp, …
    dose DOUBLE,                                    --: activation set, in the feature's own units
    effect_nats DOUBLE CHECK (effect_nats IS NULL OR NOT isnan(effect_nats)), --: change in log-probability of the label's target tokens
    low DOUBLE,
    high DOUBLE,
    control JSON,                                   --: the same read-out under controls
    verdict VARCHAR CHECK (verdict IS NULL OR verdict IN ('confirmed', 'weak', 'refuted', 'untestable')),
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL
);
