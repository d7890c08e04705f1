"""How a request's templates are filled in: `{ticker}`, and dates in the formats that vendors want.

Belongs here: reading a template, and writing one value. Does not belong here: what a request is made of (`http`) and which values it has
(planning).
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from string import Formatter
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Sequence

# What a request's templates may name; each is a part of the request's identity.
PLACEHOLDERS = ("ticker", "from_date", "to_date", "n", "year", "quarter", "month")
DATES: Final = frozenset({"from_date", "to_date"})

NEXT_DAY: Final = "next"
_ISO, _EPOCH, _EPOCH_MS = "iso", "epoch", "epoch_ms"
# Only what a day has, and nothing whose text depends on the system.
_DIRECTIVES: Final = frozenset("YymdjBb%")


class Slot(NamedTuple):
    """A place in a template: which value is filled in, and in which format (empty: as it is)."""

    name: str
    form: str = ""


class Piece(NamedTuple):
    """Text of a template and the slot behind it; None at the end."""

    text: str
    slot: Slot | None


def pieces(template: str) -> list[Piece]:
    """A template, taken apart.

    Raises:
        ValueError: for a name that cannot be filled in, a format that is none, or braces that do not match.
    """
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as e:
        raise ValueError(f"{e}; a brace that is meant as such is written twice") from None
    found = []
    for text, name, form, conversion in parsed:
        if name is None:
            found.append(Piece(text, None))
            continue
        if name not in PLACEHOLDERS or conversion or (form and name not in DATES):
            raise ValueError(
                f"only {', '.join('{' + p + '}' for p in PLACEHOLDERS)} can be filled in, and only dates have a format behind a colon"
            )
        _check_form(form or "")
        found.append(Piece(text, Slot(name, form or "")))
    return found


def slots(found: Sequence[Piece]) -> set[Slot]:
    """The places that are filled in."""
    return {piece.slot for piece in found if piece.slot is not None}


def names(found: Sequence[Piece]) -> set[str]:
    """What is filled in."""
    return {slot.name for slot in slots(found)}


def write(value: str | date, form: str) -> str:
    """A value as it stands in an address.

    Raises:
        ValueError: no address can hold it.
    """
    return quoted(value if isinstance(value, str) else _day(value, form))


def quoted(text: str) -> str:
    """A text percent-encoded as a whole: it cannot leave its place.

    Raises:
        ValueError: no address can hold it.
    """
    if text.isascii() and text.replace("-", "").isalnum():
        return text
    try:
        return quote(text, safe="")
    except UnicodeEncodeError:
        raise ValueError("it holds a character that no address can hold") from None


def _split(form: str) -> tuple[bool, str]:
    """Whether the following day is meant, and the format itself."""
    head, _, rest = form.partition(":")
    return (True, rest) if head == NEXT_DAY else (False, form)


def _check_form(form: str) -> None:
    _, own = _split(form)
    if own in ("", _ISO, _EPOCH, _EPOCH_MS):
        return
    used = [after[:1] for after in own.replace("%%", "").split("%")[1:]]
    if not used or not set(used) <= _DIRECTIVES:
        raise ValueError(
            f"the format {own!r} of a date is none: write {_ISO}, {_EPOCH}, {_EPOCH_MS}, or a pattern such as %Y%m%d,"
            f" and {NEXT_DAY}: before it for the day after"
        )


def _day(day: date, form: str) -> str:
    if not form:
        return day.isoformat()
    later, own = _split(form)
    if later:
        if day == date.max:
            raise ValueError("no day follows the last one of the calendar")
        day += timedelta(days=1)
    if own == "":
        return day.isoformat()
    if own == _ISO:
        return f"{day.isoformat()}T00:00:00Z"
    if own in (_EPOCH, _EPOCH_MS):
        seconds = int(datetime.combine(day, time(0), UTC).timestamp())
        return str(seconds * 1000 if own == _EPOCH_MS else seconds)
    return day.strftime(own)
