"""Which keys a run is about.

Belongs here: from `--dataset`, `--ticker` and `--tickers-file` to partitions of the universe. Does not belong here: what is due of them.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from ops_pipeline.cli.output import first
from ops_pipeline.errors import UniverseError, UserError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from ops_pipeline.engine.context import Context
    from ops_pipeline.recipes.universe import PartitionKey, Universe


def read_tickers(path: Path) -> list[str]:
    """The tickers of a file, one a line; blank lines and comments (`# ...`) do not count.

    Raises:
        UserError: when the file cannot be read or names no ticker.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise UserError(
            f"{path}: the tickers file cannot be read ({e}). Make it a UTF-8 text file with one ticker a line."
        ) from e
    # A number sign counts as a comment at the start and after a blank only: it may be a part of a symbol.
    tickers = [ticker for line in lines if (ticker := f" {line}".partition(" #")[0].strip())]
    if not tickers:
        raise UserError(f"{path}: the tickers file names no ticker; write one a line.")
    return tickers


def select_keys(context: Context, datasets: Sequence[str], tickers: Sequence[str]) -> list[PartitionKey]:
    """The wanted partitions of the given datasets and tickers; none given means all.

    A dataset without tickers is selected by its name or by giving no tickers.

    Raises:
        RecipeError: for a dataset that no recipe declares.
        UniverseError: for what the universe does not list, and where nothing is left; the text names the command that adds it.
    """
    universe = context.universe()
    for dataset in datasets:
        recipe = context.catalogue.recipe(dataset)
        if not universe.wanted.get(dataset):
            example = "TICKER " if recipe.per_ticker else ""
            raise UniverseError(
                f"the universe {universe.path} lists nothing of dataset {dataset}: run"
                f" `ops-pipeline universe add {example}--dataset {dataset}`."
            )
    within = [key for key in universe if not datasets or key.dataset in datasets]
    if not within:
        raise UniverseError(f"the universe {universe.path} lists nothing: run `ops-pipeline universe add TICKER --dataset NAME`.")
    if not tickers:
        return within
    per_ticker = [key for key in within if context.catalogue.recipes[key.dataset].per_ticker]
    if not per_ticker:
        raise UniverseError(
            f"{', '.join(dict.fromkeys(key.dataset for key in within))}: asked for as a whole; leave the tickers out."
        )
    listed = {key.ticker for key in per_ticker}
    unknown = [ticker for ticker in dict.fromkeys(tickers) if ticker not in listed]
    if unknown:
        _explain_rename(universe, per_ticker, unknown[0])
        where = f" for {', '.join(datasets)}" if datasets else ""
        raise UniverseError(
            f"the universe {universe.path} does not list {first(unknown)}{where}: run"
            f" `ops-pipeline universe add {shlex.quote(unknown[0])} --dataset {per_ticker[0].dataset}`."
        )
    wanted = set(tickers)
    return [
        key
        for key in within
        if key.ticker in wanted or (key.dataset in datasets and not context.catalogue.recipes[key.dataset].per_ticker)
    ]


def _explain_rename(universe: Universe, within: Sequence[PartitionKey], ticker: str) -> None:
    """Refuses a former symbol by naming the present one, where that is listed."""
    for dataset in dict.fromkeys(key.dataset for key in within):
        instrument = universe.identities.of(universe.domains[dataset], ticker, universe.today)
        now = instrument.under(universe.today) if instrument else None
        if now and now.text != ticker and now.text in universe.wanted[dataset]:
            raise UniverseError(f"{ticker} is {now.text} since {now.valid_from}: write --ticker {shlex.quote(now.text)}.")
