-- SPDX-License-Identifier: GPL-3.0-or-later
-- What each column is for: ledger/schema/book_datasets.sql

CREATE TABLE {book}.sparse_salt (
    salt_id      text PRIMARY KEY,
    subject_ref  uuid NOT NULL,
    wrapped      bytea NOT NULL
);

CREATE TABLE {book}.sparse_tree (
    tree_id  text PRIMARY KEY,
    salt_id  text NOT NULL,
    count    bigint NOT NULL CHECK (count >= 0),
    missing  bigint NOT NULL CHECK (missing >= 0),
    root     bytea NOT NULL CHECK (octet_length(root) = 32),
    crown    bytea NOT NULL
);
ALTER TABLE {book}.sparse_tree ALTER COLUMN crown SET STORAGE EXTERNAL;

CREATE TABLE {book}.sparse_bucket (
    tree_id  text NOT NULL,
    bucket   integer NOT NULL CHECK (bucket >= 0),
    records  bytea NOT NULL,
    PRIMARY KEY (tree_id, bucket)
);
ALTER TABLE {book}.sparse_bucket ALTER COLUMN records SET STORAGE EXTERNAL;

CREATE TABLE {book}.dataset (
    number      bigint PRIMARY KEY CHECK (number > 0),
    dataset_id  text NOT NULL,
    version     text NOT NULL,
    body        bytea NOT NULL,
    made_at     timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX dataset_version ON {book}.dataset (dataset_id, version);

CREATE TABLE {book}.dataset_member (
    number      bigint NOT NULL,
    position    bigint NOT NULL,
    bytes_key   bytea NOT NULL CHECK (octet_length(bytes_key) = 32),
    pixel_key   bytea CHECK (octet_length(pixel_key) = 32),
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
