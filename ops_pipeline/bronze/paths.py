"""Names on disk for domains, sources, datasets and tickers.

Belongs here: the pure text functions that turn such a text into a path part and back. Does not belong here: anything that touches
a disk (`store`), and the names of the files themselves, which are made of hashes.

The alphabet on disk is `A-Z a-z 0-9 . - _ % @`. Everything else, in UTF-8 bytes, is `%XX`. A ticker starts in upper case and `@`
switches the case of all letters that follow: `BRK.B` stays `BRK.B`, `brk.b` is `@brk.b` and `Brk.B` is `B@rk.@B`. That reads
better than `%62%72%6B`, and is still distinct where the file system folds case, because the case is in the `@` and never in the
letter (decoding ignores the case that it is shown). Domains, sources, datasets and discriminators start in lower case instead, as
their names are written.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from ops_pipeline.errors import BronzeError

MAX_PART_LENGTH: Final = 200
"""Longest part in characters, all ASCII; file systems stop at 255 bytes, and a part may yet be given a suffix."""

_SWITCH: Final = "@"
_EMPTY: Final = "@"  # a switch with nothing behind it
_NONE: Final = "_"  # what a lone `-` becomes: `%2D` reads badly for the commonest text of all, "has no ticker"
_ROOM: Final = MAX_PART_LENGTH - 3  # one character to say that the part continues, two for escaping a device's first letter
_PLAIN: Final = re.compile(rf"[A-Z0-9]{{1,{_ROOM}}}")
_CONTINUES: Final = "%/"  # `%` is otherwise always followed by two hexadecimal digits

# Windows opens the device for these names in any folder, in any case, with any extension.
_RESERVED: Final = frozenset({"con", "prn", "aux", "nul", *(f"{device}{n}" for device in ("com", "lpt") for n in range(1, 10))})
_TOKEN: Final = re.compile(r"%([0-9A-Fa-f]{2})|(@?)([A-Za-z])|([0-9._-])")


def encode_part(text: str) -> str:
    """Gives the path part for a ticker: reversible, and safe on POSIX and Windows file systems.

    Two different texts give parts that differ even after case folding. No part is `.`, `..`, hidden, a device of Windows, or over
    `MAX_PART_LENGTH` characters; a text that needs more gives several parts joined by `/`, of which all but the last end in `%`.
    """
    return _encode(text, lower=False)


def decode_part(path: str) -> str:
    """Gives the text from which `encode_part` made a path; the case of the path's letters does not matter.

    Raises:
        BronzeError: the path was not made by `encode_part`.
    """
    return _decode(path, lower=False)


@lru_cache(maxsize=1024)  # few names, asked for every file
def encode_name(text: str) -> str:
    """Gives the path part for a domain, source, dataset or discriminator: as `encode_part`, but lower case is the plain one."""
    return _encode(text, lower=True)


def decode_name(path: str) -> str:
    """Gives the text from which `encode_name` made a path; the case of the path's letters does not matter.

    Raises:
        BronzeError: the path was not made by `encode_name`.
    """
    return _decode(path, lower=True)


def partition_folder(domain: str, source: str, dataset: str, discriminator: str, ticker: str) -> str:
    """Gives the folder of a partition below the bronze root, with forward slashes.

    A discriminator of `-` has no folder; a ticker of `-` is the folder `_`. Different partitions give different folders, also
    after case folding: a part that ends in `%` belongs to the next one, so the number of texts in a folder is never in doubt.
    """
    names = [domain, source, dataset] if discriminator == "-" else [domain, source, dataset, discriminator]
    return "/".join([*(encode_name(name) for name in names), encode_part(ticker)])


def _encode(text: str, *, lower: bool) -> str:
    if text == "":
        return _EMPTY
    if text == "-":
        return _NONE
    if not lower and _PLAIN.fullmatch(text):
        return _without_device(text)  # nearly every ticker
    parts: list[str] = []
    part = ""
    for position, char in enumerate(text, start=1):
        token = _token(char, lower=lower, edge=part == "" or position == len(text))
        if len(part) + len(token) > _ROOM:
            parts.append(part)
            part = ""
            token = _token(char, lower=lower, edge=True)
        part += token
        if _is_letter(char):
            lower = char.islower()
    parts.append(part)
    return _CONTINUES.join(_without_device(part) for part in parts)


def _token(char: str, *, lower: bool, edge: bool) -> str:
    if _is_letter(char):
        return char if char.islower() == lower else _SWITCH + char
    # At an edge a dot hides or is dropped (Windows), a dash reads as an option, and `_` alone has a meaning of its own.
    if (char.isascii() and char.isdigit()) or (char in ".-_" and not edge):
        return char
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))


def _is_letter(char: str) -> bool:
    return char.isascii() and char.isalpha()


def _without_device(part: str) -> str:
    stem, _, _ = part.partition(".")
    return f"%{ord(part[0]):02X}{part[1:]}" if stem.lower() in _RESERVED else part


def _decode(path: str, *, lower: bool) -> str:
    text = _decode_leniently(path, lower=lower)
    # One text has one path: a folder that merely decodes was made by something else.
    if text is None or _encode(text, lower=lower).lower() != path.lower():
        raise BronzeError(f"{path!r} is not a name that the bronze store gives: move it out of the bronze folder.")
    return text


def _decode_leniently(path: str, *, lower: bool) -> str | None:
    if path in (_EMPTY, _NONE):
        return "" if path == _EMPTY else "-"
    encoded = path.replace(_CONTINUES, "")
    result = bytearray()
    position = 0
    while position < len(encoded):
        match = _TOKEN.match(encoded, position)
        if match is None:
            return None
        position = match.end()
        escaped, switch, letter, plain = match.groups()
        if escaped:
            result.append(int(escaped, 16))
        elif letter:
            lower ^= bool(switch)
            result += (letter.lower() if lower else letter.upper()).encode("ascii")
        else:
            result += plain.encode("ascii")
    try:
        return result.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return None
