"""Proxies that the environment names: used as other programs use them, and never given the vendor's key or a password of the machine's."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from ops_pipeline_tests.sources.http_home import KEY, Asking
from ops_pipeline_tests.vendor_server import Reply, VendorServer

# Only a proxy can answer for it.
ELSEWHERE = "http://localhost:1"


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize("scheme", ["http://", ""])
def test_a_proxy_is_asked(
    vendor: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, scheme: str
) -> None:
    monkeypatch.setenv(variable, scheme + vendor.url.removeprefix("http://"))
    assert Asking(tmp_path, ELSEWHERE).answer().status_code == 200
    assert vendor.seen[0].target.startswith(f"{ELSEWHERE}/prices?symbol=AAA&")


@pytest.mark.parametrize("listed", ["localhost", "*", "other.example,localhost", "localhost:1"])
def test_a_host_that_is_listed_is_asked_directly(
    vendor: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listed: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", vendor.url)
    monkeypatch.setenv("NO_PROXY", listed)
    assert "connection refused" in str(Asking(tmp_path, ELSEWHERE, attempts=1).error())
    assert vendor.seen == []


def test_a_proxy_for_other_addresses_is_not_asked(vendor: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", vendor.url)
    assert "connection refused" in str(Asking(tmp_path, ELSEWHERE, attempts=1).error())


@pytest.mark.parametrize("key", [{"query": "apikey"}, {"header": "Authorization", "prefix": "Bearer "}])
def test_a_proxy_on_the_way_to_a_vendor_learns_its_host_and_nothing_else(
    vendor: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: dict[str, str]
) -> None:
    vendor.when(Reply(b"no way", status=502))
    monkeypatch.setenv("HTTPS_PROXY", vendor.url.replace("http://", "http://me:pr0xypass@"))
    error = Asking(tmp_path, "https://vendor.invalid", attempts=2, key={"env": "VENDOR_API_KEY", **key}).error()
    assert (error.kind, str(error)) == (
        "transient",
        "vendor cannot be reached through its proxy (HTTP 502); the next run asks again.",
    )
    assert {seen.line for seen in vendor.seen} == {"CONNECT vendor.invalid:443 HTTP/1.1"}
    password = base64.b64encode(b"me:pr0xypass").decode()
    for seen in vendor.seen:
        assert seen.headers["proxy-authorization"] == f"Basic {password}"
        assert KEY not in str(seen)
        assert "authorization" not in seen.headers


def test_a_proxy_that_wants_a_password(vendor: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendor.when(Reply(b"who are you", status=407))
    monkeypatch.setenv("HTTPS_PROXY", vendor.url)
    error = Asking(tmp_path, "https://vendor.invalid").error()
    assert (error.kind, len(vendor.seen)) == ("permanent", 1)
    assert "wants a user and a password" in str(error)


def test_a_proxy_that_is_down_is_named_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://me:pr0xypass@127.0.0.1:1")
    error = Asking(tmp_path, ELSEWHERE, attempts=1).error()
    assert str(error) == "vendor cannot be reached through its proxy (connection refused); the next run asks again."


@pytest.mark.parametrize(
    "proxy", ["socks5://me:pr0xypass@127.0.0.1:1080", "ftp://127.0.0.1", "http://", "http://[", "http://a:b@x:port"]
)
def test_a_proxy_that_cannot_be_used_is_a_sentence(
    vendor: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    error = Asking(tmp_path, vendor.url).error()
    assert (error.kind, vendor.seen) == ("permanent", [])
    assert "set HTTP_PROXY to an address such as http://proxy.example:3128" in str(error)
    assert "pr0xypass" not in str(error)


def test_a_password_of_the_machine_is_not_sent(vendor: VendorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login me password n3trcpass\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    Asking(tmp_path, vendor.url).answer()
    monkeypatch.setenv("HTTP_PROXY", vendor.url)
    Asking(tmp_path, ELSEWHERE).answer()
    assert len(vendor.seen) == 2
    assert not [seen for seen in vendor.seen if "authorization" in seen.headers or "proxy-authorization" in seen.headers]
