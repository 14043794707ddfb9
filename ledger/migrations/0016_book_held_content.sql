-- SPDX-License-Identifier: GPL-3.0-or-later
-- A hold on an artifact keeps its subject's key, which opens it, and nothing once that is gone:
-- ledger/schema/book_holds.sql

CREATE OR REPLACE FUNCTION {book}.keep_held() RETURNS trigger LANGUAGE plpgsql AS $$
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
