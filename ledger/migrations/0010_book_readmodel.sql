-- SPDX-License-Identifier: GPL-3.0-or-later
-- What each column is for: ledger/schema/book_readmodel.sql

CREATE TABLE {book}.readmodel (
    name      text PRIMARY KEY,
    position  bigint NOT NULL CHECK (position >= 0),
    leaf      bytea CHECK (octet_length(leaf) = 32),
    CHECK ((position = 0) = (leaf IS NULL))
);

CREATE TABLE {book}.search_term (
    key    text COLLATE "C" NOT NULL,
    value  text COLLATE "C" NOT NULL,
    block  bigint NOT NULL CHECK (block >= 0),
    bits   bytea NOT NULL CHECK (octet_length(bits) BETWEEN 2 AND 1024),
    PRIMARY KEY (key, value, block)
);
CREATE INDEX search_term_block ON {book}.search_term USING brin (block) WITH (autosummarize = on);
CREATE INDEX search_term_shown ON {book}.search_term (block, key)
    WHERE key IN ('outcome', 'model', 'template', 'policy', 'risk', 'label', 'rule', 'reason', 'flag');

CREATE TABLE {book}.search_text (
    key       text COLLATE "C" NOT NULL,
    value     text COLLATE "C" NOT NULL,
    position  bigint NOT NULL CHECK (position >= -1),
    words     tsvector NOT NULL,
    PRIMARY KEY (key, value, position)
);
CREATE INDEX search_text_words ON {book}.search_text USING gin (words);

CREATE TABLE {book}.register (
    kind         text COLLATE "C" NOT NULL,
    id           text COLLATE "C" NOT NULL,
    version      text COLLATE "C" NOT NULL,
    since        bigint NOT NULL CHECK (since >= 0),
    status       text NOT NULL,
    event_id     uuid NOT NULL,
    recorded_at  bigint NOT NULL,
    effective_at bigint NOT NULL,
    until_at     bigint,
    digest       text,
    ticket       text,
    said         text NOT NULL,
    PRIMARY KEY (kind, id, version, since)
);

GRANT SELECT ON {book}.readmodel, {book}.search_term, {book}.search_text, {book}.register
    TO {append}, {read}, {retain};
GRANT INSERT, UPDATE ON {book}.readmodel TO {append};
GRANT INSERT, UPDATE, DELETE ON {book}.search_term TO {append};
GRANT INSERT, DELETE ON {book}.search_text TO {append};
GRANT INSERT ON {book}.register TO {append};
GRANT TRUNCATE ON {book}.search_term, {book}.search_text, {book}.register TO {retain};
