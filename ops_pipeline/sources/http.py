"""Vendors with an HTTP API: one client for all of them, told by the recipe files what to ask.

Belongs here: sending, trying again, what a status code means, limits on what is taken, and keeping the key out of everything. Does not
belong here: what any one vendor's answers mean (recipes) and where they are kept (bronze).

No text of an exception of the HTTP library is passed on: it may hold the address, and the address may hold the key.
"""

from __future__ import annotations

import json
import random
import zlib
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import aiohttp
import tenacity

from ops_pipeline import __version__
from ops_pipeline.clock import utc_now
from ops_pipeline.sources.base import Answer, Request, SourceError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from ops_pipeline.recipes.models import Recipe, SourceDeclaration
    from ops_pipeline.sources.base import ErrorKind

# What asking again may change: an overloaded or restarting server. Everything else from 400 on is about the request itself.
TRANSIENT_STATUS: Final = frozenset({408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524})
FIRST_PAUSE_SECONDS: Final = 0.5
REDACTED: Final = b"[redacted]"

_ADVICE: Final = {
    400: "check the recipe's request",
    401: "check the key",
    402: "the plan does not hold this; leave it out of the universe or change the plan",
    403: "the key or the plan does not allow this",
    404: "check the recipe's path and the ticker",
}
_CHUNK: Final = 1 << 16
_SHOWN: Final = 4096


class HttpClient:
    """A source's client: one pool of connections, used by many requests at once on one event loop."""

    def __init__(self, declaration: SourceDeclaration, recipes: Mapping[str, Recipe]) -> None:
        """Opens nothing yet.

        Args:
            declaration: a source with an `http` block.
            recipes: the catalogue's recipes by dataset key.
        """
        if declaration.http is None:
            raise ValueError(f"{declaration.name} has no http block")
        self._name, self._http, self._connections = declaration.name, declaration.http, declaration.concurrency
        self._recipes = recipes
        self._key = self._http.key.read() if self._http.key else None
        self._session: aiohttp.ClientSession | None = None

    async def fetch(self, request: Request) -> AsyncIterator[Answer]:
        """Sends one request, again where that may help, and gives its answer.

        Raises:
            SourceError: no usable answer; transient when every attempt failed in a way that may pass.
        """
        recipe = self._recipes[request.dataset_key]
        path, params, headers = self._address(recipe, request)
        attempt = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self._http.attempts),
            wait=_pause,
            retry=tenacity.retry_if_exception(self._worth_another_try),
            reraise=True,
        )
        yield await attempt(self._send, path, params, headers, recipe.answer.format)

    async def aclose(self) -> None:
        """Closes the connections."""
        if self._session is not None:
            await self._session.close()

    def _address(self, recipe: Recipe, request: Request) -> tuple[str, dict[str, str], dict[str, str]]:
        if recipe.request is None:
            raise SourceError(
                f"{recipe.dataset_key} has no `request` block: add the path that {self._name} answers for it.", kind="permanent"
            )
        try:
            path, params = recipe.request.render(request.ticker, request.from_date, request.to_date)
        except ValueError as e:
            raise SourceError(
                f"{recipe.dataset_key} cannot be asked like this ({e}): correct the recipe.", kind="permanent"
            ) from e
        headers: dict[str, str] = {}
        key = self._http.key
        if key is not None:
            if self._key is None:
                raise SourceError(
                    f"{self._name} wants a key: put it into the environment variable {key.env} and run again.", kind="permanent"
                )
            if key.query is not None:
                params[key.query] = self._key
            if key.header is not None:
                headers[key.header] = key.prefix + self._key
        return path, params, headers

    async def _send(self, path: str, params: dict[str, str], headers: dict[str, str], form: str) -> Answer:
        session = self._opened()
        try:
            # A redirect could carry the key to another host, so none is followed.
            async with session.get(self._http.base_url + path, params=params, headers=headers, allow_redirects=False) as response:
                body = await self._body(response)
                status, retry_after = response.status, response.headers.get("Retry-After")
        except TimeoutError:
            raise self._transient(f"did not answer within {self._http.timeout_seconds:g} s") from None
        except aiohttp.ClientConnectorCertificateError:
            raise SourceError(
                f"The certificate of {self._name} cannot be verified: check base_url and this machine's clock and certificates.",
                kind="permanent",
            ) from None
        except (aiohttp.ClientPayloadError, zlib.error):
            raise self._transient("broke off in the middle of an answer") from None
        except (aiohttp.ClientError, OSError) as e:
            raise self._transient(f"cannot be reached ({_cause(e)})") from None
        body, redacted = self._without_key(body)
        try:
            self._refuse_errors(status, body, retry_after)
            if form == "json" and _is_cut(body):
                raise self._transient("sent an answer that was cut", status=status, body=body)
        except SourceError as e:
            e.redacted = redacted
            raise
        return Answer(body, status_code=status, redacted=redacted)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                timeout=aiohttp.ClientTimeout(total=self._http.timeout_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"ops_pipeline/{__version__}"},
            )
        return self._session

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        """The unpacked body, piece by piece: what unpacks to more than the limit is given up before it fills the memory."""
        pieces: list[bytes] = []
        size = 0
        async for piece in response.content.iter_chunked(_CHUNK):
            size += len(piece)
            if size > self._http.max_bytes:
                raise SourceError(
                    f"{self._name} sent an answer of more than {self._http.max_bytes} bytes: ask for less, or raise max_bytes.",
                    kind="permanent",
                    status_code=response.status,
                )
            pieces.append(piece)
        return b"".join(pieces)

    def _without_key(self, body: bytes) -> tuple[bytes, bool]:
        """Some vendors repeat the key in their answer; it must not be stored."""
        key = self._key.encode() if self._key else b""
        if not key or key not in body:
            return body, False
        return body.replace(key, REDACTED), True

    def _refuse_errors(self, status: int, body: bytes, retry_after: str | None) -> None:
        """What is no answer, by the declared texts first, then by the status code."""
        beginning = body[:_SHOWN].decode("utf-8", "replace")
        pattern = next((p for p in self._http.errors if p.match in beginning), None)
        if pattern is None and 200 <= status < 300:
            return
        kind: ErrorKind = pattern.kind if pattern else "transient" if status in TRANSIENT_STATUS else "permanent"
        said = _said(beginning)
        answer = f"HTTP {status}{f': {said}' if said else ''}"
        if kind == "transient":
            raise self._transient(f"answered with {answer}", status=status, body=body, retry_after=_seconds(retry_after))
        if 300 <= status < 400:
            advice = "it redirects to another address; write that one as base_url"
        else:
            advice = _ADVICE.get(status, "the request is refused") if kind == "permanent" else "the quota is used up"
        raise SourceError(f"{self._name} answered with {answer} ({advice}).", kind=kind, status_code=status, body=body)

    def _transient(
        self, what: str, *, status: int | None = None, body: bytes | None = None, retry_after: float | None = None
    ) -> SourceError:
        return SourceError(
            f"{self._name} {what}; the next run asks again.",
            kind="transient",
            status_code=status,
            body=body,
            retry_after=retry_after,
        )

    def _worth_another_try(self, error: BaseException) -> bool:
        if not isinstance(error, SourceError) or error.kind != "transient":
            return False
        return error.retry_after is None or error.retry_after <= self._http.longest_pause_seconds


def _pause(state: tenacity.RetryCallState) -> float:
    """Seconds before the next attempt: what the vendor asks for, otherwise twice as long each time, jittered so that clients spread."""
    error = state.outcome.exception() if state.outcome else None
    wanted = error.retry_after if isinstance(error, SourceError) else None
    backoff = FIRST_PAUSE_SECONDS * 2 ** (state.attempt_number - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - it spreads, it guards nothing
    return backoff if wanted is None else wanted + random.uniform(0, 0.1)  # noqa: S311 - as above


def _seconds(retry_after: str | None) -> float | None:
    """The header's seconds or date as seconds from now (RFC 9110, section 10.2.3); None where it is absent or nonsense."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(retry_after) - utc_now()).total_seconds())
    except (ValueError, TypeError):
        return None


def _is_cut(body: bytes) -> bool:
    """Whether a JSON body begins as an array or object and does not end as one: half an answer, delivered as a whole one."""
    text = body.strip()
    ends = {b"[": b"]", b"{": b"}"}
    return text[:1] in ends and text[-1:] != ends[text[:1]]


def _said(beginning: str) -> str:
    """The vendor's own words in one short line: a JSON object's message, or the beginning of a text that is no page."""
    try:
        content = json.loads(beginning)
    except ValueError:
        content = None
    if isinstance(content, dict):
        text = next((v for v in content.values() if isinstance(v, str) and v), "")
    elif beginning.lstrip()[:1] in ("<", "[", "{"):
        text = ""
    else:
        text = beginning
    return " ".join(text.split())[:200].rstrip(".")


def _cause(error: BaseException) -> str:
    """The operating system's word for it, or the kind of error."""
    system = getattr(error, "os_error", error)
    text = getattr(system, "strerror", None)
    return text if isinstance(text, str) and "://" not in text else type(error).__name__
