-- SPDX-License-Identifier: GPL-3.0-or-later
-- Retention (migration 0008). Bodies leave the database in two lawful ways only: into a bundle in the
-- archive (cold), or for good after an announcement that was anchored (expired).
CREATE INDEX entry_retention ON {book}.entry (topic, position) WHERE topic IN (
    'RETENTION_POLICY_PUBLISHED/1', 'TIER_MOVED/1', 'RETENTION_EXPIRED/1', 'INTEGRITY_CHECK/1');

-- Bundles of at most 256 bodies, compressed and sealed, in the archive; written down before the upload.
CREATE TABLE {book}.bundle (
    name         text PRIMARY KEY CHECK (length(name) = 64),  -- in the archive: SHA-256, hex
    number       bigint NOT NULL CHECK (number >= 0),         -- of positions 256 * number ...
    members      bytea NOT NULL CHECK (octet_length(members) = 32),  -- bit i: 256 * number + i is in it
    claim        text,                   -- retention class that these entries name themselves
    not_before   bigint NOT NULL,        -- latest that one of them asks for, ms since 1970; 0: none
    due          bigint,                 -- when all of them may go, as the policy was then; NULL: never
    content      bytea NOT NULL CHECK (octet_length(content) = 32),  -- SHA-256 of the plain bundle
    key_name     text NOT NULL,          -- in the keystore: wraps the bundle's own key
    wrapped_key  bytea NOT NULL
);
CREATE INDEX bundle_number ON {book}.bundle (number);

-- Bundles that were read back and that a TIER_MOVED entry names.
CREATE TABLE {book}.moved (
    name      text PRIMARY KEY REFERENCES {book}.bundle (name),
    event_id  uuid NOT NULL              -- of TIER_MOVED
);
CREATE INDEX moved_event ON {book}.moved (event_id);

-- What a stream's state needs of a body that is in the database no more, where the type is not enough.
CREATE TABLE {book}.remains (
    position  bigint PRIMARY KEY,
    body      bytea NOT NULL
);

-- The permanent lists of what was announced to expire, each named by its RETENTION_EXPIRED entry.
CREATE TABLE {book}.manifest (
    event_id  uuid PRIMARY KEY,          -- of RETENTION_EXPIRED
    what      text NOT NULL CHECK (what IN ('entry', 'disclosures', 'artifacts')),
    digest    bytea NOT NULL CHECK (octet_length(digest) = 32),
    bytes     bytea NOT NULL
);

-- Index of the manifests: which positions of 256 * number ... one of them lists.
CREATE TABLE {book}.tombstone (
    number    bigint NOT NULL CHECK (number >= 0),
    event_id  uuid NOT NULL REFERENCES {book}.manifest (event_id),
    what      text NOT NULL CHECK (what IN ('entry', 'disclosures', 'artifacts')),
    members   bytea NOT NULL CHECK (octet_length(members) = 32),
    PRIMARY KEY (number, event_id)
);
CREATE INDEX tombstone_event ON {book}.tombstone (event_id);

-- Tombstones whose bytes are gone.
CREATE TABLE {book}.expired (
    number    bigint NOT NULL,
    event_id  uuid NOT NULL,
    PRIMARY KEY (number, event_id),
    FOREIGN KEY (number, event_id) REFERENCES {book}.tombstone (number, event_id)
);

-- Requests to bring cold bodies back for a while, and how far they are. Erasable.
CREATE TABLE {book}.retrieval (
    id        uuid PRIMARY KEY,
    wanted    bytea NOT NULL,            -- positions, 8 bytes each, big endian
    total     bigint NOT NULL,
    done      bigint NOT NULL DEFAULT 0,
    state     text NOT NULL DEFAULT 'waiting'
              CHECK (state IN ('waiting', 'running', 'done', 'failed')),
    problem   text,
    until     bigint NOT NULL
);

-- Cold bodies brought back until a time. Unlogged: they reach no WAL and no backup.
CREATE UNLOGGED TABLE {book}.thawed (
    position  bigint PRIMARY KEY,
    bytes     bytea NOT NULL,
    until     bigint NOT NULL            -- ms since 1970
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.bundle
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.moved
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.remains
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.manifest
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.tombstone
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.expired
    FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse();

CREATE FUNCTION {book}.in_bits(members bytea, "position" bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE PARALLEL SAFE
AS 'SELECT pg_catalog.get_bit($1, ($2 & 255)::int) = 1';

-- Whether the index says that a body which is not in the database is cold or has expired.
CREATE FUNCTION {book}.elsewhere("position" bigint) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT 1 FROM {book}.bundle b JOIN {book}.moved m USING (name)
                    WHERE b.number = $1 >> 8 AND {book}.in_bits(b.members, $1))
        OR EXISTS (SELECT 1 FROM {book}.tombstone t JOIN {book}.expired x USING (number, event_id)
                    WHERE t.number = $1 >> 8 AND t.what = 'entry'
                      AND {book}.in_bits(t.members, $1))
$$;

-- Which of these bodies may leave the database: never what the log says of itself, nor what is held;
-- else what is 90 days old and in a bundle to which a recorded TIER_MOVED commits, or what is listed by
-- a manifest to which a RETENTION_EXPIRED commits that was anchored seven days ago and found sound.
-- The sweep asks for more than this; it is the lock that its own credential cannot open.
CREATE FUNCTION {book}.may_go(gone bigint[]) RETURNS SETOF bigint LANGUAGE sql STABLE AS $$
    WITH head AS (SELECT size, last_time FROM {book}.head WHERE id = 1),
    runs AS (SELECT DISTINCT g >> 8 AS number FROM unnest(gone) AS g),
    said AS MATERIALIZED (
        SELECT e.event_id, e.position, e.topic,
               convert_from(b.bytes, 'UTF8')::jsonb -> 'body' AS body
          FROM {book}.entry e JOIN {book}.entry_body b USING (position), head h
         WHERE e.topic IN ('TIER_MOVED/1', 'RETENTION_EXPIRED/1', 'INTEGRITY_CHECK/1')
           AND e.position < h.size),
    moves AS MATERIALIZED (
        SELECT s.event_id FROM said s
         WHERE s.event_id IN (SELECT m.event_id FROM runs JOIN {book}.bundle b USING (number)
                                JOIN {book}.moved m USING (name))
           AND s.topic = 'TIER_MOVED/1' AND s.body ->> 'objects_digest' = (
               SELECT 'sha256:' || encode(sha256(convert_to('[' || string_agg(format(
                          '{{"class":"%s","content":"sha256:%s","members":"%s","name":"%s",'
                          '"not_before":"%s","run":%s}}', coalesce(b.claim, ''),
                          encode(b.content, 'hex'), encode(b.members, 'hex'), b.name,
                          b.not_before, b.number), ',' ORDER BY b.number, b.name) || ']',
                          'UTF8')), 'hex')
                 FROM {book}.bundle b JOIN {book}.moved m USING (name)
                WHERE m.event_id = s.event_id)),
    expiries AS MATERIALIZED (
        SELECT a.bytes FROM said s JOIN {book}.manifest a USING (event_id), head h
         WHERE a.event_id IN (SELECT t.event_id FROM runs JOIN {book}.tombstone t USING (number))
           AND s.topic = 'RETENTION_EXPIRED/1' AND a.what = 'entry' AND s.body ->> 'what' = 'entry'
           AND s.body ->> 'tombstone_digest' = 'sha256:' || encode(sha256(a.bytes), 'hex')
           AND EXISTS (SELECT 1 FROM {book}.anchor n JOIN {book}.token k USING (anchor_id)
                         JOIN {book}.entry r ON r.topic = 'ANCHOR/1' AND r.position >= n.size
                        WHERE n.size > s.position
                          AND r.recorded_at <= h.last_time - 7 * 86400000::bigint)
           AND (SELECT bool_and((c.body ->> 'damaged')::bigint = 0) FROM said c
                 WHERE c.topic = 'INTEGRITY_CHECK/1' AND c.position > s.position
                   AND c.body ->> 'expiry' = s.event_id::text
                   AND c.body ->> 'tombstone_digest' = s.body ->> 'tombstone_digest')),
    listed AS MATERIALIZED (
        SELECT (leaf ->> 'index')::bigint AS position FROM expiries x, head h,
               jsonb_array_elements(convert_from(x.bytes, 'UTF8')::jsonb -> 'leaves') AS leaf
         WHERE extract(epoch FROM (leaf ->> 'not_before')::timestamptz) * 1000 <= h.last_time)
    SELECT e.position FROM {book}.entry e, head h
     WHERE e.position = ANY (gone)
       AND e.topic !~ '^(EPOCH_SEALED|COMPLETENESS_REPORT|ANCHOR|ANCHOR_FAILED|KEY_ROTATED|INCARNATION_OPENED'
                       '|RETENTION_POLICY_PUBLISHED|TIER_MOVED|RETENTION_EXPIRED|INTEGRITY_CHECK'
                       '|LEGAL_HOLD_[A-Z]+|ERASURE|ERASURE_[A-Z]+)/'
       AND NOT (EXISTS (SELECT 1 FROM {book}.hold WHERE released IS NULL)
                AND EXISTS (SELECT 1 FROM {book}.held k WHERE k.position = e.position))
       AND (e.position IN (SELECT position FROM listed)
            OR (e.recorded_at <= h.last_time - 90 * 86400000::bigint AND EXISTS (
               SELECT 1 FROM {book}.bundle b JOIN {book}.moved m USING (name)
                WHERE b.number = e.position >> 8 AND {book}.in_bits(b.members, e.position)
                  AND m.event_id IN (SELECT event_id FROM moves))))
$$;

-- Make the next partition of bodies; runs as the owner, for the sweep.
CREATE FUNCTION {book}.make_bodies(first bigint, last bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms' AS $$
DECLARE
    child text := 'entry_body_' || first;
BEGIN
    IF first % 256 <> 0 OR last % 256 <> 0 OR last <= first OR last - first > 1048576
       OR first <= (SELECT size FROM {book}.head WHERE id = 1) THEN
        RAISE EXCEPTION 'a partition of bodies begins beyond the head, at a multiple of 256'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format('CREATE TABLE {book}.%I (LIKE {book}.entry_body INCLUDING ALL)', child);
    IF (SELECT 'lz4' <> ALL (enumvals) FROM pg_settings WHERE name = 'default_toast_compression') THEN
        EXECUTE format('ALTER TABLE {book}.%I SET (toast_tuple_target = 4080)', child);
    END IF;
    EXECUTE format('CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {book}.%I'
                   ' FOR EACH STATEMENT EXECUTE FUNCTION {book}.refuse()', child);
    EXECUTE format('ALTER TABLE {book}.entry_body ATTACH PARTITION {book}.%I'
                   ' FOR VALUES FROM (%s) TO (%s)', child, first, last);
    RETURN child;
END $$;

-- Rewrite one partition of bodies without those that may go, so that their disk space is free at
-- once; runs as the owner, for the sweep. Nobody waits for its lock longer than 300 ms.
CREATE FUNCTION {book}.drop_bodies(child text, gone bigint[]) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms' AS $$
DECLARE
    dropped bigint;
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                    WHERE i.inhparent = '{book}.entry_body'::regclass AND c.relname = child) THEN
        RAISE EXCEPTION 'this is no partition of bodies' USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format('LOCK TABLE {book}.%I IN ACCESS EXCLUSIVE MODE', child);
    IF (SELECT count(*) FROM {book}.may_go(gone))
       <> (SELECT count(DISTINCT u) FROM unnest(gone) AS u) THEN
        RAISE EXCEPTION 'this body is neither in a bundle that was moved nor lawfully expired'
            USING ERRCODE = 'insufficient_privilege';
    END IF;
    EXECUTE format('CREATE TEMP TABLE kept_bodies AS SELECT * FROM {book}.%I'
                   ' WHERE position <> ALL ($1)', child) USING gone;
    EXECUTE format('SELECT count(*) FROM {book}.%I', child) INTO dropped;
    EXECUTE format('ALTER TABLE {book}.%I DISABLE TRIGGER append_only', child);
    EXECUTE format('TRUNCATE {book}.%I', child);
    EXECUTE format('INSERT INTO {book}.%I SELECT * FROM pg_temp.kept_bodies', child);
    EXECUTE format('ALTER TABLE {book}.%I ENABLE TRIGGER append_only', child);
    dropped := dropped - (SELECT count(*) FROM pg_temp.kept_bodies);
    DROP TABLE pg_temp.kept_bodies;
    RETURN dropped;
END $$;

-- Put what is left of a partition, if that is only what the log says of itself, into the rest, and
-- drop it: a Book of many years has few partitions. Runs as the owner, for the sweep.
CREATE FUNCTION {book}.fold_bodies(child text) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms' AS $$
DECLARE
    bound text := (SELECT pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i
                     JOIN pg_class c ON c.oid = i.inhrelid
                    WHERE i.inhparent = '{book}.entry_body'::regclass AND c.relname = child);
    others bigint;
BEGIN
    IF bound IS NULL OR bound = 'DEFAULT' OR substring(bound FROM 'TO \(''(\d+)''\)')::bigint
                                             > (SELECT size FROM {book}.head WHERE id = 1) THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT count(*) FROM (SELECT 1 FROM {book}.%I b JOIN {book}.entry e'
                   ' USING (position) WHERE e.topic !~ ''^(EPOCH_SEALED|COMPLETENESS_REPORT|ANCHOR'
                   '|ANCHOR_FAILED|KEY_ROTATED|INCARNATION_OPENED|RETENTION_POLICY_PUBLISHED'
                   '|TIER_MOVED|RETENTION_EXPIRED|INTEGRITY_CHECK|LEGAL_HOLD_[A-Z]+|ERASURE'
                   '|ERASURE_[A-Z]+)/'' LIMIT 1) s', child) INTO others;
    IF others > 0 THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TEMP TABLE kept_bodies AS SELECT * FROM {book}.%I', child);
    EXECUTE format('DROP TABLE {book}.%I', child);
    INSERT INTO {book}.entry_body SELECT * FROM pg_temp.kept_bodies;
    DROP TABLE pg_temp.kept_bodies;
    RETURN true;
END $$;

REVOKE ALL ON FUNCTION {book}.make_bodies(bigint, bigint), {book}.drop_bodies(text, bigint[]),
    {book}.fold_bodies(text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION {book}.make_bodies(bigint, bigint), {book}.drop_bodies(text, bigint[]),
    {book}.fold_bodies(text) TO {retain};
GRANT SELECT ON {book}.bundle, {book}.moved, {book}.remains, {book}.manifest, {book}.tombstone,
    {book}.expired, {book}.retrieval, {book}.thawed TO {append}, {read}, {retain};
GRANT INSERT ON {book}.bundle, {book}.moved, {book}.remains, {book}.manifest, {book}.tombstone,
    {book}.expired TO {retain};
GRANT INSERT, UPDATE, DELETE ON {book}.retrieval, {book}.thawed TO {retain};
