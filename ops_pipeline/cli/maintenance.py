"""Looking after a home: `ops-pipeline backup`, `restore`, `compact`, `pack`, `purge` and `disk`.

Belongs here: what these commands take and say. Does not belong here: what they do (`maintenance`).
"""

from __future__ import annotations

import shlex
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.bar import progress
from ops_pipeline.cli.home import open_home
from ops_pipeline.cli.options import HomeOption, JsonOption
from ops_pipeline.errors import DatabaseMissingError

BACKUP_EXAMPLE = "Example: ops-pipeline backup /mnt/backups/market-data --keep 14"
RESTORE_EXAMPLE = "Example: ops-pipeline restore /mnt/backups/market-data/20260130T060000.000000Z"
COMPACT_EXAMPLE = "Example: ops-pipeline compact --home ~/market-data"

PACK_EXAMPLE = "Example: ops-pipeline pack --older-than 30"
PURGE_EXAMPLE = "Example: ops-pipeline purge --older-than 180"
DISK_EXAMPLE = "Example: ops-pipeline disk --days 90"

OlderThanOption = Annotated[
    int,
    typer.Option("--older-than", metavar="DAYS", min=1, max=36_500, help="Only files whose answers are older than so many days."),
]


def backup(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder of all backups; it is made.")],
    no_bronze: Annotated[bool, typer.Option("--no-bronze", help="Leave the bronze files out.")] = False,
    keep: Annotated[
        int | None,
        typer.Option("--keep", metavar="N", min=1, help="Remove all backups but the newest so many.", show_default=False),
    ] = None,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the database, the recipes, the universe and the bronze files, and prove the copy; runs may go on.

    Exit status 1 when bronze files that the ledger names are not on the disk.
    """
    from ops_pipeline.maintenance.backup import back_up

    with progress("backing up") as tell:
        made = back_up(open_home(home), folder, bronze=not no_bronze, keep=keep, tell=tell)
    if as_json:
        output.print_json(made)
    else:
        rows = sum(made.tables.values())
        lines = [
            ("backup", str(made.folder)),
            ("database", f"{output.size(made.size)}, {output.number(rows, 'row')} in {output.number(len(made.tables), 'table')}"),
            ("configuration", output.number(len(made.configuration), "file")),
            ("bronze", _bronze(made.bronze_files, made.bronze_copied)),
            ("removed", output.number(len(made.dropped), "older backup")),
        ]
        output.show(output.listing(output.texts("part", "what"), lines))
        output.say(f"to put it back: {output.command(f'restore {shlex.quote(str(made.folder))}', home)}")
    if made.bronze_missing_count:
        output.say(
            f"{output.number(made.bronze_missing_count, 'bronze file')} that the ledger names are not on the disk, such as"
            f" {made.bronze_missing[0]}"
        )
        raise typer.Exit(1)


def _bronze(files: int | None, copied: int) -> str:
    return "not copied" if files is None else f"{output.number(files, 'file')}, {copied:,} new in this backup"


def restore(
    folder: Annotated[Path, typer.Argument(metavar="BACKUP", help="One backup, as `backup` printed it.")],
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a backup back; the database that is there is kept beside it, under another name."""
    from ops_pipeline.maintenance.backup import restore as put_back

    with progress("restoring") as tell:
        done = put_back(open_home(home), folder, tell=tell)
    if as_json:
        output.print_json(done)
        return
    lines = [
        ("database", str(done.database)),
        ("kept", str(done.kept) if done.kept else None),
        ("bronze", f"{output.number(done.bronze_copied, 'file')} put back"),
        ("configuration", ", ".join(done.configuration) or "nothing was missing"),
    ]
    output.show(output.listing(output.texts("part", "what"), lines))


def compact(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Write the database anew, without the room of what was deleted; everybody else waits meanwhile."""
    from ops_pipeline.maintenance.rewrite import rewrite

    with progress("writing the database anew"):
        done = rewrite(open_home(home))
    if as_json:
        output.print_json(done)
    elif done.replaced:
        output.show(f"{output.size(done.before)} became {output.size(done.after)}")
    else:
        output.show(f"{output.size(done.before)}: nothing to gain, the database is as it was")


def pack(older_than: OlderThanOption = 90, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Pack old bronze files into containers, some thousands in one; nothing that the ledger says of them changes but their place."""
    from ops_pipeline.maintenance.packing import pack as pack_files

    with progress("packing") as tell:
        done = pack_files(open_home(home), older_than=timedelta(days=older_than), tell=tell)
    if as_json:
        output.print_json(done)
    else:
        output.show(f"{output.number(done.files, 'file')} packed into {output.number(done.containers, 'container')}")
        if done.finished:
            output.say(f"{output.number(done.finished, 'file')} removed that an interrupted packing had left")


def purge(older_than: OlderThanOption = 90, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Delete the bodies of failed requests that a later good answer made useless; their rows stay."""
    from ops_pipeline.maintenance.packing import purge as purge_files

    with progress("purging") as tell:
        done = purge_files(open_home(home), older_than=timedelta(days=older_than), tell=tell)
    if as_json:
        output.print_json(done)
    else:
        output.show(f"{output.number(done.files, 'body', 'bodies')} deleted, {output.size(done.bytes)}")


def disk(
    days: Annotated[int, typer.Option("--days", metavar="N", min=1, max=3650, help="Growth of so many last days.")] = 30,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show what a home takes, dataset by dataset, how it grows, and when the disk will be full."""
    from ops_pipeline.maintenance.disk import look

    context = open_home(home)
    if not context.settings.home.exists():
        raise DatabaseMissingError(f"There is no home at {context.settings.home.absolute()}: run `ops-pipeline run` first.")
    with progress("measuring"):
        report = look(context, days=days)
    if as_json:
        output.print_json(report)
        return
    columns = [
        output.Column("part"),
        *output.figures("files", "bytes", "unpacked", "files/day", "bytes/day", optional=False),
    ]
    rows: list[tuple[object, ...]] = [
        (
            key,
            usage.files,
            output.size(usage.size),
            output.size(usage.body_size),
            f"{usage.new_files / report.days:,.1f}",
            output.size(round(usage.new_size / report.days)),
        )
        for key, usage in sorted(report.datasets.items())
    ]
    rows += [
        (name, None, output.size(size), None, None, None)
        for name, size in (("database", report.database), ("its log", report.log), ("all else", report.rest))
    ]
    output.show(output.listing(columns, rows))
    inodes = "" if report.free_files is None else f" and {output.number(report.free_files, 'inode')}"
    pace = "nothing grew" if report.days_left is None else f"full in {_time(report.days_left)} at this pace"
    output.show(f"free: {output.size(report.free)}{inodes}; {pace} (last {output.number(round(report.days), 'day')})")


def _time(days: float) -> str:
    return f"{days:,.0f} days" if days < 730 else f"{min(days / 365.25, 1_000):,.0f} years"
