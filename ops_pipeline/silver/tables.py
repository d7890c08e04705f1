"""Silver's tables: made from recipes.

Belongs here: the DDL of a dataset's table, of its history and of what is made over it, and the guard against merging into a table of
another shape. Does not belong here: rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipeline.ops.objects import ensure_objects
from ops_pipeline.recipes.models import Recipe
from ops_pipeline.silver import as_of
from ops_pipeline.silver.restatements import mixed_basis_view, restatements_view
from ops_pipeline.silver.typing_sql import identifier, literal

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

    from ops_pipeline.ops.repo import OpsRepo

LINEAGE = (
    (
        "bronze_file_id",
        "VARCHAR",
        "file that last changed this row: file_id in ops.file_ingestions",
    ),
    ("run_id", "VARCHAR", "run that fetched that file: run_id in ops.file_ingestions"),
    (
        "known_at",
        "TIMESTAMPTZ",
        "when that file was stored: since then we knew these values",
    ),
)
_ROW_ONLY = (("ingested_at", "TIMESTAMPTZ", "when this row was merged"),)
_HISTORY_ONLY = (
    ("merged_at", "TIMESTAMPTZ", "when this change was merged"),
    ("recipe_hash", "VARCHAR", "recipe that the row was read by: ops.recipes"),
    ("operation", "VARCHAR", "C created, U updated, D deleted"),
)


class ShapeChangedError(Exception):
    """A recipe's columns changed while its silver table holds rows of the old shape."""


def ensure_tables(repo: OpsRepo, recipe: Recipe) -> None:
    """Makes the dataset's table and its history where they do not exist, or hold nothing yet and have another shape.

    Raises:
        ShapeChangedError: when the table holds rows of a recipe whose columns, key or reading differ.
    """
    present = repo.silver_columns_hash(recipe.silver_table)
    if present is None:
        _create(repo.connection, recipe)
    elif present != recipe.columns_hash:
        # A first recipe that refused every file leaves empty tables; mending it must not need more than the mending.
        if _holds_rows(repo.connection, recipe):
            raise ShapeChangedError(
                f"the columns of {recipe.dataset_key} changed, and {recipe.silver_table} holds rows of the earlier shape; nothing was "
                f"merged. Run `ops-pipeline replay --dataset {recipe.dataset_key}`, which makes the table anew from the stored answers, or "
                "restore the recipe's columns."
            )
        for table in (recipe.silver_table, recipe.history_table):
            repo.connection.execute(f"DROP TABLE IF EXISTS {table}")
        _create(repo.connection, recipe)
    views = [restatements_view(recipe)]
    if recipe.refetch_on_restatement:
        views.append(mixed_basis_view(recipe, _recipes_of_tables(repo, recipe.adjusted_by)))
    ensure_objects(repo.connection, [*as_of.macros(recipe), *views])
    repo.remember_silver_table(recipe)
    if present is None:
        for one in _adjusted_by(repo, recipe):
            ensure_objects(repo.connection, [mixed_basis_view(one, _recipes_of_tables(repo, one.adjusted_by))])


def _adjusted_by(repo: OpsRepo, actions: Recipe) -> list[Recipe]:
    """The recipes of tables whose histories a row of this dataset makes due."""
    repo.remember_recipes([actions])
    found = repo.connection.execute(
        """SELECT r.recipe_text FROM ops.silver_tables t JOIN ops.recipes r USING (recipe_hash)
        WHERE list_contains(json_extract_string(r.recipe_text, '$.adjusted_by[*]'), ?)""",
        [actions.dataset_key],
    ).fetchall()
    return [Recipe.model_validate_json(text) for (text,) in found]


def _recipes_of_tables(repo: OpsRepo, datasets: Sequence[str]) -> list[Recipe]:
    """The recipes of those of the datasets that have a silver table, as it was last merged."""
    if not datasets:
        return []
    found = repo.connection.execute(
        """SELECT r.recipe_text FROM ops.silver_tables t JOIN ops.recipes r USING (recipe_hash)
        WHERE t.dataset_key IN (SELECT unnest(?)) ORDER BY t.dataset_key""",
        [list(datasets)],
    ).fetchall()
    return [Recipe.model_validate_json(text) for (text,) in found]


def _holds_rows(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> bool:
    return any(
        connection.execute(f"SELECT 1 FROM {table} LIMIT 1").fetchone() for table in (recipe.silver_table, recipe.history_table)
    )


def _create(connection: duckdb.DuckDBPyConnection, recipe: Recipe) -> None:
    comments = {c.name: c.comment for c in recipe.columns} | {"ticker": "symbol as asked of the vendor"}
    own = [(name, sql_type, comments.get(name, "")) for name, sql_type in recipe.silver_columns]
    for table, more, about in (
        (recipe.silver_table, (*LINEAGE, *_ROW_ONLY), recipe.description),
        (
            recipe.history_table,
            (*LINEAGE, *_HISTORY_ONLY),
            f"Every change of {recipe.silver_table}, in the order in which its files apply.",
        ),
    ):
        columns = [*own, *more]
        required = {c.name for c in recipe.columns if c.required} | set(recipe.silver_key) | {name for name, _, _ in more}
        ddl = ", ".join(
            f"{identifier(n)} {t}{' NOT NULL' if n in required and table == recipe.silver_table else ''}" for n, t, _ in columns
        )
        connection.execute(f"CREATE TABLE IF NOT EXISTS {table} ({ddl})")
        connection.execute(f"COMMENT ON TABLE {table} IS {literal(about)}")
        for name, _, comment in columns:
            if comment:
                connection.execute(f"COMMENT ON COLUMN {table}.{identifier(name)} IS {literal(comment)}")
