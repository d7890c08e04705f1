"""Certificates: a vendor that cannot prove who it is gets no request, and so no key."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops_pipeline_tests.cli.command import ops
from ops_pipeline_tests.sources.http_home import KEY, LAST, VARIABLE, Asking, write_recipe, write_universe
from ops_pipeline_tests.vendor_server import VendorServer


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine that nobody signed but itself, with its key in the same file."""
    path = tmp_path_factory.mktemp("tls") / "vendor.pem"
    kind = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
    about = ("-subj", "/CN=vendor", "-addext", "subjectAltName=IP:127.0.0.1")
    subprocess.run(
        ["openssl", "req", "-x509", *kind, *about, "-keyout", path, "-out", f"{path}.crt"], check=True, capture_output=True
    )
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path


@pytest.fixture
def secure(certificate: Path) -> Iterator[VendorServer]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with VendorServer(tls=context) as server:
        yield server


def test_an_unknown_certificate_is_refused_before_anything_is_sent(secure: VendorServer, tmp_path: Path) -> None:
    asking = Asking(tmp_path, secure.url)
    error = asking.error()
    assert (error.kind, secure.seen, asking.pauses) == ("permanent", [], [])
    assert str(error).startswith("The certificate of vendor cannot be verified: check base_url")


def test_a_certificate_that_the_machine_trusts_is_taken(secure: VendorServer, certificate: Path, tmp_path: Path) -> None:
    write_recipe(tmp_path, secure.url)
    write_universe(tmp_path, ("AAA",))
    env = {VARIABLE: KEY, "SSL_CERT_FILE": f"{certificate}.crt"}
    answer = ops("run", "--home", tmp_path, "--today", LAST.isoformat(), "--json", env=env)
    assert (answer.status, answer.document["keys"]) == (0, {"promoted": 1}), answer
    assert secure.seen[0].params["apikey"] == KEY
