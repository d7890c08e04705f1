"""The command that asks a vendor again for what is missing.

Belongs here: its text. Does not belong here: what is missing (`gaps`, `morning`).
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ops_pipeline.recipes.models import NO_TICKER

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date


def run_again(dataset: str, tickers: Iterable[str] = (), days: tuple[date, date] | None = None) -> str:
    """The arguments of `ops-pipeline` that ask for a dataset, or for these tickers and days of it; `-` is no ticker to a shell."""
    span = f" --from {days[0]} --to {days[1]}" if days else ""
    return f"run {chosen(dataset, tickers)}{span}"


def chosen(dataset: str, tickers: Iterable[str]) -> str:
    """The options of a command that choose a dataset, or these tickers of it."""
    return " ".join(["--dataset", dataset, *(f"--ticker {shlex.quote(ticker)}" for ticker in tickers if ticker != NO_TICKER)])
