"""Tickets: who asks first is first at the turnstile.

Belongs here: taking a place in line and waiting for the one in front. Does not belong here: the locks that keep others out (locks.py);
a lost ticket costs order and nothing else.

The kernel wakes a waiter of flock and lets it try again, and whoever asks before it has been given a processor gets in first: with
eight writers and four readers on two busy cores one waited 4 times the mean. So everybody locks a byte of its own in the turnstile file,
the ticket, and waits for the byte of the one before: nobody else waits for that one, and it is free when its holder is in, or dead.
"""

from __future__ import annotations

import fcntl
import os
import struct
import sys
from collections.abc import Callable

# Byte locks of an open file, as flock's are; those of a process would be lost when any of its threads closes the file.
_SET, _SET_AND_WAIT = getattr(fcntl, "F_OFD_SETLK", None), getattr(fcntl, "F_OFD_SETLKW", None)
_AVAILABLE = _SET is not None and _SET_AND_WAIT is not None and sys.maxsize > 2**32

_COUNTER = struct.Struct("=Q")
_COUNTING_BYTE = 0
_FIRST_TICKET_BYTE = 64
_TICKETS = 2**62


def stand_in_line(descriptor: int, begin_wait: Callable[[], None]) -> None:
    """Take a ticket in the turnstile file and wait until the one before is gone; `leave_line` or closing the file gives it back.

    Does nothing on systems without such locks, and for a user who may only read the file. `begin_wait` is called before a wait.
    """
    if not _AVAILABLE:
        return
    try:
        before = _ticket(descriptor)
    except OSError:
        leave_line(descriptor)
        return
    try:
        _lock(descriptor, before, wait=False)
    except BlockingIOError:
        begin_wait()
        _lock(descriptor, before, wait=True)
    _unlock(descriptor, before, 1)


def leave_line(descriptor: int) -> None:
    """Give the ticket back."""
    if _AVAILABLE:
        try:
            _unlock(descriptor, 0, 0)
        except OSError:
            return


def _ticket(descriptor: int) -> int:
    """Lock the byte of a new ticket; returns the byte of the one before."""
    # Whoever is overtaken at this lock has not asked yet: it is held for two calls.
    _lock(descriptor, _COUNTING_BYTE, wait=True)
    text = os.pread(descriptor, _COUNTER.size, 0)
    last = _COUNTER.unpack(text)[0] % _TICKETS if len(text) == _COUNTER.size else 0
    mine = (last + 1) % _TICKETS
    _lock(descriptor, _FIRST_TICKET_BYTE + mine, wait=True)
    os.pwrite(descriptor, _COUNTER.pack(mine), 0)
    _unlock(descriptor, _COUNTING_BYTE, 1)
    return _FIRST_TICKET_BYTE + last


def _lock(descriptor: int, byte: int, *, wait: bool) -> None:
    _call(descriptor, _SET_AND_WAIT if wait else _SET, fcntl.F_WRLCK, byte, 1)


def _unlock(descriptor: int, byte: int, length: int) -> None:
    _call(descriptor, _SET, fcntl.F_UNLCK, byte, length)


def _call(descriptor: int, command: int | None, kind: int, byte: int, length: int) -> None:
    assert command is not None  # noqa: S101 - told to the type checker: `_AVAILABLE` was asked
    # struct flock: type, whence, start, length, pid; length 0 means to the end of the file.
    fcntl.fcntl(descriptor, command, struct.pack("@hhqqi0q", kind, os.SEEK_SET, byte, length, 0))
