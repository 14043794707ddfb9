-- SPDX-License-Identifier: GPL-3.0-or-later
-- What each column is for: ledger/schema/registry.sql

CREATE TABLE sealtrail.incarnation (
    book        text NOT NULL REFERENCES sealtrail.book (name),
    number      bigint NOT NULL CHECK (number >= 2),
    origin      text NOT NULL UNIQUE,
    old_origin  text NOT NULL,
    size        bigint NOT NULL CHECK (size >= 0),
    root        bytea NOT NULL CHECK (octet_length(root) = 32),
    opened_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (book, number)
);
