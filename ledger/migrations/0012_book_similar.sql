-- SPDX-License-Identifier: GPL-3.0-or-later
-- What each column is for: ledger/schema/book_similar.sql

ALTER TABLE {book}.artifact ADD COLUMN image_code bytea
    CHECK (image_code IS NULL OR (octet_length(image_code) = 32 AND digest IS NOT NULL));
GRANT UPDATE (image_code) ON {book}.artifact TO {append}, {retain};

CREATE TABLE {book}.similar (
    event_id  uuid NOT NULL,
    name      text COLLATE "C" NOT NULL,
    kind      text COLLATE "C" NOT NULL CHECK (kind IN ('iscc', 'pdq', 'phash')),
    position  bigint NOT NULL,
    hash      bit varying(256) NOT NULL,
    b0        smallint NOT NULL,
    b1        smallint NOT NULL,
    b2        smallint NOT NULL,
    b3        smallint NOT NULL,
    b4        smallint,
    b5        smallint,
    b6        smallint,
    b7        smallint,
    b8        smallint,
    b9        smallint,
    b10       smallint,
    b11       smallint,
    b12       smallint,
    b13       smallint,
    b14       smallint,
    b15       smallint,
    PRIMARY KEY (event_id, name, kind)
);
CREATE INDEX similar_b0 ON {book}.similar (b0);
CREATE INDEX similar_b1 ON {book}.similar (b1);
CREATE INDEX similar_b2 ON {book}.similar (b2);
CREATE INDEX similar_b3 ON {book}.similar (b3);
CREATE INDEX similar_b4 ON {book}.similar (b4) WHERE b4 IS NOT NULL;
CREATE INDEX similar_b5 ON {book}.similar (b5) WHERE b5 IS NOT NULL;
CREATE INDEX similar_b6 ON {book}.similar (b6) WHERE b6 IS NOT NULL;
CREATE INDEX similar_b7 ON {book}.similar (b7) WHERE b7 IS NOT NULL;
CREATE INDEX similar_b8 ON {book}.similar (b8) WHERE b8 IS NOT NULL;
CREATE INDEX similar_b9 ON {book}.similar (b9) WHERE b9 IS NOT NULL;
CREATE INDEX similar_b10 ON {book}.similar (b10) WHERE b10 IS NOT NULL;
CREATE INDEX similar_b11 ON {book}.similar (b11) WHERE b11 IS NOT NULL;
CREATE INDEX similar_b12 ON {book}.similar (b12) WHERE b12 IS NOT NULL;
CREATE INDEX similar_b13 ON {book}.similar (b13) WHERE b13 IS NOT NULL;
CREATE INDEX similar_b14 ON {book}.similar (b14) WHERE b14 IS NOT NULL;
CREATE INDEX similar_b15 ON {book}.similar (b15) WHERE b15 IS NOT NULL;

CREATE FUNCTION {book}.similar_forgets() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.image_code := NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER similar_forgets BEFORE UPDATE ON {book}.artifact FOR EACH ROW
    WHEN (NEW.wrapped_key IS NULL AND NEW.image_code IS NOT NULL)
    EXECUTE FUNCTION {book}.similar_forgets();
CREATE FUNCTION {book}.similar_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM {book}.similar WHERE event_id = OLD.event_id AND name = OLD.name;
    RETURN NULL;
END $$;
CREATE TRIGGER similar_goes AFTER UPDATE ON {book}.artifact FOR EACH ROW
    WHEN (OLD.wrapped_key IS NOT NULL AND NEW.wrapped_key IS NULL)
    EXECUTE FUNCTION {book}.similar_goes();

GRANT SELECT ON {book}.similar TO {append}, {read}, {retain};
GRANT INSERT ON {book}.similar TO {append};
GRANT DELETE, TRUNCATE ON {book}.similar TO {retain};
