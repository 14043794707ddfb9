-- SPDX-License-Identifier: GPL-3.0-or-later
-- Content that entries name by digest and that lies in the archive (ledger/archive). Belongs to book.sql.

-- One artifact: the content whose digest stands, clear or committed, in one field of one event.
CREATE TABLE {book}.artifact (
    artifact_id   uuid PRIMARY KEY,
    event_id      uuid NOT NULL,
    name          text NOT NULL CHECK (octet_length(name) <= 128),  -- of the field, as in a disclosure
    digest        bytea CHECK (octet_length(digest) = 32),  -- of the content, where the entry has it clear
    subject_ref   uuid,                  -- whose content it is; NULL: the tenant's own
    generation    bigint,                -- of the tenant's wrapping key; NULL: the subject's key wraps
    wrapped_key   bytea,                 -- of this artifact; NULL once it is erased or expired
    facts         bytea,                 -- the digest, sealed under that key
    size          bigint NOT NULL CHECK (size BETWEEN 0 AND 1073741824),  -- of the content, in bytes
    media_type    text NOT NULL CHECK (octet_length(media_type) <= 128),
    state         text NOT NULL DEFAULT 'announced'
                  CHECK (state IN ('announced', 'missed', 'stored', 'erased', 'expired')),
    announced_by  text NOT NULL,         -- the credential's random id
    announced_at  bigint NOT NULL,       -- milliseconds since 1970, as are the next three
    deadline      bigint NOT NULL,       -- until then it has to be stored
    missed_at     bigint,                -- when it was found to be missing; stays if it comes late
    stored_at     bigint,
    object        text CHECK (object ~ '^[0-9a-f]{{64}}$'),  -- its name in the archive; set before the upload
    preview       bytea,                 -- small copy and perceptual hash, sealed under the same key
    fingerprint   bytea CHECK (octet_length(fingerprint) = 8),  -- pHash, where the entry has the digest clear
    held          boolean NOT NULL DEFAULT false,  -- whether the object is under a legal hold in the archive
    gone_at       bigint,                -- when the object of an erased or expired artifact was deleted
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
ALTER TABLE {book}.artifact ALTER COLUMN preview SET STORAGE EXTERNAL;  -- cipher text does not compress

-- Content that an entry promises to the archive (outputs[*].ref), whether or not anybody announced it.
CREATE TABLE {book}.artifact_promise (
    event_id   uuid NOT NULL,
    name       text NOT NULL,
    deadline   bigint NOT NULL,          -- until then somebody has to have announced it
    missed_at  bigint,                   -- when it was found that nobody had
    PRIMARY KEY (event_id, name)
);
CREATE INDEX artifact_promise_open ON {book}.artifact_promise (deadline) WHERE missed_at IS NULL;

-- How far the log was searched for such promises, and which of the tenant's keys wraps from now on.
CREATE TABLE {book}.artifact_state (
    id          smallint PRIMARY KEY CHECK (id = 1),
    size        bigint NOT NULL CHECK (size >= 0),
    generation  bigint NOT NULL CHECK (generation > 0)
);
INSERT INTO {book}.artifact_state (id, size, generation) VALUES (1, 0, 1);

-- An artifact goes one way: what is stored stays the same object, and a key that is gone stays gone.
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
