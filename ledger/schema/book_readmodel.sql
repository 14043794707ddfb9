-- SPDX-License-Identifier: GPL-3.0-or-later
-- The read model (ledger/readmodel). Belongs to book.sql. Made from the entries, and made again from
-- them at any time: no evidence, and nothing personal.

-- How far each projection has read.
CREATE TABLE {book}.readmodel (
    name      text PRIMARY KEY,
    position  bigint NOT NULL CHECK (position >= 0),   -- of the next entry to read
    leaf      bytea CHECK (octet_length(leaf) = 32),   -- of the entry before it, as it was read
    CHECK ((position = 0) = (leaf IS NULL))
);

-- Which entries a term fits: one bit for each of 8,192 positions. A block's bits are a list of
-- two-byte offsets while that is shorter than the bitmap (ledger/readmodel/bits.py).
CREATE TABLE {book}.search_term (
    key    text COLLATE "C" NOT NULL,                  -- such as risk (docs/search.md)
    value  text COLLATE "C" NOT NULL,
    block  bigint NOT NULL CHECK (block >= 0),         -- of positions 8192 * block ...
    bits   bytea NOT NULL CHECK (octet_length(bits) BETWEEN 2 AND 1024),
    PRIMARY KEY (key, value, block)
);
-- What is shown of an entry that was found, and what a block loses when it grows old.
CREATE INDEX search_term_block ON {book}.search_term USING brin (block) WITH (autosummarize = on);
CREATE INDEX search_term_shown ON {book}.search_term (block, key)
    WHERE key IN ('outcome', 'model', 'template', 'policy', 'risk', 'label', 'rule', 'reason', 'flag');

-- The words of terms, for free text: those of the value itself, and what an entry says about it, as
-- the publication of a prompt template does.
CREATE TABLE {book}.search_text (
    key       text COLLATE "C" NOT NULL,
    value     text COLLATE "C" NOT NULL,
    position  bigint NOT NULL CHECK (position >= -1),  -- of the entry that says it; -1: the value
    words     tsvector NOT NULL,
    PRIMARY KEY (key, value, position)
);
CREATE INDEX search_text_words ON {book}.search_text USING gin (words);

-- Things with versions, and what became of each: one row for each entry that says so. What counts at
-- a position is the newest row before it.
CREATE TABLE {book}.register (
    kind         text COLLATE "C" NOT NULL,            -- model, policy, template, consent, ...
    id           text COLLATE "C" NOT NULL,
    version      text COLLATE "C" NOT NULL,            -- '': all of them, or it has none
    since        bigint NOT NULL CHECK (since >= 0),   -- position of the entry
    status       text NOT NULL,                        -- registered, deployed, retired, revoked, ...
    event_id     uuid NOT NULL,
    recorded_at  bigint NOT NULL,                      -- milliseconds since 1970
    effective_at bigint NOT NULL,                      -- from when it counts, milliseconds since 1970
    until_at     bigint,                               -- from when it counts no more; NULL: open
    digest       text,                                 -- of its manifest, or of the thing itself
    ticket       text,                                 -- of the change
    said         text NOT NULL,                        -- the entry's body, canonical JSON
    PRIMARY KEY (kind, id, version, since)
);

GRANT SELECT ON {book}.readmodel, {book}.search_term, {book}.search_text, {book}.register
    TO {append}, {read}, {retain};
GRANT INSERT, UPDATE ON {book}.readmodel TO {append};
GRANT INSERT, UPDATE, DELETE ON {book}.search_term TO {append};
GRANT INSERT, DELETE ON {book}.search_text TO {append};
GRANT INSERT ON {book}.register TO {append};
GRANT TRUNCATE ON {book}.search_term, {book}.search_text, {book}.register TO {retain};
