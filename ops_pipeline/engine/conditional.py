"""Which requests ask for an answer only if it changed: those whose last answer stands in bronze and is in silver as it is.

Belongs here: what must be true of the earlier answer. Does not belong here: the headers (`sources.conditions`).

It must be the partition's latest, answer the same request, be there whole and promoted by the recipe in force: else "not modified" would
leave something undone that a body would have done.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.sources.base import Validators

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.fetch import Asked
    from ops_pipeline.ops.ingestion import DatasetInjestion


def with_validators(context: Context, asked: Sequence[Asked]) -> list[Asked]:
    """The requests, with what they can ask conditionally with, in their order."""
    # What has days to ask for has another address each day: nothing is kept of it, and nothing looked for.
    mine = {one.partition for one in asked if not one.recipe.mode.has_watermark and _answers(context, one.request.source)}
    if not mine:
        return list(asked)
    with context.warehouse.reading() as connection:
        repo = OpsRepo(connection)
        latest = repo.latest_files(repo.with_validators(mine))
    return [_asked(context, one, latest.get(one.partition)) for one in asked]


def _answers(context: Context, source: str) -> bool:
    http = context.catalogue.sources[source].http
    return http is not None and http.conditional


def _asked(context: Context, one: Asked, before: DatasetInjestion | None) -> Asked:
    if before is None or before.bronze_validators is None or not before.bronze_filename or before.bronze_purged_at:
        return one
    same = before.file_id == one.request.file_id(1) and before.silver_recipe_hash == one.recipe.recipe_hash
    if not same or not before.fully_promoted or not before.request_complete or not context.store.holds(before.bronze_filename):
        return one
    return replace(one, request=replace(one.request, validators=Validators.read(before.bronze_validators)), before=before)
