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
    dropped,
    gaps,
    home_folder,
    ledger,
    maintenance,
    morning,
    planning,
    point_in_time,
    publish,
    reconcile,
    rejects,
    replay,
    restatements,
    retry,
    run,
    service,
    universe,
)

PANELS = NIGHT, LOOK, TRACE, WANTED, BUILD, CARE = (
    "Every night, every morning",
    "Look at runs and data",
    "Where numbers come from",
    "What is wanted",
    "Build anew and hand on",
    "Look after the home",
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

    Exit status: 0 all well, 1 some key failed or a check found something, 2 you must change something, 130 stopped by Ctrl-C.
    """


app.command("run", epilog=run.EXAMPLE, rich_help_panel=NIGHT)(run.run)
app.command("retry", epilog=retry.EXAMPLE, rich_help_panel=NIGHT)(retry.retry)
app.command("due", epilog=planning.DUE_EXAMPLE, rich_help_panel=NIGHT)(planning.due)
app.command("morning", epilog=morning.EXAMPLE, rich_help_panel=NIGHT)(morning.morning)
app.add_typer(service.app, name="service", rich_help_panel=NIGHT)

app.command("runs", epilog=ledger.RUNS_EXAMPLE, rich_help_panel=LOOK)(ledger.runs)
app.command("show", epilog=ledger.SHOW_EXAMPLE, rich_help_panel=LOOK)(ledger.show)
app.command("coverage", epilog=ledger.COVERAGE_EXAMPLE, rich_help_panel=LOOK)(ledger.coverage)
app.command("gaps", epilog=gaps.EXAMPLE, rich_help_panel=LOOK)(gaps.gaps)
app.command("checks", epilog=checks.EXAMPLE, rich_help_panel=LOOK)(checks.checks)
app.add_typer(rejects.app, name="rejects", rich_help_panel=LOOK)
app.command("sql", epilog=database.SQL_EXAMPLE, rich_help_panel=LOOK)(database.sql)
app.command("dashboard", epilog=dashboard.EXAMPLE, rich_help_panel=LOOK)(dashboard.dashboard)

app.command("explain", epilog=point_in_time.EXPLAIN_EXAMPLE, rich_help_panel=TRACE)(point_in_time.explain)
app.command("asof", epilog=point_in_time.ASOF_EXAMPLE, rich_help_panel=TRACE)(point_in_time.asof)
app.command("restatements", epilog=restatements.EXAMPLE, rich_help_panel=TRACE)(restatements.restatements)
app.add_typer(dropped.app, name="dropped", rich_help_panel=TRACE)

app.command("init", epilog=home_folder.EXAMPLE, rich_help_panel=WANTED)(home_folder.init)
app.add_typer(universe.app, name="universe", rich_help_panel=WANTED)
app.add_typer(datasets.app, name="datasets", rich_help_panel=WANTED)

app.command("replay", epilog=replay.EXAMPLE, rich_help_panel=BUILD)(replay.replay)
app.command("publish", epilog=publish.EXAMPLE, rich_help_panel=BUILD)(publish.publish)

app.command("doctor", epilog=doctor.EXAMPLE, rich_help_panel=CARE)(doctor.doctor)
app.command("migrate", epilog=database.MIGRATE_EXAMPLE, rich_help_panel=CARE)(database.migrate)
app.command("reconcile", epilog=reconcile.EXAMPLE, rich_help_panel=CARE)(reconcile.reconcile)
app.command("backup", epilog=maintenance.BACKUP_EXAMPLE, rich_help_panel=CARE)(maintenance.backup)
app.command("restore", epilog=maintenance.RESTORE_EXAMPLE, rich_help_panel=CARE)(maintenance.restore)
app.command("compact", epilog=maintenance.COMPACT_EXAMPLE, rich_help_panel=CARE)(maintenance.compact)
app.command("pack", epilog=maintenance.PACK_EXAMPLE, rich_help_panel=CARE)(maintenance.pack)
app.command("purge", epilog=maintenance.PURGE_EXAMPLE, rich_help_panel=CARE)(maintenance.purge)
app.command("disk", epilog=maintenance.DISK_EXAMPLE, rich_help_panel=CARE)(maintenance.disk)
