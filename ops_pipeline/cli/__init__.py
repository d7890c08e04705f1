"""The command line: `ops-pipeline ...`.

Belongs here: options, what the terminal shows, exit statuses. Does not belong here: any decision about data; commands call the engine
and the ledger's service.

Modules of this package load duckdb, pyarrow and the engine inside the commands: `--help` and a completion key press must answer at once.
"""

from __future__ import annotations

import io
import sys

from ops_pipeline.errors import UserError
from ops_pipeline.light import start_light

USER_MUST_ACT = 2
INTERRUPTED = 130


def main() -> None:
    """Runs the command line and ends the process.

    Exit status 0: all well; 1: some key failed; 2: the user must change something, told in one sentence on standard error; 128 plus the
    signal's number: stopped.
    """
    for stream in (sys.stdout, sys.stderr):
        # A ticker that the terminal's encoding lacks must not end a run that did its work.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    start_light()
    try:
        from ops_pipeline.cli.app import app

        app(prog_name="ops-pipeline")
    except UserError as e:
        from ops_pipeline.cli.output import print_error

        print_error(str(e))
        sys.exit(USER_MUST_ACT)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
