-- Which rows that were stored under a symbol are whose: vendors answer a renamed instrument's whole history under its present symbol.
-- Every statement can be run again on a database that it has been run on.

CREATE OR REPLACE VIEW gold.instrument_rows AS
WITH dated AS (
    SELECT *, coalesce(valid_from, DATE '0001-01-01') AS first_day, coalesce(valid_to, DATE '9999-12-31') AS last_day
    FROM gold.dim_instrument
), known AS (
    SELECT *, min(first_day) OVER (PARTITION BY instrument_id) AS born,
        row_number() OVER (PARTITION BY instrument_id ORDER BY first_day DESC) AS preference,
        lag(last_day) OVER (PARTITION BY domain, symbol ORDER BY first_day) AS given_up
    FROM dated
)
SELECT instrument_id, symbol, domain,
    CASE WHEN born < first_day THEN greatest(born, coalesce(given_up + 1, born)) ELSE first_day END AS rows_from,
    last_day AS rows_to, preference
FROM known;
COMMENT ON VIEW gold.instrument_rows IS 'Of which days rows that stand under a symbol are an instrument''s: since the symbol is used, and before that for as long as the instrument had another and nobody else had this one. Of two symbols with a row for one day, the lower preference holds.';
