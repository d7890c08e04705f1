"""`ops-pipeline publish`: silver and gold as Parquet, now.

Belongs here: the command's options and what it shows. Does not belong here: publishing (`engine.published`).
"""

from __future__ import annotations

from typing import Annotated

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.bar import progress
from ops_pipeline.cli.home import open_ledger
from ops_pipeline.cli.options import HomeOption, JsonOption
from ops_pipeline.errors import UserError

EXAMPLE = "Example: ops-pipeline publish --json"


def publish(
    whole: Annotated[bool, typer.Option("--whole", help="Write every file anew, instead of those that changed.")] = False,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish silver and gold as Parquet files that notebooks and BI tools may keep open, as every run does at its end.

    Nothing is written where nothing changed. Replaced versions go when nobody reads them any more.
    """
    from ops_pipeline.engine.published import publish_now

    context = open_ledger(home)
    if context.settings.publish == "none":
        raise UserError("OPS_PIPELINE_PUBLISH is none: name what is to be published, such as silver, gold, or unset it.")
    with progress("publishing") as tell:
        report = publish_now(context, whole=whole, tell=tell)
    written = {
        "files": len(report.written),
        "rows": sum(file.rows for file in report.written),
        "bytes": sum(file.bytes for file in report.written),
    }
    if as_json:
        root = context.settings.published_path
        output.print_json(
            {
                "version": report.version,
                "created": report.created,
                "folder": str(root / "versions" / report.version),
                "views": str(root / "lake.duckdb"),
                "written": written,
                "shared_files": report.shared,
                "removed": report.removed,
            }
        )
        return
    if report.created:
        rows, amount = output.number(written["rows"], "row"), output.size(written["bytes"])
        output.show(f"published {report.version}: {output.number(written['files'], 'file')} written ({rows}, {amount}),")
        output.show(f"{report.shared:,} shared with the version before")
    else:
        output.show(f"nothing changed since {report.version}")
    if report.removed:
        output.say(f"removed {output.number(len(report.removed), 'version')} that nobody reads any more")
    output.say(f"for SQL and BI tools: {context.settings.published_path / 'lake.duckdb'}")
