"""Vendors with an HTTP API: one client for all of them, told by the recipe files what to ask.

Belongs here: sending, trying again, limits on what is taken, and keeping the key out of everything. Does not belong here: what a status
code or a body means (`http_errors`), what any one vendor's answers mean (recipes) and where they are kept (bronze).

No exception of the HTTP library is passed on, neither as text nor as a cause: it may hold the address, and the address the key.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, urlsplit

import aiohttp
import tenacity
from yarl import URL

from ops_pipeline import __version__
from ops_pipeline.errors import UserError
from ops_pipeline.sources.base import Answer, Request, SourceError
from ops_pipeline.sources.conditions import NOT_MODIFIED, Condition
from ops_pipeline.sources.connecting import cause_of, proxy_for
from ops_pipeline.sources.gate import Gate
from ops_pipeline.sources.http_errors import Refusals, is_cut
from ops_pipeline.sources.large import LargeBody, beginning_of, in_memory
from ops_pipeline.sources.limits import SharedLimits
from ops_pipeline.sources.paging import Question, Series
from ops_pipeline.sources.redaction import Redactor
from ops_pipeline.sources.unpacking import ACCEPTED, ZIP_BEGINNING, BrokenBodyError, TooLargeError, only_member, unpacked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from datetime import date
    from pathlib import Path

    from ops_pipeline.recipes.models import Recipe
    from ops_pipeline.recipes.source import SourceDeclaration
    from ops_pipeline.sources.limits import Permit

FIRST_PAUSE_SECONDS: Final = 0.5
# Clients that were all told to come back in the same second should not.
SPREAD_SECONDS: Final = 0.1


class HttpClient:
    """A source's client: one pool of connections, used by many requests at once on one event loop."""

    def __init__(
        self,
        declaration: SourceDeclaration,
        recipes: Mapping[str, Recipe],
        *,
        counts: Path | None = None,
        folder: Path | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Opens nothing yet; reads the key and the proxy from the environment.

        Args:
            declaration: a source with an `http` block.
            recipes: the catalogue's recipes by dataset key.
            counts: the folder in which all processes count together what sources were asked; None: nothing is counted.
            folder: where large bodies wait until they are stored; None: in memory.
            sleep: waits for so many seconds between two attempts.
        """
        if declaration.http is None:
            raise ValueError(f"{declaration.name} has no http block")
        self._name, self._http, self._connections = declaration.name, declaration.http, declaration.concurrency
        self._recipes, self._sleep, self._folder = recipes, sleep, folder
        self._session: aiohttp.ClientSession | None = None
        self._unusable: str | None = None
        self._base = urlsplit(self._http.base_url)
        self._query, self._headers, key = "", dict[str, str](), None
        try:
            key = self._read_key()
            self._proxy = proxy_for(self._http.base_url)
        except ValueError as e:
            self._unusable = f"{self._name} cannot be asked: {e}."
        self._redactor = Redactor(key)
        shared = SharedLimits(counts, self._name, declaration.limits_in_force) if counts else None
        self._gate = Gate(self._name, self._http, shared, sleep)
        self._refusals = Refusals(self._name, self._http, self._redactor)

    async def fetch(self, request: Request) -> AsyncIterator[Answer]:
        """Sends one request, again where that may help, and gives its answer.

        Raises:
            SourceError: no usable answer; transient when every attempt failed in a way that may pass.
        """
        recipe = self._recipes[request.dataset_key]
        if recipe.request is None:
            raise SourceError(
                f"{recipe.dataset_key} has no `request` block: add the path that {self._name} answers for it.", kind="permanent"
            )
        if recipe.request.in_one:
            whole = Question(request.from_date, request.to_date)
            url = self._address(recipe, request, whole)
            answer = await self._ask(url, recipe, request, self._condition(url, recipe, request))
            try:
                yield answer
            finally:
                if isinstance(answer.body, LargeBody):
                    answer.body.close()
            return
        series = Series(self._name, recipe.request, recipe.answer, request.from_date, request.to_date)
        part = 0
        while (question := series.question) is not None:
            answer = await self._ask(self._address(recipe, request, question), recipe, request)
            # What follows a part stands in it, so it is looked at as a whole.
            body = in_memory(answer.body)
            if series.take(body):
                part += 1
                yield replace(answer, body=body, part=part, last=series.question is None)

    async def _ask(self, url: URL, recipe: Recipe, request: Request, condition: Condition | None = None) -> Answer:
        """One answer, asked for again where that may help."""
        symbol = request.ticker if recipe.per_ticker else None
        try:
            return await self._send(url, recipe, symbol, condition)
        except SourceError as e:
            if not self._worth_another_try(e):
                raise
            failure = e
        return await self._again(failure, url, recipe, symbol, condition)

    async def aclose(self) -> None:
        """Closes the connections."""
        self._gate.close()
        if self._session is not None:
            await self._session.close()

    # --- what is sent ---------------------------------------------------------------------------------------------------------

    def _read_key(self) -> str | None:
        """The key, put where it goes.

        Raises:
            ValueError: it is missing, or no key.
        """
        place = self._http.key
        if place is None:
            return None
        key = place.read()
        if key is None:
            raise ValueError(f"it wants a key; put it into the environment variable {place.env} and run again")
        if place.query is not None:
            self._query = f"{quote(place.query, safe='')}={quote(key, safe='')}"
        if place.header is not None:
            self._headers = {place.header: place.prefix + key}
        return key

    def _address(self, recipe: Recipe, request: Request, question: Question) -> URL:
        if self._unusable is not None:
            raise SourceError(self._unusable, kind="permanent")
        try:
            target = recipe.request.render(_values(request, question)) if recipe.request else ""
        except ValueError as e:
            raise SourceError(
                f"{request.ticker} cannot be asked of {recipe.dataset_key} ({e}): correct the recipe or the universe.",
                kind="permanent",
            ) from None
        path, _, query = target.partition("?")
        if question.param is not None:
            name, value = question.param
            page = f"{quote(name, safe='')}={quote(value, safe='')}"
            query = f"{query}&{page}" if query else page
        if self._query:
            query = f"{query}&{self._query}" if query else self._query
        # Encoded already: another pass over it would take steps such as `..` and decode what must stay encoded.
        return URL.build(
            scheme=self._base.scheme, authority=self._base.netloc, path=self._base.path + path, query_string=query, encoded=True
        )

    def _condition(self, url: URL, recipe: Recipe, request: Request) -> Condition | None:
        """What is known of the answer at an address that is asked again and again: one with days in it is another one tomorrow."""
        if not self._http.conditional or recipe.mode.has_watermark:
            return None
        return Condition(str(url).removesuffix(self._query) if self._query else str(url), request.validators)

    # --- one attempt ----------------------------------------------------------------------------------------------------------

    async def _send(self, url: URL, recipe: Recipe, symbol: str | None, condition: Condition | None) -> Answer:
        permit = await self._gate.enter(symbol)
        try:
            came = await self._exchange(url, permit, condition.headers if condition else {})
        finally:
            self._gate.arrived(permit)
        # Raised here and not where the library's own exception is being handled: it would hang on to that one as its context.
        if isinstance(came, SourceError):
            raise came
        status, headers, body = came
        if status == NOT_MODIFIED and condition is not None and condition.known is not None:
            self._gate.answered()
            return Answer(b"", status_code=status, validators=condition.known, not_modified=True)
        if recipe.request and recipe.request.unzip and beginning_of(body).startswith(ZIP_BEGINNING):
            body = await asyncio.to_thread(self._unzipped, body) if isinstance(body, LargeBody) else self._unzipped(body)
        if isinstance(body, LargeBody) and (not 200 <= status < 300 or await asyncio.to_thread(self._redactor.is_in, body)):
            body = body.read()
        redacted, edges = False, b""
        if isinstance(body, LargeBody):
            edges = body.beginning + body.end
        else:
            body, redacted = self._redactor.body(body)
            edges = body
        refusal = self._refusals.find(status, edges, headers)
        if refusal is None and recipe.answer.format == "json" and is_cut(edges):
            refusal = self._refusals.transient("sent an answer that was cut", status=status, body=edges)
        if refusal is not None:
            refusal.body = in_memory(body)
            refusal.redacted = redacted
            self._gate.refused(refusal)
            raise refusal
        self._gate.answered()
        kept = condition.kept(headers, self._redactor) if condition is not None else None
        return Answer(body, status_code=status, redacted=redacted, validators=kept)

    def _unzipped(self, body: bytes | LargeBody) -> bytes | LargeBody:
        try:
            return only_member(body, self._http.max_bytes, self._folder)
        except TooLargeError:
            raise self._too_large(None) from None
        except BrokenBodyError:
            raise self._refusals.transient("sent a ZIP archive that is damaged, or holds more or less than one file") from None

    def _too_large(self, status: int | None) -> SourceError:
        return SourceError(
            f"{self._name} sent an answer of more than {self._http.max_bytes} bytes: ask for less, or raise max_bytes.",
            kind="permanent",
            status_code=status,
        )

    async def _exchange(
        self, url: URL, permit: Permit | None, sent: Mapping[str, str]
    ) -> tuple[int, Mapping[str, str], bytes | LargeBody] | SourceError:
        """Status, headers and body, or what kept them from coming."""
        session = self._opened()
        transient, through = self._refusals.transient, " through its proxy" if self._proxy else ""
        try:
            # A redirect could carry the key to another host, so none is followed.
            async with session.get(url, allow_redirects=False, proxy=self._proxy, headers=sent) as response:
                self._gate.arrived(permit)
                status, headers = response.status, response.headers
                try:
                    coding = headers.get("Content-Encoding", "")
                    body = await unpacked(response.content.iter_any(), coding, self._http.max_bytes, self._folder)
                finally:
                    self._gate.received(permit, response.content.total_bytes)
                return status, headers, body
        except TooLargeError:
            return self._too_large(status)
        except TimeoutError:
            return transient(f"did not answer within {self._http.timeout_seconds:g} s")
        except aiohttp.ClientConnectorCertificateError:
            return SourceError(
                f"The certificate of {self._name} cannot be verified: check base_url and this machine's clock and certificates.",
                kind="permanent",
            )
        except aiohttp.ClientHttpProxyError as e:
            if e.status == 407:
                return SourceError(
                    f"The proxy on the way to {self._name} wants a user and a password: write them into the proxy's address.",
                    kind="permanent",
                )
            return transient(f"cannot be reached through its proxy (HTTP {e.status})")
        except (BrokenBodyError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError):
            return transient("broke off in the middle of an answer, or sent one that is not HTTP")
        except (aiohttp.ClientError, OSError) as e:
            return transient(f"cannot be reached{through} ({cause_of(e)})")
        except UserError:
            raise
        except Exception as e:  # noqa: BLE001 - whatever the library raises may hold the address with the key; its name does not
            return SourceError(
                f"{self._name} cannot be asked: the HTTP library failed with {type(e).__name__}.", kind="permanent"
            )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections),
                timeout=aiohttp.ClientTimeout(total=self._http.timeout_seconds),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={
                    "User-Agent": self._http.user_agent or f"ops_pipeline/{__version__}",
                    "Accept-Encoding": ACCEPTED,
                    **self._headers,
                },
                auto_decompress=False,
            )
        return self._session

    # --- further attempts -----------------------------------------------------------------------------------------------------

    async def _again(
        self, failure: SourceError, url: URL, recipe: Recipe, symbol: str | None, condition: Condition | None
    ) -> Answer:
        """The attempts behind a first one that failed; tenacity is entered only here, it costs 70 us a call."""
        first = [failure]

        async def attempt() -> Answer:
            if first:
                raise first.pop()
            return await self._send(url, recipe, symbol, condition)

        retrying = tenacity.AsyncRetrying(
            sleep=self._sleep,
            stop=tenacity.stop_after_attempt(self._http.attempts),
            wait=_pause,
            retry=tenacity.retry_if_exception(self._worth_another_try),
            reraise=True,
        )
        return await retrying(attempt)

    def _worth_another_try(self, error: BaseException) -> bool:
        if not isinstance(error, SourceError) or error.kind != "transient":
            return False
        return error.retry_after is None or error.retry_after <= self._http.longest_pause_seconds


def _values(request: Request, question: Question) -> dict[str, str | date]:
    """What the placeholders of a question stand for: ticker, days, and what planning put into the request under a name in braces."""
    values: dict[str, str | date] = {name[1:-1]: value for name, value in request.params if name[:1] == "{"}
    if request.ticker:
        values["ticker"] = request.ticker
    if question.from_date:
        values["from_date"] = question.from_date
    if question.to_date:
        values["to_date"] = question.to_date
    return values


def _pause(state: tenacity.RetryCallState) -> float:
    """Seconds before the next attempt: what the vendor asks for, otherwise twice as long each time, jittered so that clients spread."""
    error = state.outcome.exception() if state.outcome else None
    wanted = error.retry_after if isinstance(error, SourceError) else None
    spread = random.uniform(0.5, 1.0)  # noqa: S311 - it spreads, it guards nothing
    return FIRST_PAUSE_SECONDS * 2 ** (state.attempt_number - 1) * spread if wanted is None else wanted + SPREAD_SECONDS * spread
