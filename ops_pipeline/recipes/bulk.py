"""Bulk files: datasets whose one answer holds the rows of many tickers, and the datasets by ticker that they continue.

Belongs here: which dataset continues which, and what the two must have in common. Does not belong here: the fields (`models`), rows
(`gold.rows`) and which tickers need no request (`engine.covering`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipeline.errors import RecipeError
from ops_pipeline.recipes.models import Recipe

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def bulk_of(recipe: Recipe, recipes: Mapping[str, Recipe]) -> Recipe | None:
    """The dataset whose files continue the tickers of this one; None where there is none."""
    return recipes.get(recipe.covered_by) if recipe.covered_by else None


def continued_by(bulk: Recipe, recipes: Mapping[str, Recipe]) -> Recipe | None:
    """The dataset by ticker that feeds gold and that the files of a bulk dataset continue; None where there is none."""
    if bulk.symbol_column is None:
        return None
    mine = (r for r in recipes.values() if r.covered_by == bulk.dataset_key and r.gold is not None)
    return next(mine, None)


def gold_from(recipe: Recipe, recipes: Mapping[str, Recipe]) -> tuple[Recipe, Recipe | None]:
    """The dataset whose series a dataset's rows in gold belong to, and the bulk one that continues it; a bulk dataset may stand alone."""
    leading = continued_by(recipe, recipes) or recipe
    return leading, bulk_of(leading, recipes)


def feeds_with(recipe: Recipe, other: Recipe) -> bool:
    """Whether one of two datasets continues the other, so that both feed one gold object."""
    return recipe.covered_by == other.dataset_key or other.covered_by == recipe.dataset_key


def check_bulk(recipes: dict[str, Recipe], origin: Mapping[str, Path]) -> None:
    """Refuses a `covered_by` that cannot be; a bulk dataset feeds no gold where a user's recipes took the fact from what it continued.

    Args:
        recipes: those read so far; whole sources.
        origin: the file of each.

    Raises:
        RecipeError: naming file, dataset and field.
    """
    continued: set[str] = set()
    for key, recipe in recipes.items():
        if recipe.covered_by is None:
            continue
        where = f"{origin[key]}: dataset {key}, field covered_by:"
        bulk = recipes.get(recipe.covered_by)
        if bulk is None or bulk.symbol_column is None or bulk.date_column is None or bulk.source != recipe.source:
            raise RecipeError(
                f"{where} {recipe.covered_by} is no dataset of {recipe.source} with a symbol_column and a date_column; name one."
            )
        if recipe.refetch_on_restatement and not recipe.adjusted_by and not bulk.action_columns:
            raise RecipeError(
                f"{where} with refetch_on_restatement it needs adjusted_by, or action_columns in {recipe.covered_by}, or nothing tells that"
                " the basis changed."
            )
        if recipe.gold is None:
            continue
        if bulk.gold is None or bulk.gold.object != recipe.gold.object or set(bulk.gold.columns) != set(recipe.gold.columns):
            parts = ", ".join(recipe.gold.columns)
            raise RecipeError(
                f"{where} {recipe.covered_by} must say in a block `gold` which of its columns are {parts} of {recipe.gold.object}."
            )
        if bulk.dataset_key in continued:
            raise RecipeError(f"{where} {recipe.covered_by} continues another dataset that feeds {recipe.gold.object} already.")
        continued.add(bulk.dataset_key)
    for key, recipe in recipes.items():
        if recipe.symbol_column is None or recipe.gold is None or key in continued:
            continue
        # What it continued no longer feeds the fact: a user's dataset does in its place.
        if any(r.source == recipe.source and r is not recipe and r.gold_table == recipe.gold_table for r in recipes.values()):
            recipes[key] = Recipe.model_validate(recipe.model_dump(by_alias=True) | {"gold": None})
