"""The list of commands.

Belongs here: which commands there are and in which order help lists them. Does not belong here: what they do.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ops_pipeline import __version__
from ops_pipeline.cli import (
    checks,
    dashboard,
    database,
    datasets,
    doctor,
    home_folder,
    ledger,
    maintenance,
    morning,
    planning,
    point_in_time,
    publish,
    rejects,
    replay,
    restatements,
    retry,
    run,
    service,
    universe,
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"ops-pipeline {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="ops-pipeline",
    no_args_is_help=True,
    # A fault of the program shows Python's own traceback, without the values of variables: these may hold secrets.
    pretty_exceptions_enable=False,
    epilog="Example: ops-pipeline run --today 2013-03-01",
)


@app.callback()
def about(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Market data from vendors to analytics, with one ledger row for every file.

    Settings are environment variables OPS_PIPELINE_*; `ops-pipeline init DIR` writes a folder that lists them.

    Exit status: 0 all well, 1 some key failed, 2 you must change something.
    """


app.command("run", epilog=run.EXAMPLE)(run.run)
app.command("retry", epilog=retry.EXAMPLE)(retry.retry)
app.command("replay", epilog=replay.EXAMPLE)(replay.replay)
app.command("due", epilog=planning.DUE_EXAMPLE)(planning.due)
app.command("morning", epilog=morning.EXAMPLE)(morning.morning)
app.command("runs", epilog=ledger.RUNS_EXAMPLE)(ledger.runs)
app.command("show", epilog=ledger.SHOW_EXAMPLE)(ledger.show)
app.command("coverage", epilog=ledger.COVERAGE_EXAMPLE)(ledger.coverage)
app.command("asof", epilog=point_in_time.ASOF_EXAMPLE)(point_in_time.asof)
app.command("explain", epilog=point_in_time.EXPLAIN_EXAMPLE)(point_in_time.explain)
app.command("checks", epilog=checks.EXAMPLE)(checks.checks)
app.add_typer(rejects.app, name="rejects")
app.command("dashboard", epilog=dashboard.EXAMPLE)(dashboard.dashboard)
app.command("restatements", epilog=restatements.EXAMPLE)(restatements.restatements)
app.command("sql", epilog=database.SQL_EXAMPLE)(database.sql)
app.command("publish", epilog=publish.EXAMPLE)(publish.publish)
app.add_typer(universe.app, name="universe")
app.add_typer(datasets.app, name="datasets")
app.command("migrate", epilog=database.MIGRATE_EXAMPLE)(database.migrate)
app.add_typer(service.app, name="service")
app.command("backup", epilog=maintenance.BACKUP_EXAMPLE)(maintenance.backup)
app.command("restore", epilog=maintenance.RESTORE_EXAMPLE)(maintenance.restore)
app.command("compact", epilog=maintenance.COMPACT_EXAMPLE)(maintenance.compact)
app.command("pack", epilog=maintenance.PACK_EXAMPLE)(maintenance.pack)
app.command("purge", epilog=maintenance.PURGE_EXAMPLE)(maintenance.purge)
app.command("disk", epilog=maintenance.DISK_EXAMPLE)(maintenance.disk)
app.command("doctor", epilog=doctor.EXAMPLE)(doctor.doctor)
app.command("init", epilog=home_folder.EXAMPLE)(home_folder.init)
