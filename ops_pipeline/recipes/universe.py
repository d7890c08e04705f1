"""The universe: which tickers are wanted of which dataset, and from when to when they belong to it.

Belongs here: reading and checking the universe file. Does not belong here: changing it (`changes`, `editing`), files of tickers
(`membership`), what a symbol is (`identity`), what a dataset is (`models`) or what is due (`ops`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from ops_pipeline.clock import utc_now
from ops_pipeline.errors import UniverseError
from ops_pipeline.recipes.identity import Delisting, Identities, Listing, Rename, identities_of
from ops_pipeline.recipes.membership import Member, day_of, member, read_members
from ops_pipeline.recipes.models import NO_TICKER
from ops_pipeline.recipes.tickers import check_ticker
from ops_pipeline.recipes.yaml import load_yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import date

    from ops_pipeline.recipes.loading import Catalogue
    from ops_pipeline.recipes.models import Recipe

PACKAGED = Path(__file__).parent / "universe.yaml"

_SECTIONS: Final = ("datasets", "groups", "renames", "delistings", "listings")
# What is declared of a symbol is of equities, where it does not say otherwise.
DEFAULT_DOMAIN: Final = "equities"


class PartitionKey(NamedTuple):
    """One (ticker, dataset key) pair: the key of the three assets; ticker is `-` for a dataset without tickers."""

    ticker: str
    dataset: str

    def __str__(self) -> str:
        """As people write it: `sample.eod-prices/AAPL`."""
        return self.dataset if self.ticker == NO_TICKER else f"{self.dataset}/{self.ticker}"


class Seat(NamedTuple):
    """A member on a day: the ticker that its data stand under, and the symbol that it traded under on that day."""

    ticker: str
    symbol: str


@dataclass(frozen=True, slots=True)
class Group:
    """A named list of tickers, such as an index.

    Attributes:
        members: with their dates.
        path: the file that they stand in; None: the universe file itself.
        datasets: the datasets that take the group.
    """

    members: tuple[Member, ...]
    path: Path | None = None
    datasets: tuple[str, ...] = ()


class Expected(NamedTuple):
    """The days of which data are expected; None: without bound."""

    since: date | None
    until: date | None


@dataclass(frozen=True)
class Universe:
    """The wanted partitions.

    Attributes:
        wanted: dataset key -> its tickers in file order (`-` alone for a dataset without tickers). Those whose membership has ended are
            among them: their history is still completed. Tickers are those that the vendor is asked for, not those of former times.
        path: the file that it was read from.
        members: dataset key -> its members as the file names them, those of its groups included.
        groups: by name.
        identities: renames, delistings and reused symbols.
        expected: partitions of which data are not expected without bound.
        today: the day that decides which symbols and members are present.
    """

    wanted: dict[str, tuple[str, ...]]
    path: Path
    members: dict[str, tuple[Member, ...]] = field(default_factory=dict)
    groups: dict[str, Group] = field(default_factory=dict)
    identities: Identities = field(default_factory=Identities)
    expected: dict[PartitionKey, Expected] = field(default_factory=dict)
    domains: dict[str, str] = field(default_factory=dict)
    today: date = field(default_factory=lambda: utc_now().date())

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

    def since(self, key: PartitionKey) -> date | None:
        """The first day of which data are expected; None: the dataset's first."""
        return self.expected.get(key, _ALWAYS).since

    def until(self, key: PartitionKey) -> date | None:
        """The last day of which data are expected, where the membership or the instrument has ended; None: no end."""
        return self.expected.get(key, _ALWAYS).until

    def on(self, day: date) -> dict[str, tuple[Seat, ...]]:
        """Dataset key -> who belonged to it on a day, in file order; datasets without tickers are left out."""
        found = {}
        for dataset, members in self.members.items():
            seats: dict[Seat, None] = {}
            for one in members:
                if one.on(day):
                    seats.update(dict.fromkeys(self._seats(self.domains[dataset], one.ticker, day)))
            found[dataset] = tuple(seats)
        return found

    def _seats(self, domain: str, ticker: str, day: date) -> Iterable[Seat]:
        """The member's seat; none on a day on which its instrument did not trade."""
        instrument = self.identities.of(domain, ticker, self.today)
        if instrument is None:
            return [Seat(ticker, ticker)]
        now = instrument.under(self.today).text
        return [Seat(now, symbol.text) for symbol in instrument.symbols if symbol.holds(day)]


_ALWAYS: Final = Expected(None, None)


def load_universe(path: Path, catalogue: Catalogue, today: date | None = None) -> Universe:
    """The universe file, or the built-in one where the file does not exist.

    Args:
        path: the file; groups are read from files below its folder.
        catalogue: the known datasets.
        today: the day that decides which renames have taken place and who is a member; None: the clock's.

    Raises:
        UniverseError: naming file, dataset and ticker.
    """
    try:
        origin = path if path.exists() else PACKAGED
    except OSError as e:
        raise UniverseError(f"{path}: cannot be read ({e.strerror}). Make its folder readable.") from e
    data = load_yaml(origin, UniverseError)
    if not isinstance(data, dict) or not isinstance(data.get("datasets"), dict) or not set(data) <= set(_SECTIONS):
        raise UniverseError(
            f"{origin}: expected one key `datasets` that maps dataset keys to lists of tickers, and beside it at most"
            f" {', '.join(_SECTIONS[1:])}."
        )
    return _Reading(origin, catalogue, today or utc_now().date()).universe(data)


class _Reading:
    """One universe file being read."""

    def __init__(self, origin: Path, catalogue: Catalogue, today: date) -> None:
        self.origin, self.catalogue, self.today = origin, catalogue, today
        self.taken: dict[str, list[str]] = {}
        self.expected: dict[PartitionKey, Expected] = {}

    def universe(self, data: dict[str, Any]) -> Universe:
        groups = self._groups(data.get("groups") or {})
        identities = self._identities(data)
        wanted: dict[str, tuple[str, ...]] = {}
        members: dict[str, tuple[Member, ...]] = {}
        for dataset, entries in data["datasets"].items():
            recipe = self.catalogue.recipes.get(dataset)
            if recipe is None:
                known = ", ".join(self.catalogue.complete().recipes)
                raise UniverseError(f"{self.origin}: there is no dataset {dataset!r}; known datasets: {known}.")
            if not recipe.per_ticker:
                if entries:
                    raise UniverseError(
                        f"{self.origin}: dataset {dataset} is asked for as a whole; leave its list of tickers empty."
                    )
                wanted[dataset] = (NO_TICKER,)
                continue
            members[dataset] = self._members(dataset, entries, groups)
            wanted[dataset] = self._tickers(recipe, members[dataset], identities)
        return Universe(
            wanted,
            self.origin,
            members,
            {name: Group(g.members, g.path, tuple(self.taken.get(name, ()))) for name, g in groups.items()},
            identities,
            self.expected,
            {dataset: self.catalogue.recipes[dataset].domain for dataset in members},
            self.today,
        )

    # --- members --------------------------------------------------------------------------------------------------------------

    def _groups(self, data: object) -> dict[str, Group]:
        if not isinstance(data, dict):
            raise UniverseError(f"{self.origin}: `groups` maps names to files or to lists of tickers.")
        found = {}
        for name, what in data.items():
            if isinstance(what, str) and what:
                path = self.origin.parent / Path(what).expanduser()
                found[name] = Group(read_members(path), path)
            elif isinstance(what, list):
                found[name] = Group(tuple(self._member(f"group {name}", entry) for entry in what))
            else:
                raise UniverseError(f"{self.origin}: group {name} is the path of a file, or a list of tickers.")
        return found

    def _members(self, dataset: str, entries: object, groups: dict[str, Group]) -> tuple[Member, ...]:
        if not isinstance(entries, list):
            raise UniverseError(
                f"{self.origin}: dataset {dataset} needs a list of tickers, one a line (`- AAPL`); write [] for none."
            )
        found: list[Member] = []
        for entry in entries:
            if isinstance(entry, dict) and set(entry) == {"group"}:
                group = groups.get(entry["group"])
                if group is None:
                    known = ", ".join(groups) or "none"
                    raise UniverseError(
                        f"{self.origin}: dataset {dataset}: there is no group {entry['group']!r}; groups in this file: {known}."
                    )
                self.taken.setdefault(entry["group"], []).append(dataset)
                found += group.members
            else:
                found.append(self._member(f"dataset {dataset}", entry))
        return tuple(found)

    def _member(self, where: str, entry: object) -> Member:
        place = f"{self.origin}: {where}"
        if isinstance(entry, str):
            return member(entry, None, None, place)
        if isinstance(entry, dict) and isinstance(entry.get("ticker"), str) and set(entry) <= {"ticker", "from", "to"}:
            return member(entry["ticker"], entry.get("from"), entry.get("to"), place)
        raise UniverseError(
            f"{place} needs a list of tickers, each a text, or {{ticker: T, from: DATE, to: DATE}}, or {{group: NAME}} in a dataset."
        )

    def _tickers(self, recipe: Recipe, members: tuple[Member, ...], identities: Identities) -> tuple[str, ...]:
        """What the vendor is asked for: the members that there are today or were before, by the symbols that it knows."""
        found: dict[str, Expected] = {}
        dated = self.catalogue.sources[recipe.source].symbols == "dated"
        for one in members:
            if one.valid_from is not None and one.valid_from > self.today:
                continue
            instrument = identities.of(recipe.domain, one.ticker, self.today) if identities.instruments else None
            if instrument is None:
                symbols = [(one.ticker, one.valid_to)]
                starts: list[date | None] = [None]
            elif dated:
                had = [s for s in instrument.symbols if s.valid_from is None or s.valid_from <= self.today]
                symbols = [(s.text, _earlier(s.valid_to, one.valid_to)) for s in had]
                starts = [s.valid_from for s in had]
            else:
                now = instrument.under(self.today)
                symbols, starts = [(now.text, _earlier(now.valid_to, one.valid_to))], [instrument.symbols[0].valid_from]
            for (ticker, until), since in zip(symbols, starts, strict=True):
                before = found.get(ticker)
                # Of several memberships the last end counts: the days between are history like any other.
                found[ticker] = Expected(
                    since if before is None else _first(since, before.since),
                    until if before is None else _last(until, before.until),
                )
        self.expected.update({PartitionKey(t, recipe.dataset_key): e for t, e in found.items() if e != _ALWAYS})
        return tuple(found)

    # --- identity -------------------------------------------------------------------------------------------------------------

    def _identities(self, data: dict[str, Any]) -> Identities:
        events: list[Rename | Delisting | Listing] = []
        for entry in self._entries(data, "renames", ("from", "to", "on")):
            old, new = self._ticker("renames", entry["from"]), self._ticker("renames", entry["to"])
            if old == new:
                raise UniverseError(f"{self.origin}: renames: {old} stays {new}; delete the entry.")
            events.append(Rename(entry["domain"], old, new, self._day("renames", entry["on"])))
        for entry in self._entries(data, "delistings", ("ticker", "last_day")):
            ticker, day = self._ticker("delistings", entry["ticker"]), self._day("delistings", entry["last_day"])
            events.append(Delisting(entry["domain"], ticker, day))
        for entry in self._entries(data, "listings", ("ticker", "first_day")):
            ticker, day = self._ticker("listings", entry["ticker"]), self._day("listings", entry["first_day"])
            events.append(Listing(entry["domain"], ticker, day))
        try:
            return identities_of(events)
        except ValueError as e:
            raise UniverseError(f"{self.origin}: {e}. Correct renames, delistings or listings.") from e

    def _entries(self, data: dict[str, Any], section: str, names: tuple[str, ...]) -> list[dict[str, str]]:
        entries = data.get(section) or []
        if not isinstance(entries, list):
            entries = [None]
        for entry in entries:
            if not isinstance(entry, dict) or not set(names) <= set(entry) <= {*names, "domain"} or not _texts(entry):
                raise UniverseError(f"{self.origin}: an entry of {section} is {{{', '.join(names)}}}, and perhaps domain.")
        return [{"domain": DEFAULT_DOMAIN, **entry} for entry in entries]

    def _ticker(self, section: str, text: str) -> str:
        try:
            return check_ticker(text)
        except UniverseError as e:
            raise UniverseError(f"{self.origin}: {section}: {e}") from e

    def _day(self, section: str, text: str) -> date:
        day = day_of(text, f"{self.origin}: {section}")
        if day is None:
            raise UniverseError(f"{self.origin}: {section}: a day is missing; write YYYY-MM-DD.")
        return day


def _texts(entry: dict[str, Any]) -> bool:
    return all(isinstance(value, str) for value in entry.values())


def _earlier(a: date | None, b: date | None) -> date | None:
    return min((d for d in (a, b) if d is not None), default=None)


def _first(a: date | None, b: date | None) -> date | None:
    return None if a is None or b is None else min(a, b)


def _last(a: date | None, b: date | None) -> date | None:
    return None if a is None or b is None else max(a, b)
