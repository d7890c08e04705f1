"""Unpacking an HTTP body as it comes.

Belongs here: the codings that are asked for, a limit that holds before memory is filled, and telling a whole body from half of one. Does
not belong here: the connection (`http`).

The HTTP library's own unpacking is not used: it takes a gzip stream without its end for a whole one, and half a table of CSV would be
stored as if it were all of it.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

ZIP_BEGINNING: Final = b"PK"
ACCEPTED: Final = "gzip, deflate"
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS
_WBITS: Final = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


class TooLargeError(Exception):
    """The body unpacks to more than the limit."""


class BrokenBodyError(Exception):
    """The body is not packed as it says, or ends too early."""


async def unpacked(pieces: AsyncIterable[bytes], coding: str, limit: int) -> bytes:
    """The whole body; never more than the limit and one piece are held.

    Args:
        pieces: the body as sent.
        coding: the Content-Encoding header; empty where there is none.
        limit: bytes of the unpacked body.

    Raises:
        TooLargeError: it is greater than the limit.
        BrokenBodyError: it cannot be unpacked to its end.
    """
    coding = coding.strip().lower()
    if coding in ("", "identity"):
        return await _joined(pieces, limit)
    if coding not in _WBITS:
        raise BrokenBodyError
    body = bytearray()
    unpacker = None
    async for piece in pieces:
        rest = piece
        while rest:
            # The first member, or one more behind it, as some servers' logs and archives have.
            if unpacker is None or unpacker.eof:
                unpacker = zlib.decompressobj(_wbits(coding, rest))
            try:
                body += unpacker.decompress(rest, limit + 1 - len(body))
            except zlib.error:
                raise BrokenBodyError from None
            if len(body) > limit:
                raise TooLargeError
            rest = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    if unpacker is not None and not unpacker.eof:
        raise BrokenBodyError
    return bytes(body)


def _wbits(coding: str, beginning: bytes) -> int:
    # Some servers send `deflate` without the frame that the standard asks for (RFC 9110, section 8.4.1.2).
    return _RAW if coding == "deflate" and beginning[0] & 0x0F != 8 else _WBITS[coding]


async def _joined(pieces: AsyncIterable[bytes], limit: int) -> bytes:
    taken: list[bytes] = []
    size = 0
    async for piece in pieces:
        size += len(piece)
        if size > limit:
            raise TooLargeError
        taken.append(piece)
    return taken[0] if len(taken) == 1 else b"".join(taken)


def only_member(archive: bytes, limit: int) -> bytes:
    """The one file in a ZIP archive, its checksum verified.

    Args:
        archive: the archive.
        limit: bytes of the unpacked file; the size that the archive states is not believed.

    Raises:
        TooLargeError: it unpacks to more than the limit.
        BrokenBodyError: the archive is damaged or locked, or holds no file or several.
    """
    import zipfile  # here, because it takes 17 ms and few vendors send archives
    from io import BytesIO

    try:
        with zipfile.ZipFile(BytesIO(archive)) as opened:
            files = [member for member in opened.infolist() if not member.is_dir()]
            if len(files) != 1:
                raise BrokenBodyError
            with opened.open(files[0]) as member:
                body = member.read(limit + 1)
                if len(body) > limit:
                    raise TooLargeError
                return body
    except (zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError, EOFError, OSError):
        raise BrokenBodyError from None
