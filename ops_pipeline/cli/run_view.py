"""How a run looks: the progress bar, the table of keys, the summary, what to try next; or one JSON document.

Belongs here: what is printed while a run goes and when it ends. Does not belong here: running (`run`) and the ledger's figures (`ops`).
"""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ops_pipeline.cli import output
from ops_pipeline.cli.documents import file_document, summary_document
from ops_pipeline.cli.summary import summary_panel

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    import rich.progress
    from rich.progress import TaskID

    from ops_pipeline.engine.outcome import Outcome
    from ops_pipeline.engine.progress import Progress
    from ops_pipeline.ops.queries import RunSummary

# A table of more lines is not read but scrolled past.
MOST_LINES = 40
LOGGED_SECONDS = 10.0

log = logging.getLogger("ops_pipeline.cli")

# What the reader must see first.
_RANK = {
    kind: rank
    for rank, kind in enumerate(
        (
            *("failed", "not_in_plan", "deferred", "suspect", "empty", "promoted", "unchanged", "unknown", "vendor_has_none"),
            *("not_applicable", "up_to_date"),
        )
    )
}

_COLUMNS = (
    output.Column("outcome", whole=True),
    *output.texts("dataset", "ticker"),
    *output.figures("created", "updated", "unchanged", "rejected"),
    *(output.Column("dates", optional=True), output.Column("reason", optional=True)),
)

_GOLD_QUERIES = {
    "gold.fact_eod": "SELECT symbol, date, close, log_return, volatility_20d FROM gold.fact_eod JOIN gold.dim_instrument"
    " USING (instrument_id) ORDER BY date DESC, symbol LIMIT 10",
    "gold.fact_fx": "SELECT currency, date, rate, log_return FROM gold.fact_fx ORDER BY date DESC, currency LIMIT 10",
}
_LEDGER_QUERY = (
    "SELECT dataset, ticker, bronze_outcome, bronze_error FROM ops.file_ingestions ORDER BY bronze_injest_end_time DESC"
)


@dataclass(frozen=True, slots=True)
class KeyLine:
    """One key of the final table; counts are silver's rows."""

    outcome: str
    dataset: str
    ticker: str
    created: int
    updated: int
    unchanged: int
    rejected: int
    from_date: date | None
    to_date: date | None
    reason: str

    @classmethod
    def of(cls, outcome: Outcome) -> KeyLine:
        """The line of an outcome."""
        files = outcome.files
        return cls(
            outcome=outcome.kind.value,
            dataset=outcome.key.dataset,
            ticker=outcome.key.ticker,
            created=sum(f.silver_rows_created for f in files),
            updated=sum(f.silver_rows_updated for f in files),
            unchanged=sum(f.silver_rows_unchanged for f in files),
            rejected=sum(f.silver_rows_failed for f in files),
            from_date=min((f.bronze_from_date for f in files if f.bronze_from_date), default=None),
            to_date=max((f.bronze_to_date for f in files if f.bronze_to_date), default=None),
            reason=outcome.reason,
        )


class RunScreen:
    """What the user of one run sees."""

    def __init__(self, *, as_json: bool, home: Path | None) -> None:
        """Takes what shapes the output: JSON or tables, and the home for the commands that are proposed."""
        self.err = output.console(stderr=True)
        self.failed = 0
        self._as_json, self._home = as_json, home
        self._run_id = ""
        self._keys = 0
        self._lines: list[KeyLine] = []
        self._documents: list[dict[str, Any]] = []
        self._gold: set[str] = set()
        self._bar: tuple[rich.progress.Progress, TaskID] | None = None
        self._progress: Progress | None = None

    def say(self, message: str) -> None:
        """A line on standard error, above the progress bar where there is one."""
        self.err.print(message, soft_wrap=True)

    def begin(self, run_id: str, keys: int) -> None:
        """A run of so many keys begins."""
        self._run_id, self._keys = run_id, keys

    @contextlib.contextmanager
    def progress(self) -> Iterator[None]:
        """Shows a progress bar as long as the block lasts where standard error is a terminal; elsewhere the log tells, at level INFO."""
        from ops_pipeline.engine.progress import Progress

        self._progress = Progress(self._keys, every_seconds=LOGGED_SECONDS)
        if not self.err.is_terminal:
            yield
            return
        from rich.progress import BarColumn, MofNCompleteColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as ProgressBar

        columns = (
            SpinnerColumn(),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.description}", markup=False),
        )
        with ProgressBar(*columns, console=self.err, transient=True) as bar:
            self._bar = bar, bar.add_task("planning", total=self._keys)
            try:
                yield
            finally:
                self._bar = None

    def told(self, outcome: Outcome) -> None:
        """A key is done."""
        line = KeyLine.of(outcome)
        self._lines.append(line)
        self.failed += line.outcome == "failed"
        self._gold |= {f.gold_tablename for f in outcome.files if f.gold_tablename and not f.gold_errors}
        if self._as_json:
            self._documents.append(
                {
                    "dataset": line.dataset,
                    "ticker": line.ticker,
                    "outcome": line.outcome,
                    "reason": line.reason,
                    "failed_layer": outcome.failed_layer,
                    "files": [file_document(file) for file in outcome.files],
                }
            )
        if self._progress is None:
            return
        self._progress.take(outcome)
        if self._bar:
            bar, task = self._bar
            bar.update(task, advance=1, description=", ".join(self._progress.details()) or "planned")
        elif news := self._progress.news():
            log.info(news)

    # --- ends -----------------------------------------------------------------------------------------------------------------

    def finished(self, summary: RunSummary | None, seconds: float) -> None:
        """The run went through, whatever became of its keys."""
        if self._as_json:
            self._print_document(None, summary, seconds)
            return
        self._print_table()
        output.show(summary_panel(self._run_id, summary, keys=self._kinds, seconds=seconds))
        self._print_next(summary is not None)

    def broken_off(self, error: str, seconds: float) -> None:
        """The run as a whole could not go on; the error itself is told by the caller."""
        if self._as_json:
            self._print_document(error, None, seconds)
        elif self._lines:
            self._print_table()

    def stopped(self, signal_name: str, seconds: float) -> None:
        """The user stopped the run."""
        done = f"{len(self._lines):,} of {output.number(self._keys, 'key')} done"
        self.say(f"stopped by {signal_name}, {done}; what was fetched is recorded, and the next run goes on from there")
        if self._as_json:
            self._print_document(f"stopped by {signal_name}", None, seconds)

    # --- parts ----------------------------------------------------------------------------------------------------------------

    @property
    def _kinds(self) -> dict[str, int]:
        """Number of keys by outcome, failures first."""
        found = Counter(line.outcome for line in self._lines)
        return {kind: found[kind] for kind in sorted(found, key=lambda kind: _RANK[kind])}

    def _print_document(self, error: str | None, summary: RunSummary | None, seconds: float) -> None:
        output.print_json(
            {
                "run_id": self._run_id,
                "error": error,
                "seconds": round(seconds, 3),
                "keys": self._kinds,
                "outcomes": self._documents,
                "summary": summary_document(summary) if summary else None,
            }
        )

    def _print_table(self) -> None:
        ordered = sorted(self._lines, key=lambda line: (_RANK[line.outcome], line.dataset, line.ticker))
        rows = [
            (
                output.status_cell(line.outcome),
                *(line.dataset, line.ticker, line.created, line.updated, line.unchanged, line.rejected),
                output.span(line.from_date, line.to_date),
                line.reason,
            )
            for line in ordered[:MOST_LINES]
        ]
        output.show(output.listing(_COLUMNS, rows))
        hidden = Counter(line.outcome for line in ordered[MOST_LINES:])
        if hidden:
            output.show(f"and {hidden.total():,} more: {output.counts(hidden)}\n")

    def _print_next(self, has_files: bool) -> None:
        queries = [query for name, query in _GOLD_QUERIES.items() if name in self._gold] or [_LEDGER_QUERY]
        tries = [f'{output.command("sql", self._home)} "{queries[0]}"']
        if has_files:
            failed = " --failed" if self.failed else ""
            short = self._run_id[: output.SHORT_RUN_ID]
            tries.insert(0, f"{output.command('show', self._home)} {short}{failed}")
            if self.failed:
                tries.insert(1, f"{output.command('retry', self._home)} {short}")
        if Path("workspace.yaml").is_file():
            tries.append(f"{f'OPS_PIPELINE_HOME={shlex.quote(str(self._home))} ' if self._home else ''}make dev")
        output.show("What to try next:", *(f"  {one}" for one in tries))
