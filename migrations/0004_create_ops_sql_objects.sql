-- The views and table macros that follow from recipes, such as silver.sample_eod_prices_as_of(T): which are there, and by what text.
-- Every statement can be run again on a database that it has been run on.

CREATE TABLE IF NOT EXISTS ops.sql_objects (
    name TEXT NOT NULL PRIMARY KEY,
    part_of TEXT,
    text_hash TEXT NOT NULL,
    made_at TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE ops.sql_objects IS 'Views and table macros that the pipeline makes from recipes; a recipe whose object differs makes it anew.';
COMMENT ON COLUMN ops.sql_objects.part_of IS 'The view or macro over all datasets that this one belongs to; NULL where it stands alone.';
COMMENT ON COLUMN ops.sql_objects.text_hash IS 'First 16 hex digits of sha256 of the statement that made it.';
