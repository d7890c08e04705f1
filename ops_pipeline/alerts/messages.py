"""What a message says.

Belongs here: one message a run, one about the state of the home, without any secret. Does not belong here: sending (`sending`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ops_pipeline.ops.queries import MAX_LIMIT, RunFilter
from ops_pipeline.sources.redaction import Redactor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ops_pipeline.engine.context import Context
    from ops_pipeline.engine.morning import Problem

# More is not read on a telephone.
_REASONS = 5
_SHORT_RUN_ID = 8


@dataclass(frozen=True, slots=True)
class Message:
    """A title and a text, and a digest by which it is seen whether there is anything new."""

    title: str
    body: str
    digest: str


def failed_keys(context: Context, run_id: str) -> list[tuple[str, str, str]]:
    """(dataset, ticker, reason) of every file that failed in a run, in order."""
    files = context.service.run_files(run_id, RunFilter(only_failures=True), limit=MAX_LIMIT)
    return sorted({(file.dataset_key, file.ticker, file.error or "no reason was recorded") for file in files})


def of_run(context: Context, run_id: str, failed: Sequence[tuple[str, str, str]], *, error: str, link: str) -> Message:
    """One message for all that failed in a run.

    Args:
        context: the home.
        run_id: the run.
        failed: see `failed_keys`; none when the run as a whole could not go on.
        error: why the run failed, where no key did.
        link: where to look at it; empty: nowhere.
    """
    short = run_id[:_SHORT_RUN_ID]
    reasons = Counter((dataset, reason) for dataset, _, reason in failed)
    title = f"{len(failed)} {'key' if len(failed) == 1 else 'keys'} failed in run {short}" if failed else f"Run {short} failed"
    lines = [f"{count} x {dataset}: {reason}" for (dataset, reason), count in reasons.most_common(_REASONS)]
    if len(reasons) > _REASONS:
        lines.append(f"and {len(reasons) - _REASONS} more reasons")
    lines += [] if failed else [error]
    lines += ["", f"Repair: ops-pipeline retry {short}"] + ([f"Look: {link}"] if link else [])
    return _message(context, title, lines, failed or [error])


def of_findings(context: Context, checks: Sequence[tuple[str, str]], problems: Sequence[Problem]) -> Message | None:
    """One message about checks that fail (name, first findings) and what is stale or doubtful; None where there is nothing."""
    lines = [f"{name}: {found}" for name, found in checks]
    lines += [
        f"{problem.kind}: {problem.dataset or 'all'}{f' ({len(problem.tickers)} tickers)' if problem.tickers else ''}, {problem.reason}."
        f" Repair: ops-pipeline {problem.repair}"
        for problem in problems
    ]
    if not lines:
        return None
    shown = lines[: 2 * _REASONS]
    more = [f"and {len(lines) - len(shown)} more: ops-pipeline morning"] if len(lines) > len(shown) else []
    title = f"{len(lines)} {'finding' if len(lines) == 1 else 'findings'} in the data"
    return _message(context, title, [*shown, *more], [*checks, *((p.kind, p.dataset, p.tickers) for p in problems)])


def _message(context: Context, title: str, lines: Iterable[str], about: Iterable[object]) -> Message:
    body = "\n".join(lines)
    for source in context.catalogue.sources.values():
        if source.http and source.http.key:
            # What is stored is without keys already; a traceback of somebody else's code may not be.
            with suppress(ValueError):
                body = Redactor(source.http.key.read()).text(body)
    digest = hashlib.sha256("\x1e".join(sorted(map(repr, about))).encode()).hexdigest()[:16]
    return Message(title, body, digest)
