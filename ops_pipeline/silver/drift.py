"""Schema drift: fields that a vendor sends and the recipe does not know, and columns that the vendor no longer sends.

Belongs here: comparing the fields of records with a recipe. Does not belong here: finding the fields (`json_reader`, `csv_reader`), and
remembering what was found (`ops.drift`).

Every record counts, not a file's first: reading gives each record a number for the fields that it has, its shape. A dataset's records have
a handful of shapes, so once a process knows them, this costs one hash a record, and no file is looked into again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipeline.silver.staged import UnknownField

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.silver.bodies import StoredAnswer
    from ops_pipeline.silver.readers import Fields, Reader

# What this process has found out: recipe hash and shape -> fields without a column, with an example.
_SHAPES: dict[tuple[str, int], Fields] = {}
_MOST_SHAPES = 100_000


def unknown_fields(
    connection: duckdb.DuckDBPyConnection, recipe: Recipe, reader: Reader, answers: Sequence[StoredAnswer]
) -> list[UnknownField]:
    """Fields of the records in the relation `typed` that no column takes and the recipe does not ignore; once each."""
    if any(c.path == "" and not c.up for c in recipe.columns):
        return []  # the record is taken whole
    shapes = connection.execute("SELECT _shape, min(_file_no) AS n FROM typed GROUP BY _shape ORDER BY n, _shape").fetchall()
    if len(_SHAPES) > _MOST_SHAPES:
        _SHAPES.clear()
    found: dict[str, UnknownField] = {}
    for shape, number in shapes:
        place = (recipe.recipe_hash, shape)
        if place not in _SHAPES:
            for other, fields in reader.shapes(connection, recipe, answers[number]).items():
                _SHAPES[recipe.recipe_hash, other] = {
                    name: text for name, text in fields.items() if name not in recipe.known_fields
                }
        for name, example in _SHAPES.setdefault(place, {}).items():
            found.setdefault(name, UnknownField(name, number, example))
    return list(found.values())


def lacking_column(recipe: Recipe, shapes: dict[int, Fields]) -> str | None:
    """A sentence that names the required column which no record of an answer has; None where each is there, if only in one record."""
    present = {name for fields in shapes.values() for name in fields}
    lacking = [
        c.source_field for c in recipe.columns if c.required and c.record_field is not None and c.record_field not in present
    ]
    if not lacking or not present:
        return None
    return f"the answer lacks the required column {lacking[0]!r}; its records hold {', '.join(sorted(present))[:200]}"
