"""Stored answers as bytes: whole or damaged, and what they look like from outside.

Belongs here: unpacking a stored file, noticing damage, and what one pass over the bytes can tell. Does not belong here: storing them
(`bronze`), and records (`readers`).

Every body is unpacked once before DuckDB reads it: DuckDB takes a gzip file that ends early for a short one, and an array that was cut
behind a comma for a complete one. Both would be data lost in silence. The pass costs about a fifth of staging (70 MB: 0.11 s).
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING

from isal import isal_zlib

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_BLANKS = b" \t\r\n"
_MARK = b"\xef\xbb\xbf"
_GZIP = 31  # zlib's name for: a gzip file, its checksum verified
_PACKED = 1 << 16
LONGEST_LINE = 1 << 20
# Before a sentence of ours in an error that SQL raises on our behalf.
OWN_WORDS = "the reader says: "


class UnreadableError(Exception):
    """A stored answer is not what the recipe says; the text says why."""


@dataclass(frozen=True, slots=True)
class StoredAnswer:
    """A file to read.

    Attributes:
        number: its place in the batch.
        path: where it is.
        size: bytes of its body, as the ledger knows; None when it does not.
        header: the names of its columns, for formats that have them.
        types: the columns' types, for formats that have them.
    """

    number: int
    path: Path
    size: int | None
    header: tuple[str, ...] = ()
    types: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Look:
    """A body seen from outside, without its byte-order mark.

    Attributes:
        first: the first byte that is no blank.
        last: the last byte that is no blank.
        line: the first line, without its end; of a longer one the first megabyte.
        blank_beside_quote: whether a blank stands next to a double quote anywhere; false where nobody asked.
    """

    first: bytes
    last: bytes
    line: bytes
    blank_beside_quote: bool

    def beginning(self, characters: int) -> str:
        """The first line's beginning, fit for a message."""
        return repr(self.line[: 4 * characters].decode("utf-8", "replace").strip()[:characters])


def look_at(answer: StoredAnswer, *, quotes: bool = False) -> Look:
    """Unpacks the whole file once.

    Args:
        answer: the file.
        quotes: whether blanks beside double quotes are looked for: it takes as long as unpacking, and only CSV wants to know.

    Raises:
        UnreadableError: when the file is gone, damaged, of another size than the ledger says, no UTF-8, or holds nothing but blanks.
    """
    first = last = edge = b""
    line = bytearray()
    line_ended = beside = False
    size = 0
    decoder = codecs.getincrementaldecoder("utf-8")()
    for number, chunk in enumerate(_chunks(answer)):
        _decoded(decoder, chunk, size)
        size += len(chunk)
        text = chunk.removeprefix(_MARK) if number == 0 else chunk
        solid = text.strip(_BLANKS)
        if solid:
            first, last = first or solid[:1], solid[-1:]
        if not line_ended:
            line += text[: LONGEST_LINE - len(line)]
            ends = [i for i in (line.find(b"\n"), line.find(b"\r")) if i >= 0]
            line_ended = bool(ends) or len(line) >= LONGEST_LINE
            del line[min(ends, default=len(line)) :]
        if quotes:
            seen = edge + text
            beside = beside or b' "' in seen or b'" ' in seen
            edge = text[-1:]
    _decoded(decoder, b"", size, final=True)
    if not first:
        raise UnreadableError(f"the answer is empty ({size} bytes of nothing but blanks)")
    return Look(first, last, bytes(line), beside)


def _decoded(decoder: codecs.IncrementalDecoder, chunk: bytes, before: int, *, final: bool = False) -> None:
    """Checks the next bytes; `before` of them came earlier."""
    waiting = len(decoder.getstate()[0])
    try:
        decoder.decode(chunk, final)
    except UnicodeDecodeError as e:
        raise UnreadableError(f"not valid UTF-8 at byte {before - waiting + e.start}") from e


def body_of(answer: StoredAnswer) -> bytes:
    """The whole body.

    Raises:
        UnreadableError: when the file is gone, damaged, or of another size than the ledger says.
    """
    return b"".join(_chunks(answer))


def unpack(answer: StoredAnswer, target: Path) -> None:
    """Writes the body to a file of its own, for readers that need one.

    Raises:
        UnreadableError: when the stored file is gone, damaged, or of another size than the ledger says.
    """
    with target.open("wb") as file:
        for chunk in _chunks(answer):
            file.write(chunk)


def _chunks(answer: StoredAnswer) -> Iterator[bytes]:
    inflate = isal_zlib.decompressobj(_GZIP)
    size = 0
    try:
        with answer.path.open("rb") as file:
            while packed := file.read(_PACKED):
                chunk = inflate.decompress(packed)
                size += len(chunk)
                if chunk:
                    yield chunk
    except OSError as e:
        raise UnreadableError(f"the stored file cannot be read: {e.strerror or e}") from e
    except isal_zlib.error as e:  # type: ignore[misc]  # the package's stub calls its exception class an instance
        raise UnreadableError(f"the stored file is damaged: {e}") from e
    if not inflate.eof or inflate.unused_data:
        raise UnreadableError(f"the stored file is damaged: it {'goes on behind its end' if inflate.eof else 'ends too early'}")
    if answer.size is not None and size != answer.size:
        raise UnreadableError(f"the stored file is damaged: it holds {size} bytes, and {answer.size} were stored")
