-- Gold: prices that are adjusted for splits only, prices of vendors that do not send the close as traded, and observations of series.
-- Every statement can be run again on a database that it has been run on.

ALTER TABLE gold.fact_eod ADD COLUMN IF NOT EXISTS split_adjusted_close DOUBLE;
ALTER TABLE gold.fact_eod ALTER COLUMN close DROP NOT NULL;
COMMENT ON COLUMN gold.fact_eod.close IS 'Last price of the session as traded, in the listing''s currency; NULL where the source has none, never substituted.';
COMMENT ON COLUMN gold.fact_eod.split_adjusted_close IS 'Close adjusted for splits only; NULL where the source has none, never substituted.';
COMMENT ON COLUMN gold.fact_eod.adjusted_close IS 'Close adjusted for splits and dividends (total return); NULL where the source has none, never substituted.';

CREATE TABLE IF NOT EXISTS gold.fact_series (
    series_id TEXT NOT NULL,
    date DATE NOT NULL,
    source TEXT NOT NULL,
    value DOUBLE NOT NULL,
    change DOUBLE,
    bronze_file_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    known_at TIMESTAMPTZ NOT NULL,
    built_at TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE gold.fact_series IS 'Observations of economic series as they stand now; one row a series, date and source.';
COMMENT ON COLUMN gold.fact_series.series_id IS 'The series as asked of the vendor, such as GDP.';
COMMENT ON COLUMN gold.fact_series.date IS 'First day of the period that is observed.';
COMMENT ON COLUMN gold.fact_series.value IS 'In the unit of the series, which the vendor''s metadata tell.';
COMMENT ON COLUMN gold.fact_series.change IS 'value(t) - value(t-1), t-1 being the previous observation of this series and source; NULL where that one is missing.';
COMMENT ON COLUMN gold.fact_series.bronze_file_id IS 'File of this observation: file_id in ops.file_ingestions.';
COMMENT ON COLUMN gold.fact_series.run_id IS 'Run that fetched that file: run_id in ops.file_ingestions.';
COMMENT ON COLUMN gold.fact_series.known_at IS 'When that file was stored.';
COMMENT ON COLUMN gold.fact_series.built_at IS 'When this row was built.';
