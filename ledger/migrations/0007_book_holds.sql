-- SPDX-License-Identifier: GPL-3.0-or-later
-- What each column is for: ledger/schema/book.sql

CREATE INDEX entry_custody ON {book}.entry (topic, position) WHERE topic IN (
    'LEGAL_HOLD_PLACED/1', 'LEGAL_HOLD_RELEASED/1');

CREATE TABLE {book}.hold (
    hold_id      uuid NOT NULL,
    part         smallint NOT NULL CHECK (part >= 1),
    position     bigint NOT NULL UNIQUE,
    released     bigint,
    queried      boolean NOT NULL,
    types        text[],
    streams      text[],
    of_subjects  uuid[],
    from_ms      bigint,
    until_ms     bigint,
    event_ids    uuid[] NOT NULL,
    subjects     uuid[] NOT NULL,
    artifacts    text[] NOT NULL,
    keys         text[] NOT NULL,
    anchors      date[] NOT NULL,
    PRIMARY KEY (hold_id, part)
);

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

CREATE TRIGGER kept BEFORE DELETE OR TRUNCATE ON {book}.hold
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();

GRANT SELECT ON {book}.hold, {book}.held TO {append}, {read}, {retain};
GRANT INSERT, UPDATE (released) ON {book}.hold TO {retain};
