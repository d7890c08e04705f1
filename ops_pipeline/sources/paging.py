"""Asking part after part until a request is complete: windows, pages, offsets, cursors.

Belongs here: which question follows an answer, and when the last one has come. Does not belong here: sending (`http`), and what the recipe
says about it (`recipes.paging`).

An answer that the vendor cut at its limit is never taken for a whole one: its window is asked again in halves, or the request fails.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, assert_never

from ops_pipeline.recipes.paging import Cursor, Offset, Pages
from ops_pipeline.sources.base import SourceError
from ops_pipeline.sources.records import Opened, UnreadableError

if TYPE_CHECKING:
    from ops_pipeline.recipes.answers import AnswerFormat
    from ops_pipeline.recipes.http import HttpRequest


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to ask the vendor.

    Attributes:
        from_date: the first day wanted; None: from the beginning.
        to_date: the last one; None: to the end.
        param: a query parameter that says which page, as (name, value); None on a page that needs none.
    """

    from_date: date | None
    to_date: date | None
    param: tuple[str, str] | None = None


class Series:
    """The questions that make up one request, in order."""

    def __init__(
        self, name: str, request: HttpRequest, answer: AnswerFormat, from_date: date | None, to_date: date | None
    ) -> None:
        """Begins with the first question.

        Args:
            name: the source's, for sentences.
            request: how the dataset is asked for.
            answer: how its answers are laid out.
            from_date: the request's first day.
            to_date: its last one.
        """
        self._name, self._request, self._answer = name, request, answer
        self._to = to_date
        self._days = request.max_days
        self._page = 0
        self._before: bytes | None = None
        self.question: Question | None = self._window(from_date)

    def take(self, body: bytes) -> bool:
        """Whether an answer is a part of the request; afterwards `question` is what follows, None behind the last part.

        False: it was cut at the vendor's limit, and `question` asks for a half of its window.

        Raises:
            SourceError: nobody can tell what follows, or the vendor gives no more than its limit of a single day.
        """
        asked = self.question
        if asked is None:
            raise ValueError("nothing was asked")
        if self._request.row_limit is None and self._request.paging is None:
            self.question = self._following(asked)
            return True
        try:
            opened = Opened(body, self._answer)
            count = opened.count
        except UnreadableError:
            raise SourceError(
                f"{self._name} sent an answer that is no {self._answer.format.upper()}, so nobody knows whether more follows;"
                " the next run asks again.",
                kind="transient",
                body=body,
            ) from None
        if self._request.row_limit is not None and count >= self._request.row_limit:
            self._halve(asked, count, body)
            return False
        param = self._next_page(opened, count, body) if self._request.paging is not None else None
        self.question = Question(asked.from_date, asked.to_date, param) if param else self._following(asked)
        return True

    # --- windows --------------------------------------------------------------------------------------------------------------

    def _window(self, begin: date | None) -> Question:
        """The piece of the request's window that begins on a day."""
        self._page, self._before = 0, None
        end = self._to
        if begin is not None and end is not None and self._days is not None and (end - begin).days >= self._days:
            end = begin + timedelta(days=self._days - 1)
        way = self._request.paging.way if self._request.paging else None
        return Question(begin, end, (way.param, str(way.first)) if isinstance(way, Pages) else None)

    def _following(self, asked: Question) -> Question | None:
        """The piece behind the one that was asked; None at the end of the request's window."""
        if asked.to_date is None or self._to is None or asked.to_date >= self._to:
            return None
        return self._window(asked.to_date + timedelta(days=1))

    def _halve(self, asked: Question, count: int, body: bytes) -> None:
        """Asks for less at once from here on: where one window was too full the next ones are likely to be."""
        days = (asked.to_date - asked.from_date).days + 1 if asked.from_date and asked.to_date else None
        if days is None or days <= 1 or not {"from_date", "to_date"} <= self._request.placeholders:
            what = f"for {asked.from_date} alone" if days == 1 else "and the request has no dates to divide it by"
            raise SourceError(
                f"{self._name} sent {count} records, as many as it gives at most (row_limit), {what}: what is missing cannot be known."
                " Declare `paging`, or raise row_limit if the vendor's limit is higher.",
                kind="permanent",
                body=body,
            )
        self._days = days // 2
        self.question = self._window(asked.from_date)

    # --- pages ----------------------------------------------------------------------------------------------------------------

    def _next_page(self, opened: Opened, count: int, body: bytes) -> tuple[str, str] | None:
        """The parameter that asks for the next page; None behind the last one.

        Raises:
            SourceError: the vendor repeats itself, or ends before the number that it named.
        """
        if self._request.paging is None:
            return None
        way = self._request.paging.way
        match way:
            case Pages():
                following = self._numbered(way, opened, count)
            case Offset():
                following = self._counted(way, opened, count)
            case Cursor():
                following = _text(opened.value(way.next))
            case _:
                assert_never(way)
        if following is None:
            return None
        # What the vendor says would never end; the same page twice is one page.
        seen = hashlib.sha256(body).digest()
        if seen == self._before:
            raise SourceError(
                f"{self._name} sent the same page twice: it does not know the parameter {way.param}; correct `paging` in the recipe.",
                kind="permanent",
                body=body,
            )
        self._before = seen
        return way.param, following

    def _numbered(self, way: Pages, opened: Opened, count: int) -> str | None:
        self._page += 1
        last = self._page >= self._number(opened, way.pages) if way.pages is not None else count < (way.size or 1)
        return None if last else str(way.first + self._page)

    def _counted(self, way: Offset, opened: Opened, count: int) -> str | None:
        self._page += count
        if way.total is None:
            return None if count < way.size else str(self._page)
        total = self._number(opened, way.total)
        if self._page >= total:
            return None
        if not count:
            raise SourceError(
                f"{self._name} speaks of {total} records and sent {self._page}; the next run asks again.", kind="transient"
            )
        return str(self._page)

    def _number(self, opened: Opened, pointer: str) -> int:
        text = _text(opened.value(pointer))
        if text is None or not text.isdecimal():
            raise SourceError(
                f"{self._name} sent an answer without a number at {pointer}, so nobody knows whether more follows;"
                " correct `paging` in the recipe.",
                kind="permanent",
            )
        return int(text)


def _text(value: object) -> str | None:
    """A number or a text that is not empty, as text."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value) or None
