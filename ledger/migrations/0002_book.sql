-- SPDX-License-Identifier: GPL-3.0-or-later
-- What each column is for: ledger/schema/book.sql

CREATE SCHEMA {book};

CREATE TABLE {book}.head (
    id         smallint PRIMARY KEY CHECK (id = 1),
    epoch      bigint NOT NULL CHECK (epoch >= 0),
    size       bigint NOT NULL CHECK (size >= 0),
    frontier   bytea NOT NULL,
    mac        bytea NOT NULL CHECK (octet_length(mac) = 32),
    last_time  bigint NOT NULL,
    tag        bytea NOT NULL CHECK (octet_length(tag) = 32)
) WITH (fillfactor = 50);

CREATE TABLE {book}.entry (
    position        bigint PRIMARY KEY,
    leaf            bytea NOT NULL,
    mac             bytea NOT NULL,
    event_id        uuid NOT NULL UNIQUE,
    stream          text NOT NULL,
    version         bigint NOT NULL,
    topic           text NOT NULL,
    recorded_at     bigint NOT NULL,
    request_digest  bytea NOT NULL,
    source_id       text,
    source_n        bigint,
    UNIQUE (stream, version),
    CHECK ((source_id IS NULL) = (source_n IS NULL))
);
CREATE UNIQUE INDEX entry_source ON {book}.entry (source_id, source_n) WHERE source_id IS NOT NULL;
CREATE INDEX entry_recorded_at ON {book}.entry USING brin (recorded_at) WITH (autosummarize = on);
CREATE INDEX entry_rare ON {book}.entry (topic, position) WHERE topic IN (
    'EPOCH_SEALED/1', 'COMPLETENESS_REPORT/1', 'ANCHOR/1', 'ANCHOR_FAILED/1',
    'KEY_ROTATED/1', 'INCARNATION_OPENED/1');

CREATE TABLE {book}.entry_body (
    position  bigint NOT NULL,
    bytes     bytea NOT NULL,
    PRIMARY KEY (position)
) PARTITION BY RANGE (position);
CREATE TABLE {book}.entry_body_rest PARTITION OF {book}.entry_body DEFAULT;

CREATE TABLE {book}.tile (
    level   smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    "index" bigint NOT NULL CHECK ("index" >= 0),
    root    bytea NOT NULL CHECK (octet_length(root) = 32),
    hashes  bytea NOT NULL CHECK (octet_length(hashes) = 8192),
    PRIMARY KEY (level, "index")
);
ALTER TABLE {book}.tile ALTER COLUMN hashes SET STORAGE EXTERNAL;

CREATE TABLE {book}.asset_birth (
    asset_id  text PRIMARY KEY,
    position  bigint NOT NULL
);

CREATE TABLE {book}.anchor (
    anchor_id   text PRIMARY KEY,
    day         date NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('day', 'interim')),
    from_size   bigint NOT NULL,
    to_size     bigint NOT NULL,
    size        bigint NOT NULL,
    root        bytea NOT NULL,
    frontier    bytea NOT NULL,
    day_root    bytea NOT NULL,
    stamped     bytea NOT NULL
);
CREATE INDEX anchor_size ON {book}.anchor (size);

CREATE TABLE {book}.token (
    anchor_id    text NOT NULL REFERENCES {book}.anchor (anchor_id),
    authority    text NOT NULL,
    query        bytea NOT NULL,
    reply        bytea NOT NULL,
    gen_time_ms  bigint NOT NULL,
    PRIMARY KEY (anchor_id, authority)
);

CREATE FUNCTION {book}.refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'this ledger is append-only: % on %.% is refused',
        TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.entry
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.entry_body
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.entry_body_rest
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.tile
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.asset_birth
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.anchor
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.token
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER one_row BEFORE DELETE OR TRUNCATE ON {book}.head
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();

GRANT USAGE ON SCHEMA {book} TO {append}, {read}, {retain};
GRANT SELECT ON ALL TABLES IN SCHEMA {book} TO {append}, {read}, {retain};
GRANT INSERT ON {book}.entry, {book}.entry_body, {book}.tile, {book}.asset_birth, {book}.anchor, {book}.token
    TO {append};
GRANT UPDATE ON {book}.head TO {append};
GRANT USAGE ON SCHEMA sealtrail TO {append};
GRANT SELECT ON sealtrail.clock_confirmation TO {append};
