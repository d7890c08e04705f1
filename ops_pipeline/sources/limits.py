"""Keeping to a source's limits, over all processes of a machine that use the home.

Belongs here: the count of what was asked, who may ask next and when, and the pause that a vendor wants. Does not belong here: what the
limits are (`recipes.limits`) and what becomes of a request that may not be sent (`http`).

The count stands in a small SQLite file below the home, one a source, and every look at it is one short transaction under a lock that the
operating system releases with its process. Nobody polls: whoever must wait is told how long at least, and sleeps until then.

A call counts against a limit per second, minute or hour from its beginning until so long after the vendor's answer began to come: in
between, nobody but the vendor knows when it counted the call, and only so can it never count more than its limit.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ops_pipeline.recipes.limits import Limits

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS calls (number INTEGER PRIMARY KEY, over_at REAL NOT NULL, pid INTEGER);
CREATE INDEX IF NOT EXISTS calls_in_time ON calls (over_at);
CREATE TABLE IF NOT EXISTS used (period TEXT, what TEXT, amount INTEGER NOT NULL, PRIMARY KEY (period, what)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS symbols (period TEXT, symbol TEXT, PRIMARY KEY (period, symbol)) WITHOUT ROWID;
"""
# Old calls and periods are forgotten with one call in so many.
_TIDY_EVERY: Final = 256
_KEPT_PERIODS: Final = timedelta(days=100)


@dataclass(frozen=True, slots=True)
class Permit:
    """A call that may be sent now.

    Attributes:
        number: of the call.
        day: the vendor's day in which it was begun, such as 2026-11-25.
    """

    number: int
    day: str


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that may not be sent yet.

    Attributes:
        seconds: after which it is worth asking again, and not before.
        why: what is used up, such as `250 calls a day`.
        at: when that will be.
    """

    seconds: float
    why: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of one quota.

    Attributes:
        period: hour, day or month.
        what: calls, symbols or bytes.
        amount: what the plan allows in a period.
        used: so far in the present one.
        resets_at: when the next one begins; of an hour, which begins anew with every call, when something is free again at the latest.
    """

    period: str
    what: str
    amount: int
    used: int
    resets_at: datetime

    @property
    def left(self) -> int:
        """What may still be used."""
        return max(0, self.amount - self.used)


class SharedLimits:
    """One source's limits; every process has an object of its own, and they count together. Used by one thread."""

    def __init__(self, folder: Path, source: str, limits: Limits, *, clock: Callable[[], float] = time.time) -> None:
        """Opens nothing yet.

        Args:
            folder: where the counts of all sources are kept; made when something is counted.
            source: the source's name.
            limits: what its plan allows.
            clock: seconds since 1970, the same in all processes.
        """
        self._path, self._pause = folder / f"{source}.sqlite", folder / f"{source}.pause"
        self._limits, self._clock, self._source = limits, clock, source
        self._zone = ZoneInfo(limits.reset_zone)
        self._counting = bool(limits.rolling or limits.quotas)
        self._connection: sqlite3.Connection | None = None
        self._lock = -1

    # --- asking ---------------------------------------------------------------------------------------------------------------

    def take(self, symbol: str | None, longest_seconds: float) -> Permit | Refusal | None:
        """Counts a call that is about to be sent, or says why it may not be; None where nothing is counted.

        Args:
            symbol: the ticker that it asks about; None where there is none.
            longest_seconds: after which a call whose process died without a word is surely over.
        """
        now = self._clock()
        paused = self._paused_until(now)
        if paused is not None:
            return Refusal(paused - now, "the pause that it asked for", _moment(paused))
        if not self._counting:
            return None
        with self._transaction() as db:
            day = self._day(now)
            periods = {"day": day, "month": day[:7]}
            refusal = self._used_up(db, periods, symbol, now) or self._too_fast(db, now)
            if refusal is not None:
                return refusal
            number = 0
            if self._limits.rolling:
                # As if it were over only when it must be: it counts so long if this process dies.
                sql = "INSERT INTO calls (over_at, pid) VALUES (?, ?)"
                number = db.execute(sql, (now + longest_seconds, os.getpid())).lastrowid or 0
            self._use(db, periods, {"calls": 1}, symbol)
            if number % _TIDY_EVERY == 0:
                self._tidy(db, now)
            return Permit(number, day)

    def arrived(self, permit: Permit) -> None:
        """The vendor has begun to answer a call, or it failed: from now on its seconds, minutes and hours run out."""
        now = self._clock()
        day = self._day(now)
        if not permit.number and day == permit.day:
            return
        with self._transaction() as db:
            if permit.number:
                db.execute("UPDATE calls SET over_at = ?, pid = NULL WHERE number = ?", (now, permit.number))
            if day != permit.day:
                # Sent before midnight and answered after it: the vendor may have counted it on either day.
                new = {"day": day} | ({"month": day[:7]} if day[:7] != permit.day[:7] else {})
                self._use(db, new, {"calls": 1}, None)

    def received(self, size: int) -> None:
        """So many bytes came."""
        if size and any(what == "bytes" for _, what, _ in self._limits.quotas):
            day = self._day(self._clock())
            with self._transaction() as db:
                self._use(db, {"day": day, "month": day[:7]}, {"bytes": size}, None)

    def pause(self, seconds: float) -> None:
        """Nobody asks the source for so long; a longer pause that is known already stays."""
        until = self._clock() + seconds
        self._pause.parent.mkdir(parents=True, exist_ok=True)
        # The file's time is the pause's end: reading it costs a request two microseconds, and no lock.
        if until > (self._paused_until(0) or 0):
            self._pause.touch()
            os.utime(self._pause, (until, until))

    def next_reset(self) -> float | None:
        """Seconds until the shortest quota begins anew; None where the plan has none."""
        now = self._clock()
        ends = [self._end(period, now) - now for period, _, _ in self._limits.quotas]
        return min(ends, default=3600.0 if self._limits.per_hour is not None else None)

    def left(self) -> list[Left]:
        """What is left of every quota that a run can use up, without counting anything."""
        now = self._clock()
        found = []
        day = self._day(now)
        periods = {"day": day, "month": day[:7]}
        known = self._path.exists()
        with self._transaction() if known else _nothing() as db:
            if self._limits.per_hour is not None:
                recent = "SELECT count(*) FROM calls WHERE over_at > ?"
                used = db.execute(recent, (now - 3600,)).fetchone()[0] if db else 0
                found.append(Left("hour", "calls", self._limits.per_hour, used, _moment(now + 3600)))
            for period, what, amount in self._limits.quotas:
                used = self._amount(db, periods[period], what) if db else 0
                found.append(Left(period, what, amount, used, _moment(self._end(period, now))))
        return found

    def symbols_asked(self) -> dict[str, set[str]]:
        """Period (day, month) -> the symbols that were asked about in it, where their number is limited."""
        day = self._day(self._clock())
        periods = {"day": day, "month": day[:7]}
        counted = [period for period, what, _ in self._limits.quotas if what == "symbols"]
        if not counted or not self._path.exists():
            return {}
        with self._transaction() as db:
            asked = "SELECT symbol FROM symbols WHERE period = ?"
            return {period: {symbol for (symbol,) in db.execute(asked, (periods[period],))} for period in counted}

    def paused_until(self) -> datetime | None:
        """Until when the vendor wants to be left alone; None where it does not."""
        until = self._paused_until(self._clock())
        return None if until is None else _moment(until)

    def close(self) -> None:
        """Lets the file go."""
        if self._connection is not None:
            self._connection.close()
            os.close(self._lock)
            self._connection = None

    # --- rules ----------------------------------------------------------------------------------------------------------------

    def _used_up(self, db: sqlite3.Connection, periods: dict[str, str], symbol: str | None, now: float) -> Refusal | None:
        ends = []
        for period, what, amount in self._limits.quotas:
            if what == "symbols":
                if symbol is None:
                    continue
                known = db.execute("SELECT 1 FROM symbols WHERE period = ? AND symbol = ?", (periods[period], symbol)).fetchone()
                if known is not None:
                    continue
            if self._amount(db, periods[period], what) >= amount:
                ends.append((self._end(period, now), f"{amount:,} {what} a {period}"))
        if not ends:
            return None
        end, why = max(ends)
        return Refusal(end - now, why, _moment(end))

    def _too_fast(self, db: sqlite3.Connection, now: float) -> Refusal | None:
        """How long until every window has room again: until the oldest call that fills it counts no more."""
        worst = None
        for seconds, calls in self._limits.rolling:
            filling = "SELECT over_at FROM calls WHERE over_at > ? ORDER BY over_at DESC LIMIT 1 OFFSET ?"
            found = db.execute(filling, (now - seconds, calls - 1)).fetchone()
            if found is None:
                continue
            if self._forget_the_dead(db, now):
                return self._too_fast(db, now)
            # A call that is under way is over now at the earliest.
            free = min(found[0], now) + seconds
            if worst is None or free > worst[0]:
                worst = free, f"{calls:,} calls {'an' if seconds == 3600 else 'a'} {_NAMES[seconds]}"
        return None if worst is None else Refusal(max(0.001, worst[0] - now), worst[1], _moment(worst[0]))

    def _forget_the_dead(self, db: sqlite3.Connection, now: float) -> bool:
        """Ends the calls of processes that died while they asked, and those of a clock that was put back; whether there were any."""
        changed = db.execute("UPDATE calls SET over_at = ? WHERE pid IS NULL AND over_at > ?", (now, now)).rowcount
        for (pid,) in db.execute("SELECT DISTINCT pid FROM calls WHERE pid IS NOT NULL").fetchall():
            if not _alive(pid):
                changed += db.execute("UPDATE calls SET over_at = ?, pid = NULL WHERE pid = ?", (now, pid)).rowcount
        return changed > 0

    def _amount(self, db: sqlite3.Connection, period: str, what: str) -> int:
        if what == "symbols":
            found = db.execute("SELECT count(*) FROM symbols WHERE period = ?", (period,)).fetchone()
        else:
            found = db.execute("SELECT amount FROM used WHERE period = ? AND what = ?", (period, what)).fetchone()
        return int(found[0]) if found else 0

    def _use(self, db: sqlite3.Connection, periods: dict[str, str], amounts: dict[str, int], symbol: str | None) -> None:
        limited = {(period, what) for period, what, _ in self._limits.quotas}
        for name, period in periods.items():
            for what, amount in amounts.items():
                if (name, what) in limited:
                    db.execute(
                        "INSERT INTO used VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET amount = amount + excluded.amount",
                        (period, what, amount),
                    )
            if symbol is not None and (name, "symbols") in limited:
                db.execute("INSERT OR IGNORE INTO symbols VALUES (?, ?)", (period, symbol))

    def _tidy(self, db: sqlite3.Connection, now: float) -> None:
        db.execute("DELETE FROM calls WHERE over_at < ?", (now - 3600,))
        oldest = (_moment(now) - _KEPT_PERIODS).strftime("%Y-%m-%d")
        db.execute("DELETE FROM used WHERE period < ?", (oldest,))
        db.execute("DELETE FROM symbols WHERE period < ?", (oldest,))

    # --- time -----------------------------------------------------------------------------------------------------------------

    def _day(self, now: float) -> str:
        return datetime.fromtimestamp(now, self._zone).strftime("%Y-%m-%d")

    def _end(self, period: str, now: float) -> float:
        """When the vendor's present day or month ends."""
        today = datetime.fromtimestamp(now, self._zone).date()
        following = today + timedelta(days=1) if period == "day" else (today.replace(day=1) + timedelta(days=32)).replace(day=1)
        return datetime(following.year, following.month, following.day, tzinfo=self._zone).timestamp()

    def _paused_until(self, now: float) -> float | None:
        try:
            until = self._pause.stat().st_mtime
        except FileNotFoundError:
            return None
        return until if until > now else None

    # --- the file -------------------------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """One look at the counts, alone.

        Raises:
            UserError: the file cannot be used.
        """
        db = self._opened()
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except sqlite3.Error as e:
            raise self._unusable(e) from None
        finally:
            if db.in_transaction:
                db.execute("ROLLBACK")
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _opened(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite alone would let a process that waits try again and again; the lock wakes the next one up.
        self._lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        try:
            db = sqlite3.connect(self._path, isolation_level=None)
            # A killed process loses nothing, and only a checkpoint waits for the disk.
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            db.executescript(_TABLES)
        except sqlite3.Error as e:
            raise self._unusable(e) from None
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        self._connection = db
        return db

    def _unusable(self, error: sqlite3.Error) -> UserError:
        return UserError(
            f"{self._path}, which counts what {self._source} was asked, cannot be used ({error}); delete it: then the count begins anew."
        )


_NAMES: Final = {1: "second", 60: "minute", 3600: "hour"}


@contextmanager
def _nothing() -> Iterator[None]:
    yield None


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
