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
    acknowledged     bigint,
    acknowledged_at  bigint,
    reason           text,
    CHECK ((acknowledged IS NULL) = (acknowledged_at IS NULL))
);
CREATE INDEX alert_event ON {book}.alert (event_id);
CREATE INDEX alert_thing ON {book}.alert (code, about);
CREATE INDEX alert_answer ON {book}.alert (acknowledged) WHERE acknowledged IS NOT NULL;
CREATE INDEX alert_open ON {book}.alert (code, position) WHERE acknowledged IS NULL;

GRANT SELECT ON {book}.alert TO {append}, {read}, {retain};
GRANT INSERT, UPDATE ON {book}.alert TO {append};
GRANT DELETE ON {book}.alert TO {retain};

CREATE TABLE {book}.review (
    generation      text COLLATE "C" NOT NULL,
    case_id         text COLLATE "C" NOT NULL,
    kind            text NOT NULL CHECK (kind IN ('filter', 'escalation', 'review', 'quarantine')),
    queue           text,
    state           text NOT NULL CHECK (state IN ('waiting', 'opened', 'assigned', 'decided')),
    priority        text,
    deadline        bigint,
    first_deadline  bigint,
    position        bigint NOT NULL,
    event_id        uuid NOT NULL,
    opened_at       bigint NOT NULL,
    last_position   bigint NOT NULL,
    last_event      uuid NOT NULL,
    last_at         bigint NOT NULL,
    outcome         text,
    reason          text,
    PRIMARY KEY (generation, case_id)
);
CREATE INDEX review_newest ON {book}.review (position, case_id);
CREATE INDEX review_due ON {book}.review (deadline) WHERE state <> 'decided';

CREATE TABLE {book}.takedown (
    export_id      text COLLATE "C" NOT NULL,
    request_id     text COLLATE "C" NOT NULL,
    received       bigint NOT NULL,
    due            bigint NOT NULL,
    valid          boolean NOT NULL,
    removed        bigint,
    removed_told   bigint,
    copies         bigint,
    reason         text,
    position       bigint NOT NULL,
    event_id       uuid NOT NULL,
    last_position  bigint NOT NULL,
    last_event     uuid NOT NULL,
    PRIMARY KEY (export_id, request_id)
);
CREATE INDEX takedown_newest ON {book}.takedown (position);
CREATE INDEX takedown_due ON {book}.takedown (due) WHERE valid AND removed IS NULL;

CREATE TABLE {book}.consent (
    consent_id    text COLLATE "C" PRIMARY KEY,
    text_id       text NOT NULL,
    text_version  text NOT NULL,
    text_digest   text NOT NULL,
    action        text NOT NULL,
    expires       bigint,
    position      bigint NOT NULL,
    event_id      uuid NOT NULL,
    granted_at    bigint NOT NULL,
    revoked       bigint,
    revocation    uuid,
    revoked_at    bigint,
    declared      text,
    expired       bigint,
    expired_at    bigint,
    effected      bigint,
    effect_event  uuid,
    effected_at   bigint,
    effect        text
);
CREATE INDEX consent_revocation ON {book}.consent (revocation) WHERE revocation IS NOT NULL;
CREATE INDEX consent_waiting ON {book}.consent (revoked)
    WHERE revoked IS NOT NULL AND effected IS NULL;

GRANT SELECT ON {book}.review, {book}.takedown, {book}.consent TO {append}, {read}, {retain};
GRANT INSERT, UPDATE ON {book}.review, {book}.takedown, {book}.consent TO {append};
GRANT TRUNCATE ON {book}.review, {book}.takedown, {book}.consent TO {retain};
