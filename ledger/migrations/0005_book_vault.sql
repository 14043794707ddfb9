-- SPDX-License-Identifier: GPL-3.0-or-later
-- What each column is for: ledger/schema/book.sql

CREATE TABLE {book}.vault_state (
    id          smallint PRIMARY KEY CHECK (id = 1),
    serial      bigint NOT NULL CHECK (serial > 0),
    generation  bigint NOT NULL CHECK (generation > 0),
    oldest      bigint NOT NULL CHECK (oldest BETWEEN 1 AND generation),
    since       bigint NOT NULL CHECK (since >= 0)
);
INSERT INTO {book}.vault_state (id, serial, generation, oldest, since)
VALUES (1, 1, 1, 1, coalesce((SELECT size FROM {book}.head WHERE id = 1), 0));

CREATE TABLE {book}.subject (
    ref          uuid PRIMARY KEY,
    kind         text NOT NULL CHECK (kind IN ('person', 'tenant')),
    state        text NOT NULL DEFAULT 'live' CHECK (state IN ('live', 'erasing', 'held', 'erased')),
    generation   bigint NOT NULL,
    wrapped_key  bytea,
    identity     bytea,
    erasure_id   text CHECK (octet_length(erasure_id) <= 128),
    doomed       bigint,
    CHECK ((state = 'erased') = (wrapped_key IS NULL)),
    CHECK ((wrapped_key IS NULL) = (identity IS NULL)),
    CHECK ((state = 'live') = (erasure_id IS NULL)),
    CHECK ((state = 'erasing') = (doomed IS NOT NULL))
);
CREATE INDEX subject_moving ON {book}.subject (state) WHERE state <> 'live';

CREATE TABLE {book}.subject_index (
    "index"     bytea PRIMARY KEY CHECK (octet_length("index") = 32),
    generation  bigint NOT NULL,
    ref         uuid NOT NULL
);
CREATE INDEX subject_index_ref ON {book}.subject_index (ref);

CREATE TABLE {book}.sealed (
    event_id     uuid NOT NULL,
    subject_ref  uuid NOT NULL,
    wrapped_key  bytea,
    blob         bytea,
    PRIMARY KEY (event_id, subject_ref),
    CHECK ((wrapped_key IS NULL) = (blob IS NULL))
);
CREATE INDEX sealed_subject ON {book}.sealed (subject_ref);
ALTER TABLE {book}.sealed ALTER COLUMN blob SET STORAGE EXTERNAL;

CREATE TABLE {book}.blind (
    field        text NOT NULL,
    "index"      bytea NOT NULL CHECK (octet_length("index") = 32),
    generation   bigint NOT NULL,
    event_id     uuid NOT NULL,
    subject_ref  uuid NOT NULL
);
CREATE INDEX blind_index ON {book}.blind ("index");
CREATE INDEX blind_event ON {book}.blind (event_id);

CREATE FUNCTION {book}.vault_gate(seen bigint, after integer) RETURNS boolean LANGUAGE plpgsql
VOLATILE AS $$
BEGIN
    IF seen = 0 THEN
        RETURN true;
    END IF;
    PERFORM pg_advisory_xact_lock_shared(hashtext('sealtrail.vault'), hashtext('{book}'));
    IF seen IS DISTINCT FROM (SELECT serial FROM {book}.vault_state WHERE id = 1) THEN
        RAISE EXCEPTION 'the vault has moved on: seal again'
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    RETURN true;
END $$;
CREATE FUNCTION {book}.vault_lock() RETURNS void LANGUAGE sql VOLATILE AS $$
    SELECT pg_advisory_xact_lock(hashtext('sealtrail.vault'), hashtext('{book}'))
$$;

CREATE FUNCTION {book}.stay_erased() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF OLD.state = 'erased' THEN
        RAISE EXCEPTION 'this data subject was erased, and stays so'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER stay_erased BEFORE UPDATE ON {book}.subject
    FOR EACH ROW EXECUTE FUNCTION {book}.stay_erased();
CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON {book}.subject
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER one_row BEFORE DELETE OR TRUNCATE ON {book}.vault_state
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();

GRANT SELECT ON {book}.vault_state, {book}.subject, {book}.subject_index, {book}.sealed, {book}.blind
    TO {append}, {read}, {retain};
GRANT INSERT ON {book}.subject, {book}.subject_index, {book}.sealed, {book}.blind TO {append};
GRANT UPDATE (serial, generation, oldest) ON {book}.vault_state TO {retain};
GRANT UPDATE (state, generation, wrapped_key, identity, erasure_id, doomed) ON {book}.subject TO {retain};
GRANT INSERT, DELETE ON {book}.subject_index TO {retain};
GRANT UPDATE (wrapped_key, blob), DELETE ON {book}.sealed TO {retain};
GRANT INSERT, DELETE ON {book}.blind TO {retain};
