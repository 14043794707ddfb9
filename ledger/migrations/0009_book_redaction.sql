-- SPDX-License-Identifier: GPL-3.0-or-later
-- What each column is for: ledger/schema/book_redaction.sql

CREATE TABLE {book}.redaction_rules (
    version  bigint PRIMARY KEY CHECK (version > 0),
    rules    text NOT NULL,
    made_at  timestamptz NOT NULL DEFAULT now()
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.redaction_rules
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();

CREATE TABLE {book}.redaction_state (
    id        smallint PRIMARY KEY CHECK (id = 1),
    version   bigint NOT NULL CHECK (version >= 0),
    position  bigint NOT NULL CHECK (position >= 0)
);
INSERT INTO {book}.redaction_state (id, version, position) VALUES (1, 0, 0);
CREATE TRIGGER one_row BEFORE DELETE OR TRUNCATE ON {book}.redaction_state
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();

CREATE TABLE {book}.redacted (
    event_id     uuid NOT NULL,
    field        text NOT NULL,
    subject_ref  uuid NOT NULL,
    position     bigint NOT NULL,
    recorded_at  bigint NOT NULL,
    version      bigint NOT NULL,
    blob         bytea,
    tries        smallint NOT NULL DEFAULT 1,
    PRIMARY KEY (event_id, field)
);
CREATE INDEX redacted_position ON {book}.redacted (position);
CREATE INDEX redacted_withheld ON {book}.redacted (position) WHERE blob IS NULL;
ALTER TABLE {book}.redacted ALTER COLUMN blob SET STORAGE EXTERNAL;

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
