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


def feeds_with(recipe: Recipe, other: Recipe) -> bool:
    """Whether one of two datasets continues the other, so that both feed one gold object."""
    return recipe.covered_by == other.dataset_key or other.covered_by == recipe.dataset_key


def check_bulk(recipes: dict[str, Recipe], origin: Mapping[str, Path], packaged: Path) -> None:
    """Refuses a `covered_by` that cannot be, and a bulk dataset that feeds gold and continues nothing.

    A packaged one loses its gold object instead, where a user's recipes took what it continued.

    Args:
        recipes: those read so far; whole sources.
        origin: the file of each.
        packaged: the folder of the packaged files.

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
        if recipe.symbol_column is not None and recipe.gold is not None and key not in continued:
            if origin[key].parent != packaged:
                raise RecipeError(
                    f"{origin[key]}: dataset {key}, field gold: rows of many tickers continue those of a dataset by ticker; let one that"
                    f" feeds {recipe.gold.object} say `covered_by: {key}`, or leave gold out."
                )
            recipes[key] = Recipe.model_validate(recipe.model_dump(by_alias=True) | {"gold": None})
