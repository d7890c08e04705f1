-- The ledger: one row for every vendor file, from the request to gold.
--
-- Replaces the legacy ops tables. Their sequences, where they exist, go with them:
--   ops.bronze_manifest_id_seq, ops.dataset_watermarks_id_seq, ops.file_ingestions_id_seq,
--   ops.gold_build_id_seq, ops.gold_manifest_id_seq, ops.gold_watermarks_id_seq
--
-- A line "-- when: <query>" makes the statement after it run only if the query returns true.
-- Every statement can be run again on a database that it has been run on: a lost ops.schema_migrations
-- must never cost a ledger.

CREATE SCHEMA IF NOT EXISTS ops;
CREATE SCHEMA IF NOT EXISTS silver;
CREATE SCHEMA IF NOT EXISTS gold;

DROP TABLE IF EXISTS ops.bronze_manifest;
DROP TABLE IF EXISTS ops.dataset_watermarks;
DROP TABLE IF EXISTS ops.gold_build;
DROP TABLE IF EXISTS ops.gold_manifest;
DROP TABLE IF EXISTS ops.gold_watermarks;

-- An ops.file_ingestions without requested_from_date is the legacy one; one that has the column is ours and is never dropped.
-- when: SELECT count(*) = 0 FROM duckdb_columns() WHERE database_name = current_database() AND schema_name = 'ops' AND table_name = 'file_ingestions' AND column_name = 'requested_from_date'
DROP TABLE IF EXISTS ops.file_ingestions;

DROP SEQUENCE IF EXISTS ops.bronze_manifest_id_seq;
DROP SEQUENCE IF EXISTS ops.dataset_watermarks_id_seq;
DROP SEQUENCE IF EXISTS ops.file_ingestions_id_seq;
DROP SEQUENCE IF EXISTS ops.gold_build_id_seq;
DROP SEQUENCE IF EXISTS ops.gold_manifest_id_seq;
DROP SEQUENCE IF EXISTS ops.gold_watermarks_id_seq;

CREATE TABLE IF NOT EXISTS ops.file_ingestions (
    run_id TEXT NOT NULL,
    file_id TEXT NOT NULL,
    domain TEXT NOT NULL,
    source TEXT NOT NULL,
    dataset TEXT NOT NULL,
    discriminator TEXT NOT NULL,
    ticker TEXT NOT NULL,
    bronze_from_date DATE,
    bronze_to_date DATE,
    bronze_filename TEXT,
    bronze_error TEXT,
    bronze_rows BIGINT NOT NULL DEFAULT 0,
    bronze_injest_start_time TIMESTAMPTZ,
    bronze_injest_end_time TIMESTAMPTZ,
    bronze_can_promote BOOLEAN NOT NULL DEFAULT false,
    bronze_payload_hash TEXT,
    silver_from_date DATE,
    silver_to_date DATE,
    silver_tablename TEXT,
    silver_errors TEXT,
    silver_rows_created BIGINT NOT NULL DEFAULT 0,
    silver_rows_updated BIGINT NOT NULL DEFAULT 0,
    silver_rows_failed BIGINT NOT NULL DEFAULT 0,
    silver_injest_start_time TIMESTAMPTZ,
    silver_injest_end_time TIMESTAMPTZ,
    silver_can_promote BOOLEAN NOT NULL DEFAULT false,
    gold_object_type TEXT,
    gold_tablename TEXT,
    gold_errors TEXT,
    gold_from_date DATE,
    gold_to_date DATE,
    gold_rows_created BIGINT NOT NULL DEFAULT 0,
    gold_rows_updated BIGINT NOT NULL DEFAULT 0,
    gold_rows_failed BIGINT NOT NULL DEFAULT 0,
    gold_injest_start_time TIMESTAMPTZ,
    gold_injest_end_time TIMESTAMPTZ,
    gold_can_promote BOOLEAN NOT NULL DEFAULT false,
    request_id TEXT NOT NULL,
    request_part INTEGER NOT NULL DEFAULT 1,
    request_complete BOOLEAN NOT NULL DEFAULT false,
    requested_from_date DATE,
    requested_to_date DATE,
    bronze_outcome TEXT NOT NULL,
    bronze_status_code INTEGER,
    bronze_bytes BIGINT,
    bronze_redacted BOOLEAN NOT NULL DEFAULT false,
    bronze_purged_at TIMESTAMPTZ,
    silver_rows_unchanged BIGINT NOT NULL DEFAULT 0,
    silver_rows_superseded BIGINT NOT NULL DEFAULT 0,
    silver_rows_out_of_window BIGINT NOT NULL DEFAULT 0,
    silver_rows_deleted BIGINT NOT NULL DEFAULT 0,
    silver_run_id TEXT,
    gold_run_id TEXT,
    silver_recipe_hash TEXT,
    gold_recipe_hash TEXT,
    code_version TEXT NOT NULL,
    promotion_kind TEXT NOT NULL DEFAULT 'first',
    origin_run_id TEXT,
    PRIMARY KEY (run_id, file_id)
);

-- Recipe texts, so that a row's recipe hash can always be read back.
CREATE TABLE IF NOT EXISTS ops.recipes (
    recipe_hash TEXT NOT NULL PRIMARY KEY,
    dataset_key TEXT NOT NULL,
    recipe_text TEXT NOT NULL,
    first_used_at TIMESTAMPTZ NOT NULL
);

-- Which recipe, and which shape of its columns, a silver table holds.
CREATE TABLE IF NOT EXISTS ops.silver_tables (
    silver_tablename TEXT NOT NULL PRIMARY KEY,
    dataset_key TEXT NOT NULL,
    recipe_hash TEXT NOT NULL,
    columns_hash TEXT NOT NULL,
    updated_at TIMESTAMPTZ NOT NULL
);

-- Records that a recipe could not type: where they stand in which file, as the vendor sent them, and why.
CREATE TABLE IF NOT EXISTS silver.rejected_rows (
    run_id TEXT NOT NULL,
    bronze_file_id TEXT NOT NULL,
    silver_tablename TEXT NOT NULL,
    ticker TEXT NOT NULL,
    row_position BIGINT NOT NULL,
    raw_text TEXT,
    reason TEXT NOT NULL,
    recipe_hash TEXT NOT NULL,
    rejected_at TIMESTAMPTZ NOT NULL
);
