-- SPDX-License-Identifier: GPL-3.0-or-later
-- What the ledger noticed and a person must look at (anchoring/alerts.py). Belongs to book.sql.

CREATE INDEX entry_alert ON {book}.entry (topic, position)
    WHERE topic IN ('ALERT_RAISED/1', 'ALERT_ACKNOWLEDGED/1');

-- One row for each ALERT_RAISED entry, which is the evidence; `alerts rebuild` makes them anew.
CREATE TABLE {book}.alert (
    position         bigint PRIMARY KEY,  -- of the ALERT_RAISED
    event_id         uuid NOT NULL,
    code             text NOT NULL,
    about            text NOT NULL,
    facts            text NOT NULL,       -- canonical JSON
    raised_at        bigint NOT NULL,     -- milliseconds since 1970
    acknowledged     bigint UNIQUE,       -- position of the ALERT_ACKNOWLEDGED
    acknowledged_at  bigint,
    reason           text,                -- a code
    CHECK ((acknowledged IS NULL) = (acknowledged_at IS NULL))
);
CREATE INDEX alert_event ON {book}.alert (event_id);
CREATE INDEX alert_thing ON {book}.alert (code, about);
CREATE INDEX alert_open ON {book}.alert (code, position) WHERE acknowledged IS NULL;

GRANT SELECT ON {book}.alert TO {append}, {read}, {retain};
GRANT INSERT, UPDATE ON {book}.alert TO {append};
GRANT DELETE ON {book}.alert TO {retain};
