"""Membership: which tickers belong to a dataset or a group, and from when to when.

Belongs here: dated members, and the files of tickers that groups are read from. Does not belong here: the universe file (`universe`) and
what a symbol is (`identity`).
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Final

from ops_pipeline.errors import UniverseError
from ops_pipeline.recipes.tickers import check_ticker

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

LARGEST_FILE: Final = 16 * 1024 * 1024
_LONGEST_LINE: Final = 4096
_TICKER, _FROM, _TO = ("ticker", "symbol"), ("valid_from", "from"), ("valid_to", "to")
HEADER: Final = ("ticker", "valid_from", "valid_to")


@dataclass(frozen=True, slots=True)
class Member:
    """A ticker that belongs to something from a day to a day, both inclusive; None: without bound."""

    ticker: str
    valid_from: date | None = None
    valid_to: date | None = None

    def on(self, day: date) -> bool:
        """Whether it belonged on a day."""
        return (self.valid_from is None or self.valid_from <= day) and (self.valid_to is None or day <= self.valid_to)


def day_of(text: object, where: str) -> date | None:
    """A day as it is written in files; nothing: None.

    Raises:
        UniverseError: for anything that is not written as 2026-01-31.
    """
    if text in ("", None):
        return None
    try:
        if isinstance(text, str) and len(text) == 10:
            return date.fromisoformat(text)
    except ValueError:
        pass
    raise UniverseError(f"{where}: {str(text)[:40]!r} is not a day; write YYYY-MM-DD.")


def member(ticker: str, valid_from: object, valid_to: object, where: str) -> Member:
    """A member as a file says it.

    Raises:
        UniverseError: a ticker or a day that cannot be one, or an end before the beginning.
    """
    try:
        found = Member(check_ticker(ticker), day_of(valid_from, "valid_from"), day_of(valid_to, "valid_to"))
    except UniverseError as e:
        raise UniverseError(f"{where}: {e}") from e
    if found.valid_from and found.valid_to and found.valid_from > found.valid_to:
        raise UniverseError(
            f"{where}: {ticker} would end on {found.valid_to}, before it begins on {found.valid_from}; exchange them."
        )
    return found


def read_members(path: Path) -> tuple[Member, ...]:
    """The members of a file: a ticker a line (`# ...` is a comment), or CSV whose header names `ticker`.

    The header may name `valid_from` and `valid_to` as well. A ticker may stand in the file more than once, with other dates: it left and
    came back.

    Raises:
        UniverseError: naming the file and the line.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise UniverseError(
                f"{path}: is larger than {LARGEST_FILE >> 20} MB, which no file of tickers is. Name another file."
            )
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as e:
        raise UniverseError(f"{path}: the tickers cannot be read ({e}). Make it a UTF-8 text file with one ticker a line.") from e
    for number, line in enumerate(lines, start=1):
        if len(line) > _LONGEST_LINE:
            raise UniverseError(f"{path}, line {number}: is longer than {_LONGEST_LINE} characters; write one ticker a line.")
    header = _header(lines)
    found = _table(path, lines, header) if header else _plain(path, lines)
    if not found:
        raise UniverseError(f"{path}: names no ticker; write one a line.")
    return tuple(dict.fromkeys(found))


def _header(lines: Sequence[str]) -> list[str]:
    names = [name.strip().lower() for name in next(csv.reader(lines[:1]), [])]
    return names if any(name in names for name in _TICKER) else []


def _plain(path: Path, lines: Sequence[str]) -> list[Member]:
    # A number sign counts as a comment at the start and after a blank only: it may be a part of a symbol.
    texts = [(number, f" {line}".partition(" #")[0].strip()) for number, line in enumerate(lines, start=1)]
    return [member(text, None, None, f"{path}, line {number}") for number, text in texts if text]


def _table(path: Path, lines: Sequence[str], header: Sequence[str]) -> list[Member]:
    places = [next((header.index(name) for name in names if name in header), None) for names in (_TICKER, _FROM, _TO)]
    found = []
    reader = csv.reader(lines, strict=True)
    try:
        for cells in reader:
            if reader.line_num == 1 or not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(header):
                raise UniverseError(f"{path}, line {reader.line_num}: has {len(cells)} cells, the header {len(header)}.")
            ticker, first, last = (cells[p].strip() if p is not None and p < len(cells) else "" for p in places)
            found.append(member(ticker, first, last, f"{path}, line {reader.line_num}"))
    except csv.Error as e:
        raise UniverseError(f"{path}, line {reader.line_num}: is not valid CSV ({e}).") from e
    return found


def written(members: Iterable[Member]) -> str:
    """Members as a file that `read_members` reads."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    writer.writerows((m.ticker, m.valid_from or "", m.valid_to or "") for m in members)
    return text.getvalue()


def updated(before: Sequence[Member], tickers: Sequence[str], on: date, day_before: date) -> list[Member]:
    """The members when these are the tickers from a day on: who left ends on the day before, who came begins on the day."""
    now = set(tickers)
    kept = [
        Member(m.ticker, m.valid_from, day_before) if m.ticker not in now and m.on(on) and m.on(day_before) else m
        for m in before
        if m.ticker in now or m.valid_from is None or m.valid_from < on  # who would begin no earlier never does
    ]
    there = {m.ticker for m in kept if m.on(on)}
    return kept + [Member(ticker, on) for ticker in dict.fromkeys(tickers) if ticker not in there]
