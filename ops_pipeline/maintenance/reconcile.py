"""Whether bronze files, the ledger, silver, gold and the migrations fit together; mending what is safe, and keeping the result.

Belongs here: the order in which they are looked at, and what is said of each finding. Does not belong here: the disk (`reconcile_files`),
the queries (`ops.reconciling`), and mending (`repair`).

Runs may go on meanwhile: the disk is read before the ledger, so that a file which was there is either named by a row by then or its request
still waits for its answer; and what seems to be missing is looked for once more. The database is let go
every now and then.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ops_pipeline.bronze.store import file_of
from ops_pipeline.clock import utc_now
from ops_pipeline.errors import DatabaseMissingError, MigrationError, SchemaVersionError, UserError
from ops_pipeline.maintenance.packing import dataset_folder
from ops_pipeline.maintenance.reconcile_files import Disk, is_there, leftovers, look_at_disk, wrong_bodies
from ops_pipeline.maintenance.repair import recountable, repair
from ops_pipeline.maintenance.sitting import Sitting
from ops_pipeline.ops import migrations, reconciling
from ops_pipeline.ops.queries import miscounted_tables
from ops_pipeline.ops.reconcile_results import (
    Discrepancy,
    Kind,
    ReconcileResult,
    latest_reconcile,
    record_reconcile,
    results_of,
)
from ops_pipeline.ops.repo import OpsRepo
from ops_pipeline.progress import silent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from ops_pipeline.engine.context import Context
    from ops_pipeline.ops.ingestion import DatasetInjestion
    from ops_pipeline.progress import Tell


_FIX = "`ops-pipeline reconcile --fix`"


@dataclass(slots=True)
class Reconciled:
    """What a reconcile found and did.

    Attributes:
        checked_at: when it began (UTC).
        found: what does not fit together, mended or not.
        looked_at: kind -> how many files, rows or tables were compared; a kind that was not looked at is left out.
        left_out: kind -> how many more there are that were not looked at.
        running: runs that went on; what they have in hand is not told.
        not_mended: why nothing was mended though that was wanted; None where it was, or was not wanted.
    """

    checked_at: datetime
    found: list[Discrepancy] = field(default_factory=list)
    looked_at: dict[Kind, int] = field(default_factory=dict)
    left_out: dict[Kind, int] = field(default_factory=dict)
    running: list[str] = field(default_factory=list)
    not_mended: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether more than the schema could be looked at."""
        return Kind.OPEN in self.looked_at

    @property
    def left(self) -> list[Discrepancy]:
        """What was not mended."""
        return [d for d in self.found if not d.fixed]

    @property
    def results(self) -> list[ReconcileResult]:
        """As the table beside the ledger keeps them."""
        return results_of(self.found, self.looked_at, self.left_out, self.checked_at)


def reconcile(context: Context, *, fix: bool = False, bodies: int | None = None, tell: Tell = silent) -> Reconciled:
    """Compares everything, mends what is safe where that is wanted, and keeps what it found beside the ledger.

    Args:
        context: the home.
        fix: mend what can be mended without a danger to anything stored.
        bodies: compare so many bodies with their hashes, chosen at random, beside those that were found wrong before; None: all.
        tell: takes how many bodies were compared, and how many will be.

    Raises:
        DatabaseMissingError: there is no database.
        BronzeError: the bronze folder is not there, or cannot be read.
    """
    found = _Look(context).everything(bodies, tell)
    if fix and any(d.fixable for d in found.found if d.kind is Kind.SCHEMA):
        # Nothing else could be read before.
        context.migrate(lambda _: None)
        lacking = [replace(d, fixed=True) for d in found.found]
        found = _Look(context).everything(bodies, tell)
        found.found[:0] = lacking
    if fix and any(d.fixable and not d.fixed for d in found.found):
        _mend(context, found)
    if found.is_whole:
        with context.warehouse.transaction(few_rows=True) as connection:
            record_reconcile(connection, found.results)
    return found


def _mend(context: Context, found: Reconciled) -> None:
    try:
        repair(context, found.found)
    except UserError as e:
        found.not_mended = str(e)
    # What is not found any more was mended; bodies are not read twice for it.
    again = {(d.kind, d.where): d for d in _Look(context).everything(0, silent).found}
    for d in found.found:
        d.fixed = d.fixed or (d.fixable and (d.kind, d.where) not in again)
    # One wrong count can hide another.
    known = {(d.kind, d.where) for d in found.found}
    found.found += [d for key, d in again.items() if key not in known]


class _Look:
    def __init__(self, context: Context) -> None:
        self.context, self.found = context, Reconciled(utc_now())
        self.sitting = Sitting(context.warehouse)

    def everything(self, bodies: int | None, tell: Tell) -> Reconciled:
        try:
            return self._everything(bodies, tell)
        finally:
            self.sitting.leave()

    def _everything(self, bodies: int | None, tell: Tell) -> Reconciled:
        if not self.context.settings.database_path.exists():
            raise DatabaseMissingError(
                f"There is no database at {self.context.settings.database_path}: run `ops-pipeline run` first."
            )
        if not self._schema():
            return self.found
        disk = look_at_disk(self.context) if self._anything_stored() else Disk()
        running = self.context.leases.alive()
        self.found.running = sorted(running)
        owed, adoptable = self._open(running)
        self._unnamed(disk, owed, adoptable)
        self._missing(disk)
        left = leftovers(self.context, disk, running)
        self._tell(Kind.LEFTOVER, len(disk.temporary), left)
        self._unknown()
        self._miscounted()
        for name, why in disk.damaged.items():
            self._damaged(name, why)
        self._bodies(bodies, tell)
        return self.found

    def _tell(self, kind: Kind, looked_at: int, found: Sequence[Discrepancy] = ()) -> None:
        self.found.looked_at[kind] = self.found.looked_at.get(kind, 0) + looked_at
        self.found.found += found

    def _anything_stored(self) -> bool:
        """A home that has stored nothing yet has no bronze folder either."""
        if self.context.settings.bronze_path.is_dir():
            return True
        return bool(reconciling.hashes(self.sitting.connection(), 1, "", [])[0])

    # --- the database as such -------------------------------------------------------------------------------------------------

    def _schema(self) -> bool:
        """Looks at migrations and columns; False where the rest of the database cannot be read by this code."""
        try:
            known = migrations.status(self.context.warehouse)
        except (MigrationError, SchemaVersionError) as e:
            self._tell(Kind.SCHEMA, 0, [Discrepancy(Kind.SCHEMA, str(self.context.settings.database_path), str(e), "as it says")])
            return False
        pending = [m for m in known if m.applied_at is None]
        auto = self.context.settings.auto_migrate
        advice = f"{_FIX} or the next run applies it" if auto else "`ops-pipeline migrate --apply` applies it"
        found = [
            Discrepancy(Kind.SCHEMA, f"{m.version:04d}_{m.name}", "the database lacks this migration", advice, fixable=auto)
            for m in pending
        ]
        columns: dict[str, str] = {}
        if not pending:
            columns = reconciling.wrong_columns(self.sitting.connection())
            tables = [t for t in reconciling.silver_tables(self.sitting.connection()) if not t.is_there]
            restore = "restore a backup of the database, `ops-pipeline restore`"
            found += [Discrepancy(Kind.SCHEMA, name, what, restore) for name, what in columns.items()]
            if not columns:
                found += [
                    Discrepancy(Kind.SCHEMA, t.name, "the table or its history is gone", _replay(t.dataset)) for t in tables
                ]
        self._tell(Kind.SCHEMA, len(known), found)
        return not pending and not columns

    # --- files ----------------------------------------------------------------------------------------------------------------

    def _open(self, running: set[str]) -> tuple[set[str], dict[str, str]]:
        """Requests of dead runs; gives the files that live runs owe a row, and those of dead runs with the run."""
        leases = self.context.leases
        asked = OpsRepo(self.sitting.connection()).asked()
        going_on, owed, adoptable, found = {*running}, set[str](), dict[str, str](), list[Discrepancy]()
        dead = leases.dead({row.run_id for row in asked} - running)
        for run_id in {row.run_id for row in asked} | running:
            following = leases.next_parts(run_id).values()
            if run_id in dead and run_id not in going_on:
                adoptable |= dict.fromkeys(following, run_id)
            else:
                owed |= set(following)
        for row in asked:
            if row.run_id not in dead:
                owed.add(row.file_id)
                continue
            adoptable[row.file_id] = row.run_id
            what = f"{row.partition}: run {row.run_id} is dead, and nothing says what became of its request"
            advice = f"the next run, or {_FIX}, finds its answer on the disk or ends it as failed"
            found.append(Discrepancy(Kind.OPEN, _row(row), what, advice, fixable=True))
        self._tell(Kind.OPEN, len(asked), found)
        return owed, adoptable

    def _unnamed(self, disk: Disk, owed: set[str], adoptable: dict[str, str]) -> None:
        names = reconciling.unnamed_files(self.sitting.connection(), disk.names)
        found = []
        for name in names:
            file_id = (file_of(name) or ("", ""))[0]
            if file_id in owed or not is_there(self.context, name):
                continue
            if file_id in adoptable:
                what = f"run {adoptable[file_id]} died before it had recorded the file"
                advice = f"the next run, or {_FIX}, records it"
            else:
                what = "no row of the ledger names the file"
                advice = "a run that gets this answer again takes it up; move it out of the bronze folder if nobody needs it"
            found.append(Discrepancy(Kind.UNNAMED, name, what, advice, fixable=file_id in adoptable))
        for name in disk.strangers:
            advice = "move it out of the bronze folder"
            found.append(Discrepancy(Kind.UNNAMED, name, "it is no file of the bronze store", advice))
        self._tell(Kind.UNNAMED, len(disk.names) + len(disk.strangers), found)

    def _missing(self, disk: Disk) -> None:
        listed = reconciling.missing_files(self.sitting.connection(), disk.names)
        total = reconciling.hashes(self.sitting.connection(), 0, "", [])[1]
        self.sitting.leave()
        names = [name for name in listed if name.partition("#")[0] not in disk.damaged and not is_there(self.context, name)]
        rows = {row.bronze_filename or "": row for row in reconciling.rows_naming(self.sitting.connection(), names)}
        found = []
        for name, row in rows.items():
            folder = dataset_folder((row.domain, row.source, row.dataset, row.discriminator))
            what = f"{row.partition}: {_row(row)} names the file, and it is gone"
            if (self.context.settings.bronze_path / folder).is_dir():
                advice = f"restore it from a backup; or {_FIX} notes that it is gone, and the next run asks for its days again"
                fixable = True
            else:
                advice = f"the whole folder {folder} is gone: mount its disk, or restore it from a backup; if it is lost, make an empty one"
                fixable = False
            found.append(Discrepancy(Kind.MISSING, name, what, advice, fixable=fixable))
        self._tell(Kind.MISSING, total, found)

    def _bodies(self, most: int | None, tell: Tell) -> None:
        connection = self.sitting.connection()
        before = [kept.where for r in latest_reconcile(connection) if r.kind is Kind.DAMAGED for kept in r.first_findings]
        files, total = reconciling.hashes(connection, most, self.found.checked_at.isoformat(), before)
        self.sitting.leave()
        told = {d.where for d in self.found.found if d.kind is Kind.DAMAGED}
        for name, why in wrong_bodies(self.context, files, tell):
            if name not in told:
                self._damaged(name, why)
        self._tell(Kind.DAMAGED, len(files))
        self.found.left_out[Kind.DAMAGED] = total - len(files)

    def _damaged(self, name: str, why: str) -> None:
        advice = f"restore it from a backup; where there is none, move it away, and {_FIX} lets the next run ask again"
        self.found.found.append(Discrepancy(Kind.DAMAGED, name, why, advice))

    # --- rows -----------------------------------------------------------------------------------------------------------------

    def _unknown(self) -> None:
        tables = reconciling.tables_with_lineage(self.sitting.connection())
        datasets = {t.name: t.dataset for t in reconciling.silver_tables(self.sitting.connection())}
        found = []
        for table in tables:
            unknown = reconciling.rows_of_unknown_files(self.sitting.connection(), table)
            dataset = datasets.get(table.removesuffix("_history"))
            for run_id, file_id, rows in unknown:
                what = f"{rows:,} rows name {run_id}/{file_id}, which the ledger does not know"
                found.append(Discrepancy(Kind.UNKNOWN, table, what, _replay(dataset)))
        self._tell(Kind.UNKNOWN, len(tables), found)

    def _miscounted(self) -> None:
        listed = reconciling.silver_tables(self.sitting.connection())
        datasets = {t.name: t.dataset for t in listed}
        found = []
        for table in (t for t in listed if t.is_there):
            wrong = reconciling.miscounts(self.sitting.connection(), table)
            rows = OpsRepo(self.sitting.connection()).get([m.key for m in wrong]) if wrong else {}
            if wrong:
                self.sitting.leave()  # files are read
            can = recountable(self.context, wrong, rows)
            for m in wrong:
                advice = f"{_FIX} counts them again" if m.key in can else _replay(table.dataset)
                where = "/".join(m.key)
                found.append(Discrepancy(Kind.MISCOUNTED, where, f"{table.dataset}: {m.what}", advice, fixable=m.key in can))
        if all(t.is_there for t in listed):
            for one in miscounted_tables(self.sitting.connection()):
                # Mended where the counts of its files are.
                by_files = any(d.fixable and d.what.startswith(f"{datasets.get(one.where)}:") for d in found)
                found.append(
                    Discrepancy(Kind.MISCOUNTED, one.where, one.what, _replay(datasets.get(one.where)), fixable=by_files)
                )
        for run_id, file_id, dataset in reconciling.earlier_miscounts(self.sitting.connection()):
            what = f"{dataset}: the counts of an earlier promotion do not add up, and nothing tells any more what they were"
            found.append(Discrepancy(Kind.MISCOUNTED, f"{run_id}/{file_id}", what, "restore a backup of the database"))
        self._tell(Kind.MISCOUNTED, len(listed), found)


def _row(row: DatasetInjestion) -> str:
    return f"{row.run_id}/{row.file_id}"


def _replay(dataset: str | None) -> str:
    return f"`ops-pipeline replay{f' --dataset {dataset}' if dataset else ''}` builds it anew from the stored answers"
