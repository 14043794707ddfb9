-- SPDX-License-Identifier: GPL-3.0-or-later
-- What each column is for: ledger/schema/registry.sql

CREATE SCHEMA sealtrail;

CREATE TABLE sealtrail.migration (
    scope       text NOT NULL,
    name        text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (scope, name)
);

CREATE TABLE sealtrail.book (
    name         text PRIMARY KEY,
    tenant       text NOT NULL,
    kind         text NOT NULL CHECK (kind IN ('main', 'access')),
    origin       text NOT NULL UNIQUE,
    schema_name  text NOT NULL UNIQUE,
    UNIQUE (tenant, kind)
);

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

CREATE TABLE sealtrail.clock_confirmation (
    book      text NOT NULL REFERENCES sealtrail.book (name),
    until_ms  bigint NOT NULL,
    PRIMARY KEY (book, until_ms)
);
