"""Reading silver and gold in a notebook, a script or a service, while the pipeline goes on writing.

Belongs here: from a dataset or a gold table to Arrow, Polars, pandas or DuckDB, lazily. Does not belong here: making what is read
(`ops_pipeline.publish`), and the ledger, which `ops-pipeline sql` shows.

    from ops_pipeline import read

    prices = read.gold("fact_eod").polars()             # a Polars LazyFrame: nothing is read yet
    closes = read.silver("sample.eod-prices").pandas(columns=["ticker", "date", "close"])

Each call reads the newest version. Several tables of one moment come from one `Lake`:

    with read.lake() as lake:
        lake.duckdb().sql("SELECT symbol, max(close) FROM gold.fact_eod JOIN gold.dim_instrument USING (instrument_id) GROUP BY ALL")

What is read are the Parquet files that each run publishes below the data folder. Neither the database nor its lock is touched, so a reader
never keeps a run waiting, and a run never changes what a reader has: the version stays until its readers are gone.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from ops_pipeline.errors import UserError
from ops_pipeline.publish.manifest import Manifest, read_manifest
from ops_pipeline.publish.versions import LAKE, Lease, Versions, literally
from ops_pipeline.settings import load_settings
from ops_pipeline.silver.typing_sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from types import ModuleType, TracebackType

    import duckdb
    import pandas
    import polars
    import pyarrow.dataset

    from ops_pipeline.publish.layout import Column
    from ops_pipeline.publish.manifest import PublishedTable

__all__ = ["Lake", "ReadError", "Table", "as_of", "gold", "history", "lake", "silver", "tables"]


class ReadError(UserError):
    """There is nothing to read under that name; the text tells what there is, or what to run."""


class Table:
    """A published table. Its methods are lazy where the library is: nothing is read before you ask for rows.

    Columns have their database types: days are dates, times are UTC, and numbers are 64-bit. `columns` tells what each one means.
    """

    def __init__(self, lake: Lake, name: str, about: PublishedTable) -> None:
        """Made by a `Lake`."""
        self._lake = lake
        self._about = about
        self.name = name

    def __repr__(self) -> str:
        """Name, size and columns."""
        columns = ", ".join(f"{column.name} {column.type}" for column in self.columns)
        return f"<{self.name}: {self.rows:,} rows; {columns}>"

    @property
    def dataset(self) -> str | None:
        """The dataset key that a silver table holds."""
        return self._about.dataset

    @property
    def comment(self) -> str | None:
        """What the table holds."""
        return self._about.comment

    @property
    def columns(self) -> tuple[Column, ...]:
        """Name, DuckDB type and meaning of each column, in order."""
        return self._about.columns

    @property
    def rows(self) -> int:
        """How many rows it has; known without reading any."""
        return self._about.rows

    @property
    def files(self) -> list[Path]:
        """Its Parquet files."""
        folder = self._lake.folder.joinpath(*self.name.split("."))
        return [folder / name for name in self._about.files]

    def arrow(self) -> pyarrow.dataset.Dataset:
        """A pyarrow Dataset: `.to_table(columns=..., filter=...)` or `.scanner(...)` reads."""
        import pyarrow.dataset

        return pyarrow.dataset.dataset([str(path) for path in self.files], format="parquet")

    def polars(self) -> polars.LazyFrame:
        """A Polars LazyFrame: `.filter(...)`, `.select(...)`, then `.collect()` reads. Polars must be installed."""
        frame: polars.LazyFrame = _library("polars").scan_parquet([str(path) for path in self.files], glob=False)
        return frame

    def pandas(self, columns: Sequence[str] | None = None, filter: Any = None) -> pandas.DataFrame:
        """A pandas DataFrame, read now; days are datetime64.

        Args:
            columns: only these.
            filter: only rows of which this Arrow expression is true, such as `pyarrow.compute.field("ticker") == "IBM"`.
        """
        _library("pandas")
        return self.arrow().to_table(columns=list(columns) if columns else None, filter=filter).to_pandas(date_as_object=False)

    def duckdb(self, connection: duckdb.DuckDBPyConnection | None = None) -> duckdb.DuckDBPyRelation:
        """A DuckDB relation: `.filter(...)`, `.project(...)`, `.aggregate(...)`, `.df()`, `.pl()`, `.arrow()`.

        Args:
            connection: where it is made; default: a new one in memory, which `lake().duckdb()` shares between tables.
        """
        own = connection or self._lake.duckdb()
        return own.read_parquet([literally(path) for path in self.files])


class Lake:
    """One version of all published tables: what silver and gold held at one moment.

    It stays on disk until `close`, the end of the `with` block or of the process, also when newer versions are published meanwhile.
    """

    def __init__(self, lease: Lease, manifest: Manifest) -> None:
        """Made by `lake`."""
        self._lease = lease
        self._manifest = manifest
        self._connection: duckdb.DuckDBPyConnection | None = None

    @property
    def version(self) -> str:
        """The version's name; later ones sort behind it."""
        return self._manifest.version

    @property
    def created_at(self) -> datetime:
        """When it was published (UTC): it holds everything that was committed by then."""
        return self._manifest.created_at

    @property
    def folder(self) -> Path:
        """Where its files are."""
        return self._lease.folder

    def tables(self) -> list[Table]:
        """Every table, silver's and gold's."""
        return [Table(self, name, about) for name, about in self._manifest.tables.items()]

    def table(self, name: str) -> Table:
        """A table by schema and name, such as `gold.fact_eod`.

        Raises:
            ReadError: when it is not published.
        """
        about = self._manifest.tables.get(name)
        if about is None:
            raise ReadError(f"{name} is not published. There are: {', '.join(self._manifest.tables) or 'none'}.")
        return Table(self, name, about)

    def gold(self, name: str) -> Table:
        """A gold table, such as `fact_eod`. Raises ReadError when it is not published."""
        return self.table(f"gold.{name.removeprefix('gold.')}")

    def silver(self, dataset: str) -> Table:
        """The typed rows of a dataset, such as `sample.eod-prices`. Raises ReadError when it is not published."""
        for name, about in self._manifest.tables.items():
            if dataset in (about.dataset, name):
                return Table(self, name, about)
        known = ", ".join(about.dataset for about in self._manifest.tables.values() if about.dataset)
        raise ReadError(f"dataset {dataset} is not published, or has no rows yet. There are: {known or 'none'}.")

    def history(self, dataset: str) -> Table:
        """Every change of a dataset's rows, oldest first by `merged_at`. Raises ReadError when it is not published."""
        return self.table(f"{self.silver(dataset).name}_history")

    def as_of(self, name: str, moment: datetime) -> duckdb.DuckDBPyRelation:
        """The rows as they stood at a time: what we knew then, by the dataset's default clock.

        Args:
            name: a dataset, such as `sample.eod-prices`, or a gold fact, such as `gold.fact_eod`.
            moment: the time, with a zone.

        Returns:
            a DuckDB relation: `.df()`, `.pl()` and `.to_arrow_table()` read it.

        Raises:
            ReadError: for a time without a zone, and where there is no history of it.
        """
        if moment.tzinfo is None:
            raise ReadError(f"the time {moment} has no zone; give one, such as datetime(2026, 1, 31, tzinfo=UTC).")
        table = self.table(name).name if name.startswith("gold.") else self.silver(name).name
        schema, _, short = table.partition(".")
        macro = f"{identifier(schema)}.{identifier(f'{short}_as_of')}"
        import duckdb

        connection = self.duckdb()
        try:
            return connection.sql(f"SELECT * FROM {macro}(TIMESTAMPTZ {literal(moment.isoformat())})")
        except duckdb.Error as e:
            raise ReadError(f"{table} has no history that is published: only datasets and the facts made of them have.") from e

    def duckdb(self) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection with a view a table, under the names that they have in the database; the same one at every call."""
        if self._connection is None:
            import duckdb

            self._connection = duckdb.connect(str(self.folder / LAKE), read_only=True)
            self._connection.execute("SET TimeZone = 'UTC'")
        return self._connection

    def close(self) -> None:
        """Lets the version go. What was made from it must not be read afterwards."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._lease.release()

    def __enter__(self) -> Self:
        """For a `with` block."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Closes it."""
        self.close()


def lake(home: str | Path | None = None, *, version: str | None = None) -> Lake:
    """The newest version, or a given one that is still there.

    Args:
        home: the data folder; default: OPS_PIPELINE_HOME, else `data`.
        version: its name, as `Lake.version` tells it.

    Raises:
        ReadError: when nothing is published, or the version is gone.
    """
    root = load_settings(home=Path(home) if home is not None else None).published_path
    lease = Versions(root).lease(version)
    manifest = read_manifest(lease.folder) if lease else None
    if lease is None or manifest is None:
        what = f"version {version} is not there" if version else "nothing is published"
        raise ReadError(
            f"{root}: {what}. Run `ops-pipeline run`, or `ops-pipeline publish`; OPS_PIPELINE_HOME names the data folder."
        )
    return Lake(lease, manifest)


# Versions that the functions below have read in this process: frames made from them may still be read.
_kept: dict[tuple[Path, str], Lake] = {}


def _newest(home: str | Path | None) -> Lake:
    """The newest version, kept until the process ends."""
    found = lake(home)
    known = _kept.setdefault((found.folder, found.version), found)
    if known is not found:
        found.close()
    return known


def silver(dataset: str, *, home: str | Path | None = None) -> Table:
    """The newest typed rows of a dataset, such as `sample.eod-prices`.

    Raises:
        ReadError: when it is not published.
    """
    return _newest(home).silver(dataset)


def gold(name: str, *, home: str | Path | None = None) -> Table:
    """The newest rows of a gold table, such as `fact_eod`.

    Raises:
        ReadError: when it is not published.
    """
    return _newest(home).gold(name)


def history(dataset: str, *, home: str | Path | None = None) -> Table:
    """Every change of a dataset's rows. Raises ReadError when it is not published."""
    return _newest(home).history(dataset)


def as_of(name: str, moment: datetime, *, home: str | Path | None = None) -> duckdb.DuckDBPyRelation:
    """A dataset or a gold fact as it stood at a time; see `Lake.as_of`. Raises ReadError when it has no published history."""
    return _newest(home).as_of(name, moment)


def tables(home: str | Path | None = None) -> list[Table]:
    """Every published table. Raises ReadError when nothing is published."""
    return _newest(home).tables()


def _library(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as e:
        raise ReadError(
            f"{name} is not installed: run `pip install {name}`, or read the table with .arrow() or .duckdb()."
        ) from e
