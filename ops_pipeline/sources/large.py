"""Bodies that are too large to be held in memory: collected as they come, on disk from a size on.

Belongs here: the file that such a body waits in until it is stored, and reading it piece by piece. Does not belong here: unpacking it
(`unpacking`) and storing it (`bronze`).

The file has no name: what a killed process leaves of it is nothing.
"""

from __future__ import annotations

import hashlib
import tempfile
from typing import IO, TYPE_CHECKING, Any, Final

from ops_pipeline.errors import BronzeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Small enough that 16 requests at once stay below what DuckDB takes anyway; nearly every answer is smaller.
LARGE: Final = 8 * 1024 * 1024
PIECE: Final = 1 << 20
# What is looked at of a body to tell what it is.
EDGE: Final = 4096


class TooLargeError(Exception):
    """The body is greater than the limit."""


class LargeBody:
    """A body on disk.

    Attributes:
        size: bytes.
        payload_hash: SHA-256, as 64 hexadecimal digits.
        file: the file, at any position.
    """

    def __init__(self, file: IO[bytes], size: int, payload_hash: str) -> None:
        """Takes an open file that nobody else uses."""
        self.file, self.size, self.payload_hash = file, size, payload_hash

    def pieces(self, overlap: int = 0) -> Iterator[bytes]:
        """The body in order, in pieces; each begins with so many of the last bytes of the one before."""
        before = b""
        self.file.seek(0)
        while piece := self.file.read(PIECE):
            yield before + piece
            before = (before + piece)[-overlap:] if overlap else b""

    @property
    def beginning(self) -> bytes:
        """Its first 4,096 bytes."""
        self.file.seek(0)
        return self.file.read(EDGE)

    @property
    def end(self) -> bytes:
        """Its last 4,096 bytes."""
        self.file.seek(max(0, self.size - EDGE))
        return self.file.read(EDGE)

    def read(self) -> bytes:
        """The whole body, in memory."""
        self.file.seek(0)
        return self.file.read()

    def close(self) -> None:
        """Lets it go."""
        self.file.close()


class Collected:
    """A body as it comes."""

    def __init__(self, limit: int, folder: Path | None) -> None:
        """Takes the most bytes that are taken, and the folder in which a large body waits; None: in memory, however large."""
        self.size = 0
        self._limit, self._folder = limit, folder
        self._taken: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._hash: Any = None

    @property
    def room(self) -> int:
        """How much may come at once: never more than one byte above the limit, and never much."""
        return min(self._limit + 1 - self.size, PIECE)

    def take(self, piece: bytes) -> None:
        """Takes the next bytes.

        Raises:
            TooLargeError: they are too many.
            BronzeError: the disk refuses.
        """
        self.size += len(piece)
        if self.size > self._limit:
            self.close()
            raise TooLargeError
        if self._folder is None or (self._file is None and self.size <= LARGE):
            self._taken.append(piece)
            return
        try:
            if self._file is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                self._file, self._hash = tempfile.TemporaryFile(dir=self._folder), hashlib.sha256()  # noqa: SIM115 - it outlives this
                for early in self._taken:
                    self._write(early)
                self._taken.clear()
            self._write(piece)
        except OSError as e:
            self.close()
            raise BronzeError(
                f"An answer of more than {LARGE} bytes cannot be written below {self._folder} ({e.strerror or e}):"
                " free space for it and run again."
            ) from e

    def _write(self, piece: bytes) -> None:
        if self._file is not None:
            self._file.write(piece)
            self._hash.update(piece)

    def whole(self) -> bytes | LargeBody:
        """What came."""
        if self._file is not None:
            return LargeBody(self._file, self.size, self._hash.hexdigest())
        return self._taken[0] if len(self._taken) == 1 else b"".join(self._taken)

    def close(self) -> None:
        """Lets go what came."""
        self._taken.clear()
        if self._file is not None:
            self._file.close()


def beginning_of(body: bytes | LargeBody) -> bytes:
    """Enough of a body to tell what it is."""
    return body[:EDGE] if isinstance(body, bytes) else body.beginning


def in_memory(body: bytes | LargeBody) -> bytes:
    """The whole body."""
    return body if isinstance(body, bytes) else body.read()
