"""Keeping a vendor's key out of what is stored and said.

Belongs here: finding a key in bodies and sentences, however it is written there. Does not belong here: where the key comes from
(`recipes.http`).
"""

from __future__ import annotations

import base64
import itertools
import re
import string
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ops_pipeline.sources.large import LargeBody

REDACTED: Final = "[redacted]"
# A shorter key would stand in bodies by chance: taking out every `k` would destroy the data and protect nothing.
SHORTEST_KEY: Final = 8

_RUN: Final = 4
# So much of a key is looked for at the end of a body, where a character takes so many bytes at most, the last one perhaps not in full.
_BEGINNING: Final = 6
_WIDEST: Final = 8
# As much as a key of some hundreds of characters takes in its longest spelling: pieces of a large body overlap by so many bytes.
_WIDEST_KEY: Final = 128 * 1024
_STUMP: Final = re.compile(rb"(?:%[0-9A-Fa-f]{0,3}|\\+(?:u[0-9A-Fa-f]{0,3})?|&#?[A-Za-z0-9]{0,5})?\Z")
# Backslashes before an escaped character, and repeated encodings, are followed up to this number.
_LONGEST: Final = 8
_ANY: Final = rf"\\{{0,{_LONGEST}}}"
_ONE_OR_MORE: Final = rf"\\{{1,{_LONGEST}}}"
# How a letter or digit by its code looks, in any of the ways that `_ways` knows, behind bytes that are found fast. Accented letters are
# written by codes in many bodies, and are none of these. One byte is found ten times as fast as a text.
_LETTER_BY_CODE: Final = [
    (b"\\", re.compile(rb"\\u00[3-7][0-9A-Fa-f]")),
    (b"%", re.compile(rb"%(?:25){0,8}[3-7][0-9A-Fa-f]")),
    (b"&", re.compile(rb"&#(?:0{0,8}(?:4[89]|[5-9][0-9]|1[0-2][0-9]);|[xX]0{0,8}[3-7][0-9A-Fa-f];)")),
]
_BASE64_SIGNS: Final = {
    ord("+"): rb"(?:\+|-|%(?:25)?2[bB]|\\u002[bB])",
    ord("/"): rb"(?:\\?/|_|%(?:25)?2[fF]|\\u002[fF])",
}
_BASE64_BEGINNING: Final = 8
_ENTITIES: Final = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


class Redactor:
    """Takes one key out of bodies and sentences.

    Found are the key as it is, percent-encoded (in either case, once or repeatedly, any of its characters), as a JSON string or an HTML
    page writes it, in UTF-16, and in base64 of either alphabet, alone or amid other text such as that of basic authentication. A key of
    fewer than 8 characters is not looked for: it would be found by chance.
    """

    def __init__(self, key: str | None) -> None:
        """Prepares the search.

        Args:
            key: printable ASCII; None or a short one: nothing is ever taken out.
        """
        self._pattern: re.Pattern[bytes] | None = None
        if key is None or len(key) < SHORTEST_KEY:
            return
        self._pattern = re.compile(_written(key))
        self._beginning = re.compile(_written(key[:_BEGINNING], letters=True))
        # A body that ends with another byte, as whole answers do, does not end in a key.
        self._last = {c.encode() for c in {*key, *string.ascii_letters, *string.digits, *"%\\&#;"}}
        self._characters = [[re.compile(way.encode()) for way in (*_ways(c), rf"{_ANY}{re.escape(c)}")] for c in key]
        # What every encoder writes alike: without it in a body there is no need to look for more. A short run would be in every body.
        run = max(re.findall("[A-Za-z0-9]*", key), key=len).encode()
        self._run = run if len(run) >= _RUN else b""
        self._escaped = re.compile(_written(key, letters=True))
        cores = [_in_base64(key.encode(), shift) for shift in range(3)]
        # The longest run that both alphabets write alike is looked for first.
        self._base64 = [(max(re.findall(b"[A-Za-z0-9]*", c), key=len), re.compile(_base64_pattern(c))) for c in cores]
        self._base64_beginnings = [re.compile(_base64_beginning(c)) for c in cores]
        # Without its last byte: so it is found in both byte orders.
        self._wide = key.encode("utf-16-le")[:-1]

    def body(self, body: bytes) -> tuple[bytes, bool]:
        """A body without the key, and whether something was taken out."""
        if self._pattern is None:
            return body, False
        clean = self._without_beginning(body)
        if self._run in body:
            clean = self._pattern.sub(REDACTED.encode(), clean)
        for run, pattern in self._base64:
            if run in body:
                clean = pattern.sub(REDACTED.encode(), clean)
        if any(mark in body and code.search(clean) for mark, code in _LETTER_BY_CODE):
            clean = self._escaped.sub(REDACTED.encode(), clean)
        if b"\0" in body:
            clean = clean.replace(self._wide, REDACTED.encode("utf-16-le")[:-1])
        return clean, clean != body

    def is_in(self, body: LargeBody) -> bool:
        """Whether something may have to be taken out of a large body, which is looked at piece by piece."""
        return self._pattern is not None and any(self.body(piece)[1] for piece in body.pieces(overlap=_WIDEST_KEY))

    def _without_beginning(self, body: bytes) -> bytes:
        """The body without the beginning of a key that it ends in the middle of: answers are cut, and not only between words."""
        if body[-1:] not in self._last:
            return body
        start = max(0, len(body) - _WIDEST * len(self._characters))
        for found in self._beginning.finditer(body, start):
            # Every place up to which the key's characters so far may reach: a key that holds a percent sign can be read in two ways.
            ends = {found.start()}
            for k, ways in enumerate(self._characters):
                if k >= _BEGINNING and any(_STUMP.match(body, end) for end in ends):
                    return body[: found.start()] + REDACTED.encode()
                ends = {written.end() for end in ends for way in ways if (written := way.match(body, end))}
        start = max(0, len(body) - _WIDEST * len(self._characters))
        cuts = [cut.start() for beginning in self._base64_beginnings if (cut := beginning.search(body, start))]
        if cuts:
            return body[: min(cuts)] + REDACTED.encode()
        return body

    def text(self, text: str) -> str:
        """A sentence without the key."""
        return self.body(text.encode("utf-8", "replace"))[0].decode("utf-8", "replace")


def _in_base64(key: bytes, shift: int) -> bytes:
    """The characters that stand for nothing but bits of the key, where so many bytes stand before it in a group of three."""
    bits = 8 * shift
    return base64.b64encode(bytes(shift) + key)[-(-bits // 6) : (bits + 8 * len(key)) // 6]


def _base64_pattern(core: bytes) -> bytes:
    """A pattern for base64 in either alphabet, with the characters at its edges that hold some bits of the key."""
    edge = rb"(?:\\u002[bBfF]|%(?:25)?2[bBfF]|\\?/|[A-Za-z0-9+_-])?"  # half an escape must not stay
    return edge + b"".join(_BASE64_SIGNS.get(c, bytes([c])) for c in core) + edge


def _base64_beginning(core: bytes) -> bytes:
    """A pattern for a body's end that is the beginning of base64, of so many characters that it does not stand there by chance."""
    ways = [_BASE64_SIGNS.get(c, bytes([c])) for c in core]
    optional = b""
    for way in reversed(ways[_BASE64_BEGINNING:-1]):
        optional = b"(?:" + way + optional + b")?"
    return b"".join(ways[:_BASE64_BEGINNING]) + optional + rb"\Z"


def _written(text: str, *, letters: bool = False) -> bytes:
    """A pattern for a part of a key, however it is written.

    Args:
        text: the part.
        letters: whether letters and digits may be encoded too; only encoders that encode every character do that.
    """
    pattern, after_slashes = "", False
    for slashes, run in itertools.groupby(text, lambda c: c == "\\"):
        part = "".join(run)
        if slashes:
            # Taken together and never given back: a vendor's page of backslashes must not be tried in all its partitions.
            ways = "|".join([*_ways("\\")[1:], r"\\"])
            pattern += f"(?:{ways}){{{len(part)},{_LONGEST * len(part)}}}+"
        else:
            for k, c in enumerate(part):
                ways = "|".join(_ways(c)) if letters or not c.isalnum() else c
                pattern += f"(?:{ways.replace(_ONE_OR_MORE, _ANY) if after_slashes and k == 0 else ways})"
        after_slashes = slashes
    return pattern.encode()


def _ways(character: str) -> list[str]:
    """Patterns for the ways in which one character of a key is written: encoders differ in what they leave as it is."""
    plain, code = re.escape(character), ord(character)
    digits = "".join(d if d.isdigit() else f"[{d}{d.upper()}]" for d in f"{code:02x}")
    ways = [
        plain if character == "\\" else f"{_ANY}{plain}",
        f"{_ONE_OR_MORE}u00{digits}",
        f"%(?:25){{0,{_LONGEST}}}{digits}",
        f"&#0{{0,{_LONGEST}}}{code};",
        f"&#[xX]0{{0,{_LONGEST}}}{digits};",
    ]
    return [*ways, f"&{_ENTITIES[character]};"] if character in _ENTITIES else ways
