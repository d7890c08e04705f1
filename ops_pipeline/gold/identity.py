"""Bringing `gold.dim_instrument` to what the universe declares, and the facts with it.

Belongs here: which id an instrument keeps when it is renamed, and rekeying the facts of those whose symbols changed. Does not belong here:
what is declared (`recipes.identity`) and the dimension's other rows (`dimensions`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa

from ops_pipeline.gold.build import rebuild
from ops_pipeline.gold.dimensions import instrument_id
from ops_pipeline.gold.facts import fact_of
from ops_pipeline.recipes.bulk import bulk_of, continued_by

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import date

    import duckdb

    from ops_pipeline.recipes.identity import Identities, Instrument
    from ops_pipeline.recipes.models import Recipe


class Row(NamedTuple):
    """A row of the dimension."""

    instrument_id: str
    symbol: str
    domain: str
    valid_from: date | None
    valid_to: date | None


def differences(connection: duckdb.DuckDBPyConnection, identities: Identities) -> tuple[set[Row], set[Row]]:
    """The rows that must go and those that must come; both empty where the dimension is as declared."""
    declared = {(i.domain, s.text) for i in identities.instruments for s in i.symbols}
    present = _present(connection, declared)
    wanted = _wanted(identities, present)
    return present - wanted, wanted - present


def apply(connection: duckdb.DuckDBPyConnection, identities: Identities, recipes: Iterable[Recipe]) -> list[str]:
    """Writes what is declared, and builds the facts of the instruments concerned anew; inside the caller's transaction.

    Args:
        connection: inside the caller's exclusive transaction.
        identities: what the universe declares.
        recipes: every recipe of the catalogue.

    Returns:
        the symbols whose rows changed; none where the dimension was as declared.
    """
    gone, come = differences(connection, identities)
    if not gone and not come:
        return []
    changed = gone | come
    ids = {row.instrument_id for row in changed}
    symbols = {(row.domain, row.symbol) for row in changed} | _symbols_of(connection, ids)
    known = {r.dataset_key: r for r in recipes}
    feeding = [r for r in known.values() if r.gold is not None and continued_by(r, known) is None and fact_of(r).of_instruments]
    for table in {fact_of(r).table for r in feeding}:
        connection.execute(f"DELETE FROM {table} WHERE list_contains(?, instrument_id)", [sorted(ids)])
    for row in gone:
        connection.execute(
            """DELETE FROM gold.dim_instrument WHERE instrument_id = ? AND symbol = ? AND domain = ?
            AND valid_from IS NOT DISTINCT FROM ? AND valid_to IS NOT DISTINCT FROM ?""",
            list(row),
        )
    connection.register("declared_rows", _table(sorted(come, key=str)))
    connection.execute("INSERT INTO gold.dim_instrument BY NAME SELECT * FROM declared_rows")
    connection.unregister("declared_rows")
    symbols |= _symbols_of(connection, ids)
    for recipe in feeding:
        mine = sorted(symbol for domain, symbol in symbols if domain == recipe.domain)
        if mine:
            rebuild(connection, recipe, mine, bulk=bulk_of(recipe, known))
    return sorted({symbol for _, symbol in symbols})


def _present(connection: duckdb.DuckDBPyConnection, declared: set[tuple[str, str]]) -> set[Row]:
    """The dimension's rows that a declaration is or was about."""
    found = connection.execute(
        """SELECT instrument_id, symbol, domain, valid_from, valid_to FROM gold.dim_instrument
        WHERE valid_from IS NOT NULL OR valid_to IS NOT NULL OR list_contains(?, symbol)""",
        [sorted({symbol for _, symbol in declared})],
    ).fetchall()
    rows = {Row(*row) for row in found}
    return {r for r in rows if (r.domain, r.symbol) in declared or r.valid_from is not None or r.valid_to is not None}


def _wanted(identities: Identities, present: set[Row]) -> set[Row]:
    """The rows as they must be. An instrument keeps the id that it has; of two that become one, the earlier symbol's stays."""
    taken: set[str] = set()
    wanted: set[Row] = set()
    ordered = sorted(present, key=lambda r: (r.valid_from is not None, str(r.valid_from), r.instrument_id))
    for instrument in identities.instruments:
        chosen = _id_of(instrument, ordered, taken)
        taken.add(chosen)
        wanted |= {Row(chosen, s.text, instrument.domain, s.valid_from, s.valid_to) for s in instrument.symbols}
    named = {(row.domain, row.symbol) for row in wanted}
    for row in ordered:
        if (row.domain, row.symbol) in named:
            continue
        # Nothing is declared of it any more: the symbol is an instrument of its own again.
        kept = row.instrument_id if row.instrument_id not in taken else instrument_id(row.domain, row.symbol)
        taken.add(kept)
        named.add((row.domain, row.symbol))
        wanted.add(Row(kept, row.symbol, row.domain, None, None))
    return wanted


def _id_of(instrument: Instrument, present: Sequence[Row], taken: set[str]) -> str:
    first = instrument.symbols[0]
    mine = [row for row in present if row.domain == instrument.domain and row.instrument_id not in taken]
    for symbol in instrument.symbols:
        # A symbol that was used before is another instrument's, unless this very beginning is known.
        alike = [
            r for r in mine if r.symbol == symbol.text and (r.valid_from == symbol.valid_from or _undated(r, first.valid_from))
        ]
        if alike:
            return alike[0].instrument_id
    return instrument_id(instrument.domain, first.text, first.valid_from)


def _undated(row: Row, born: date | None) -> bool:
    return row.valid_from is None and row.valid_to is None and born is None


def _symbols_of(connection: duckdb.DuckDBPyConnection, ids: set[str]) -> set[tuple[str, str]]:
    query = "SELECT DISTINCT domain, symbol FROM gold.dim_instrument WHERE list_contains(?, instrument_id)"
    return {(domain, symbol) for domain, symbol in connection.execute(query, [sorted(ids)]).fetchall()}


def _table(rows: Sequence[Row]) -> pa.Table:
    kinds = (pa.string(), pa.string(), pa.string(), pa.date32(), pa.date32())
    return pa.table(
        {name: pa.array([row[n] for row in rows], kind) for n, (name, kind) in enumerate(zip(Row._fields, kinds, strict=True))}
    )
