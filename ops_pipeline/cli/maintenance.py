"""Looking after a home: `ops-pipeline backup`, `restore` and `compact`.

Belongs here: what these commands take and say. Does not belong here: what they do (`maintenance`).
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.home import open_home
from ops_pipeline.cli.options import HomeOption, JsonOption

BACKUP_EXAMPLE = "Example: ops-pipeline backup /mnt/backups/market-data --keep 14"
RESTORE_EXAMPLE = "Example: ops-pipeline restore /mnt/backups/market-data/20260130T060000.000000Z"
COMPACT_EXAMPLE = "Example: ops-pipeline compact --home ~/market-data"


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
    """Copy the database, the recipes, the universe and the bronze files, and prove the copy; runs may go on."""
    from ops_pipeline.maintenance.backup import back_up

    made = back_up(open_home(home), folder, bronze=not no_bronze, keep=keep)
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

    done = put_back(open_home(home), folder)
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

    done = rewrite(open_home(home))
    if as_json:
        output.print_json(done)
    elif done.replaced:
        output.show(f"{output.size(done.before)} became {output.size(done.after)}")
    else:
        output.show(f"{output.size(done.before)}: nothing to gain, the database is as it was")
