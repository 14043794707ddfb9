-- SPDX-License-Identifier: GPL-3.0-or-later
-- Redacted, searchable copies of prompts (ledger/redaction). Belongs to book.sql, after book_vault.sql.

-- The tenant's rules, the newest counts; none: the rules that everybody has.
CREATE TABLE {book}.redaction_rules (
    version  bigint PRIMARY KEY CHECK (version > 0),
    rules    text NOT NULL,                            -- canonical JSON (ledger/redaction/rules.py)
    made_at  timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.redaction_rules
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();

-- How far the follower has come: one row.
CREATE TABLE {book}.redaction_state (
    id        smallint PRIMARY KEY CHECK (id = 1),
    version   bigint NOT NULL CHECK (version >= 0),    -- of the rules it goes by; 0: everybody's
    position  bigint NOT NULL CHECK (position >= 0)    -- of the next entry to look at
);
INSERT INTO {book}.redaction_state (id, version, position) VALUES (1, 0, 0);
CREATE TRIGGER one_row BEFORE DELETE OR TRUNCATE ON {book}.redaction_state
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();

-- One text of one event without what the rules hide, under its data subject's own key.
CREATE TABLE {book}.redacted (
    event_id     uuid NOT NULL,
    field        text NOT NULL,                        -- committed name, such as prompt.user
    subject_ref  uuid NOT NULL,
    position     bigint NOT NULL,
    recorded_at  bigint NOT NULL,                      -- milliseconds since 1970, of the entry
    version      bigint NOT NULL,                      -- of the rules; an older one is not searched
    blob         bytea,                                -- NULL: withheld, it could not be redacted
    tries        smallint NOT NULL DEFAULT 1,
    PRIMARY KEY (event_id, field)
);
CREATE INDEX redacted_position ON {book}.redacted (position);
CREATE INDEX redacted_withheld ON {book}.redacted (position) WHERE blob IS NULL;
ALTER TABLE {book}.redacted ALTER COLUMN blob SET STORAGE EXTERNAL;

-- A copy goes with its original, in the same transaction, whoever removes that.
CREATE FUNCTION {book}.redacted_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM {book}.redacted
     WHERE event_id = OLD.event_id AND subject_ref = OLD.subject_ref;
    RETURN NULL;
END $$;
CREATE TRIGGER redacted_goes AFTER UPDATE ON {book}.sealed FOR EACH ROW
    WHEN (OLD.blob IS NOT NULL AND NEW.blob IS NULL) EXECUTE FUNCTION {book}.redacted_goes();
CREATE TRIGGER redacted_goes_deleted AFTER DELETE ON {book}.sealed FOR EACH ROW
    EXECUTE FUNCTION {book}.redacted_goes();

GRANT SELECT ON {book}.redaction_rules, {book}.redaction_state, {book}.redacted
    TO {append}, {read}, {retain};
GRANT UPDATE (version, position) ON {book}.redaction_state TO {append};
GRANT INSERT, UPDATE (version, blob, tries) ON {book}.redacted TO {append};
GRANT DELETE ON {book}.redacted TO {retain};
