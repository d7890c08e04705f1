"""The universe: which tickers are wanted of which dataset.

Belongs here: reading and checking the universe file, and which change is allowed. Does not belong here: how its text is edited (`editing`),
what a dataset is (`models`) or what is due (`ops`).
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ops_pipeline.errors import UniverseError
from ops_pipeline.files import write_atomically
from ops_pipeline.recipes.editing import edited
from ops_pipeline.recipes.models import NO_TICKER
from ops_pipeline.recipes.yaml import load_yaml, parse_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ops_pipeline.recipes.loading import Catalogue

PACKAGED = Path(__file__).parent / "universe.yaml"
MAX_TICKER_LENGTH = 200

# Dagster joins partition dimensions with a bar, and reads three dots as a range of keys.
_FORBIDDEN = {"|": "holds a bar", "...": "holds three dots"}


class PartitionKey(NamedTuple):
    """One (ticker, dataset key) pair: the key of the three assets; ticker is `-` for a dataset without tickers."""

    ticker: str
    dataset: str

    def __str__(self) -> str:
        """As people write it: `sample.eod-prices/AAPL`."""
        return self.dataset if self.ticker == NO_TICKER else f"{self.dataset}/{self.ticker}"


@dataclass(frozen=True)
class Universe:
    """The wanted partitions.

    Attributes:
        wanted: dataset key -> its tickers in file order (`-` alone for a dataset without tickers).
        path: the file that it was read from.
    """

    wanted: dict[str, tuple[str, ...]]
    path: Path

    def __iter__(self) -> Iterator[PartitionKey]:
        """Every wanted partition, dataset by dataset."""
        return (PartitionKey(t, d) for d, tickers in self.wanted.items() for t in tickers)

    def __contains__(self, key: object) -> bool:
        """Whether a partition is wanted."""
        return isinstance(key, PartitionKey) and key.ticker in self._sets.get(key.dataset, frozenset())

    @cached_property
    def _sets(self) -> dict[str, frozenset[str]]:
        return {d: frozenset(t) for d, t in self.wanted.items()}

    @property
    def tickers(self) -> tuple[str, ...]:
        """Every ticker once, in file order, `-` included where a dataset without tickers is wanted."""
        return tuple(dict.fromkeys(t for tickers in self.wanted.values() for t in tickers))


def check_ticker(ticker: str) -> str:
    """The ticker, or an error that says why it cannot be one.

    Raises:
        UniverseError: for an empty or too long ticker, `-`, a bar, three dots, blanks at the ends, or characters that do not print.
    """
    shown = ticker if len(ticker) <= 40 else ticker[:40] + "..."
    problem = next((why for text, why in _FORBIDDEN.items() if text in ticker), None)
    if not ticker or ticker != ticker.strip():
        problem = "is empty or has blanks at its ends"
    elif ticker == NO_TICKER:
        problem = "stands for `no ticker`"
    elif len(ticker) > MAX_TICKER_LENGTH:
        problem = f"is longer than {MAX_TICKER_LENGTH} characters"
    elif any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp") for c in ticker):
        problem = "holds a character that does not print"
    if problem:
        raise UniverseError(f"the ticker {shown!r} {problem}; write the symbol as the vendor does.")
    return ticker


def load_universe(path: Path, catalogue: Catalogue) -> Universe:
    """The universe file, or the built-in one where the file does not exist.

    Raises:
        UniverseError: naming file, dataset and ticker.
    """
    try:
        origin = path if path.exists() else PACKAGED
    except OSError as e:
        raise UniverseError(f"{path}: cannot be read ({e.strerror}). Make its folder readable.") from e
    data = load_yaml(origin, UniverseError)
    if not isinstance(data, dict) or set(data) != {"datasets"} or not isinstance(data["datasets"], dict):
        raise UniverseError(f"{origin}: expected one key `datasets` that maps dataset keys to lists of tickers.")
    wanted: dict[str, tuple[str, ...]] = {}
    for dataset, tickers in data["datasets"].items():
        if dataset not in catalogue.recipes:
            known = ", ".join(catalogue.recipes)
            raise UniverseError(f"{origin}: there is no dataset {dataset!r}; known datasets: {known}.")
        wanted[dataset] = _tickers(origin, dataset, tickers, catalogue.recipes[dataset].per_ticker)
    return Universe(wanted, origin)


def _tickers(origin: Path, dataset: str, tickers: object, per_ticker: bool) -> tuple[str, ...]:
    if not per_ticker:
        if tickers:
            raise UniverseError(f"{origin}: dataset {dataset} is asked for as a whole; leave its list of tickers empty.")
        return (NO_TICKER,)
    if not isinstance(tickers, list) or not all(isinstance(t, str) for t in tickers):
        raise UniverseError(f"{origin}: dataset {dataset} needs a list of tickers, one a line (`- AAPL`); write [] for none.")
    for ticker in tickers:
        try:
            check_ticker(ticker)
        except UniverseError as e:
            raise UniverseError(f"{origin}: dataset {dataset}: {e}") from e
    return tuple(dict.fromkeys(tickers))


def add_tickers(path: Path, catalogue: Catalogue, tickers: Iterable[str], datasets: Iterable[str] = ()) -> dict[str, list[str]]:
    """Adds tickers to the given datasets, or to every wanted dataset that has tickers; comments in the file stay.

    Returns:
        dataset key -> tickers that were not in it before.

    Raises:
        UniverseError: for a bad ticker, an unknown dataset, or a dataset without tickers.
    """
    wanted = [check_ticker(t) for t in tickers]
    universe = load_universe(path, catalogue)
    targets = list(datasets) or [d for d in universe.wanted if catalogue.recipes[d].per_ticker]
    for dataset in targets:
        recipe = catalogue.recipes.get(dataset)
        if recipe is None:
            raise UniverseError(f"there is no dataset {dataset!r}; known datasets: {', '.join(catalogue.recipes)}.")
        if not recipe.per_ticker and wanted:
            raise UniverseError(f"dataset {dataset} is asked for as a whole, it takes no tickers.")
    if not targets:
        raise UniverseError(f"{universe.path}: no dataset with tickers is wanted yet; name one with --dataset.")
    added = {d: [t for t in dict.fromkeys(wanted) if t not in universe.wanted.get(d, ())] for d in targets}
    _edit(universe, path, added, {})
    return {d: new for d, new in added.items() if new}


def remove_tickers(
    path: Path, catalogue: Catalogue, tickers: Iterable[str], datasets: Iterable[str] = ()
) -> dict[str, list[str]]:
    """Removes tickers from the given datasets, or from all; what is stored of them stays.

    Returns:
        dataset key -> tickers that were removed.

    Raises:
        UniverseError: when a ticker stands in none of the datasets.
    """
    gone = list(dict.fromkeys(tickers))
    universe = load_universe(path, catalogue)
    targets = list(dict.fromkeys(datasets)) or list(universe.wanted)
    for dataset in targets:
        if dataset not in universe.wanted:
            raise UniverseError(
                f"{universe.path}: dataset {dataset!r} is not wanted; it lists {', '.join(universe.wanted) or 'none'}."
            )
    removed = {d: [t for t in gone if t in universe.wanted[d] and t != NO_TICKER] for d in targets}
    missing = [t for t in gone if not any(t in r for r in removed.values())]
    if missing:
        raise UniverseError(f"{universe.path}: {', '.join(missing)} not found in {', '.join(targets)}; nothing was changed.")
    removed = {d: r for d, r in removed.items() if r}
    _edit(universe, path, {}, removed)
    return removed


def _edit(universe: Universe, path: Path, add: dict[str, list[str]], remove: dict[str, list[str]]) -> None:
    """Writes the universe's file to the path with these tickers added and removed.

    Raises:
        UniverseError: when the file's layout does not allow it; it is then as it was.
    """
    raw = universe.path.read_bytes().decode("utf-8-sig")
    before = raw.replace("\r\n", "\n")
    expected = parse_yaml(before, universe.path, UniverseError)["datasets"]
    for dataset, new in add.items():
        if new or dataset not in expected:
            expected[dataset] = [*expected.get(dataset, []), *new]
    for dataset, gone in remove.items():
        expected[dataset] = [t for t in expected[dataset] if t not in gone]
    after = edited(before, add, remove)
    if after == before:
        return
    try:
        understood = parse_yaml(after, universe.path, UniverseError) == {"datasets": expected}
    except UniverseError:
        understood = False
    if not understood:
        raise UniverseError(f"{universe.path}: its lists are written in a way that cannot be edited in place; edit it by hand.")
    try:
        write_atomically(path, (after.replace("\n", "\r\n") if "\r\n" in raw else after).encode())
    except OSError as e:
        raise UniverseError(
            f"{path}: cannot be written ({e.strerror or e}). Check the folder's permissions and free space."
        ) from e
