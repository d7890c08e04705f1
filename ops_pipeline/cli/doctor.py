"""`ops-pipeline doctor`: can it work here.

Belongs here: how checks are shown, and the exit status. Does not belong here: the checks (`maintenance.doctor`).
"""

from __future__ import annotations

from typing import Annotated

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.bar import progress
from ops_pipeline.cli.options import HomeOption, JsonOption

EXAMPLE = "Example: ops-pipeline doctor --online"
A_CHECK_FAILED = 1


def doctor(
    online: Annotated[
        bool, typer.Option("--online", help="Also ask whether the vendors' servers answer; no key and no question is sent.")
    ] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the installation, settings, keys, disk, lock, database and Dagster home, and say what to do.

    Keys are never shown, only whether they are set. Exit status 1 when a check failed; a warning is none.
    """
    from ops_pipeline.maintenance.doctor import examine

    with progress("looking"):
        checks = list(examine(home, online=online))
    failed = sum(check.state == "failed" for check in checks)
    if as_json:
        output.print_json({"well": not failed, "checks": checks})
    else:
        columns = (output.Column("check", whole=True), output.Column("state", whole=True), *output.texts("found", "to do"))
        output.show(output.listing(columns, ((c.name, output.status_cell(c.state), c.found, c.fix) for c in checks)))
        output.say(f"{output.number(failed, 'check')} failed" if failed else "all is well")
    if failed:
        raise typer.Exit(A_CHECK_FAILED)
