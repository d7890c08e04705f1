"""A vendor on loopback that speaks HTTP and can be told to misbehave: by ticker, by path, by attempt.

Belongs here: the server, what it was asked, and the ways in which a reply goes wrong. Does not belong here: expectations.

It is written on bare sockets, because no HTTP library sends a wrong length or half a body.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from ops_pipeline_tests.engine.vendor import price, weekdays

_SLICE = 1 << 16
# Not a limit on speed: it ends a test that would otherwise hang.
_HANGS_SECONDS = 300


@dataclass(frozen=True, slots=True)
class Seen:
    """One request as it came over the wire.

    Attributes:
        line: the request line.
        headers: by name in small letters.
        attempt: which request for this path and ticker it is, from 1.
    """

    line: str
    headers: dict[str, str]
    attempt: int = 1

    @property
    def target(self) -> str:
        return self.line.split(" ")[1]

    @property
    def path(self) -> str:
        """As sent, percent-encoded."""
        return urlsplit(self.target).path

    @property
    def params(self) -> dict[str, str]:
        """The query, decoded; a name that stands twice fails."""
        pairs = parse_qsl(urlsplit(self.target).query, keep_blank_values=True, strict_parsing=bool(urlsplit(self.target).query))
        assert len(dict(pairs)) == len(pairs), pairs
        return dict(pairs)

    @property
    def ticker(self) -> str:
        """The parameter `symbol`, or else the last part of the path."""
        return self.params.get("symbol", unquote(self.path.rsplit("/", 1)[-1]))

    @property
    def window(self) -> tuple[date | None, date | None]:
        asked = (self.params.get("from"), self.params.get("to"))
        first, last = (date.fromisoformat(day) if day else None for day in asked)
        return first, last


@dataclass(frozen=True, slots=True)
class Reply:
    """What is sent back.

    Attributes:
        body: the bytes of the body.
        headers: further headers.
        length: the Content-Length that is claimed; None: the true one.
        chunks: the body in these pieces by chunked transfer, instead of `body`.
        sent: so many bytes of the body are sent, and then what `then` says.
        drip: seconds between two bytes of the body.
        then: keep the connection, close it, reset it, or never send anything more on it.
        head: raw bytes instead of the head.
    """

    body: bytes = b"[]"
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    chunks: tuple[bytes, ...] = ()
    sent: int | None = None
    drip: float = 0
    then: Literal["keep", "close", "reset", "hang"] = "keep"
    head: bytes | None = None


Answering = Callable[[Seen], Reply]


def prices(seen: Seen) -> Reply:
    """The sessions of the window that was asked for."""
    records = [price(seen.ticker, day) for day in reversed(weekdays(*seen.window))]
    return Reply(json.dumps(records).encode())


class VendorServer:
    """The server, in a thread of its own; a context manager."""

    def __init__(self, answer: Answering = prices, *, tls: ssl.SSLContext | None = None) -> None:
        """Takes what is answered where no fault is due."""
        self.answer, self._tls = answer, tls
        self.seen: list[Seen] = []
        self.connections = 0
        self.under_way = self.most_under_way = 0
        self.idle = threading.Event()
        self.idle.set()
        self.hanging = threading.Event()
        self._faults: list[tuple[Answering, str | None, str | None, set[int] | None]] = []
        self._counts: Counter[tuple[str, str]] = Counter()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="vendor-server", daemon=True)
        self._started = threading.Event()
        self._port = 0

    def when(
        self,
        reply: Reply | Answering,
        *,
        ticker: str | None = None,
        path: str | None = None,
        attempts: Iterable[int] | None = None,
    ) -> Self:
        """Replies like this to requests for the ticker, on the path, at these attempts; the first that fits counts."""
        answering: Answering = (lambda _: reply) if isinstance(reply, Reply) else reply
        self._faults.append((answering, ticker, path, set(attempts) if attempts is not None else None))
        return self

    def recover(self) -> None:
        """No fault from now on; attempts are counted anew, and what was seen is forgotten."""
        self._faults.clear()
        self._counts.clear()
        self.seen.clear()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    @property
    def tickers(self) -> list[str]:
        """What was asked, in a fixed order."""
        return sorted(seen.ticker for seen in self.seen)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(_HANGS_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_HANGS_SECONDS)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls))
        self._port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0.01))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.idle.clear()
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            pass
        finally:
            self.connections -= 1
            if not self.connections:
                self.idle.set()
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its reply; tells whether the connection stays."""
        first = await reader.readexactly(1)
        if first == b"\x16":  # TLS: other servers say so too
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return False
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *headers = head.rstrip("\r\n").split("\r\n")
        seen = Seen(line, {name.lower(): value.strip() for name, _, value in (h.partition(":") for h in headers)})
        self._counts[seen.path, seen.ticker] += 1
        seen = Seen(line, seen.headers, self._counts[seen.path, seen.ticker])
        self.seen.append(seen)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            return await self._reply(self._chosen(seen)(seen), reader, writer)
        finally:
            self.under_way -= 1

    def _chosen(self, seen: Seen) -> Answering:
        for answering, ticker, path, attempts in self._faults:
            if ticker in (None, seen.ticker) and path in (None, seen.path) and (attempts is None or seen.attempt in attempts):
                return answering
        return self.answer

    async def _reply(self, reply: Reply, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await asyncio.sleep(0)  # lets other requests in, so that the gauge of what is under way is true
        length = len(reply.body) if reply.length is None else reply.length
        framing = "Transfer-Encoding: chunked" if reply.chunks else f"Content-Length: {length}"
        lines = [f"HTTP/1.1 {reply.status} Whatever", framing, *(f"{n}: {v}" for n, v in reply.headers.items())]
        writer.write(reply.head if reply.head is not None else ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        body = reply.body[: reply.sent]
        if reply.drip:
            for byte in body:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(reply.drip)
        elif reply.chunks:
            for chunk in reply.chunks:
                writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                await writer.drain()
                await asyncio.sleep(0.001)
            writer.write(b"0\r\n\r\n")
            await writer.drain()
        else:
            for start in range(0, len(body), _SLICE):
                writer.write(body[start : start + _SLICE])
                await writer.drain()
        match reply.then:
            case "hang":
                self.hanging.set()
                await reader.read()  # ends when the other side gives up
            case "reset":
                raw: socket.socket = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.transport.abort()
        return reply.then == "keep"
