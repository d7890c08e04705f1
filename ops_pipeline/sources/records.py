"""Looking into an answer before it is stored: how many records it holds, and what it says about the next one.

Belongs here: what asking part after part must know. Does not belong here: reading the records themselves (`silver`, which counts what the
ledger tells) and deciding what is asked next (`paging`).
"""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ops_pipeline.recipes.answers import AnswerFormat


class UnreadableError(Exception):
    """The answer is not laid out as the recipe says, so nobody knows how much of it there is."""


class Opened:
    """One answer, read once."""

    def __init__(self, body: bytes, answer: AnswerFormat) -> None:
        """Reads a body.

        Raises:
            UnreadableError: it is no text, or no JSON where it should be.
        """
        self._answer = answer
        self._content: Any = None
        self._text = ""
        try:
            if answer.format == "json":
                self._content = json.loads(body.decode("utf-8-sig"))
            else:
                self._text = body.decode("utf-8-sig")
        except (ValueError, RecursionError):
            raise UnreadableError from None

    @property
    def count(self) -> int:
        """Records that the vendor put into it: elements of its list, lines of its CSV without header and blank ones."""
        if self._answer.format != "json":
            return self._lines()
        *outer, last = self._answer.segments
        places = [self._content]
        for segment in outer:
            # Behind each of these pointers every element of a list and every value of an object is meant.
            places = [one for place in places for one in _elements(_at(place, segment))]
        found = [one for place in places if (one := _at(place, last)) is not None]
        if self._answer.record == "parallel":
            return sum(max((len(one) for one in _elements(place) if isinstance(one, list)), default=0) for place in found)
        return len(found)

    def value(self, pointer: str) -> Any:
        """What stands at a place of a JSON answer; None where nothing does."""
        return _at(self._content, pointer)

    def _lines(self) -> int:
        try:
            rows = sum(
                any(cell.strip() for cell in row)
                for row in csv.reader(io.StringIO(self._text, newline=""), delimiter=self._answer.delimiter)
            )
        except csv.Error:
            raise UnreadableError from None
        return max(0, rows - self._answer.header)


def _elements(place: Any) -> list[Any]:
    if isinstance(place, dict):
        return list(place.values())
    return place if isinstance(place, list) else []


def _at(content: Any, pointer: str) -> Any:
    """RFC 6901; None where there is nothing."""
    for name in pointer.split("/")[1:]:
        key = name.replace("~1", "/").replace("~0", "~")
        if isinstance(content, dict):
            content = content.get(key)
        elif isinstance(content, list) and key.isdecimal() and int(key) < len(content):
            content = content[int(key)]
        else:
            return None
    return content
