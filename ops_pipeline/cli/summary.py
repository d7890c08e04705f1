"""The panel with a run's figures.

Belongs here: the summary as `run` and `show` print it. Does not belong here: computing it (`ops.queries`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ops_pipeline.cli import output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.panel import Panel

    from ops_pipeline.ops.queries import RunSummary


def summary_panel(
    run_id: str, summary: RunSummary | None, *, keys: Mapping[str, int] | None = None, seconds: float | None = None
) -> Panel:
    """A run's figures.

    Args:
        run_id: the run.
        summary: the ledger's figures; None when the run moved no file.
        keys: number of keys by outcome, known to the run itself only.
        seconds: how long the run took for its user; default: from its first request to its last step.
    """
    from rich import box
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim")
    grid.add_column(overflow="fold")
    if keys is not None:
        grid.add_row("keys", Text(output.counts(keys)))
    if summary is None:
        grid.add_row("files", Text("none: nothing had to be asked or promoted"))
    else:
        grid.add_row(
            "files",
            Text(
                f"{summary.files:,} of {output.number(summary.datasets, 'dataset')} and {output.number(summary.tickers, 'ticker')}"
            ),
        )
        read = f"{output.counts(summary.bronze)}; {summary.bronze_rows:,} rows, {output.size(summary.bronze_bytes)}"
        grid.add_row("bronze", Text(read))
        grid.add_row(
            "silver", Text(f"{output.counts(summary.silver_rows)} (rows of {output.number(summary.silver_files, 'file')})")
        )
        grid.add_row("gold", Text(f"{output.counts(summary.gold_rows)} (rows of {output.number(summary.gold_files, 'file')})"))
        if summary.started:
            grid.add_row("started", Text(output.moment(summary.started)))
        failures = summary.failed_files
        grid.add_row("failures", Text(f"{failures:,}", style="bold red" if failures else "green"))
    taken = summary.seconds if seconds is None and summary else seconds
    if taken is not None:
        grid.add_row("seconds", Text(f"{taken:,.1f}"))
    return Panel.fit(grid, title=Text(f"run {run_id}"), title_align="left", box=box.ROUNDED)
