"""`ops-pipeline reconcile`: whether everything that is stored fits together, and mending what is safe.

Belongs here: the command's options and what it prints. Does not belong here: looking and mending (`maintenance.reconcile`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ops_pipeline.cli import output
from ops_pipeline.cli.bar import progress
from ops_pipeline.cli.home import open_home
from ops_pipeline.cli.options import HomeOption, JsonOption, limit_option

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ops_pipeline.maintenance.reconcile import Reconciled

EXAMPLE = "Example: ops-pipeline reconcile --hashes 1000 --fix"
SOMETHING_IS_LEFT = 1


def _parse_hashes(text: str | int) -> int:
    """How many bodies are compared; -1 for all.

    Raises:
        typer.BadParameter: for anything but `all`, `none` and a number.
    """
    if isinstance(text, int):
        return text
    if text in ("all", "none"):
        return -1 if text == "all" else 0
    if not text.isdecimal():
        raise typer.BadParameter(f"{text!r} is neither `all` nor `none` nor a number of files")
    return int(text)


def reconcile(
    fix: Annotated[bool, typer.Option("--fix", help="Mend what can be mended without a danger to anything stored.")] = False,
    hashes: Annotated[
        int,
        typer.Option(
            "--hashes",
            metavar="N",
            parser=_parse_hashes,
            help="Compare the bodies of so many files, chosen at random, with their hashes; or `all`, or `none`.",
            show_default="all",
        ),
    ] = -1,
    limit: Annotated[int, limit_option("findings in the table; --json has them all")] = 40,
    home: HomeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare bronze files, ledger, silver, gold and migrations; report what does not fit together, and mend what is safe.

    Runs may go on meanwhile; only --fix waits for none to be under way. Exit status 1 when something is left that was not mended.
    """
    from ops_pipeline.maintenance.reconcile import reconcile as compare

    context = open_home(home)
    with progress("comparing names and rows") as tell:
        found = compare(context, fix=fix, bodies=None if hashes < 0 else hashes, tell=tell)
    if as_json:
        output.print_json(
            {
                "checked_at": found.checked_at,
                "well": not found.left,
                "results": [
                    {
                        "kind": r.kind.value,
                        "findings": r.findings,
                        "fixed": r.fixed,
                        "looked_at": r.looked_at,
                        "left_out": r.left_out,
                    }
                    for r in found.results
                ],
                "findings": found.found,
                "running": found.running,
                "not_mended": found.not_mended,
            }
        )
    else:
        _print(found, limit, home, fix=fix)
    if found.left:
        raise typer.Exit(SOMETHING_IS_LEFT)


def _print(found: Reconciled, limit: int, home: Path | None, *, fix: bool) -> None:
    rows = [
        (
            output.status_cell("ok" if not r.left else "failed" if r.kind.is_grave else "warning"),
            r.kind.about,
            f"{r.looked_at:,} {r.kind.unit if r.looked_at == 1 else r.kind.units}",
            r.left_out,
            r.findings,
            r.fixed,
        )
        for r in found.results
    ]
    columns = (
        output.Column("result", whole=True),
        *output.texts("what should hold", "looked at"),
        *output.figures("not looked at"),
        *output.figures("found", optional=False),
        *output.figures("mended"),
    )
    output.show(output.listing(columns, rows))
    shown = sorted(found.found, key=lambda d: d.fixed)[:limit]
    if shown:
        lines = [(d.kind.value.replace("_", " "), d.where, d.what, "mended" if d.fixed else d.repair) for d in shown]
        output.show(output.listing(output.texts("finding", "where", "what", "what to do"), lines))
    if len(found.found) > len(shown):
        output.say(f"and {len(found.found) - len(shown):,} more; --limit shows them")
    for line in _notes(found):
        output.say(line)
    if found.not_mended:
        output.say(f"nothing more was mended: {found.not_mended}")
    elif not fix and any(d.fixable for d in found.left):
        output.say(f"`{output.command('reconcile --fix', home)}` mends what is safe")


def _notes(found: Reconciled) -> Iterator[str]:
    """What was not looked at."""
    kinds = {r.kind.value: r for r in found.results}
    bodies = kinds.get("bodies_of_another_hash")
    if not found.is_whole:
        yield "not looked at: all else, which cannot be read before the schema is in step"
    elif bodies and bodies.left_out:
        yield f"not looked at: the bodies of {output.number(bodies.left_out, 'file')}; --hashes all compares every one"
    if found.running:
        yield f"runs go on ({output.first(found.running, 3)}); what they have in hand was left out"
