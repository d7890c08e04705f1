"""`ops-pipeline retry`: what a run did not get, once more.

Belongs here: the command's options, and finding the run that is meant. Does not belong here: what is left of a run (`ops.failures`), and
the course of a run (`run`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.home import open_home, require_schema
from ops_pipeline.cli.ledger import find_run
from ops_pipeline.cli.options import HomeOption, JsonOption, RunArgument
from ops_pipeline.cli.planning import report_dry_run
from ops_pipeline.cli.run import conduct
from ops_pipeline.cli.run_view import RunScreen
from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.plan import RunOptions

EXAMPLE = "Example: ops-pipeline retry last"


def retry(
    run_id: RunArgument,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the requests; send and write nothing.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Do what is left of a run, of Dagster or of the command line, in a new run.

    Requests that failed, were deferred or got no answer are sent again for the same days, unless a later run has got them.
    Stored files that wait for silver or gold are promoted. Exit status 1 when some key failed.
    """
    from ops_pipeline.engine.plan import plan

    screen = RunScreen(as_json=as_json, home=home)
    context = open_home(home, screen=screen.err)
    require_schema(context)
    given = find_run(context.service, run_id).run_id
    if not context.leases.dead([given]):
        raise UserError(f"run {given} is still going on; wait until it ends, or stop it first.")
    options = _options(context, given)
    keys = list(options.windows or ())
    if dry_run:
        report_dry_run(context, plan(context, keys, options), as_json=as_json)
        return
    if not keys and not as_json:
        output.say(f"nothing is left of run {given}")
        return
    conduct(context, keys, options, screen)


def _options(context: Context, run_id: str) -> RunOptions:
    from ops_pipeline.engine.plan import RunOptions

    # The new run first settles what a killed one left on disk: a request whose answer it finds there is not sent again.
    return RunOptions(windows=context.service.left_of(run_id), after_runs=frozenset({run_id}))
