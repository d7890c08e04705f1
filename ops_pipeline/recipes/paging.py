"""What a recipe says about answers that come in parts.

Belongs here: the models of the block `request.paging`. Does not belong here: asking part after part (`sources.paging`).
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from ops_pipeline.recipes.answers import pointer

ParamName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.$:\[\]-]+$", max_length=80)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Pages(_Model):
    """Pages or parts that are numbered.

    Attributes:
        param: the query parameter that carries the number.
        first: the number of the first page.
        size: records of a full page; a page with fewer is the last. None: every page but an empty one has another behind it.
        pages: a pointer into a JSON answer to how many pages there are.
    """

    param: ParamName
    first: int = Field(default=1, ge=0)
    size: int | None = Field(default=None, ge=1)
    pages: str | None = None

    @field_validator("pages")
    @classmethod
    def _a_place(cls, value: str | None) -> str | None:
        return None if value is None else place(value)

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.size is not None and self.pages is not None:
            raise ValueError("name `size` or `pages`: one of them says which page is the last")
        return self


class Offset(_Model):
    """Answers that begin at the record of a number.

    Attributes:
        param: the query parameter that carries the number of the first record wanted, from 0.
        size: records of a full answer; one with fewer is the last, unless `total` says how many there are.
        total: a pointer into a JSON answer to how many records there are in all.
    """

    param: ParamName
    size: int = Field(ge=1)
    total: str | None = None

    @field_validator("total")
    @classmethod
    def _a_place(cls, value: str | None) -> str | None:
        return None if value is None else place(value)


class Cursor(_Model):
    """Answers that name what to ask next.

    Attributes:
        param: the query parameter that carries the name.
        next: a pointer into a JSON answer to the name of what follows; nothing, null or an empty text there: this was the last.
    """

    param: ParamName
    next: str = Field(alias="from")

    @field_validator("next")
    @classmethod
    def _a_place(cls, value: str) -> str:
        return place(value)


class Paging(_Model):
    """How the parts of an answer are asked for: one of the three ways."""

    page: Pages | None = None
    offset: Offset | None = None
    cursor: Cursor | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if len([way for way in (self.page, self.offset, self.cursor) if way is not None]) != 1:
            raise ValueError("name one of `page`, `offset` and `cursor`")
        return self

    @property
    def way(self) -> Pages | Offset | Cursor:
        """The one that is named."""
        way = self.page or self.offset or self.cursor
        if way is None:
            raise ValueError("no way of paging is named")
        return way

    @property
    def reads_json(self) -> bool:
        """Whether an answer itself says what follows, which only JSON can."""
        return bool(self.cursor or (self.page and self.page.pages is not None) or (self.offset and self.offset.total is not None))


def place(value: str) -> str:
    """A pointer to one place in a JSON answer.

    Raises:
        ValueError: it is none, or names many places.
    """
    if "*" in value.split("/"):
        raise ValueError("a pointer to one place has no *")
    if not value:
        raise ValueError("a pointer begins with /, such as /next_page_token")
    return pointer(value)
