"""Views and table macros that follow from recipes.

Belongs here: making them where they are not there or have another text, and the unions over all datasets. Does not belong here: what they
say (`silver.as_of`, `silver.restatements`, `gold.as_of`).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from ops_pipeline.clock import utc_now

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

# The one parameter of every as-of macro. No recipe's column begins with an underscore: a parameter would hide a column of its name.
MOMENT = "_as_of"


@dataclass(frozen=True, slots=True)
class SqlObject:
    """A view or a table macro of one dataset.

    Attributes:
        name: with its schema; recipe names make it.
        kind: macro (with the one parameter `MOMENT`) or view.
        query: what it selects.
        about: its comment.
        part_of: the object of the same kind that joins those of all datasets by the names of their columns; None: there is none.
    """

    name: str
    kind: Literal["macro", "view"]
    query: str
    about: str
    part_of: str | None = None


def ensure_objects(connection: duckdb.DuckDBPyConnection, wanted: Sequence[SqlObject]) -> None:
    """Makes the objects that are not there or have another text; inside the caller's transaction."""
    hashes = {it.name: hashlib.sha256(_statement(it).encode()).hexdigest()[:16] for it in wanted}
    present = dict(
        connection.execute(
            "SELECT name, text_hash FROM ops.sql_objects WHERE name IN (SELECT unnest(?))", [list(hashes)]
        ).fetchall()
    )
    made = [it for it in wanted if present.get(it.name) != hashes[it.name]]
    for it in made:
        _make(connection, it)
        connection.execute("DELETE FROM ops.sql_objects WHERE name = ?", [it.name])
        connection.execute("INSERT INTO ops.sql_objects VALUES (?, ?, ?, ?)", [it.name, it.part_of, hashes[it.name], utc_now()])
    for whole in sorted({it.part_of for it in made if it.part_of}):
        example = next(it for it in made if it.part_of == whole)
        parts = connection.execute("SELECT name FROM ops.sql_objects WHERE part_of = ? ORDER BY name", [whole]).fetchall()
        called = f"({MOMENT})" if example.kind == "macro" else ""
        query = " UNION ALL BY NAME ".join(f"SELECT * FROM {name}{called}" for (name,) in parts)
        _make(connection, SqlObject(whole, example.kind, query, f"{example.about} Of every dataset."))


def _make(connection: duckdb.DuckDBPyConnection, it: SqlObject) -> None:
    connection.execute(_statement(it))
    kind = "MACRO TABLE" if it.kind == "macro" else "VIEW"
    connection.execute(f"COMMENT ON {kind} {it.name} IS '{it.about.replace(chr(39), chr(39) * 2)}'")


def _statement(it: SqlObject) -> str:
    if it.kind == "macro":
        return f"CREATE OR REPLACE MACRO {it.name}({MOMENT}) AS TABLE {it.query}"
    return f"CREATE OR REPLACE VIEW {it.name} AS {it.query}"
