from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from ops_pipeline_tests.sources.http_home import KEY, VARIABLE
from ops_pipeline_tests.vendor_server import VendorServer


@pytest.fixture(autouse=True)
def _key_and_no_proxy_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv(VARIABLE, KEY)


@pytest.fixture
def vendor() -> Iterator[VendorServer]:
    with VendorServer() as server:
        yield server
