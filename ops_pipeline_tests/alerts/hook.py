"""A web hook on this machine that keeps what it is sent.

Belongs here: the server. Does not belong here: expectations.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any


@dataclass
class Hook:
    """What came in: paths and JSON documents; `status` is what it answers."""

    port: int
    status: int = 200
    paths: list[str] = field(default_factory=list)
    documents: list[dict[str, Any]] = field(default_factory=list)

    @property
    def alerts(self) -> str:
        """Its address for apprise."""
        return f"json://127.0.0.1:{self.port}/s3cret-token"

    @property
    def heartbeat(self) -> str:
        """Its address for a heartbeat."""
        return f"http://127.0.0.1:{self.port}/s3cret-ping"


@contextmanager
def hook() -> Iterator[Hook]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            made.paths.append(self.path)
            if body:
                made.documents.append(json.loads(body))
            self.send_response(made.status)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        made = Hook(server.server_port)
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
