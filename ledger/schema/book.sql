-- SPDX-License-Identifier: GPL-3.0-or-later
-- One Book: one log, in a schema of its own. {book} is the schema, {append} {read} {retain} its roles.
-- Every statement of the product is qualified with the schema, so that a Book can live on any node.

CREATE SCHEMA {book};

-- The head: the only row that ever changes. A writer swaps it by size and tag in the same statement
-- that inserts the entries; the tag is an HMAC under the chain key, so a changed head is noticed.
CREATE TABLE {book}.head (
    id         smallint PRIMARY KEY CHECK (id = 1),
    epoch      bigint NOT NULL CHECK (epoch >= 0),
    size       bigint NOT NULL CHECK (size >= 0),
    frontier   bytea NOT NULL,           -- roots of the perfect subtrees, largest first, 32 bytes each
    mac        bytea NOT NULL CHECK (octet_length(mac) = 32),
    last_time  bigint NOT NULL,          -- milliseconds since 1970
    tag        bytea NOT NULL CHECK (octet_length(tag) = 32)
) WITH (fillfactor = 50);

-- Index beside the bytes: all uniqueness is here. Everything but the MAC can be rebuilt from the bytes.
CREATE TABLE {book}.entry (
    position        bigint PRIMARY KEY,
    leaf            bytea NOT NULL,
    mac             bytea NOT NULL,
    event_id        uuid NOT NULL UNIQUE,
    stream          text NOT NULL,       -- '<aggregate type>/<aggregate id>'
    version         bigint NOT NULL,     -- gap-free in its stream, from 1
    topic           text NOT NULL,       -- '<type>/<schema>', never a module name
    recorded_at     bigint NOT NULL,     -- milliseconds since 1970, never decreasing
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

-- The exact bytes of each entry: the preimage of its leaf. Partitioned by position, so that a tier is
-- moved and a body expires by dropping a partition.
CREATE TABLE {book}.entry_body (
    position  bigint NOT NULL,
    bytes     bytea NOT NULL,
    PRIMARY KEY (position)
) PARTITION BY RANGE (position);
CREATE TABLE {book}.entry_body_rest PARTITION OF {book}.entry_body DEFAULT;

-- PostgreSQL's own compression costs more time than all the rest of an INSERT. Where the server has
-- lz4, that; else none, and what fills half a page at most stays in it (docs/performance.md, "disk").
DO $$
BEGIN
    IF (SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression') THEN
        ALTER TABLE {book}.entry_body ALTER COLUMN bytes SET COMPRESSION lz4;
        ALTER TABLE {book}.entry_body_rest ALTER COLUMN bytes SET COMPRESSION lz4;
    ELSE
        ALTER TABLE {book}.entry_body ALTER COLUMN bytes SET STORAGE EXTERNAL;
        ALTER TABLE {book}.entry_body_rest SET (toast_tuple_target = 4080);
    END IF;
END $$;

-- Full tiles of the Merkle tree (C2SP tlog-tiles): 256 hashes, written once by the statement that
-- completes them. `root` is the hash above them: the element of the next level.
CREATE TABLE {book}.tile (
    level   smallint NOT NULL CHECK (level BETWEEN 0 AND 7),
    "index" bigint NOT NULL CHECK ("index" >= 0),
    root    bytea NOT NULL CHECK (octet_length(root) = 32),
    hashes  bytea NOT NULL CHECK (octet_length(hashes) = 8192),
    PRIMARY KEY (level, "index")
);
ALTER TABLE {book}.tile ALTER COLUMN hashes SET STORAGE EXTERNAL;  -- hashes do not compress

-- Which entry gave birth to an asset: an INGEST, or a GEN that names it among its outputs.
CREATE TABLE {book}.asset_birth (
    asset_id  text PRIMARY KEY,
    position  bigint NOT NULL
);

-- An anchor under way or done: chosen once, so that a retry sends the same bytes to be stamped.
CREATE TABLE {book}.anchor (
    anchor_id   text PRIMARY KEY,        -- 'day/2026-01-14' or 'interim/<size>'
    day         date NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('day', 'interim')),
    from_size   bigint NOT NULL,
    to_size     bigint NOT NULL,
    size        bigint NOT NULL,         -- of the checkpoint that is stamped
    root        bytea NOT NULL,
    frontier    bytea NOT NULL,          -- agreed by two implementations at `size`
    day_root    bytea NOT NULL,
    stamped     bytea NOT NULL           -- exact bytes: note body, blank line, the log's signature line
);
CREATE INDEX anchor_size ON {book}.anchor (size);

-- Raw replies of time-stamp authorities, as received.
CREATE TABLE {book}.token (
    anchor_id    text NOT NULL REFERENCES {book}.anchor (anchor_id),
    authority    text NOT NULL,
    query        bytea NOT NULL,
    reply        bytea NOT NULL,
    gen_time_ms  bigint NOT NULL,
    PRIMARY KEY (anchor_id, authority)
);

-- The second lock: the roles below already lack these rights, and an owner meets this trigger.
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

-- Separation of duties. A server process logs in as a role that owns nothing and takes one of these.
GRANT USAGE ON SCHEMA {book} TO {append}, {read}, {retain};
GRANT SELECT ON ALL TABLES IN SCHEMA {book} TO {append}, {read}, {retain};
GRANT INSERT ON {book}.entry, {book}.entry_body, {book}.tile, {book}.asset_birth, {book}.anchor, {book}.token
    TO {append};
GRANT UPDATE ON {book}.head TO {append};
GRANT USAGE ON SCHEMA sealtrail TO {append};
GRANT SELECT ON sealtrail.clock_confirmation TO {append};
