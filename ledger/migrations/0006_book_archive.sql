-- SPDX-License-Identifier: GPL-3.0-or-later
-- What each column is for: ledger/schema/book_archive.sql

CREATE TABLE {book}.artifact (
    artifact_id   uuid PRIMARY KEY,
    event_id      uuid NOT NULL,
    name          text NOT NULL CHECK (octet_length(name) <= 128),
    digest        bytea CHECK (octet_length(digest) = 32),
    subject_ref   uuid,
    generation    bigint,
    wrapped_key   bytea,
    facts         bytea,
    size          bigint NOT NULL CHECK (size BETWEEN 0 AND 1073741824),
    media_type    text NOT NULL CHECK (octet_length(media_type) <= 128),
    state         text NOT NULL DEFAULT 'announced'
                  CHECK (state IN ('announced', 'missed', 'stored', 'erased', 'expired')),
    announced_by  text NOT NULL,
    announced_at  bigint NOT NULL,
    deadline      bigint NOT NULL,
    missed_at     bigint,
    stored_at     bigint,
    object        text CHECK (object ~ '^[0-9a-f]{{64}}$'),
    preview       bytea,
    fingerprint   bytea CHECK (octet_length(fingerprint) = 8),
    held          boolean NOT NULL DEFAULT false,
    gone_at       bigint,
    UNIQUE (event_id, name),
    CHECK ((subject_ref IS NULL) = (generation IS NOT NULL)),
    CHECK ((state IN ('erased', 'expired')) = (wrapped_key IS NULL)),
    CHECK ((wrapped_key IS NULL) = (facts IS NULL)),
    CHECK (fingerprint IS NULL OR digest IS NOT NULL),
    CHECK (gone_at IS NULL OR state IN ('erased', 'expired')),
    CHECK (state <> 'stored' OR (object IS NOT NULL AND stored_at IS NOT NULL))
);
CREATE INDEX artifact_open ON {book}.artifact (state, deadline) WHERE state IN ('announced', 'missed');
CREATE INDEX artifact_subject ON {book}.artifact (subject_ref);
CREATE INDEX artifact_held ON {book}.artifact (artifact_id) WHERE held;
CREATE INDEX artifact_to_go ON {book}.artifact (artifact_id)
    WHERE state IN ('erased', 'expired') AND object IS NOT NULL AND gone_at IS NULL;
CREATE INDEX artifact_object ON {book}.artifact (object);
ALTER TABLE {book}.artifact ALTER COLUMN preview SET STORAGE EXTERNAL;

CREATE TABLE {book}.artifact_promise (
    event_id   uuid NOT NULL,
    name       text NOT NULL,
    deadline   bigint NOT NULL,
    missed_at  bigint,
    PRIMARY KEY (event_id, name)
);
CREATE INDEX artifact_promise_open ON {book}.artifact_promise (deadline) WHERE missed_at IS NULL;

CREATE TABLE {book}.artifact_state (
    id          smallint PRIMARY KEY CHECK (id = 1),
    size        bigint NOT NULL CHECK (size >= 0),
    generation  bigint NOT NULL CHECK (generation > 0)
);
INSERT INTO {book}.artifact_state (id, size, generation) VALUES (1, 0, 1);

CREATE FUNCTION {book}.artifact_goes_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.wrapped_key IS NULL AND NEW.wrapped_key IS NOT NULL)
       OR (OLD.object IS NOT NULL AND NEW.object IS DISTINCT FROM OLD.object)
       OR (OLD.stored_at IS NOT NULL AND NEW.stored_at IS DISTINCT FROM OLD.stored_at)
       OR (OLD.missed_at IS NOT NULL AND NEW.missed_at IS DISTINCT FROM OLD.missed_at)
       OR (OLD.state = 'stored' AND NEW.state IN ('announced', 'missed'))
       OR (OLD.state IN ('erased', 'expired') AND NEW.state <> OLD.state)
    THEN
        RAISE EXCEPTION 'an artifact does not go back'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER goes_on BEFORE UPDATE ON {book}.artifact
    FOR EACH ROW EXECUTE FUNCTION {book}.artifact_goes_on();
CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON {book}.artifact
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER append_only BEFORE DELETE OR TRUNCATE ON {book}.artifact_promise
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER one_row BEFORE DELETE OR TRUNCATE ON {book}.artifact_state
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();

GRANT SELECT ON {book}.artifact, {book}.artifact_promise, {book}.artifact_state
    TO {append}, {read}, {retain};
GRANT INSERT ON {book}.artifact, {book}.artifact_promise TO {append};
GRANT UPDATE (missed_at) ON {book}.artifact_promise TO {append};
GRANT UPDATE (state, missed_at, stored_at, object, preview, fingerprint) ON {book}.artifact TO {append};
GRANT UPDATE (size) ON {book}.artifact_state TO {append};
GRANT UPDATE (generation) ON {book}.artifact_state TO {retain};
GRANT UPDATE (state, generation, wrapped_key, facts, preview, fingerprint, held, gone_at) ON {book}.artifact
    TO {retain};
