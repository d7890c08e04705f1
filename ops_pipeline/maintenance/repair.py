"""Mending what a reconcile found, as far as that is safe.

Belongs here: what `--fix` does. Does not belong here: finding it (`reconcile`).

Safe is what takes nothing away that is stored: the engine's own healing, as at the start of any run; deleting what is half-written;
noting that a body is gone, so that it is asked for again; and counts that follow from the file, its recipe and silver's history. All but
the healing is done while no run goes on.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from ops_pipeline.clock import utc_now
from ops_pipeline.engine.heal import heal
from ops_pipeline.engine.promote import Promoter
from ops_pipeline.engine.run import new_run_id
from ops_pipeline.errors import BronzeError
from ops_pipeline.maintenance.packing import NOTE, finish
from ops_pipeline.maintenance.reconcile_files import is_there
from ops_pipeline.ops import reconciling
from ops_pipeline.ops.ingestion import Hold, RowCounts, Stage
from ops_pipeline.ops.reconcile_results import Discrepancy, Kind
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.silver.staging import stage

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from ops_pipeline.engine.context import Context
    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.ops.reconciling import Miscount
    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.silver.staged import FileProfile

# A file of each is read again.
_MOST_RECOUNTS = 1_000


def repair(context: Context, found: Sequence[Discrepancy]) -> None:
    """Mends those of the findings that are fixable.

    Raises:
        UserError: runs go on, naming one, or the disk refuses; what was mended by then is mended.
    """
    wanted = {kind: [d.where for d in found if d.kind is kind and d.fixable] for kind in Kind}
    if wanted[Kind.OPEN] or wanted[Kind.UNNAMED]:
        run_id = new_run_id()
        with context.leases.held(run_id):
            heal(context, run_id, Promoter(context, run_id, frozenset()))
    if any(where.endswith(NOTE) for where in wanted[Kind.LEFTOVER]):
        finish(context)
    with context.leases.quiet():
        for where in wanted[Kind.LEFTOVER]:
            _remove(context.settings.bronze_path / where)
        if wanted[Kind.MISSING]:
            _note_missing(context, wanted[Kind.MISSING])
        if wanted[Kind.MISCOUNTED]:
            _recount(context)


def _remove(path: Path) -> None:
    if path.name.endswith(NOTE):
        return  # finishing the packing removes it; a note that is left tells of one that could not be finished
    try:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        pass
    except OSError as e:
        raise BronzeError(f"{path} cannot be removed ({e.strerror}): make its folder writable and run again.") from e


def _note_missing(context: Context, names: Iterable[str]) -> None:
    gone = [name for name in names if not is_there(context, name)]
    with context.warehouse.transaction() as connection:
        rows = reconciling.rows_naming(connection, gone)
        at = utc_now()
        for row in rows:
            row.bronze_vanished(at)
        OpsRepo(connection).correct(rows, Stage.BRONZE)


def _recount(context: Context) -> None:
    with context.warehouse.reading() as connection:
        tables = [t for t in reconciling.silver_tables(connection) if t.is_there]
    for table in tables:
        with context.warehouse.reading() as connection:
            wrong = reconciling.miscounts(connection, table)
            rows = OpsRepo(connection).get([m.key for m in wrong])
        counts = recountable(context, wrong, rows)
        for key, counted in counts.items():
            rows[key].silver_recounted(counted)
        with context.warehouse.transaction() as connection:
            OpsRepo(connection).correct([rows[key] for key in counts], Stage.SILVER)


def recountable(
    context: Context, wrong: Sequence[Miscount], rows: Mapping[tuple[str, str], DatasetInjestion]
) -> dict[tuple[str, str], RowCounts]:
    """The true counts of miscounted promotions, of those where they follow from file, recipe and silver's history.

    They do where the recipe in force is the promotion's, the file holds as many records as were recorded, and the refused records that were
    kept are those that are refused now.
    """
    counts = {}
    for m in wrong[:_MOST_RECOUNTS]:
        row = rows[m.key]
        recipe = context.catalogue.recipes.get(row.dataset_key)
        if recipe is None or recipe.recipe_hash != row.silver_recipe_hash or row.bronze_purged_at is not None:
            continue
        if row.is_decision:
            created, updated, deleted, refused = m.found
            if not updated + refused and created <= row.bronze_rows:
                counts[m.key] = RowCounts(created=created, unchanged=row.bronze_rows - created, deleted=deleted)
            continue
        try:
            path = context.store.path(row.bronze_filename or "")
        except BronzeError:
            continue
        (profile,) = stage(recipe, [row], {row.key: path}).profiles
        counted = _counts(recipe, row, profile, m)
        if counted is not None:
            counts[m.key] = counted
    return counts


def _counts(recipe: Recipe, row: DatasetInjestion, profile: FileProfile, m: Miscount) -> RowCounts | None:
    created, updated, deleted, refused = m.found
    if profile.unreadable or profile.rows != row.bronze_rows or profile.failed != refused:
        return None
    superseded, unchanged = profile.superseded, profile.good - created - updated
    if recipe.refetch_on_restatement and not created + updated:
        if row.silver_hold in (Hold.HELD, Hold.RELEASED):
            superseded, unchanged = superseded + profile.good, 0
        elif row.silver_hold != Hold.WHOLE:
            return None  # all the same as before, or behind a whole history: nothing tells which
    if unchanged < 0:
        return None
    return RowCounts(
        created=created, updated=updated, unchanged=unchanged, failed=refused, superseded=superseded,
        out_of_window=profile.out_of_window, deleted=deleted,
    )  # fmt: skip
