-- The LLM engine: what a run was to do, where each attempt went and what it was charged, what endpoints can do, and batches.
-- A CHECK cannot be altered in place, so `runs` and `llm_attempts` are made anew and filled from the tables of before.
-- The comments follow the rules of m001_initial.sql.
--
-- every run_id: run that first produced the row; part of no id
-- every created_utc: when the row was made, UTC
-- every submission_id: one batch of requests, handed over once
-- every request_hash: what was asked
-- every base_url: address it was sent to, without secrets
-- every prompt_hash: the prompt file, if the request came from one
-- every stage: probe, calibrate, label, validate, score or null
-- every feature_index: feature it was sent for
-- every input_bytes: bytes of the messages in UTF-8

ALTER TABLE runs RENAME TO runs_before;

-- table: start of a command that writes
CREATE TABLE runs (
    run_id VARCHAR PRIMARY KEY,                     --: one start of a command that writes
    command VARCHAR NOT NULL,                       --: run, collect, label, score, …
    config JSON NOT NULL,                           --: the settings as used, keys and secrets left out
    config_hash VARCHAR NOT NULL,                   --: hash of the settings
    job_hash VARCHAR,                               --: hash of what was to be done; equal for a run and its resumption
    seed BIGINT NOT NULL,                           --: seed of every sample drawn
    code_version VARCHAR NOT NULL,                  --: version of autolabel
    status VARCHAR NOT NULL CHECK (status IN ('running', 'done', 'failed', 'interrupted', 'out_of_budget')), --: how it ended
    message VARCHAR,                                --: what stopped it, if anything did
    started_utc TIMESTAMP NOT NULL,                 --: when it started, UTC
    finished_utc TIMESTAMP                          --: when it ended, UTC; NULL while running or after a crash
);

INSERT INTO runs BY NAME SELECT * FROM runs_before;
DROP TABLE runs_before;

ALTER TABLE llm_attempts RENAME TO llm_attempts_before;

-- table: LLM request sent once, whatever came of it: the ledger of time and money
CREATE TABLE llm_attempts (
    attempt_id VARCHAR NOT NULL,                    --: one request sent once
    request_hash VARCHAR NOT NULL,
    run_id VARCHAR NOT NULL,                        --: run that sent it
    stage VARCHAR NOT NULL,
    feature_index INTEGER,
    endpoint_id VARCHAR NOT NULL,                   --: the API it was sent to; `local` for a model in this process
    base_url VARCHAR,
    via VARCHAR NOT NULL CHECK (via IN ('live', 'batch', 'local')), --: sent by itself, in a batch, or to a model in this process
    model_requested VARCHAR NOT NULL,               --: model asked for
    status VARCHAR NOT NULL CHECK (status IN ('ok', 'refused', 'truncated', 'unparsable', 'failed')), --: what came back
    error VARCHAR,                                  --: why it was not ok
    http_status INTEGER,                            --: status of the HTTP answer; NULL when nothing answered
    input_bytes BIGINT,
    prompt_tokens BIGINT,                           --: input tokens; NULL when the endpoint did not say
    cached_tokens BIGINT,                           --: input tokens served from the endpoint's cache
    completion_tokens BIGINT,                       --: output tokens
    reasoning_tokens BIGINT,                        --: output tokens spent thinking, part of completion_tokens
    charged_tokens BIGINT NOT NULL,                 --: tokens counted against a budget: used, or reserved when the endpoint did not say; 0 when it rejected the request
    cost_usd DOUBLE CHECK (cost_usd IS NULL OR NOT isnan(cost_usd)), --: money charged, USD: by what was used, or by what was reserved when the endpoint did not say; 0 for a local model or a rejected request; NULL when the price is unknown
    latency_ms DOUBLE CHECK (latency_ms IS NULL OR NOT isnan(latency_ms)), --: time from sending to the whole reply
    started_utc TIMESTAMP NOT NULL                  --: when it was sent, UTC
);

INSERT INTO llm_attempts BY NAME
SELECT
    *,
    CASE WHEN endpoint_id = 'local' THEN 'local' ELSE 'live' END AS via,
    coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0) AS charged_tokens
FROM llm_attempts_before;
DROP TABLE llm_attempts_before;

-- table: look at what an endpoint supports; the newest of an endpoint and model counts
CREATE TABLE endpoint_probes (
    probe_id VARCHAR PRIMARY KEY,                   --: one look
    endpoint_id VARCHAR NOT NULL,                   --: the API, without keys
    model VARCHAR NOT NULL,                         --: model asked for
    capabilities JSON NOT NULL,                     --: which parameters it takes, and what it gives
    reason VARCHAR,                                 --: why it was looked at
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL
);

-- table: body of an accepted request; kept only on request
CREATE TABLE llm_requests (
    request_hash VARCHAR NOT NULL,
    body JSON NOT NULL,                             --: what was sent, keys left out
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL
);

-- table: batch of requests handed to an endpoint's Batch API
CREATE TABLE llm_batches (
    submission_id VARCHAR PRIMARY KEY,
    endpoint_id VARCHAR NOT NULL,                   --: the API, without keys
    base_url VARCHAR,
    model VARCHAR NOT NULL,                         --: model asked for
    input_file_id VARCHAR,                          --: the endpoint's name for the file of requests
    n_requests INTEGER NOT NULL,                    --: requests in it
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL
);

-- table: request of a batch, with what was reserved for it
CREATE TABLE llm_batch_items (
    submission_id VARCHAR NOT NULL,
    request_hash VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    feature_index INTEGER,
    prompt_hash VARCHAR,
    input_bytes BIGINT,
    reserved_tokens BIGINT NOT NULL,                --: tokens set aside in the budget: input, and output at worst
    reserved_usd DOUBLE CHECK (reserved_usd IS NULL OR NOT isnan(reserved_usd)) --: money set aside, USD; NULL when the price is unknown
);

-- table: thing that happened to a batch
CREATE TABLE llm_batch_events (
    event_id VARCHAR PRIMARY KEY,                   --: one happening
    submission_id VARCHAR NOT NULL,
    batch_id VARCHAR,                               --: the endpoint's name for the batch, once it gave one
    status VARCHAR NOT NULL,                        --: the endpoint's word for its state, or `collected` or `abandoned`, after which nothing more comes
    message VARCHAR,                                --: what there is to say about it
    run_id VARCHAR NOT NULL,
    created_utc TIMESTAMP NOT NULL
);
