"""Unpacking an HTTP body as it comes.

Belongs here: the codings that are asked for, a limit that holds before memory is filled, and telling a whole body from half of one. Does
not belong here: the connection (`http`).

The HTTP library's own unpacking is not used: it takes a gzip stream without its end for a whole one, and half a table of CSV would be
stored as if it were all of it.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from ops_pipeline.sources.large import Collected, LargeBody, TooLargeError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable
    from pathlib import Path

__all__ = ["ACCEPTED", "ZIP_BEGINNING", "BrokenBodyError", "TooLargeError", "only_member", "unpacked"]

ZIP_BEGINNING: Final = b"PK"
ACCEPTED: Final = "gzip, deflate"
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_WBITS: Final = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


class BrokenBodyError(Exception):
    """The body is not packed as it says, or ends too early."""


async def unpacked(pieces: AsyncIterable[bytes], coding: str, limit: int, folder: Path | None = None) -> bytes | LargeBody:
    """The whole body; of a large one never more than a piece is held in memory, where there is a folder.

    Args:
        pieces: the body as sent.
        coding: the Content-Encoding header; empty where there is none.
        limit: bytes of the unpacked body.
        folder: where a large body waits; None: in memory.

    Raises:
        TooLargeError: it is greater than the limit.
        BrokenBodyError: it cannot be unpacked to its end.
        BronzeError: the disk refuses a large one.
    """
    coding = coding.strip().lower()
    body = Collected(limit, folder)
    if coding in ("", "identity"):
        async for piece in pieces:
            body.take(piece)
        return body.whole()
    if coding not in _WBITS:
        raise BrokenBodyError
    unpacker = None
    async for piece in pieces:
        rest, full = piece, False
        # All that was sent may be taken in while more than there was room for is still to come out.
        while rest or full:
            # The first member, or one more behind it, as some servers' logs and archives have.
            if unpacker is None or unpacker.eof:
                unpacker = zlib.decompressobj(_wbits(coding, rest))
            room = body.room
            try:
                clear = unpacker.decompress(rest, room)
            except zlib.error:
                raise BrokenBodyError from None
            body.take(clear)
            full = len(clear) == room and not unpacker.eof
            rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    if unpacker is not None and not unpacker.eof:
        raise BrokenBodyError
    return body.whole()


def _wbits(coding: str, beginning: bytes) -> int:
    # Some servers send `deflate` without the frame that the standard asks for (RFC 9110, section 8.4.1.2).
    return _RAW if coding == "deflate" and beginning[0] & 0x0F != 8 else _WBITS[coding]


def only_member(archive: bytes | LargeBody, limit: int, folder: Path | None = None) -> bytes | LargeBody:
    """The one file in a ZIP archive, its checksum verified.

    Args:
        archive: the archive.
        limit: bytes of the unpacked file; the size that the archive states is not believed.
        folder: where a large one waits; None: in memory.

    Raises:
        TooLargeError: it unpacks to more than the limit.
        BrokenBodyError: the archive is damaged or locked, or holds no file or several.
        BronzeError: the disk refuses a large one.
    """
    import zipfile  # here, because it takes 17 ms and few vendors send archives
    from io import BytesIO

    body = Collected(limit, folder)
    try:
        with zipfile.ZipFile(BytesIO(archive) if isinstance(archive, bytes) else archive.file) as opened:
            files = [member for member in opened.infolist() if not member.is_dir()]
            if len(files) != 1:
                raise BrokenBodyError
            with opened.open(files[0]) as member:
                while piece := member.read(body.room):
                    body.take(piece)
                return body.whole()
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError):
        raise BrokenBodyError from None
