"""What commands print, and how.

Belongs here: the two consoles, tables, JSON, how figures and times are written. Does not belong here: which figures a command shows.

Text from files and vendors is never read as markup: a ticker `[red]` shows as it is.
"""

from __future__ import annotations

import json
import logging
import math
import os
import re
import shlex
import shutil
import sys
from dataclasses import asdict, dataclass, is_dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console, RenderableType
    from rich.table import Table
    from rich.text import Text

# A table in a pipe or a log file: wide enough that nothing worth a search is cut.
PIPE_WIDTH = 220
SHORT_RUN_ID = 8

STYLES = {
    "promoted": "green",
    "ok": "green",
    "applied": "green",
    "unchanged": "dim",
    "up_to_date": "dim",
    "not_applicable": "dim",
    "empty": "yellow",
    "deferred": "yellow",
    "pending": "yellow",
    "asked": "yellow",
    "unfinished": "yellow",
    "failed": "bold red",
    "not_in_plan": "magenta",
    "stale": "bold red",
    "doubtful": "yellow",
    "unpublished": "yellow",
    "warning": "yellow",
}

# C0 without line feed and tab, and C1: in a vendor's text they would steer the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def console(*, stderr: bool = False) -> Console:
    """A console on standard output or standard error; colours only on a terminal, and none with NO_COLOR."""
    from rich.console import Console

    made = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not made.is_terminal and not os.environ.get("COLUMNS"):
        made.width = PIPE_WIDTH
    return made


def say(message: str) -> None:
    """A line for the person at the keyboard, on standard error."""
    console(stderr=True).print(message, soft_wrap=True)


def print_error(message: str) -> None:
    """An error that the user can act on, as one line on standard error."""
    from rich.text import Text

    line = Text("error: ", style="bold red") + Text(_CONTROL.sub("\ufffd", " ".join(message.splitlines())), style="")
    console(stderr=True).print(line, soft_wrap=True)


# --- tables -----------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a listing.

    Attributes:
        name: its header.
        right: aligned on the right.
        whole: never broken over two lines, nor cut, as long as other columns can give way.
        optional: left out where no row has anything but a dash or a zero in it.
    """

    name: str
    right: bool = False
    whole: bool = False
    optional: bool = False


def texts(*names: str) -> tuple[Column, ...]:
    """Columns of text."""
    return tuple(Column(name) for name in names)


def figures(*names: str, optional: bool = True) -> tuple[Column, ...]:
    """Columns of figures."""
    return tuple(Column(name, right=True, whole=True, optional=optional) for name in names)


def listing(columns: Sequence[Column], rows: Iterable[Sequence[object]]) -> Table:
    """A table of rows; values that are no `Text` become one by `cell`."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    cells = [[value if isinstance(value, Text) else cell(value) for value in row] for row in rows]
    kept = [k for k, column in enumerate(columns) if not column.optional or any(row[k].plain not in ("-", "0") for row in cells)]
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for k in kept:
        column = columns[k]
        made.add_column(Text(column.name), justify="right" if column.right else "left", overflow="fold", no_wrap=column.whole)
    for row in cells:
        made.add_row(*(row[k] for k in kept))
    return made


def cell(value: object) -> Text:
    """A value as a table shows it; None is a dash."""
    from rich.text import Text

    if value is None or value == "":
        text = "-"
    elif isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, int):
        text = f"{value:,}"
    elif isinstance(value, datetime):
        text = moment(value)
    else:
        text = str(value)
    return Text(_CONTROL.sub("\ufffd", text))


def status_cell(status: str) -> Text:
    """A status or an outcome in its colour."""
    from rich.text import Text

    return Text(status.replace("_", " "), style=STYLES.get(status, ""))


def show(*parts: RenderableType) -> None:
    """Prints on standard output, lines of text unwrapped."""
    out = console()
    for part in parts:
        out.print(part, soft_wrap=isinstance(part, str))


def show_wide(made: RenderableType) -> None:
    """Prints on standard output; where that is no terminal, every row is one line, however long."""
    out = console()
    if not out.is_terminal:
        out.width = 100_000
    out.print(made)


def moment(value: datetime) -> str:
    """A time in UTC to the minute."""
    return value.astimezone(UTC).strftime("%Y-%m-%d %H:%MZ")


def number(count: int, noun: str, plural: str | None = None) -> str:
    """A count with its noun, such as `1 key` and `1,200 keys`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def size(count: int) -> str:
    """Bytes in the unit that fits, powers of 1000."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def counts(figures: Mapping[str, int]) -> str:
    """The figures that are not zero, such as `12 created, 1 failed`; `none` where all are."""
    return ", ".join(f"{number:,} {name.replace('_', ' ')}" for name, number in figures.items() if number) or "none"


def span(from_date: date | None, to_date: date | None) -> str:
    """Two days, or a dash."""
    return f"{from_date or '...'} .. {to_date or '...'}" if from_date or to_date else "-"


# --- JSON -------------------------------------------------------------------------------------------------------------------------


def print_json(document: Any) -> None:
    """Prints one JSON document on standard output, in ASCII: valid whatever the terminal's encoding is."""
    sys.stdout.write(json.dumps(plain(document), indent=2, allow_nan=False) + "\n")
    sys.stdout.flush()


def plain(value: Any) -> Any:
    """The value in JSON's own types: days and times in ISO 8601, NaN and infinities as null, decimals as numbers where that is exact."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return value if math.isfinite(value) else None
        case Decimal():
            return _number(value)
        case datetime() | date() | time():
            return value.isoformat()
        case dict():
            return {str(k): plain(v) for k, v in value.items()}
        case bytes():
            return value.hex()
        case list() | set() | frozenset():
            return [plain(v) for v in value]
        case tuple() if type(value) is tuple:
            return [plain(v) for v in value]
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    return str(value)


def _number(value: Decimal) -> int | float | str:
    if value == value.to_integral_value():
        return int(value)
    return float(value) if Decimal(repr(float(value))) == value else str(value)


# --- the program's own name and log ------------------------------------------------------------------------------------------------


def command(name: str, home: Path | None = None) -> str:
    """A command line for the user to type, with the home that the present one was given."""
    return f"{_program()} {name}{f' --home {shlex.quote(str(home))}' if home else ''}"


def _program() -> str:
    """How to call this program from the user's shell: where it is not on the PATH, its name alone would not be found."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return f"{_near(Path(sys.executable))} -m ops_pipeline"
    found = shutil.which(called.name)
    if found and Path(found).resolve() == called.resolve():
        return called.name
    return _near(called) if called.is_file() else "ops-pipeline"


def _near(path: Path) -> str:
    """A path as short as the present folder allows, for a shell."""
    absolute = path.absolute()
    relative = absolute.is_relative_to(Path.cwd())
    return shlex.quote(str(absolute.relative_to(Path.cwd()) if relative else absolute))


class _ConsoleHandler(logging.Handler):
    """Log records as lines of a console, above its progress bar where there is one."""

    def __init__(self, target: Console) -> None:
        super().__init__()
        self.target = target

    def emit(self, record: logging.LogRecord) -> None:
        self.target.print(self.format(record), soft_wrap=True)


def start_logging(level: str, target: Console) -> None:
    """Sends the package's log to standard error."""
    handler = _ConsoleHandler(target)
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    log = logging.getLogger("ops_pipeline")
    log.handlers[:] = [handler]
    log.setLevel(level)
    log.propagate = False


def first(items: Sequence[str], most: int = 5) -> str:
    """A list of names for a sentence, cut where it is long."""
    shown = ", ".join(items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"
