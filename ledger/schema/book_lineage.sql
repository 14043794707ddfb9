-- SPDX-License-Identifier: GPL-3.0-or-later
-- Calls of models, what they cost and who answered; assets by digest, and what became of what
-- (ledger/lineage, ledger/usage). Belongs to book.sql. All of it is made from entries and can be
-- made again; it says where to look, and what is shown is read from the entries. Rows of entries whose
-- expiry was announced go.

-- One call of a model: a Generation's attempt.
CREATE TABLE {book}.model_call (
    position     bigint PRIMARY KEY,     -- of the GEN_ATTEMPT
    generation   text NOT NULL,          -- the aggregate's id
    event_id     uuid NOT NULL,
    trace_id     text,
    provider     text NOT NULL,          -- of the model that is to be called
    model        text NOT NULL,
    version      text NOT NULL,
    model_id     text
);
CREATE INDEX model_call_generation ON {book}.model_call (generation);
CREATE INDEX model_call_trace ON {book}.model_call (trace_id, position) WHERE trace_id IS NOT NULL;

-- Which event a call says it was made by; the first of a call is where it stands in the tree.
CREATE TABLE {book}.call_parent (
    position  bigint NOT NULL,           -- of the child's GEN_ATTEMPT
    n         smallint NOT NULL,
    parent    text NOT NULL,             -- event id, as claimed
    leaf      bytea,                     -- leaf of that event, as claimed
    PRIMARY KEY (position, n)
);
CREATE INDEX call_parent_parent ON {book}.call_parent (parent, position);

-- What one call used, and who the provider says has answered: GEN, GEN_DENY, GEN_ERROR, OUTCOME_LATE.
CREATE TABLE {book}.call_cost (
    position       bigint PRIMARY KEY,   -- of the outcome
    event_id       uuid NOT NULL,
    generation     text NOT NULL,
    recorded_at    bigint NOT NULL,      -- milliseconds since 1970
    provider       text NOT NULL,        -- of the attempt; '' where that is not known
    model          text NOT NULL,
    version        text NOT NULL,
    cost           numeric,
    currency       text,
    input_tokens   bigint,
    output_tokens  bigint,
    images         bigint,
    request_id     text,                 -- the provider's
    returned       text                  -- model that the provider says it used
);
CREATE INDEX call_cost_recorded_at ON {book}.call_cost (recorded_at);
CREATE INDEX call_cost_request ON {book}.call_cost (request_id) WHERE request_id IS NOT NULL;

-- Which models have answered for which; '' where nothing was said.
CREATE TABLE {book}.answered (
    key             bytea PRIMARY KEY CHECK (octet_length(key) = 32),  -- SHA-256 over the five names
    provider        text NOT NULL,
    model           text NOT NULL,
    version         text NOT NULL,
    returned        text NOT NULL,
    fingerprint     text NOT NULL,       -- the provider's system fingerprint
    answers         bigint NOT NULL CHECK (answers > 0),
    first_position  bigint NOT NULL,
    first_at        bigint NOT NULL,
    last_position   bigint NOT NULL,
    last_at         bigint NOT NULL
);
CREATE INDEX answered_first ON {book}.answered (first_position);

-- Assets by what is clear of their digests; sealed ones are found by the vault's blind index.
CREATE TABLE {book}.asset_digest (
    digest    bytea NOT NULL CHECK (octet_length(digest) = 32),
    asset     text NOT NULL,
    what      text NOT NULL,             -- 'bytes', 'pixels', 'bytes-before', 'pixels-before', 'delivered'
    position  bigint NOT NULL            -- of the entry that says so
);
CREATE INDEX asset_digest_digest ON {book}.asset_digest (digest, position);
CREATE INDEX asset_digest_position ON {book}.asset_digest USING brin (position);

-- What became of what, as an entry says it: `source` went into `target`. Both are streams.
CREATE TABLE {book}.lineage_edge (
    source    text NOT NULL,             -- '<aggregate type>/<aggregate id>'
    target    text NOT NULL,
    rel       text NOT NULL,
    position  bigint NOT NULL,           -- of the entry that says so
    bound     boolean                    -- a link with a leaf: whether it is that entry's leaf
);
CREATE INDEX lineage_edge_source ON {book}.lineage_edge (source, rel, position);
CREATE INDEX lineage_edge_target ON {book}.lineage_edge (target, rel, position);
CREATE INDEX lineage_edge_position ON {book}.lineage_edge USING brin (position);

GRANT SELECT ON {book}.model_call, {book}.call_parent, {book}.call_cost, {book}.answered,
    {book}.asset_digest, {book}.lineage_edge TO {append}, {read}, {retain};
GRANT INSERT ON {book}.model_call, {book}.call_parent, {book}.call_cost, {book}.answered,
    {book}.asset_digest, {book}.lineage_edge TO {append};
GRANT DELETE ON {book}.model_call, {book}.call_parent, {book}.call_cost, {book}.asset_digest,
    {book}.lineage_edge TO {append};
GRANT UPDATE (answers, last_position, last_at) ON {book}.answered TO {append};
GRANT TRUNCATE ON {book}.model_call, {book}.call_parent, {book}.call_cost, {book}.answered,
    {book}.asset_digest, {book}.lineage_edge TO {retain};
