"""Starting quickly, and staying small.

Belongs here: keeping out of the process what other packages would import behind one's back, and what the interpreter and the C library are
told about memory. Does not belong here: anything that is done afterwards.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

GARBAGE: Final = 50_000
# mallopt(3): the number of its switch M_MMAP_THRESHOLD.
_MMAP_THRESHOLD, _LARGE_BLOCK = -3, 1024 * 1024
LEFT_OUT: Final = frozenset({"pandas", "numpy", "pyarrow.dataset"})


class _AsIfNotInstalled:
    """A finder that comes before all others."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name in LEFT_OUT:
            raise ModuleNotFoundError(f"No module named {name!r} (left out of this program, see {__name__})", name=name)
        return None


def start_light() -> None:
    """Keeps pandas, numpy and Arrow's datasets out of this process, which must be a program of ours from end to end.

    DuckDB asks of every parameter whether it is a pandas value, and of every table that it is given whether it is a dataset, and
    imports what it asks about; Arrow imports numpy where it is installed. Together they take half a second, a third of a short run,
    and no command needs any of them. Afterwards importing one of them raises ModuleNotFoundError, so a library must never do this to
    its caller.
    """
    if _AsIfNotInstalled not in sys.meta_path:
        sys.meta_path.insert(0, _AsIfNotInstalled)
    # Looking for cycles after every 700 objects takes a tenth of the time of starting, which makes hundreds of thousands that all stay.
    gc.set_threshold(GARBAGE)
    # glibc gives a freed large block back to the system until it has seen a larger one freed, up to 32 MB, and keeps those below from then
    # on, in pieces that tables of other sizes do not fit: after 10,000 tickers 70 MB. Other C libraries have no such switch.
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, _LARGE_BLOCK)


def lift() -> None:
    """Lets all of them be imported again, for a user's own code; before Arrow is loaded, which looks for numpy only then."""
    if _AsIfNotInstalled in sys.meta_path:
        sys.meta_path.remove(_AsIfNotInstalled)
