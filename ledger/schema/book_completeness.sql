-- SPDX-License-Identifier: GPL-3.0-or-later
-- What may be missing of a log: gaps in a producer's own numbers, and outcomes that came too late.
-- Both are read from the entries (ledger/sources) and can be thrown away and made again.

-- One row for each sequence of numbers (`source.id`) that any entry has.
CREATE TABLE {book}.source (
    source_id    text COLLATE "C" PRIMARY KEY,
    recorded     bigint NOT NULL CHECK (recorded >= 0),     -- numbers of it that are in the log
    last_n       bigint NOT NULL CHECK (last_n >= -1),      -- the largest of them; -1: none
    gaps         text NOT NULL,       -- JSON, lowest first: [first, last, position, time noticed]
    unlisted     bigint NOT NULL CHECK (unlisted >= 0),     -- numbers missing beyond that list
    said_n       bigint NOT NULL CHECK (said_n >= -1),      -- the largest that its writer spoke of
    said_at      bigint,              -- when its writer last spoke; milliseconds since 1970
    running      boolean,             -- whether its writer said so; null: it never spoke
    heartbeat_s  integer,             -- seconds between two heartbeats, as its writer said
    seen_at      bigint NOT NULL      -- when anything of it was last recorded
);
CREATE INDEX source_watched ON {book}.source (source_id)
    WHERE gaps <> '[]' OR unlisted > 0 OR said_n > last_n OR running;

-- Outcomes that came after the ledger's own timeout.
CREATE TABLE {book}.late_outcome (
    position     bigint PRIMARY KEY,
    attempt_id   text COLLATE "C" NOT NULL,
    recorded_at  bigint NOT NULL      -- milliseconds since 1970
);

GRANT SELECT ON {book}.source, {book}.late_outcome TO {append}, {read}, {retain};
GRANT INSERT, UPDATE ON {book}.source TO {append};
GRANT INSERT ON {book}.late_outcome TO {append};
GRANT TRUNCATE ON {book}.source, {book}.late_outcome TO {retain};
