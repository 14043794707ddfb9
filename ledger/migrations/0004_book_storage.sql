-- SPDX-License-Identifier: GPL-3.0-or-later
-- What each column is for: ledger/schema/book.sql
-- Changes nothing that is stored already. Figures: docs/performance.md

DO $$
BEGIN
    IF (SELECT 'lz4' = ANY (enumvals) FROM pg_settings WHERE name = 'default_toast_compression') THEN
        ALTER TABLE {book}.entry_body ALTER COLUMN bytes SET COMPRESSION lz4;
        ALTER TABLE {book}.entry_body_rest ALTER COLUMN bytes SET COMPRESSION lz4;
    ELSE
        ALTER TABLE {book}.entry_body ALTER COLUMN bytes SET STORAGE EXTERNAL;
        ALTER TABLE {book}.entry_body_rest SET (toast_tuple_target = 4080);
    END IF;
END $$;
