"""Ctrl-C and the other ways to be told to stop.

Belongs here: turning signals into one orderly stop. Does not belong here: what is done before the end (`engine.run`).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Self

from ops_pipeline.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Some launchers pass on a Ctrl-C that the terminal already sent to the whole group: that is one wish and not two.
_SAME_WISH_SECONDS = 1.0


class StopSignals:
    """A block that the first SIGINT, SIGTERM or SIGHUP ends by a KeyboardInterrupt, and that swallows whatever comes of it.

    While it ends, a second Ctrl-C gives up at once; that is as safe as kill -9: the next run settles what was under way.

    Attributes:
        received: the signal; None while there was none.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        """Takes what shows a line to the user."""
        self.received: signal.Signals | None = None
        self._say = say
        self._since = 0.0
        self._before: dict[signal.Signals, Callable[[int, FrameType | None], object] | int | None] = {}

    @property
    def exit_status(self) -> int:
        """What a shell expects of a program that the signal ended."""
        return 128 + self.received if self.received else 0

    def __enter__(self) -> Self:
        """Takes the signals over; one that the parent had ignored (nohup, a job in the background) stays ignored."""
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.received is None:
            self.received, self._since = signal.Signals(number), time.monotonic()
            raise KeyboardInterrupt
        if number == signal.SIGINT and time.monotonic() - self._since > _SAME_WISH_SECONDS:
            sys.stderr.write("\nstopped at once; the next run settles what was under way\n")
            sys.stderr.flush()
            os._exit(128 + number)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool:
        """Gives the signals back. DuckDB turns an interrupt into an error of its own, so the signal decides and not the exception."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.received is None or error is None:
            return False
        if isinstance(error, UserError):
            self._say(f"while stopping: {error}")
        return True
