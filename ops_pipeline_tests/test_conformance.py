"""The packaged vendors' recipes against answers that vendors really gave.

Belongs here: recorded answers, where the folder with them is beside the project, and small answers of our own writing in the same shapes,
which are read everywhere. Does not belong here: the shapes by themselves (`silver.test_shapes`) and the HTTP client (`sources`).
"""

from __future__ import annotations

import asyncio
import csv
import json
import zipfile
from collections.abc import Iterator
from datetime import UTC, date, datetime
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ops_pipeline.engine.asking import request_of
from ops_pipeline.ops.ingestion import DatasetInjestion, RowCounts
from ops_pipeline.ops.watermark import Window
from ops_pipeline.recipes.answers import Column, ColumnType
from ops_pipeline.recipes.loading import Catalogue, load_catalogue
from ops_pipeline.recipes.models import Recipe
from ops_pipeline.recipes.modes import PLACEHOLDERS_OF
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.settings import base_url_variable
from ops_pipeline.sources import Answer, SourceError
from ops_pipeline.sources.http import HttpClient
from ops_pipeline_tests.lake import Lake
from ops_pipeline_tests.vendor_server import Reply, Seen, VendorServer

RECORDED = Path(__file__).parents[2] / "shared" / "payloads"

# Recorded file (its beginning) -> the dataset whose recipe reads it.
READS = {
    "coinbasepro/20": "coinbase.candles",
    "coinbasepro/recent": "coinbase.candles",
    "coinbasepro/products": "coinbase.products",
    "coinbasepro/currencies": "coinbase.currencies",
    "ecb/eurofxref-hist.csv": "ecb.fx-rates",
    "ecb/eurofxref.csv": "ecb.fx-rates.daily",
    "fmp/stable_balance-sheet-statement__": "fmp.balance-sheet.annual",
    "fmp/stable_cash-flow-statement__": "fmp.cash-flow.annual",
    "fmp/stable_income-statement__symbol=AAPL.json": "fmp.income-statement.annual",
    "fmp/stable_income-statement__symbol=AAPL_period": "fmp.income-statement.quarter",
    "fmp/stable_dividends-calendar": "fmp.dividends-calendar",
    "fmp/stable_earnings-calendar": "fmp.earnings-calendar",
    "fmp/stable_earnings__": "fmp.earnings",
    "fmp/stable_historical-price-eod_full": "fmp.eod-prices",
    "fmp/stable_profile": "fmp.profile",
    "fmp/error_200_empty_list": "fmp.eod-prices",
    "fred/fred_series__": "fred.series",
    "fred/fred_series_observations__GDP.json": "fred.observations",
    "fred/fred_series_observations__GDP__": "fred.observations.vintages",
    "fred/fred_series_release": "fred.release",
    "fred/fred_series_vintagedates": "fred.vintage-dates",
    "tiingo/fundamentals_daily.json": "tiingo.fundamentals.daily",
    "tiingo/fundamentals_daily_csv": "tiingo.fundamentals.daily-csv",
    "tiingo/ticker_price_pandas_daily_csv": "tiingo.eod-prices.csv",
    "tiingo/ticker_price_pandas_daily_equivalent_requesting_json_or_csv.csv": "tiingo.eod-prices.csv",
    "tiingo/ticker_price_pandas_daily_metric_name_csv": "tiingo.eod-prices.csv",
    "tiingo/ticker_price_pandas_daily_equivalent_requesting_json_or_csv.json": "tiingo.eod-prices",
    "tiingo/ticker_price_pandas_daily_metric_name.json": "tiingo.eod-prices",
}
# Recorded error -> what it must end as, and what the sentence must tell the user.
ERRORS = {
    "coinbasepro/error_400_end_too_old.json": ("permanent", "End is too old (check the recipe's request)"),
    "coinbasepro/error_404_notfound.json": ("permanent", "NotFound (check the recipe's path and the ticker)"),
    "fmp/error_401_invalid_key.json": ("auth", "check the key in FMP_API_KEY"),
    "fmp/error_402_exclusive_endpoint.json": (
        "plan_dataset",
        "the plan does not hold this; leave it out of the universe or change the plan",
    ),
    "fmp/error_402_premium_symbol_PLAINTEXT.txt": ("plan", "the plan does not hold this"),
    "fmp/error_403_legacy_endpoint.json": ("permanent", "the plan does not allow this"),
    "fmp/error_429_limit_reach.json": ("deferred", "a later run asks again"),
    "fred/error_400_bad_key.json": ("auth", "check the key in FRED_API_KEY"),
}
SOURCES = {"coinbasepro": "coinbase"}
# The index counts this answer as one record; the recipe reads each of its days.
ONE_ANSWER = {"fred.vintage-dates": 393}
# Of a larger file so many records at either end are compared value by value.
COMPARED = 2_000
KEYS = ("FMP_API_KEY", "FRED_API_KEY", "TIINGO_API_KEY")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return load_catalogue()


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    lake = Lake(tmp_path_factory.mktemp("lake"))
    with lake.warehouse.connection():
        yield lake


# --- recorded answers -------------------------------------------------------------------------------------------------------------


def _index() -> dict[str, dict[str, str]]:
    with (RECORDED / "index.tsv").open(encoding="utf-8", newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file, delimiter="\t")}


def _dataset(file: str) -> str | None:
    found = [dataset for beginning, dataset in READS.items() if file.startswith(beginning)]
    return found[0] if found else None


def _records(recipe: Recipe, body: bytes) -> list[dict[str, Any]]:
    """The records by Python's own readers."""
    if recipe.answer.format == "csv":
        lines = [dict(line) for line in csv.DictReader(StringIO(body.decode("utf-8-sig")), skipinitialspace=recipe.answer.trim)]
        unpivot = recipe.answer.unpivot
        if unpivot is None:
            return lines
        cells = [
            (line, name.strip(), cell)
            for line in lines
            for name, cell in line.items()
            if name not in unpivot.keep and name.strip()
        ]
        return [
            {**{k: line[k] for k in unpivot.keep}, unpivot.name_to: name, unpivot.value_to: cell}
            for line, name, cell in cells
            if cell not in recipe.answer.missing
        ]
    found = json.loads(body)
    for name in (recipe.answer.records or "/*").removesuffix("/*").split("/")[1:]:
        found = found[name]
    return [dict(enumerate(r)) if isinstance(r, list) else r if isinstance(r, dict) else {"": r} for r in found]


def _value(recipe: Recipe, column: Column, record: dict[str, Any]) -> Any:
    """What silver must hold, by Python's arithmetic."""
    raw: Any = record
    if column.path is not None:
        for name in column.path.split("/")[1:] or [""]:
            raw = (raw or {}).get(name)
    else:
        raw = record.get(int(column.source_field) if recipe.answer.record == "array" else column.source_field)
    if raw is None or (isinstance(raw, str) and (raw in recipe.answer.missing or raw in column.missing)):
        return None
    match column.type:
        case ColumnType.DOUBLE:
            return float(raw)
        case ColumnType.INTEGER:
            return int(raw)
        case ColumnType.DATE if column.format == "epoch_s":
            return datetime.fromtimestamp(raw, UTC).date()
        case ColumnType.DATE if column.format.startswith("%"):
            return datetime.strptime(raw, column.format).replace(tzinfo=UTC).date()
        case ColumnType.DATE:
            return date.fromisoformat(raw[:10])
        case ColumnType.TIMESTAMP:
            moment = datetime.fromisoformat(raw)
            return moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(column.zone or "UTC"))
    return raw


def _stored(lake: Lake, recipe: Recipe, file: str, body: bytes) -> DatasetInjestion:
    return lake.stored(recipe, body, ticker=file if recipe.per_ticker else None, params=(("file", file),), run_id=f"run-{file}")


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the folder with recorded answers is not beside the project")
def test_every_recorded_answer_becomes_the_rows_that_it_holds(
    lake: Lake, catalogue: Catalogue, capsys: pytest.CaptureFixture[str]
) -> None:
    index = _index()
    files = {file: dataset for file in index if (dataset := _dataset(file))}
    assert set(READS.values()) == set(files.values())
    by_dataset: dict[str, list[str]] = {}
    for file, dataset in files.items():
        by_dataset.setdefault(dataset, []).append(file)
    for dataset, members in by_dataset.items():
        recipe = catalogue.recipe(dataset)
        bodies = {file: (RECORDED / file).read_bytes() for file in members}
        rows = [_stored(lake, recipe, file, body) for file, body in bodies.items()]
        staged = lake.record(recipe, rows)
        assert staged.unknown == [], dataset
        lake.to_silver(recipe)
        if recipe.gold and recipe.symbol_column is None:
            lake.to_gold(recipe)
        for file, row in zip(members, rows, strict=True):
            _is_whole(lake, recipe, lake.row(row), _records(recipe, bodies[file]), int(index[file]["rows"]))
        for name, kind in recipe.silver_columns:
            found = lake.rows(
                "SELECT data_type FROM duckdb_columns() WHERE schema_name = 'silver' AND table_name = ? AND column_name = ?",
                [recipe.table, name],
            )
            if found:  # a dataset whose only answer is empty has no table
                assert found[0]["data_type"].replace("TIMESTAMP WITH TIME ZONE", "TIMESTAMPTZ") == kind, (dataset, name)
    assert lake.rows("SELECT * FROM silver.rejected_rows") == []
    gold = {row["source"]: row["n"] for row in lake.rows("SELECT source, count(*) AS n FROM gold.fact_eod GROUP BY source")}
    assert gold == {"coinbase": 11, "fmp": 5, "tiingo": 20}
    assert lake.rows("SELECT count(*) AS n, count(change) AS changes FROM gold.fact_series") == [{"n": 311, "changes": 310}]
    left = sorted(file for file in index if file not in files and file not in ERRORS)
    with capsys.disabled():
        print(
            f"\n{len(files)} recorded answers and {len(ERRORS)} errors of {len(index)} files read; no recipe covers {len(left)}."
        )


def _is_whole(lake: Lake, recipe: Recipe, row: DatasetInjestion, records: list[dict[str, Any]], declared: int) -> None:
    """The ledger accounts for every record, and silver holds each one's values."""
    where = (recipe.dataset_key, row.ticker)
    unpivot = recipe.answer.unpivot
    lines = len({record[unpivot.keep[0]] for record in records}) if unpivot else len(records)
    assert (lines, row.bronze_rows) == (ONE_ANSWER.get(recipe.dataset_key, declared), len(records)), where
    if not records:
        assert (row.bronze_outcome, row.silver_injest_start_time) == ("empty", None)
        return
    counts = row.silver_counts
    assert (row.silver_errors, row.bronze_error) == (None, None), where
    assert counts.created + counts.updated + counts.unchanged == row.bronze_rows, where
    assert counts == RowCounts(created=counts.created, updated=counts.updated, unchanged=counts.unchanged), where
    own = [name for name, _ in recipe.silver_columns]
    compared = records if len(records) <= 2 * COMPARED else records[:COMPARED] + records[-COMPARED:]
    wanted = [{c.name: _value(recipe, c, record) for c in recipe.columns} for record in compared]
    if recipe.per_ticker:
        wanted = [{**values, "ticker": row.ticker} for values in wanted]
    last = recipe.silver_key[-1]
    rows = lake.rows(
        f"SELECT {', '.join(own)} FROM {recipe.silver_table} WHERE {last} IN (SELECT unnest(?))",
        [list({w[last] for w in wanted})],
    )
    held = {tuple(r[k] for k in recipe.silver_key): r for r in rows}
    for values in wanted:
        assert held[tuple(values[k] for k in recipe.silver_key)] == values, where


# --- errors -----------------------------------------------------------------------------------------------------------------------


def _asked(catalogue: Catalogue, url: str, dataset: str, ticker: str) -> Answer | SourceError:
    recipe = catalogue.recipe(dataset)
    source = catalogue.sources[recipe.source]
    assert source.http is not None
    declaration = source.model_copy(update={"http": source.http.model_copy(update={"base_url": url})})

    async def nothing(_: float) -> None:
        return

    async def ask() -> Answer:
        client = HttpClient(declaration, catalogue.recipes, sleep=nothing)
        window = Window(date(2024, 1, 2), date(2024, 1, 5)) if "from_date" in PLACEHOLDERS_OF[recipe.mode] else None
        request = request_of(recipe, PartitionKey(ticker, recipe.dataset_key), window)
        try:
            return [answer async for answer in client.fetch(request)][-1]
        finally:
            await client.aclose()

    try:
        return asyncio.run(ask())
    except SourceError as e:
        return e


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in KEYS:
        monkeypatch.setenv(variable, "sentinel-0123456789")
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the folder with recorded answers is not beside the project")
@pytest.mark.usefixtures("keys")
def test_every_recorded_error_ends_as_its_kind_with_a_sentence(catalogue: Catalogue) -> None:
    index = _index()
    recorded = {file for file in index if "/error_" in file and not file.startswith(("yahoo/", "fmp/error_200"))}
    assert recorded == ERRORS.keys()
    datasets = {"coinbase": "coinbase.candles", "fmp": "fmp.eod-prices", "fred": "fred.observations"}

    def answer(seen: Seen) -> Reply:
        file = next(
            f for f in ERRORS if f.replace("/", "-") in (seen.params.get("series_id"), seen.ticker, seen.path.split("/")[-2])
        )
        return Reply((RECORDED / file).read_bytes(), status=int(index[file]["status"]))

    with VendorServer(answer) as vendor:
        for file, (kind, sentence) in ERRORS.items():
            folder = file.partition("/")[0]
            error = _asked(catalogue, vendor.url, datasets[SOURCES.get(folder, folder)], file.replace("/", "-"))
            assert isinstance(error, SourceError), file
            assert (error.kind, error.status_code) == (kind, int(index[file]["status"])), file
            assert sentence in str(error), file
            assert "sentinel" not in str(error)


# --- answers of our own writing in the vendors' shapes ------------------------------------------------------------------------------


def _zipped(name: str, text: str) -> bytes:
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, text)
    return packed.getvalue()


WRITTEN: list[tuple[str, object, list[dict[str, Any]]]] = [
    (
        "fmp.eod-prices",
        [{"symbol": "AAA", "date": "2024-01-03", "close": 2, "volume": 7}, {"symbol": "AAA", "date": "2024-01-02", "close": 1.5}],
        [{"date": date(2024, 1, 2), "close": 1.5, "volume": None}, {"date": date(2024, 1, 3), "close": 2.0, "volume": 7}],
    ),
    (
        "fmp.eod-bulk",
        "\ufeff symbol, date, open, low, high, close, adjClose, volume\nAAA,2024-01-02,1,1,2,1.5,1.4,10\nBBB,2024-01-02,,,,3,,\n",
        [{"symbol": "AAA", "close": 1.5, "adj_close": 1.4}, {"symbol": "BBB", "close": 3.0, "adj_close": None}],
    ),
    (
        "fmp.income-statement-bulk.quarter",
        '"date","symbol","reportedCurrency","cik","filingDate","acceptedDate","fiscalYear","period","revenue","epsDiluted"\n'
        '"2023-12-30","AAA","USD","0000320193","2024-02-02","2024-02-01 18:03:38","2024","Q1","119575000000","2.18"\n'
        '"2024-03-31","BBB","EUR","","2024-04-30","2024-04-30 00:00:00","2024","Q1","7",""\n',
        [
            {"symbol": "AAA", "date": date(2023, 12, 30), "cik": "0000320193", "revenue": 119575000000.0, "eps_diluted": 2.18},
            {"symbol": "BBB", "date": date(2024, 3, 31), "cik": None, "revenue": 7.0, "eps_diluted": None},
        ],
    ),
    (
        "fmp.earnings-calendar",
        [{"symbol": "AAA", "date": "2024-01-05", "epsActual": None, "epsEstimated": 1.2, "lastUpdated": "2024-01-02"}],
        [{"symbol": "AAA", "date": date(2024, 1, 5), "eps_actual": None, "eps_estimated": 1.2}],
    ),
    (
        "fmp.splits",
        [{"symbol": "AAA", "date": "2020-08-31", "numerator": 4, "denominator": 1}],
        [{"date": date(2020, 8, 31), "numerator": 4.0, "denominator": 1.0}],
    ),
    (
        "fmp.treasury-rates",
        [{"date": "2024-01-02", "month1": 5.55, "year10": 3.95}],
        [{"date": date(2024, 1, 2), "month_1": 5.55, "year_10": 3.95, "year_30": None}],
    ),
    (
        "fmp.economic-indicators",
        [{"name": "GDP", "date": "2024-01-01", "value": 28624.069}],
        [{"date": date(2024, 1, 1), "value": 28624.069}],
    ),
    (
        "fmp.symbol-changes",
        [{"date": "2022-06-09", "companyName": "Meta", "oldSymbol": "FB", "newSymbol": "META"}],
        [{"date": date(2022, 6, 9), "old_symbol": "FB", "new_symbol": "META"}],
    ),
    (
        "fmp.delisted-companies",
        [{"symbol": "AAA", "companyName": "A", "exchange": "NYSE", "ipoDate": "", "delistedDate": "2024-01-02"}],
        [{"symbol": "AAA", "ipo_date": None, "delisted_date": date(2024, 1, 2)}],
    ),
    (
        "fred.observations.vintages",
        {
            "count": 2,
            "observations": [
                {"realtime_start": "2020-01-01", "realtime_end": "2020-02-01", "date": "2019-10-01", "value": "."},
                {"realtime_start": "2020-02-02", "realtime_end": "9999-12-31", "date": "2019-10-01", "value": "1.5"},
            ],
        },
        [
            {"realtime_start": date(2020, 1, 1), "value": None},
            {"realtime_start": date(2020, 2, 2), "value": 1.5},
        ],
    ),
    (
        "tiingo.eod-prices",
        [{"date": "2024-01-02T00:00:00.000Z", "close": 10, "adjClose": 9.5, "volume": 3, "divCash": 0.0, "splitFactor": 1.0}],
        [{"date": date(2024, 1, 2), "close": 10.0, "adj_close": 9.5, "volume": 3, "split_factor": 1.0}],
    ),
    (
        "tiingo.daily-prices",
        [{"ticker": "aaa", "date": "2024-01-02T00:00:00+00:00", "close": 10}],
        [{"symbol": "aaa", "date": date(2024, 1, 2), "close": 10.0}],
    ),
    (
        "coinbase.candles",
        [[1704240000, 1, 3, 2, 2.5, 10.25], [1704153600, 1, 3, 2, 2, 11]],
        [{"date": date(2024, 1, 2), "close": 2.0, "volume": 11.0}, {"date": date(2024, 1, 3), "close": 2.5, "volume": 10.25}],
    ),
    (
        "ecb.fx-rates",
        "Date,USD,CHF,\n2024-01-02,1.1,N/A,\n2024-01-01,1.2,0.9,\n",
        [
            {"currency": "CHF", "date": date(2024, 1, 1), "rate": 0.9},
            {"currency": "USD", "date": date(2024, 1, 1), "rate": 1.2},
            {"currency": "USD", "date": date(2024, 1, 2), "rate": 1.1},
        ],
    ),
]


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(("dataset", "content", "wanted"), WRITTEN, ids=[dataset for dataset, _, _ in WRITTEN])
def test_an_answer_in_a_vendors_shape_is_asked_for_and_read(
    tmp_path: Path, catalogue: Catalogue, dataset: str, content: object, wanted: list[dict[str, Any]]
) -> None:
    recipe = catalogue.recipe(dataset)
    text = content if isinstance(content, str) else json.dumps(content)
    body = _zipped("rates.csv", text) if recipe.request and recipe.request.unzip else text.encode()
    with VendorServer(lambda _: Reply(body)) as vendor:
        answer = _asked(catalogue, vendor.url, dataset, "AAA" if recipe.per_ticker else "-")
        assert isinstance(answer, Answer), answer
        asked = vendor.seen[-1]
    assert "sentinel" not in asked.path
    own = Lake(tmp_path)
    row = own.through(recipe, answer.body)
    assert (row.silver_errors, row.bronze_rows, row.silver_counts) == (None, len(wanted), RowCounts(created=len(wanted)))
    columns = ", ".join(wanted[0])
    assert own.rows(f"SELECT {columns} FROM {recipe.silver_table} ORDER BY {', '.join(recipe.silver_key)}") == wanted
    if recipe.gold and recipe.symbol_column is None:
        gold = own.rows(f"SELECT count(*) AS n FROM {recipe.gold_table} WHERE source = '{recipe.source}'")
        assert gold == [{"n": len(wanted)}]


def test_closes_on_different_bases_are_different_columns(lake: Lake, catalogue: Catalogue) -> None:
    bodies = {
        "fmp.eod-prices": b'[{"date":"2023-01-03","close":1}]',
        "tiingo.eod-prices": b'[{"date":"2023-01-03T00:00:00.000Z","close":4,"adjClose":0.9}]',
        "coinbase.candles": b"[[1672704000,1,1,1,5,1]]",
    }
    for dataset, body in bodies.items():
        lake.through(catalogue.recipe(dataset), body, ticker="BASES")
    found = lake.rows(
        "SELECT source, close, split_adjusted_close, adjusted_close FROM gold.fact_eod WHERE date = DATE '2023-01-03' ORDER BY source"
    )
    assert [tuple(row.values()) for row in found] == [
        ("coinbase", 5.0, 5.0, 5.0),
        ("fmp", None, 1.0, None),
        ("tiingo", 4.0, None, 0.9),
    ]


def test_every_packaged_recipe_says_where_it_is_described(catalogue: Catalogue) -> None:
    for key, recipe in catalogue.recipes.items():
        assert recipe.url.startswith("https://"), key
        assert base_url_variable(recipe.source).startswith("OPS_PIPELINE_SOURCE_")
        assert len(recipe.description) < 160, key


def test_a_plan_says_how_much_and_how_far_back_a_vendor_is_asked(catalogue: Catalogue) -> None:
    fmp, tiingo = catalogue.sources["fmp"], catalogue.sources["tiingo"]
    assert (fmp.earliest, fmp.limits_in_force.quotas[0]) == (date(2021, 11, 25), ("day", "calls", 250))
    assert (fmp.on_plan("premium").earliest, fmp.on_plan("premium").limits_in_force.rolling) == (None, [(60, 750)])
    assert ("month", "symbols", 500) in tiingo.limits_in_force.quotas
    assert ("month", "symbols") not in {quota[:2] for quota in tiingo.on_plan("power").limits_in_force.quotas}
    assert catalogue.sources["fred"].limits_in_force.rolling == [(1, 2), (60, 120)]
