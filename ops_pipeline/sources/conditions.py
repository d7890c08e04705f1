"""Asking a vendor for an answer only if it is another one than what stands in bronze (RFC 9110, section 13).

Belongs here: which headers are sent, and what of an answer's headers is kept for the next time. Does not belong here: sending (`http`), and
whether the earlier answer still stands (`engine.conditional`).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from ops_pipeline.sources.base import Validators

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops_pipeline.sources.redaction import Redactor

NOT_MODIFIED: Final = 304
# A real one has some dozens of characters; the ledger keeps no vendor's essays.
_LONGEST: Final = 256
_DIGITS: Final = 16


class Condition:
    """What is known of the answer at one address.

    Attributes:
        known: what the earlier answer of this very address came with; None: it is asked for in any case.
    """

    def __init__(self, address: str, validators: Validators | None) -> None:
        """Takes the address without the key, and what is known of the request: of another address, such as a mirror, it counts nothing."""
        self._address = hashlib.sha256(address.encode()).hexdigest()[:_DIGITS]
        self.known = validators if validators is not None and validators.address == self._address else None

    @property
    def headers(self) -> dict[str, str]:
        """The headers that ask for another answer only."""
        if self.known is None:
            return {}
        asked = {"If-None-Match": self.known.etag, "If-Modified-Since": self.known.last_modified}
        return {name: value for name, value in asked.items() if value}

    def kept(self, headers: Mapping[str, str], redactor: Redactor) -> Validators | None:
        """What of an answer's headers is kept; None where it came without."""
        etag, last_modified = (_usable(headers.get(name), redactor) for name in ("ETag", "Last-Modified"))
        return Validators(self._address, etag, last_modified) if etag or last_modified else None


def _usable(value: str | None, redactor: Redactor) -> str | None:
    """A header's value that may be kept and sent back: one that holds the key is not."""
    if value is None or len(value) > _LONGEST or not (value.isascii() and value.isprintable()) or redactor.text(value) != value:
        return None
    return value.strip() or None
