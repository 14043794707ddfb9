-- SPDX-License-Identifier: GPL-3.0-or-later
-- What each column is for: ledger/schema/book_alerts.sql

CREATE INDEX entry_alert ON {book}.entry (topic, position)
    WHERE topic IN ('ALERT_RAISED/1', 'ALERT_ACKNOWLEDGED/1');

CREATE TABLE {book}.alert (
    position         bigint PRIMARY KEY,
    event_id         uuid NOT NULL,
    code             text NOT NULL,
    about            text NOT NULL,
    facts            text NOT NULL,
    raised_at        bigint NOT NULL,
    acknowledged     bigint UNIQUE,
    acknowledged_at  bigint,
    reason           text,
    CHECK ((acknowledged IS NULL) = (acknowledged_at IS NULL))
);
CREATE INDEX alert_event ON {book}.alert (event_id);
CREATE INDEX alert_thing ON {book}.alert (code, about);
CREATE INDEX alert_open ON {book}.alert (code, position) WHERE acknowledged IS NULL;

GRANT SELECT ON {book}.alert TO {append}, {read}, {retain};
GRANT INSERT, UPDATE ON {book}.alert TO {append};
GRANT DELETE ON {book}.alert TO {retain};
