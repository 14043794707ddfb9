-- SPDX-License-Identifier: GPL-3.0-or-later
-- The registry: which Books and which credentials there are. One per database.

CREATE SCHEMA sealtrail;

CREATE TABLE sealtrail.migration (
    scope       text NOT NULL,           -- 'registry' or a Book's schema
    name        text NOT NULL,           -- file name in ledger/migrations
    applied_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, name)
);

CREATE TABLE sealtrail.book (
    name         text PRIMARY KEY,       -- as in URLs: 'acme' or 'acme-access'
    tenant       text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('main', 'access')),
    origin       text NOT NULL UNIQUE,   -- C2SP checkpoint origin line; only a restore changes it
    schema_name  text NOT NULL UNIQUE,
    UNIQUE (tenant, kind)
);

-- Who may come in. The token itself is nowhere; `name` is a person's subject id or a pipeline's
-- name and may be erased, the random credential_id in ACCESS entries then names nobody.
CREATE TABLE sealtrail.credential (
    credential_id  text PRIMARY KEY,
    token_sha256   bytea NOT NULL UNIQUE CHECK (octet_length(token_sha256) = 32),
    tenant         text NOT NULL,
    role           text NOT NULL CHECK (role IN ('pipeline', 'auditor')),
    kind           text NOT NULL CHECK (kind IN ('person', 'pipeline')),
    name           text,
    created_at     timestamptz NOT NULL DEFAULT now(),
    revoked_at     timestamptz
);

-- An operator's word that a clock that jumps ahead is right: writers may move on to `until_ms`.
CREATE TABLE sealtrail.clock_confirmation (
    book      text NOT NULL REFERENCES sealtrail.book (name),
    until_ms  bigint NOT NULL,
    PRIMARY KEY (book, until_ms)
);

-- A Book that was restored goes on under another origin and inherits the entries before. An index of
-- its INCARNATION_OPENED entries: each row must say what the entry at position `size` says.
CREATE TABLE sealtrail.incarnation (
    book        text NOT NULL REFERENCES sealtrail.book (name),
    number      bigint NOT NULL CHECK (number >= 2),
    origin      text NOT NULL UNIQUE,    -- '<first origin>/i<number>'
    old_origin  text NOT NULL,           -- whose entries are inherited
    size        bigint NOT NULL CHECK (size >= 0),                     -- how many of them
    root        bytea NOT NULL CHECK (octet_length(root) = 32),        -- their root
    opened_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (book, number)
);
