-- SPDX-License-Identifier: GPL-3.0-or-later
-- Sealed training sets and output maps: what a proof of presence or absence is made of
-- (anchoring/sparse_store). Belongs to book.sql. The roots are in the log; what lies here leads to
-- them or is damaged. Output maps can be built again from the entries as long as nobody was erased; a
-- set's members from its manifest in the archive. The salts are here alone, and in its backups.

-- The salt of one or more trees, wrapped under the tenant's own key in the vault.
CREATE TABLE {book}.sparse_salt (
    salt_id      text PRIMARY KEY,       -- 'dataset/<number>' or 'outputs/<year>'
    subject_ref  uuid NOT NULL,          -- whose key wraps it
    wrapped      bytea NOT NULL
);

-- One tree: its root, and what lies above its buckets.
CREATE TABLE {book}.sparse_tree (
    tree_id  text PRIMARY KEY,           -- 'dataset/<number>' or 'outputs/<from>-<to>'
    salt_id  text NOT NULL,
    count    bigint NOT NULL CHECK (count >= 0),    -- distinct digests
    missing  bigint NOT NULL CHECK (missing >= 0),  -- outputs whose digests nobody could read
    root     bytea NOT NULL CHECK (octet_length(root) = 32),
    crown    bytea NOT NULL              -- 33 bytes for each bucket (anchoring/sparse_tree)
);
ALTER TABLE {book}.sparse_tree ALTER COLUMN crown SET STORAGE EXTERNAL;  -- hashes do not compress

-- The leaves of a tree whose keys begin with the same bits: key (32 bytes) and position (8), in order.
CREATE TABLE {book}.sparse_bucket (
    tree_id  text NOT NULL,
    bucket   integer NOT NULL CHECK (bucket >= 0),
    records  bytea NOT NULL,
    PRIMARY KEY (tree_id, bucket)
);
ALTER TABLE {book}.sparse_bucket ALTER COLUMN records SET STORAGE EXTERNAL;

-- A version of a training set as it was built. It is sealed when the log holds a DATASET_SEALED with
-- this body's manifest_digest; one that never got that far goes when somebody seals the version again.
CREATE TABLE {book}.dataset (
    number      bigint PRIMARY KEY CHECK (number > 0),
    dataset_id  text NOT NULL,
    version     text NOT NULL,
    body        bytea NOT NULL,          -- of its DATASET_SEALED, canonical
    made_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dataset_version ON {book}.dataset (dataset_id, version);

-- Its members, by the position of each one's INGEST, and their digests' keys in the tree.
CREATE TABLE {book}.dataset_member (
    number      bigint NOT NULL,
    position    bigint NOT NULL,
    bytes_key   bytea NOT NULL CHECK (octet_length(bytes_key) = 32),
    pixel_key   bytea CHECK (octet_length(pixel_key) = 32),  -- NULL: the INGEST has no such digest
    PRIMARY KEY (number, position)
);
CREATE INDEX dataset_member_position ON {book}.dataset_member (position);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.sparse_salt
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON {book}.sparse_tree
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON {book}.sparse_bucket
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON {book}.dataset
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR TRUNCATE ON {book}.dataset_member
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();

GRANT SELECT ON {book}.sparse_salt, {book}.sparse_tree, {book}.sparse_bucket, {book}.dataset,
    {book}.dataset_member TO {append}, {read}, {retain};
GRANT INSERT ON {book}.sparse_salt, {book}.sparse_tree, {book}.sparse_bucket, {book}.dataset,
    {book}.dataset_member TO {append};
GRANT DELETE ON {book}.sparse_tree, {book}.sparse_bucket, {book}.dataset, {book}.dataset_member
    TO {retain};
