"""Identity: which symbols are one instrument, and from when to when.

Belongs here: renames, delistings and reused symbols as chains of symbols, and the questions that they answer. Does not belong here: reading
them from the universe file (`universe`), and the instruments' ids (`gold.dimensions`).

A rename continues one instrument; a symbol that is listed again starts another. An instrument that nothing is declared of has one symbol
without dates, and stands nowhere here.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Rename:
    """From this day on, an instrument trades under another symbol."""

    domain: str
    old: str
    new: str
    on: date


@dataclass(frozen=True, slots=True)
class Delisting:
    """The last day on which a symbol traded."""

    domain: str
    ticker: str
    last_day: date


@dataclass(frozen=True, slots=True)
class Listing:
    """The first day of another instrument under a symbol that was used before."""

    domain: str
    ticker: str
    first_day: date


@dataclass(frozen=True, slots=True)
class Symbol:
    """A symbol of one instrument; None: without bound."""

    text: str
    valid_from: date | None = None
    valid_to: date | None = None

    def holds(self, day: date) -> bool:
        """Whether the instrument traded under it on a day."""
        return (self.valid_from is None or self.valid_from <= day) and (self.valid_to is None or day <= self.valid_to)


@dataclass(frozen=True, slots=True)
class Instrument:
    """One instrument: its symbols in order, without a gap between them."""

    domain: str
    symbols: tuple[Symbol, ...]

    def under(self, day: date) -> Symbol:
        """The symbol that vendors know it by on a day: the last that it had by then."""
        return next((s for s in reversed(self.symbols) if s.valid_from is None or s.valid_from <= day), self.symbols[0])


@dataclass(frozen=True)
class Identities:
    """Every instrument of which something is declared.

    Attributes:
        instruments: in the order in which they are first named.
    """

    instruments: tuple[Instrument, ...] = ()
    _by_symbol: dict[tuple[str, str], list[Instrument]] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Finds instruments by symbol."""
        found: dict[tuple[str, str], list[Instrument]] = defaultdict(list)
        for instrument in self.instruments:
            for text in dict.fromkeys(s.text for s in instrument.symbols):
                found[instrument.domain, text].append(instrument)
        self._by_symbol.update(found)

    def of(self, domain: str, ticker: str, day: date) -> Instrument | None:
        """The instrument that a ticker means on a day: the one that trades under it then, or else the last one that did."""
        named = self._by_symbol.get((domain, ticker))
        if not named:
            return None
        held = [(s, i) for i in named for s in i.symbols if s.text == ticker and (s.valid_from is None or s.valid_from <= day)]
        if not held:
            return named[0]
        return max(held, key=lambda h: (h[0].valid_to or date.max, h[0].valid_from or date.min))[1]


def identities_of(events: Iterable[Rename | Delisting | Listing]) -> Identities:
    """The chains that the events make, whatever their order.

    Raises:
        ValueError: two events contradict each other; the text says how.
    """
    chains: list[tuple[str, list[Symbol]]] = []
    trading: dict[tuple[str, str], list[Symbol]] = {}
    used: set[tuple[str, str]] = set()

    def chain(domain: str, ticker: str, day: date) -> list[Symbol]:
        """The instrument that trades under a ticker before a day; one that was never named has always done so."""
        if (domain, ticker) not in used:
            used.add((domain, ticker))
            chains.append((domain, [Symbol(ticker)]))
            trading[domain, ticker] = chains[-1][1]
        found = trading.get((domain, ticker))
        if found is None:
            raise ValueError(f"{ticker} trades no more on {day}: it was renamed or delisted before")
        if found[-1].valid_from is not None and found[-1].valid_from >= day:
            raise ValueError(f"{ticker} trades only since {found[-1].valid_from}, and not before {day}")
        return found

    def ended(domain: str, symbols: list[Symbol], last_day: date) -> None:
        last = symbols[-1]
        symbols[-1] = Symbol(last.text, last.valid_from, last_day)
        del trading[domain, last.text]

    for event in sorted(events, key=_moment):
        match event:
            case Rename(domain, old, new, on):
                symbols = chain(domain, old, on)
                if (domain, new) in trading:
                    raise ValueError(f"{old} cannot become {new} on {on}: another instrument trades under {new} then")
                ended(domain, symbols, on - _DAY)
                symbols.append(Symbol(new, on))
                trading[domain, new] = symbols
                used.add((domain, new))
            case Delisting(domain, ticker, last_day):
                ended(domain, chain(domain, ticker, last_day + _DAY), last_day)
            case Listing(domain, ticker, first_day):
                if (domain, ticker) in trading:
                    raise ValueError(
                        f"{ticker} cannot be listed on {first_day}: an instrument trades under it then; end that one first"
                    )
                used.add((domain, ticker))
                chains.append((domain, [Symbol(ticker, first_day)]))
                trading[domain, ticker] = chains[-1][1]
    return Identities(tuple(Instrument(domain, tuple(symbols)) for domain, symbols in chains))


def _moment(event: Rename | Delisting | Listing) -> tuple[date, int]:
    """When an event takes place; of one day, a symbol is given up before it is taken."""
    match event:
        case Delisting(last_day=day):
            return day + _DAY, 0
        case Rename(on=day):
            return day, 1
        case Listing(first_day=day):
            return day, 2
