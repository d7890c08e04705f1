"""What a source and a recipe say about HTTP: where to ask, with which key, and how a request is written.

Belongs here: the models of a recipe file's `http` and `request` blocks and their rules. Does not belong here: sending (`sources.http`),
and everything about what an answer means (`models`).

No message of this module shows what was given where a key may stand: people paste keys into addresses and into `env`.
"""

from __future__ import annotations

import os
import re
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    field_validator,
    model_serializer,
    model_validator,
)

from ops_pipeline.recipes.paging import Paging, ParamName
from ops_pipeline.recipes.templates import Piece, Slot, names, pieces, quoted, slots, write

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
# One way to read an address only: what a browser, Python and aiohttp read differently (blanks, backslashes, users) is refused.
_ADDRESS = re.compile(r"https?://([A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?(/[^?#]*)?", re.ASCII)
# RFC 3986, section 3.3: what a path may hold as it is.
_PATH_TEXT = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*", re.ASCII)
_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+", re.ASCII)
_KEY_TEXT = re.compile(r"[\x21-\x7e]+", re.ASCII)
_OWN_VARIABLES = "OPS_PIPELINE_"
_NAMES_OF_KEYS = re.compile(
    r"(x[-_])?(api|access|auth|secret|client)[-_]?(key|token|secret)|authorization|password", re.IGNORECASE
)

HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]+$", max_length=80)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class ApiKey(_Model):
    """Where the vendor's key comes from and where it goes; the key itself stands in the environment and nowhere else."""

    env: str = Field(max_length=80, description="the environment variable that holds the key")
    query: ParamName | None = Field(default=None, description="the query parameter that carries the key")
    header: HeaderName | None = Field(default=None, description="the header that carries the key")
    prefix: str = Field(default="", pattern=r"^[ -~]*$", description="text before the key in the header, such as `Token `")

    @field_validator("env")
    @classmethod
    def _a_name(cls, value: str) -> str:
        # Some vendors' keys are capitals and digits: the underscore tells a name from a key that was pasted here.
        if not _VARIABLE.fullmatch(value) or value.startswith(_OWN_VARIABLES):
            raise ValueError(
                "write the name of an environment variable here, in capitals and with an underscore, such as FMP_API_KEY"
                f" (and not {_OWN_VARIABLES}...: those are settings); never the key itself"
            )
        return value

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.query is None) == (self.header is None):
            raise ValueError("name either `query` or `header`, the place that carries the key")
        if self.prefix and self.header is None:
            raise ValueError("a prefix stands before the key in a header; name the header")
        return self

    @property
    def place(self) -> str:
        """Where the key goes, in words."""
        return f"query parameter {self.query}" if self.query else f"header {self.header}"

    def read(self) -> str | None:
        """The key from the environment, without blanks around it; None where the variable is not set.

        Raises:
            ValueError: the variable holds what no key is made of; the text does not show it.
        """
        key = os.environ.get(self.env, "").strip()
        if key and not _KEY_TEXT.fullmatch(key):
            raise ValueError(
                f"the environment variable {self.env} holds a blank or a letter outside ASCII: set it to the key alone;"
                " a word before it, such as Bearer, goes into `prefix`"
            )
        return key or None


class ErrorPattern(_Model):
    """How an error of the vendor's is known: by a text in the answer, by its status code, or by both together.

    Attributes:
        match: text that the first 4,096 bytes of the body hold; None: any body.
        status: status codes; empty: any code, 200 included.
        kind: what it is. permanent: asking again changes nothing; transient: it may help; deferred: the quota is used up; auth: the key
            is refused; plan: the plan does not hold this.
        of: how much the plan does not hold: the ticker that was asked about, or the whole dataset.
    """

    match: str | None = Field(default=None, min_length=1)
    status: list[Annotated[int, Field(ge=100, le=599)]] = []
    kind: Literal["permanent", "transient", "deferred", "auth", "plan"]
    of: Literal["ticker", "dataset"] = "ticker"

    @model_validator(mode="after")
    def _something_to_know_it_by(self) -> Self:
        if self.match is None and not self.status:
            raise ValueError("name `match`, `status` or both: what the error is known by")
        if self.of == "dataset" and self.kind != "plan":
            raise ValueError("`of` says how much a plan does not hold; it is for the kind plan")
        return self


class HttpSource(_Model):
    """How a vendor is reached.

    Attributes:
        base_url: scheme, host and perhaps a path that every request begins with.
        key: where the API key comes from and goes; None where the vendor wants none.
        user_agent: what the client calls itself; some vendors want a name and an address to write to. None: ops_pipeline and its version.
        timeout_seconds: from the request to the last byte.
        attempts: how often a request is sent at most; only transient errors are asked again.
        longest_pause_seconds: a vendor that wants a longer pause than this (Retry-After) is asked again by a later run.
        max_bytes: of an unpacked answer; a larger one is refused.
        conditional: whether an answer with an ETag or a Last-Modified is asked for only if it changed; false for a vendor that errs there.
        errors: by what an answer is known as an error, also with status 200; the first that fits counts, before what codes mean by
            themselves (401 auth, 402 plan, 408, 425, 429 and 5xx transient, others from 300 on permanent).
    """

    base_url: str
    key: ApiKey | None = None
    user_agent: str | None = Field(default=None, pattern=r"^[\x21-\x7e]+( [\x21-\x7e]+)*$", max_length=200)
    timeout_seconds: float = Field(default=30, gt=0, le=3600)
    attempts: int = Field(default=5, ge=1, le=20)
    longest_pause_seconds: float = Field(default=60, ge=0, le=3600)
    max_bytes: int = Field(default=512 * 1024 * 1024, ge=1)
    conditional: bool = True
    errors: list[ErrorPattern] = []

    @field_validator("base_url")
    @classmethod
    def _a_place(cls, value: str) -> str:
        return base_address(value)


class HttpRequest(_Model):
    """How a dataset is asked for: a path and query parameters, in which `{ticker}`, `{from_date}` and `{to_date}` are filled in.

    A parameter whose placeholder has no value is left out.

    Attributes:
        path: below the source's base address.
        params: query parameters.
        max_days: the widest window that the vendor answers at once; a wider one is asked piece by piece.
        row_limit: the most records that the vendor puts into an answer: one that holds as many is cut, and its window is asked again in
            halves.
        paging: how further parts of an answer are asked for.
        unzip: the vendor sends a ZIP archive with one file in it, and that file is the answer.
    """

    path: str
    params: dict[ParamName, str] = {}
    max_days: int | None = Field(default=None, ge=1)
    row_limit: int | None = Field(default=None, ge=1)
    paging: Paging | None = None
    unzip: bool = False

    @field_validator("path")
    @classmethod
    def _below_the_base(cls, value: str) -> str:
        if not value.startswith("/"):
            raise ValueError("a path begins with /")
        if any(not _PATH_TEXT.fullmatch(piece.text) for piece in pieces(value)):
            raise ValueError("write parameters into `params`, and percent-encode what else a path cannot hold, such as %20")
        _refuse_steps(value)
        return value

    @field_validator("params")
    @classmethod
    def _no_key_and_known_placeholders(cls, value: dict[str, str]) -> dict[str, str]:
        for name, template in value.items():
            pieces(template)
            if _NAMES_OF_KEYS.fullmatch(name):
                raise ValueError(
                    f"{name} is the name of a key, and what stands here is stored and shown: declare it in the source's `http.key`"
                )
        return value

    @model_validator(mode="after")
    def _parts_fit_together(self) -> Self:
        if self.paging is not None and self.row_limit is not None:
            raise ValueError("row_limit is for answers that come at once; with paging the vendor gives the rest by itself")
        if self.paging is not None and self.paging.way.param in self.params:
            raise ValueError(f"the parameter {self.paging.way.param} is put there by `paging`; leave it out of params")
        asked = self.placeholders & {"from_date", "to_date"}
        if self.max_days is not None and len(asked) < (1 if self.max_days == 1 else 2):
            raise ValueError(
                "max_days needs {from_date} and {to_date} in the path or the params: otherwise every piece is the same"
            )
        return self

    @model_serializer(mode="wrap")
    def _without_absent(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Recipes without these fields keep the hashes that they had before there were any.
        dumped: dict[str, Any] = handler(self)
        return {k: v for k, v in dumped.items() if k in ("path", "params") or (v is not None and v is not False)}

    @cached_property
    def constants(self) -> tuple[tuple[str, str], ...]:
        """What is the same in every request of the dataset, sorted: the path's template and the parameters without placeholder."""
        fixed = {name: text for name, text in self.params.items() if not names(pieces(text))}
        return tuple(sorted({":path": self.path, **fixed}.items()))

    @cached_property
    def placeholders(self) -> frozenset[str]:
        """What is filled in, such as `ticker`."""
        return frozenset().union(*(names(pieces(text)) for text in (self.path, *self.params.values())))

    @cached_property
    def in_one(self) -> bool:
        """Whether a request is one question with one answer, so that nothing needs to be counted."""
        return self.max_days is None and self.row_limit is None and self.paging is None

    @cached_property
    def _slots(self) -> dict[Slot, str]:
        """The places that are filled in, each with a name of its own in the format string."""
        found = set().union(*(slots(pieces(text)) for text in (self.path, *self.params.values())))
        return {slot: f"v{k}" for k, slot in enumerate(sorted(found))}

    @cached_property
    def _formats(self) -> dict[frozenset[str], str]:
        """Path and query as one format string for each set of values that requests had so far: a run asks thousands of times the same."""
        return {}

    def render(self, values: Mapping[str, str | date]) -> str:
        """The path and query of one question below the base address, percent-encoded: no value can leave its place.

        Args:
            values: what the placeholders stand for; one that has no value is left out.

        Raises:
            ValueError: the path names a value that the request does not have, or a value that no address can hold.
        """
        given = frozenset(values)
        form = self._formats.get(given)
        if form is None:
            form = self._formats[given] = self._format(given)
        target = form.format(**{alias: write(values[s.name], s.form) for s, alias in self._slots.items() if s.name in values})
        # Only a value of dots makes a part of the path of nothing but dots.
        if any(isinstance(value, str) and not value.strip(".") for value in values.values()):
            _refuse_steps(target.partition("?")[0])
        return target

    def _format(self, given: frozenset[str]) -> str:
        """Path and query for requests that have these values; every literal text is percent-encoded, so braces are placeholders only."""
        path = pieces(self.path)
        absent = names(path) - given
        if absent:
            raise ValueError(f"the path needs a {' and a '.join(sorted(absent))}, which this request has not")
        params = {quoted(name): pieces(text) for name, text in self.params.items()}
        query = "&".join(
            f"{name}={self._joined(parts, encoded=False)}" for name, parts in params.items() if names(parts) <= given
        )
        target = self._joined(path, encoded=True)
        return f"{target}?{query}" if query else target

    def _joined(self, parts: list[Piece], *, encoded: bool) -> str:
        return "".join(
            (text if encoded else quoted(text)) + (f"{{{self._slots[slot]}}}" if slot is not None else "") for text, slot in parts
        )


def base_address(value: str) -> str:
    """The address of a vendor as `base_url` may name it, without a slash at its end.

    Raises:
        ValueError: it is none, or one that would give away the key; the text does not show it.
    """
    if not _ADDRESS.fullmatch(value):
        raise ValueError(
            "write scheme, host and path only, such as https://api.example.com: no user, no query, no fragment; a key goes into `key`"
        )
    try:
        parts = urlsplit(value)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("the host or the port of the address is none") from None
    if port == 0 or not all(host.strip(".").split(".")):
        raise ValueError("the host or the port of the address is none")
    if not _PATH_TEXT.fullmatch(parts.path):
        raise ValueError("percent-encode what a path cannot hold, such as %20")
    _refuse_steps(parts.path)
    if parts.scheme == "http" and host not in _LOOPBACK:
        raise ValueError(f"use https: over http anybody on the way reads and changes what {host} answers")
    return value.rstrip("/")


def _refuse_steps(path: str) -> None:
    """Servers and libraries take the segments `.` and `..`, also percent-encoded, as steps to another path."""
    if any(re.sub("%2e", ".", part, flags=re.IGNORECASE) in (".", "..") for part in path.split("/")):
        raise ValueError("a part of the path is . or .., which names another path")
