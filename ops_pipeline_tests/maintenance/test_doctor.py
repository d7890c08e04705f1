"""What the doctor finds: each fault is named with what to do, and no key is ever shown."""

from __future__ import annotations

import shutil
import socket
from collections import namedtuple
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import ClassVar

import pytest

from ops_pipeline.maintenance import doctor
from ops_pipeline.maintenance.doctor import Check, examine
from ops_pipeline_tests.engine.home import make_home
from ops_pipeline_tests.engine.processes import Process

SECRET = "k3y-0123456789abcdef"
SOURCE = """
source:
  name: acme
  description: Acme.
  client: http
  http: {{base_url: "{url}", key: {{env: ACME_API_KEY, query: apikey}}}}
recipes:
  - dataset: prices
    domain: equities
    description: Prices.
    per_ticker: true
    mode: window
    first_date: 2024-01-01
    request: {{path: "/prices/{{ticker}}"}}
    answer: {{format: json}}
    columns: [{{name: date, type: date, required: true}}]
    key: [date]
    date_column: date
"""


def found(home: Path, *, online: bool = False) -> dict[str, Check]:
    return {check.name: check for check in examine(home, online=online)}


def migrated(home: Path) -> None:
    """A home with a database; of the built-in universe."""
    make_home(home)
    (home / "universe.yaml").unlink()


@pytest.fixture
def acme(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a home that wants a dataset of a vendor at an address."""

    def make(url: str) -> Path:
        (tmp_path / "recipes").mkdir()
        (tmp_path / "recipes" / "acme.yaml").write_text(SOURCE.format(url=url))
        (tmp_path / "universe.yaml").write_text("datasets:\n  acme.prices: [AAA]\n")
        return tmp_path

    return make


class _Moved(BaseHTTPRequestHandler):
    asked: ClassVar[list[str]] = []

    def do_HEAD(self) -> None:
        self.asked.append(f"{self.path} {self.headers}")
        self.send_response(302)
        self.send_header("Location", "http://127.0.0.1:1/elsewhere")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), _Moved) as it:
        thread = Thread(target=it.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{it.server_port}/v1"
        it.shutdown()
        thread.join()


def test_all_is_well_in_a_home_that_works_and_nothing_is_left_behind(tmp_path: Path) -> None:
    migrated(tmp_path)
    before = sorted(path.name for path in tmp_path.iterdir())
    checks = found(tmp_path)
    assert {name: check.state for name, check in checks.items() if check.state != "ok" and name != "disk"} == {
        "published": "warning"
    }
    assert checks["lock"].found == "two processes keep each other out"
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_home_that_is_not_there_yet_is_no_fault(tmp_path: Path) -> None:
    checks = found(tmp_path / "new" / "home")
    assert not [check for check in checks.values() if check.state == "failed"]
    assert "the first run makes" in checks["data folder"].found
    assert not (tmp_path / "new").exists()


def test_keys_are_told_to_be_set_or_not_and_never_shown(
    acme: Callable[[str], Path], server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = acme(server)
    monkeypatch.delenv("ACME_API_KEY", raising=False)
    assert found(home)["key of acme"] == Check("key of acme", "failed", "ACME_API_KEY is not set", "export ACME_API_KEY=...")
    monkeypatch.setenv("ACME_API_KEY", SECRET)
    checks = found(home, online=True)
    assert checks["key of acme"] == Check("key of acme", "ok", "ACME_API_KEY is set")
    assert checks["server of acme"].state == "ok"  # a redirect is an answer, and is not followed
    assert SECRET not in str(checks)
    assert SECRET not in str(_Moved.asked)
    assert [asked.split()[0] for asked in _Moved.asked] == ["/"]
    monkeypatch.setenv("ACME_API_KEY", f"Bearer {SECRET}")
    assert found(home)["key of acme"].state == "failed"
    assert SECRET not in str(found(home))


def test_a_server_that_does_not_answer_is_told(acme: Callable[[str], Path]) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        home = acme(f"http://127.0.0.1:{unused.getsockname()[1]}")
        check = found(home, online=True)["server of acme"]
    assert check.state == "failed"
    assert "127.0.0.1 does not answer" in check.found
    assert "HTTPS_PROXY" in check.fix


def test_what_is_broken_is_told_in_its_own_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ops.duckdb").write_text("not a database, and long enough to be looked at" * 100)
    assert "is not a DuckDB database" in found(tmp_path)["database"].found
    (tmp_path / "universe.yaml").write_text("datasets: [")
    assert found(tmp_path)["recipes and universe"].state == "failed"
    monkeypatch.setenv("DAGSTER_HOME", "somewhere")
    assert found(tmp_path)["Dagster home"].state == "failed"
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    assert "holds no dagster.yaml" in found(tmp_path)["Dagster home"].found
    monkeypatch.setattr(shutil, "disk_usage", lambda _: namedtuple("Usage", "free")(1_000_000))
    assert found(tmp_path)["disk"].state == "failed"
    monkeypatch.setenv("OPS_PIPELINE_HOEM", "x")
    assert found(tmp_path)["settings"].found.startswith("OPS_PIPELINE_HOEM is no setting of ops_pipeline; did you mean")


def test_locks_that_keep_nobody_out_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As on a mount that does not carry locks: the other process has it, and so have we.
    monkeypatch.setattr(doctor.fcntl, "flock", lambda *_: None)
    check = found(tmp_path)["lock"]
    assert (check.state, check.fix.split(":")[0]) == ("failed", "keep the data folder on a local disk")


def test_a_database_that_a_notebook_holds_is_told_with_its_process(tmp_path: Path) -> None:
    migrated(tmp_path)
    notebook = Process("foreign", tmp_path)
    assert notebook.hear() == "open"
    try:
        assert f"is held by process {notebook.pid}" in found(tmp_path)["database"].found
    finally:
        notebook.tell()
        notebook.end()
