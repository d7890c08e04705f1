"""What a source and a recipe say about HTTP: where to ask, with which key, and how a request is written.

Belongs here: the models of a recipe file's `http` and `request` blocks and their rules. Does not belong here: sending (`sources.http`),
and everything about what an answer means (`models`).
"""

from __future__ import annotations

import os
import re
from functools import cached_property
from string import Formatter
from typing import TYPE_CHECKING, Annotated, Literal, Self
from urllib.parse import quote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

if TYPE_CHECKING:
    from datetime import date

# What a request's templates may name; each is a part of the request's identity.
PLACEHOLDERS = ("ticker", "from_date", "to_date")
_LOOPBACK = ("localhost", "127.0.0.1", "::1")

EnvironmentName = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=80)]
Token = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\[\]-]+$", max_length=80)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ApiKey(_Model):
    """Where the vendor's key comes from and where it goes; the key itself stands in the environment and nowhere else."""

    env: EnvironmentName
    query: Token | None = Field(default=None, description="the query parameter that carries the key")
    header: Token | None = Field(default=None, description="the header that carries the key")
    prefix: str = Field(default="", description="text before the key in the header, such as `Token `")

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.query is None) == (self.header is None):
            raise ValueError("key: name either `query` or `header`, the place that carries the key")
        if self.prefix and self.header is None:
            raise ValueError("key: a prefix stands before the key in a header; name the header")
        return self

    def read(self) -> str | None:
        """The key from the environment; None where the variable is not set."""
        return os.environ.get(self.env) or None


class ErrorPattern(_Model):
    """A text by which an answer is known as an error, whatever its status code."""

    match: str = Field(min_length=1, description="text that the first 4,096 bytes of the body hold")
    kind: Literal["permanent", "transient", "deferred"]


class HttpSource(_Model):
    """How a vendor is reached.

    Attributes:
        base_url: scheme, host and perhaps a path that every request begins with.
        key: where the API key comes from and goes; None where the vendor wants none.
        timeout_seconds: from the request to the last byte.
        attempts: how often a request is sent at most; only transient errors are asked again.
        longest_pause_seconds: a vendor that wants a longer pause than this (Retry-After) is asked again by the next run.
        max_bytes: of an unpacked answer; a larger one is refused.
        errors: texts by which an answer is an error, also with status 200; the first that matches counts.
    """

    base_url: str
    key: ApiKey | None = None
    timeout_seconds: float = Field(default=30, gt=0, le=3600)
    attempts: int = Field(default=5, ge=1, le=20)
    longest_pause_seconds: float = Field(default=60, ge=0, le=3600)
    max_bytes: int = Field(default=512 * 1024 * 1024, ge=1)
    errors: list[ErrorPattern] = []

    @field_validator("base_url")
    @classmethod
    def _a_place(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{value!r} is no address such as https://api.example.com")
        if parts.query or parts.fragment or parts.username or parts.password:
            raise ValueError("write scheme, host and path only: no user, no query, no fragment; a key goes into `key`")
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            raise ValueError(f"use https: over http anybody on the way reads and changes what {parts.hostname} answers")
        return value.rstrip("/")


class HttpRequest(_Model):
    """How a dataset is asked for: a path and query parameters, in which `{ticker}`, `{from_date}` and `{to_date}` are filled in.

    A parameter whose placeholder has no value (no dates in a snapshot) is left out.
    """

    path: str
    params: dict[Token, str] = {}

    @field_validator("path")
    @classmethod
    def _below_the_base(cls, value: str) -> str:
        if not value.startswith("/") or re.search(r"[?#\s]", value):
            raise ValueError(f"{value!r} must begin with / and hold no ?, # or blank; parameters go into `params`")
        _placeholders(value)
        return value

    @field_validator("params")
    @classmethod
    def _known_placeholders(cls, value: dict[str, str]) -> dict[str, str]:
        for template in value.values():
            _placeholders(template)
        return value

    @cached_property
    def constants(self) -> tuple[tuple[str, str], ...]:
        """What is the same in every request of the dataset, sorted: the path's template and the parameters without placeholder."""
        fixed = {name: text for name, text in self.params.items() if not _placeholders(text)}
        return tuple(sorted({":path": self.path, **fixed}.items()))

    @property
    def names_ticker(self) -> bool:
        """Whether the ticker is a part of the request."""
        return any("ticker" in _placeholders(text) for text in (self.path, *self.params.values()))

    @property
    def names_dates(self) -> bool:
        """Whether the from-date or the to-date is a part of the request."""
        return any({"from_date", "to_date"} & _placeholders(text) for text in (self.path, *self.params.values()))

    def render(self, ticker: str, from_date: date | None, to_date: date | None) -> tuple[str, dict[str, str]]:
        """The path, percent-encoded, and the query parameters of one request.

        Raises:
            ValueError: the path names a value that the request does not have.
        """
        given = {"ticker": ticker, "from_date": from_date, "to_date": to_date}
        values = {name: value if isinstance(value, str) else value.isoformat() for name, value in given.items() if value}
        absent = _placeholders(self.path) - set(values)
        if absent:
            raise ValueError(f"the path {self.path} needs {', '.join(sorted(absent))}")
        path = self.path.format(**{name: quote(value, safe="") for name, value in values.items()})
        return path, {name: text.format(**values) for name, text in self.params.items() if _placeholders(text) <= set(values)}


def _placeholders(template: str) -> set[str]:
    """The names in braces.

    Raises:
        ValueError: for a name that cannot be filled in, or braces that do not match.
    """
    try:
        parsed = list(Formatter().parse(template))
    except ValueError as e:
        raise ValueError(f"{template!r}: {e}") from e
    names = {name for _, name, _, _ in parsed if name is not None}
    unknown = sorted(names - set(PLACEHOLDERS))
    if unknown or any(spec or conversion for _, name, spec, conversion in parsed if name is not None):
        raise ValueError(f"{template!r}: only {', '.join('{' + p + '}' for p in PLACEHOLDERS)} can be filled in")
    return names
