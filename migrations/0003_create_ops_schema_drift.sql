-- Schema drift: fields that vendors send and no recipe names.
-- Every statement can be run again on a database that it has been run on.

CREATE TABLE IF NOT EXISTS ops.schema_drift (
    dataset_key TEXT NOT NULL,
    field TEXT NOT NULL,
    example TEXT,
    run_id TEXT NOT NULL,
    file_id TEXT NOT NULL,
    known_at TIMESTAMPTZ NOT NULL,
    recipe_hash TEXT NOT NULL
);
COMMENT ON TABLE ops.schema_drift IS 'Fields of vendors'' records that no column takes and no recipe ignores; one row a dataset and field. Their values are in bronze.';
COMMENT ON COLUMN ops.schema_drift.dataset_key IS 'The dataset, such as sample.eod-prices.';
COMMENT ON COLUMN ops.schema_drift.field IS 'The field''s name, or its position in records that are arrays.';
COMMENT ON COLUMN ops.schema_drift.example IS 'Beginning of one of its values, from the file as stored.';
COMMENT ON COLUMN ops.schema_drift.run_id IS 'Run that fetched the first file with it: run_id in ops.file_ingestions.';
COMMENT ON COLUMN ops.schema_drift.file_id IS 'First file with it: file_id in ops.file_ingestions.';
COMMENT ON COLUMN ops.schema_drift.known_at IS 'When that file was stored.';
COMMENT ON COLUMN ops.schema_drift.recipe_hash IS 'Recipe that did not know the field: ops.recipes.';
