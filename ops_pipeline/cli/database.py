"""The database itself: `ops-pipeline sql` and `ops-pipeline migrate`.

Belongs here: one reading query, and the state of the schema. Does not belong here: how the database is opened (`warehouse`) and what a
migration does (`ops.migrations`).
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.bar import progress
from ops_pipeline.cli.home import open_home
from ops_pipeline.cli.options import HomeOption, JsonOption, limit_option
from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import duckdb

SQL_EXAMPLE = 'Example: ops-pipeline sql "SELECT ticker, count(*) FROM silver.sample_eod_prices GROUP BY ALL"'
MIGRATE_EXAMPLE = "Example: ops-pipeline migrate --apply"

# Rows are taken in portions, so that a query over millions of rows ends at its limit and not at the end of memory.
_PORTION = 2048
# Columns narrower than this cannot be read.
_NARROWEST = 8


def sql(
    query: Annotated[str, typer.Argument(metavar="QUERY", help="One query; tables are schema.table, as in ops.file_ingestions.")],
    limit: Annotated[int, limit_option("rows")] = 100,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Run one reading query on the database, beside whatever the pipeline does."""
    import duckdb

    context = open_home(home)
    try:
        with progress("reading"), context.warehouse.reading() as connection:
            names, types, rows = _answer(connection, query, limit + 1)
    except duckdb.Error as e:
        raise UserError(f"the query failed: {_first_lines(str(e))}") from e
    shown, cut = rows[:limit], len(rows) > limit
    if as_json:
        described = [{"name": name, "type": kind} for name, kind in zip(names, types, strict=True)]
        output.print_json({"columns": described, "rows": [dict(zip(names, row, strict=True)) for row in shown], "truncated": cut})
    else:
        _print(names, types, shown)
    if cut:
        output.say(f"only the first {limit:,} rows; --limit shows more")


def _answer(connection: duckdb.DuckDBPyConnection, query: str, most: int) -> tuple[list[str], list[str], list[tuple[Any, ...]]]:
    """Column names, DuckDB's names of their types, and at most so many rows.

    Raises:
        UserError: when it is not one query, or one that would write.
        duckdb.Error: what DuckDB says of it.
    """
    import duckdb

    statements = connection.extract_statements(query)
    reading = (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN)
    if len(statements) != 1 or statements[0].type not in reading:
        raise UserError(
            "one query is expected that only reads, such as SELECT, FROM, DESCRIBE, SUMMARIZE, SHOW TABLES or EXPLAIN."
        )
    relation = connection.execute(statements[0])
    description = relation.description or []
    names = _distinct([str(column[0]) for column in description])
    # By Arrow: the plain way needs a package of its own for times with a zone.
    batches = relation.to_arrow_reader(_PORTION)
    rows = list(islice(_rows(batches), most))
    return names, [str(column[1]) for column in description], rows


def _rows(batches: Any) -> Iterator[tuple[Any, ...]]:
    for batch in batches:
        yield from zip(*([_value(v) for v in column.to_pylist()] for column in batch.columns), strict=True)


def _value(value: Any) -> Any:
    """A value of Arrow; an interval as ISO 8601 writes it."""
    from pyarrow import MonthDayNano

    if not isinstance(value, MonthDayNano):
        return value
    return f"P{value.months}M{value.days}DT{Decimal(value.nanoseconds).scaleb(-9).normalize():f}S"


def _distinct(names: list[str]) -> list[str]:
    """The names with a number behind every repeated one: a JSON object holds a name once."""
    taken: set[str] = set()
    made = []
    for name in names:
        candidate, number = name, 1
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.add(candidate)
        made.append(candidate)
    return made


def _print(names: list[str], types: list[str], rows: list[tuple[Any, ...]]) -> None:
    """A table; on a terminal that is too narrow for so many columns, one table a row with a line a column."""
    out = output.console()
    texts = [[_shown(value) for value in row] for row in rows]
    if out.is_terminal and len(names) * _NARROWEST > out.width:
        for position, row in enumerate(texts, start=1):
            output.show(output.listing(output.texts(f"row {position}", "value"), zip(names, row, strict=True)))
        return
    columns = [output.Column(name, right=_is_number(kind)) for name, kind in zip(names, types, strict=True)]
    output.show_wide(output.listing(columns, texts))


def _is_number(kind: str) -> bool:
    return kind.upper().startswith(
        ("NUMBER", "BIGINT", "HUGEINT", "INTEGER", "SMALLINT", "TINYINT", "U", "DOUBLE", "FLOAT", "DECIMAL")
    )


def _shown(value: Any) -> str:
    """A value as SQL people expect it: digits without separators, NULL by name, times whole."""
    if value is None:
        return "NULL"
    return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)


def _first_lines(text: str) -> str:
    """DuckDB's message without the picture of the query's line."""
    return " ".join(text.partition("\n\nLINE ")[0].split())


def migrate(
    apply: Annotated[
        bool, typer.Option("--apply", help="Apply what is pending, after a copy of a database that holds data.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the migrations of the database, or apply those that are pending."""
    from ops_pipeline.ops import migrations

    context = open_home(home)
    with progress("migrating"):
        report = migrations.migrate(context.warehouse, notify=output.say) if apply else None
    status = migrations.status(context.warehouse)
    pending = sum(one.applied_at is None for one in status)
    if as_json:
        output.print_json(
            {
                "database": str(context.settings.database_path),
                "migrations": [{"version": one.version, "name": one.name, "applied_at": one.applied_at} for one in status],
                "pending": pending,
                "applied": [one.filename for one in report.applied] if report else [],
                "backup": str(report.backup) if report and report.backup else None,
                "restore_command": report.restore_command if report else None,
            }
        )
        return
    columns = output.texts("migration", "name", "state", "applied")
    states = ("applied" if one.applied_at else "pending" for one in status)
    rows = [
        (f"{one.version:04d}", one.name, output.status_cell(s), one.applied_at) for one, s in zip(status, states, strict=True)
    ]
    output.show(output.listing(columns, rows))
    if pending:
        output.say(f"{pending} pending for {context.settings.database_path}; to apply: {output.command('migrate --apply', home)}")
