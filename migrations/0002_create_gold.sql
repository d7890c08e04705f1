-- Gold: two dimensions and the two facts that the built-in datasets feed.
-- Every statement can be run again on a database that it has been run on.

CREATE TABLE IF NOT EXISTS gold.dim_instrument (
    instrument_id TEXT NOT NULL,
    symbol TEXT NOT NULL,
    domain TEXT NOT NULL,
    valid_from DATE,
    valid_to DATE
);
COMMENT ON TABLE gold.dim_instrument IS 'Instruments and the symbols they trade under; one row a symbol and validity.';
COMMENT ON COLUMN gold.dim_instrument.instrument_id IS 'Stable id: the first 16 hex digits of sha256(domain, 0x1f, first symbol). It stays when the symbol changes.';
COMMENT ON COLUMN gold.dim_instrument.symbol IS 'Symbol as asked of the vendor.';
COMMENT ON COLUMN gold.dim_instrument.domain IS 'Kind of market, such as equities.';
COMMENT ON COLUMN gold.dim_instrument.valid_from IS 'First day of this symbol; NULL: since the instrument exists.';
COMMENT ON COLUMN gold.dim_instrument.valid_to IS 'Last day of this symbol; NULL: still in use.';

CREATE TABLE IF NOT EXISTS gold.dim_date (
    date DATE NOT NULL,
    year INTEGER NOT NULL,
    quarter INTEGER NOT NULL,
    month INTEGER NOT NULL,
    day INTEGER NOT NULL,
    iso_year INTEGER NOT NULL,
    iso_week INTEGER NOT NULL,
    iso_day_of_week INTEGER NOT NULL,
    is_weekend BOOLEAN NOT NULL,
    is_month_end BOOLEAN NOT NULL
);
COMMENT ON TABLE gold.dim_date IS 'Every calendar day of the years that gold facts fall into.';
COMMENT ON COLUMN gold.dim_date.iso_day_of_week IS '1 Monday to 7 Sunday.';

CREATE TABLE IF NOT EXISTS gold.fact_eod (
    instrument_id TEXT NOT NULL,
    date DATE NOT NULL,
    source TEXT NOT NULL,
    close DOUBLE NOT NULL,
    adjusted_close DOUBLE,
    volume BIGINT,
    simple_return DOUBLE,
    log_return DOUBLE,
    volatility_20d DOUBLE,
    bronze_file_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    known_at TIMESTAMPTZ NOT NULL,
    built_at TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE gold.fact_eod IS 'End-of-day prices and returns; one row an instrument, date and source.';
COMMENT ON COLUMN gold.fact_eod.close IS 'Last price of the session as traded, in the listing''s currency.';
COMMENT ON COLUMN gold.fact_eod.adjusted_close IS 'Close adjusted for splits and dividends; NULL where the source has none, never substituted by close.';
COMMENT ON COLUMN gold.fact_eod.simple_return IS 'adjusted_close(t) / adjusted_close(t-1) - 1, t-1 being the previous session of this instrument and source; a fraction, not per cent.';
COMMENT ON COLUMN gold.fact_eod.log_return IS 'ln(adjusted_close(t) / adjusted_close(t-1)).';
COMMENT ON COLUMN gold.fact_eod.volatility_20d IS 'Sample standard deviation (n-1) of the last 20 log returns, t included; NULL before 20 of them exist without a gap; daily, not annualised.';
COMMENT ON COLUMN gold.fact_eod.bronze_file_id IS 'File of this date''s price: file_id in ops.file_ingestions.';
COMMENT ON COLUMN gold.fact_eod.run_id IS 'Run that fetched that file: run_id in ops.file_ingestions.';
COMMENT ON COLUMN gold.fact_eod.known_at IS 'When that file was stored.';
COMMENT ON COLUMN gold.fact_eod.built_at IS 'When this row was built.';

CREATE TABLE IF NOT EXISTS gold.fact_fx (
    base_currency TEXT NOT NULL,
    currency TEXT NOT NULL,
    date DATE NOT NULL,
    source TEXT NOT NULL,
    rate DOUBLE NOT NULL,
    simple_return DOUBLE,
    log_return DOUBLE,
    bronze_file_id TEXT NOT NULL,
    run_id TEXT NOT NULL,
    known_at TIMESTAMPTZ NOT NULL,
    built_at TIMESTAMPTZ NOT NULL
);
COMMENT ON TABLE gold.fact_fx IS 'Exchange rates and their changes; one row a currency, date and source.';
COMMENT ON COLUMN gold.fact_fx.base_currency IS 'ISO 4217 code of the currency that one unit is of.';
COMMENT ON COLUMN gold.fact_fx.currency IS 'ISO 4217 code of the quoted currency.';
COMMENT ON COLUMN gold.fact_fx.rate IS 'Units of currency for one unit of base_currency.';
COMMENT ON COLUMN gold.fact_fx.simple_return IS 'rate(t) / rate(t-1) - 1, t-1 being the previous day with a rate of this currency and source; a fraction.';
COMMENT ON COLUMN gold.fact_fx.log_return IS 'ln(rate(t) / rate(t-1)).';
COMMENT ON COLUMN gold.fact_fx.bronze_file_id IS 'File of this date''s rate: file_id in ops.file_ingestions.';
COMMENT ON COLUMN gold.fact_fx.run_id IS 'Run that fetched that file: run_id in ops.file_ingestions.';
COMMENT ON COLUMN gold.fact_fx.known_at IS 'When that file was stored.';
COMMENT ON COLUMN gold.fact_fx.built_at IS 'When this row was built.';
