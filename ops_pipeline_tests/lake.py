"""A small lakehouse for tests: real bronze files, a real migrated database, and recipes made by code.

Belongs here: putting answers in as a run does (stored, read, recorded), promoting them, and looking at the tables. Does not belong here:
expectations, and the engine, which has tests of its own.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from ops_pipeline.bronze import BronzeStore
from ops_pipeline.bronze.paths import partition_folder
from ops_pipeline.gold.build import commit_gold
from ops_pipeline.ops.ingestion import DatasetInjestion, Stage
from ops_pipeline.ops.migrations import latest_version
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.ops.service import OpsService
from ops_pipeline.recipes.models import NO_TICKER, Recipe
from ops_pipeline.recipes.universe import PartitionKey
from ops_pipeline.silver.commit import Promotion, commit_promotion, files_to_stage
from ops_pipeline.silver.staged import Staged
from ops_pipeline.silver.staging import stage
from ops_pipeline.sources import Request
from ops_pipeline.warehouse import Warehouse
from ops_pipeline_tests.template import place_migrated

FIRST_KNOWN = datetime(2024, 1, 1, tzinfo=UTC)
DATE_COLUMN = {"name": "date", "type": "date", "required": True}
PRICE_COLUMNS: list[dict[str, Any]] = [
    DATE_COLUMN,
    {"name": "close", "type": "double", "required": True},
    {"name": "volume", "type": "integer"},
    {"name": "adj_close", "type": "double", "from": "adjClose"},
]
PRICE_GOLD = {"object": "fact_eod", "columns": {"close": "close", "adjusted_close": "adj_close", "volume": "volume"}}
FX_UNPIVOT = {"keep": ["Date"], "name_to": "currency", "value_to": "rate"}
FX_COLUMNS: list[dict[str, Any]] = [
    {"name": "currency", "type": "text", "required": True},
    {"name": "date", "type": "date", "required": True, "from": "Date"},
    {"name": "rate", "type": "double", "required": True},
]
FX_GOLD = {"object": "fact_fx", "columns": {"currency": "currency", "rate": "rate"}}


def recipe(**changes: Any) -> Recipe:
    """Prices by ticker in JSON; keyword arguments replace fields of the declaration."""
    fields: dict[str, Any] = {
        "source": "vendor",
        "dataset": "prices",
        "domain": "equities",
        "description": "Prices for tests.",
        "per_ticker": True,
        "mode": "window",
        "first_date": date(2000, 1, 1),
        "answer": {"format": "json"},
        "columns": PRICE_COLUMNS,
        "key": ["date"],
        "date_column": "date",
    }
    return Recipe.model_validate(fields | changes)


def price_recipe(**changes: Any) -> Recipe:
    """The same with its gold object."""
    return recipe(**{"gold": PRICE_GOLD} | changes)


def fx_recipe(**changes: Any) -> Recipe:
    """Rates of all currencies in one CSV table, one column a currency."""
    fields: dict[str, Any] = {
        "dataset": "rates",
        "domain": "fx",
        "per_ticker": False,
        "answer": {"format": "csv", "missing": ["N/A"], "unpivot": FX_UNPIVOT},
        "columns": FX_COLUMNS,
        "key": ["currency", "date"],
        "gold": FX_GOLD,
    }
    return recipe(**fields | changes)


def csv_recipe(**changes: Any) -> Recipe:
    """Prices by ticker in plain CSV."""
    return recipe(**{"answer": {"format": "csv"}} | changes)


def snapshot_recipe(**changes: Any) -> Recipe:
    """A dataset without dates: one record a symbol."""
    fields: dict[str, Any] = {
        "dataset": "profiles",
        "per_ticker": False,
        "mode": "snapshot",
        "first_date": None,
        "columns": [{"name": "symbol", "type": "text", "required": True}, {"name": "name", "type": "text"}],
        "key": ["symbol"],
        "date_column": None,
    }
    return recipe(**fields | changes)


def body_of(records: object) -> bytes:
    """A JSON answer."""
    return json.dumps(records).encode()


def stored_bodies(
    folder: Path, recipe: Recipe, bodies: Sequence[bytes], *, from_date: date | None = None, to_date: date | None = None
) -> tuple[list[DatasetInjestion], dict[tuple[str, str], Path]]:
    """Bodies on disk with ledger rows that no database knows: what `stage` needs. Tickers are T0, T1 and so on."""
    rows, paths = [], {}
    for number, body in enumerate(bodies):
        ticker = f"T{number}" if recipe.per_ticker else NO_TICKER
        params = (("number", str(number)),)
        request = Request(recipe.domain, recipe.source, recipe.dataset, "-", ticker, from_date, to_date, params)
        row = DatasetInjestion.open(request, "run-1")
        name = f"{number}.{recipe.answer.format}.gz"
        (folder / name).write_bytes(gzip.compress(body, 1, mtime=0))
        row.bronze_received(filename=name, payload_hash="", size=len(body), stored_at=FIRST_KNOWN, status_code=200)
        rows.append(row)
        paths[row.key] = folder / name
    return rows, paths


def stage_bodies(
    folder: Path, recipe: Recipe, bodies: Sequence[bytes], *, from_date: date | None = None, to_date: date | None = None
) -> Staged:
    """Bodies staged in one batch, without a database."""
    return stage(recipe, *stored_bodies(folder, recipe, bodies, from_date=from_date, to_date=to_date))


def good_rows(staged: Staged, number: int = 0) -> list[dict[str, Any]]:
    """One file's rows to merge, without the pipeline's own columns, ordered by key."""
    key = staged.recipe.silver_key
    rows = [row for row in staged.good.to_pylist() if row.pop("_file_no") == number]
    return sorted(rows, key=lambda row: [row[k] for k in key])


def rejects(staged: Staged, number: int = 0) -> list[tuple[int, str, str]]:
    """One file's refused records: (position, raw text, reason)."""
    found = [r for r in staged.rejects.to_pylist() if r["file_no"] == number]
    return [(r["row_position"], r["raw_text"], r["reason"]) for r in found]


@dataclass
class Lake:
    """Bronze files and a migrated database below one folder."""

    root: Path

    def __post_init__(self) -> None:
        self.store = BronzeStore(self.root / "bronze")
        self.warehouse = Warehouse(place_migrated(self.root / "ops.duckdb"), schema_version=latest_version())
        self.service = OpsService(self.warehouse)
        self._known = FIRST_KNOWN

    # --- bronze ---------------------------------------------------------------------------------------------------------------

    def stored(
        self,
        recipe: Recipe,
        body: bytes,
        *,
        ticker: str | None = None,
        from_date: date | None = None,
        to_date: date | None = None,
        run_id: str = "run-1",
        known_at: datetime | None = None,
        params: tuple[tuple[str, str], ...] = (),
    ) -> DatasetInjestion:
        """The row of an answer that is on disk and that nothing has read or recorded yet; known a second after the one before."""
        ticker = ticker or ("AAA" if recipe.per_ticker else NO_TICKER)
        self._known += timedelta(seconds=1)
        request = Request(recipe.domain, recipe.source, recipe.dataset, recipe.discriminator, ticker, from_date, to_date, params)
        row = DatasetInjestion.open(request, run_id)
        folder = partition_folder(recipe.domain, recipe.source, recipe.dataset, recipe.discriminator, ticker)
        file = self.store.store(folder=folder, file_id=row.file_id, body=body, extension=recipe.answer.format, run_id=run_id)
        row.bronze_received(
            filename=file.filename,
            payload_hash=file.payload_hash,
            size=file.size,
            stored_at=known_at or self._known,
            status_code=200,
        )
        row.request_complete = True
        return row

    def stage(self, recipe: Recipe, rows: Sequence[DatasetInjestion]) -> Staged:
        return stage(recipe, rows, {row.key: self.store.path(row.bronze_filename or "") for row in rows})

    def record(self, recipe: Recipe, rows: Sequence[DatasetInjestion]) -> Staged:
        """Reads stored answers and writes their ledger rows, as a run does before it promotes."""
        staged = self.stage(recipe, rows)
        for row, profile in zip(rows, staged.profiles, strict=True):
            if profile.unreadable:
                row.bronze_failed(profile.unreadable)
            else:
                row.bronze_finished(profile.rows, profile.from_date, profile.to_date)
        self.service.record_file_ingestions(rows)
        return staged

    def put(self, recipe: Recipe, body: bytes, **about: Any) -> DatasetInjestion:
        """Stores and records one answer; keyword arguments as in `stored`."""
        row = self.stored(recipe, body, **about)
        self.record(recipe, [row])
        return row

    # --- promoting ------------------------------------------------------------------------------------------------------------

    def partitions(self, recipe: Recipe) -> list[PartitionKey]:
        """Every partition of the dataset that the ledger knows."""
        rows = self.rows(
            "SELECT DISTINCT ticker FROM ops.file_ingestions WHERE source = ? AND dataset = ? AND discriminator = ? ORDER BY 1",
            [recipe.source, recipe.dataset, recipe.discriminator],
        )
        return [PartitionKey(row["ticker"], recipe.dataset_key) for row in rows]

    def waiting(self, recipe: Recipe, stage: Stage = Stage.SILVER) -> list[DatasetInjestion]:
        return self.service.promotable_files(stage, self.partitions(recipe))

    def commit(self, staged: Staged, run_id: str = "run-1") -> Promotion:
        with self.warehouse.transaction() as connection:
            return commit_promotion(connection, staged, run_id)

    def to_silver(self, recipe: Recipe, run_id: str = "run-1", pending: Sequence[DatasetInjestion] | None = None) -> Promotion:
        """Promotes the given files, or every waiting one, to silver in one batch."""
        with self.warehouse.connection() as connection:
            rows = files_to_stage(OpsRepo(connection), self.waiting(recipe) if pending is None else pending)
        return self.commit(self.stage(recipe, rows), run_id)

    def to_gold(self, recipe: Recipe, run_id: str = "run-1") -> list[DatasetInjestion]:
        """Builds gold from every file that is ready for it."""
        files = self.waiting(recipe, Stage.GOLD)
        with self.warehouse.transaction() as connection:
            return commit_gold(connection, recipe, files, run_id)

    def through(self, recipe: Recipe, body: bytes, **about: Any) -> DatasetInjestion:
        """One answer through every layer; gives its ledger row."""
        row = self.put(recipe, body, **about)
        self.to_silver(recipe, row.run_id)
        if recipe.gold and recipe.symbol_column is None:  # bulk files continue what another dataset has
            self.to_gold(recipe, row.run_id)
        return self.row(row)

    # --- looking --------------------------------------------------------------------------------------------------------------

    def rows(self, sql: str, parameters: Iterable[object] = ()) -> list[dict[str, Any]]:
        with self.warehouse.connection() as connection:
            result: list[dict[str, Any]] = connection.execute(sql, list(parameters)).to_arrow_table().to_pylist()
            return result

    def table(self, name: str, *, without: Iterable[str] = ()) -> list[tuple[Any, ...]]:
        """All rows of a table in a fixed order, without the named columns."""
        left_out = f" EXCLUDE ({', '.join(without)})" if without else ""
        with self.warehouse.connection() as connection:
            found: list[tuple[Any, ...]] = connection.execute(f"SELECT *{left_out} FROM {name} ORDER BY ALL").fetchall()
            return found

    def row(self, row: DatasetInjestion) -> DatasetInjestion:
        """The ledger's present row."""
        with self.warehouse.connection() as connection:
            return OpsRepo(connection).get([row.key])[row.key]

    def ledger(self) -> list[DatasetInjestion]:
        return [DatasetInjestion.from_row(r) for r in self.rows("SELECT * FROM ops.file_ingestions ORDER BY ALL")]

    def execute(self, sql: str, parameters: Iterable[object] = ()) -> None:
        with self.warehouse.transaction() as connection:
            connection.execute(sql, list(parameters))

    def picture(self) -> dict[str, list[tuple[Any, ...]]]:
        """Every table of the database with all its rows."""
        with self.warehouse.connection() as connection:
            tables = _tables(connection)
        return {name: self.table(name) for name in tables}

    def clear(self) -> None:
        """Empties the database to its state after the migrations; bronze files stay, under names that say what they hold."""
        with self.warehouse.transaction() as connection:
            for name in _tables(connection):
                if name == "ops.schema_migrations":
                    continue
                made_by_recipe = name.startswith("silver.") and name != "silver.rejected_rows"
                connection.execute(f"DROP TABLE {name}" if made_by_recipe else f"DELETE FROM {name}")


def _tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    found = connection.execute(
        "SELECT schema_name || '.' || table_name FROM duckdb_tables() WHERE NOT temporary ORDER BY 1"
    ).fetchall()
    return [row[0] for row in found]
