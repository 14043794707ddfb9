-- SPDX-License-Identifier: GPL-3.0-or-later
-- What each column is for: ledger/schema/book_completeness.sql

CREATE TABLE {book}.source (
    source_id    text COLLATE "C" PRIMARY KEY,
    recorded     bigint NOT NULL CHECK (recorded >= 0),
    last_n       bigint NOT NULL CHECK (last_n >= -1),
    gaps         text NOT NULL,
    unlisted     bigint NOT NULL CHECK (unlisted >= 0),
    said_n       bigint NOT NULL CHECK (said_n >= -1),
    said_at      bigint,
    running      boolean,
    heartbeat_s  integer,
    seen_at      bigint NOT NULL
);
CREATE INDEX source_watched ON {book}.source (source_id)
    WHERE gaps <> '[]' OR unlisted > 0 OR said_n > last_n OR running;

CREATE TABLE {book}.late_outcome (
    position     bigint PRIMARY KEY,
    attempt_id   text COLLATE "C" NOT NULL,
    recorded_at  bigint NOT NULL
);

GRANT SELECT ON {book}.source, {book}.late_outcome TO {append}, {read}, {retain};
GRANT INSERT, UPDATE ON {book}.source TO {append};
GRANT INSERT ON {book}.late_outcome TO {append};
GRANT TRUNCATE ON {book}.source, {book}.late_outcome TO {retain};
