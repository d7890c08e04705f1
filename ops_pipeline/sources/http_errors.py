"""What an HTTP answer means when it is none: the error taxonomy, and the sentence that a user reads.

Belongs here: status codes, declared error texts, Retry-After, cut bodies, and the vendor's own words in a sentence. Does not belong here:
sending and trying again (`http`).
"""

from __future__ import annotations

import json
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from ops_pipeline.clock import utc_now
from ops_pipeline.sources.base import PLAN_KINDS, SourceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ops_pipeline.recipes.http import HttpSource
    from ops_pipeline.sources.base import ErrorKind
    from ops_pipeline.sources.redaction import Redactor

# What asking again may change: an overloaded or restarting server. Everything else from 400 on is about the request itself.
TRANSIENT_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
TOO_MANY_REQUESTS: Final = 429

_SHOWN: Final = 4096
_KINDS: Final[dict[int, ErrorKind]] = {401: "auth", 402: "plan"}
_LONGEST_QUOTE: Final = 200
_ADVICE: Final = {
    400: "check the recipe's request",
    404: "check the recipe's path and the ticker",
    407: "a proxy wants a user and a password; write them into its address",
}
_WORDS: Final = re.compile(r"message|error|detail|reason|description|information|note|title", re.IGNORECASE)


class Refusals:
    """Tells a source's errors from its answers."""

    def __init__(self, name: str, http: HttpSource, redactor: Redactor) -> None:
        """Takes the source's name for the sentences, its declaration, and what keeps the key out of them."""
        self._name, self._http, self._redactor = name, http, redactor
        self._patterns: list[tuple[bytes, frozenset[int], ErrorKind]] = [
            (p.match.encode() if p.match else b"", frozenset(p.status), "plan_dataset" if p.of == "dataset" else p.kind)
            for p in http.errors
        ]
        self._plan = "the plan does not hold this; leave it out of the universe or change the plan"
        self._key = f"the key in {http.key.env}" if http.key else "whether a key is needed"

    def find(self, status: int, body: bytes, headers: Mapping[str, str]) -> SourceError | None:
        """Why this is no answer, by what is declared first, then by the status code; None for an answer."""
        kind: ErrorKind | None = None
        for pattern, codes, declared in self._patterns:
            if (not codes or status in codes) and body.find(pattern, 0, _SHOWN) >= 0:
                kind = declared
                break
        else:
            if 200 <= status < 300:
                return None
            kind = "transient" if status in TRANSIENT_STATUS else _KINDS.get(status, "permanent")
        said = self._redactor.text(_said(body[:_SHOWN].decode("utf-8", "replace")))[:_LONGEST_QUOTE].rstrip(". ")
        answer = f"HTTP {status}{f': {said}' if said else ''}"
        pause = seconds(headers.get("Retry-After"))
        if pause is not None and pause > self._http.longest_pause_seconds and status == TOO_MANY_REQUESTS and kind == "transient":
            kind = "deferred"
        if kind == "transient":
            return self.transient(f"answered with {answer}", status=status, body=body, retry_after=pause)
        if kind == "deferred":
            wait = f" for {pause:.0f} s" if pause is not None and pause < 1e9 else ""
            text = f"{self._name} wants to be left alone{wait}: it answered with {answer}; a later run asks again."
        else:
            text = f"{self._name} answered with {answer} ({self._advice(kind, status, headers)})."
        return SourceError(text, kind=kind, status_code=status, body=body, retry_after=pause)

    def transient(
        self, what: str, *, status: int | None = None, body: bytes | None = None, retry_after: float | None = None
    ) -> SourceError:
        """An error that asking again may mend."""
        return SourceError(
            f"{self._name} {what}; the next run asks again.",
            kind="transient",
            status_code=status,
            body=body,
            retry_after=retry_after,
        )

    def _advice(self, kind: ErrorKind, status: int, headers: Mapping[str, str]) -> str:
        if kind == "auth":
            return f"check {self._key}"
        if kind in PLAN_KINDS:
            return self._plan
        if 300 <= status < 400:
            elsewhere = self._redactor.text(_host(headers.get("Location", "")))
            there = f"to {elsewhere}" if elsewhere else "to another address"
            return f"it redirects {there}, where the key is not sent; write the right address into base_url or path"
        if status == 403:
            return f"the plan does not allow this; check {self._key}"
        return _ADVICE.get(status, "the request is refused; check the recipe and the ticker")


def seconds(retry_after: str | None) -> float | None:
    """A Retry-After header's seconds or date as seconds from now (RFC 9110, section 10.2.3); None where it is absent or nonsense."""
    if retry_after is None:
        return None
    text = retry_after.strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]*)?", text):
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - utc_now()).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def is_cut(body: bytes) -> bool:
    """Whether a JSON body begins as an array or object and does not end as one: half an answer, delivered as a whole one."""
    first, last = body[:_SHOWN].lstrip()[:1], body[-_SHOWN:].rstrip()[-1:]
    ends = {b"[": b"]", b"{": b"}"}
    return first in ends and last != ends[first]


def _said(beginning: str) -> str:
    """The vendor's own words in one line: a JSON object's message, or the beginning of a text that is no page."""
    try:
        content = json.loads(beginning)
    except (ValueError, RecursionError):
        content = "" if beginning.lstrip()[:1] in ("<", "[", "{") else beginning
    text = "".join(c if c.isprintable() else " " for c in _message(content))
    return " ".join(text.split())


def _message(content: Any, depth: int = 3) -> str:
    """The text in a JSON value that is most likely the message."""
    if isinstance(content, str):
        return content
    if depth and isinstance(content, dict):
        # First what is called a message, then what stands there.
        for value in sorted(content.items(), key=lambda item: not _WORDS.search(item[0])):
            if text := _message(value[1], depth - 1):
                return text
    if depth and isinstance(content, list) and content:
        return _message(content[0], depth - 1)
    return ""


def _host(location: str) -> str:
    """Scheme and host of an address; its path and query may hold the key."""
    try:
        parts = urlsplit(location)
        return f"{parts.scheme}://{parts.hostname}" if parts.scheme in ("http", "https") and parts.hostname else ""
    except ValueError:
        return ""
