-- SPDX-License-Identifier: GPL-3.0-or-later
-- What each column is for: ledger/schema/book_lineage.sql

CREATE TABLE {book}.model_call (
    position     bigint PRIMARY KEY,
    generation   text NOT NULL,
    event_id     uuid NOT NULL,
    trace_id     text,
    provider     text NOT NULL,
    model        text NOT NULL,
    version      text NOT NULL,
    model_id     text
);
CREATE INDEX model_call_generation ON {book}.model_call (generation);
CREATE INDEX model_call_trace ON {book}.model_call (trace_id, position) WHERE trace_id IS NOT NULL;

CREATE TABLE {book}.call_parent (
    position  bigint NOT NULL,
    n         smallint NOT NULL,
    parent    text NOT NULL,
    leaf      bytea,
    PRIMARY KEY (position, n)
);
CREATE INDEX call_parent_parent ON {book}.call_parent (parent, position);

CREATE TABLE {book}.call_cost (
    position       bigint PRIMARY KEY,
    event_id       uuid NOT NULL,
    generation     text NOT NULL,
    recorded_at    bigint NOT NULL,
    provider       text NOT NULL,
    model          text NOT NULL,
    version        text NOT NULL,
    cost           numeric,
    currency       text,
    input_tokens   bigint,
    output_tokens  bigint,
    images         bigint,
    request_id     text,
    returned       text
);
CREATE INDEX call_cost_recorded_at ON {book}.call_cost (recorded_at);
CREATE INDEX call_cost_request ON {book}.call_cost (request_id) WHERE request_id IS NOT NULL;

CREATE TABLE {book}.answered (
    key             bytea PRIMARY KEY CHECK (octet_length(key) = 32),
    provider        text NOT NULL,
    model           text NOT NULL,
    version         text NOT NULL,
    returned        text NOT NULL,
    fingerprint     text NOT NULL,
    answers         bigint NOT NULL CHECK (answers > 0),
    first_position  bigint NOT NULL,
    first_at        bigint NOT NULL,
    last_position   bigint NOT NULL,
    last_at         bigint NOT NULL
);
CREATE INDEX answered_first ON {book}.answered (first_position);

CREATE TABLE {book}.asset_digest (
    digest    bytea NOT NULL CHECK (octet_length(digest) = 32),
    asset     text NOT NULL,
    what      text NOT NULL,
    position  bigint NOT NULL
);
CREATE INDEX asset_digest_digest ON {book}.asset_digest (digest, position);
CREATE INDEX asset_digest_position ON {book}.asset_digest USING brin (position);

CREATE TABLE {book}.lineage_edge (
    source    text NOT NULL,
    target    text NOT NULL,
    rel       text NOT NULL,
    position  bigint NOT NULL,
    bound     boolean
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
