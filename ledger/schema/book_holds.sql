-- SPDX-License-Identifier: GPL-3.0-or-later
-- What must stay in one Book, and what must go (ledger/holds.py, ledger/erasure). Belongs to book.sql.

CREATE INDEX entry_custody ON {book}.entry (topic, position) WHERE topic IN (
    'LEGAL_HOLD_PLACED/1', 'LEGAL_HOLD_RELEASED/1', 'ERASURE_REQUESTED/1', 'ERASURE_APPROVED/1',
    'ERASURE_WITHDRAWN/1', 'ERASURE_DEFERRED/1', 'ERASURE/1');

-- Legal holds, part by part, as the log's LEGAL_HOLD_* entries tell them: never believed before it
-- was held against those (ledger/hold_record.py), and made anew from them by `hold rebuild`.
CREATE TABLE {book}.hold (
    hold_id      uuid NOT NULL,
    part         smallint NOT NULL CHECK (part >= 1),
    position     bigint NOT NULL UNIQUE,  -- of the LEGAL_HOLD_PLACED
    released     bigint,                  -- position of the LEGAL_HOLD_RELEASED
    queried      boolean NOT NULL,        -- whether it has a query; of its members null means any
    types        text[],
    streams      text[],
    of_subjects  uuid[],
    from_ms      bigint,
    until_ms     bigint,                  -- the first millisecond that is not meant
    event_ids    uuid[] NOT NULL,
    subjects     uuid[] NOT NULL,
    artifacts    text[] NOT NULL,         -- 'sha256:<64 hexadecimal digits>'
    keys         text[] NOT NULL,
    anchors      date[] NOT NULL,
    PRIMARY KEY (hold_id, part)
);

-- Which recorded entries are held now, and by what.
CREATE VIEW {book}.held AS
SELECT e.position, e.event_id, h.hold_id
  FROM {book}.hold h JOIN {book}.entry e
    ON e.event_id = ANY (h.event_ids)
    OR (h.queried
        AND (h.types IS NULL OR split_part(e.topic, '/', 1) = ANY (h.types))
        AND (h.streams IS NULL OR e.stream = ANY (h.streams))
        AND (h.from_ms IS NULL OR e.recorded_at >= h.from_ms)
        AND (h.until_ms IS NULL OR e.recorded_at < h.until_ms)
        AND (h.of_subjects IS NULL OR EXISTS (
            SELECT 1 FROM {book}.sealed s
             WHERE s.event_id = e.event_id AND s.subject_ref = ANY (h.of_subjects))))
    OR (h.subjects <> '{{}}' AND EXISTS (
        SELECT 1 FROM {book}.sealed s
         WHERE s.event_id = e.event_id AND s.subject_ref = ANY (h.subjects)))
 WHERE h.released IS NULL;

-- A hold's second lock: what it keeps goes neither by mistake nor by hand.
CREATE FUNCTION {book}.keep_held() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    kept boolean := false;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM {book}.hold WHERE released IS NULL) THEN
        kept := false;
    ELSIF TG_TABLE_NAME = 'subject' THEN
        kept := EXISTS (SELECT 1 FROM {book}.hold WHERE released IS NULL AND OLD.ref = ANY (subjects))
             OR EXISTS (SELECT 1 FROM {book}.sealed s JOIN {book}.held USING (event_id)
                         WHERE s.subject_ref = OLD.ref)
             OR EXISTS (SELECT 1 FROM {book}.artifact a JOIN {book}.held USING (event_id)
                         WHERE a.subject_ref = OLD.ref AND a.wrapped_key IS NOT NULL)
             OR EXISTS (SELECT 1 FROM {book}.artifact a JOIN {book}.hold h
                            ON h.released IS NULL
                           AND ('sha256:' || a.object = ANY (h.artifacts)
                                OR 'sha256:' || encode(a.digest, 'hex') = ANY (h.artifacts))
                         WHERE a.subject_ref = OLD.ref AND a.wrapped_key IS NOT NULL);
    ELSIF TG_TABLE_NAME = 'artifact' AND EXISTS (
            SELECT 1 FROM {book}.subject WHERE ref = OLD.subject_ref AND state = 'erased') THEN
        kept := false;  -- No key opens it any more.
    ELSIF TG_TABLE_NAME = 'artifact' THEN
        kept := EXISTS (SELECT 1 FROM {book}.held WHERE event_id = OLD.event_id)
             OR EXISTS (SELECT 1 FROM {book}.hold WHERE released IS NULL
                           AND (OLD.subject_ref = ANY (subjects)
                                OR 'sha256:' || OLD.object = ANY (artifacts)
                                OR 'sha256:' || encode(OLD.digest, 'hex') = ANY (artifacts)));
    ELSE
        kept := EXISTS (SELECT 1 FROM {book}.held WHERE event_id = OLD.event_id);
    END IF;
    IF kept THEN
        RAISE EXCEPTION 'a legal hold keeps this: % on %.% is refused',
            TG_OP, TG_TABLE_SCHEMA, TG_TABLE_NAME USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER keep_held_change BEFORE UPDATE ON {book}.sealed FOR EACH ROW
    WHEN (OLD.blob IS NOT NULL AND NEW IS DISTINCT FROM OLD) EXECUTE FUNCTION {book}.keep_held();
CREATE TRIGGER keep_held_delete BEFORE DELETE ON {book}.sealed FOR EACH ROW
    EXECUTE FUNCTION {book}.keep_held();
CREATE TRIGGER keep_held_truncate BEFORE TRUNCATE ON {book}.sealed FOR EACH STATEMENT
    EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER keep_held BEFORE UPDATE ON {book}.subject FOR EACH ROW
    WHEN (OLD.wrapped_key IS NOT NULL AND NEW.wrapped_key IS NULL)
    EXECUTE FUNCTION {book}.keep_held();
CREATE TRIGGER keep_held BEFORE UPDATE ON {book}.artifact FOR EACH ROW
    WHEN (OLD.wrapped_key IS NOT NULL AND NEW.wrapped_key IS NULL)
    EXECUTE FUNCTION {book}.keep_held();
CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON {book}.hold
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();

GRANT SELECT ON {book}.hold, {book}.held TO {append}, {read}, {retain};
GRANT INSERT, UPDATE (released) ON {book}.hold TO {retain};
