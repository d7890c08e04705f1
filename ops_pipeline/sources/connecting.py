"""The way to a vendor's server: the proxy that stands on it, and why it cannot be gone.

Belongs here: the environment's proxies, and the operating system's words. Does not belong here: sending (`http`).
"""

from __future__ import annotations

import os
import socket
import ssl
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

from yarl import URL


def proxy_for(address: str) -> URL | None:
    """The proxy that the environment names for an address (HTTPS_PROXY, ALL_PROXY, NO_PROXY and their kin).

    aiohttp's own `trust_env` is not used: it would also send a password from ~/.netrc to the vendor, and look it up for every request.

    Raises:
        ValueError: it is of a kind that cannot be used; the text does not show it, since it may hold a password.
    """
    parts, proxies = urlsplit(address), getproxies_environment()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy or proxy_bypass(parts.netloc):
        return None
    variable = f"{parts.scheme.upper()}_PROXY" if proxies.get(parts.scheme) else "ALL_PROXY"
    try:
        url = URL(proxy if "://" in proxy else f"http://{proxy}")
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise ValueError(f"set {variable} to an address such as http://proxy.example:3128 (other kinds of proxy cannot be used)")
    return url


def cause_of(error: BaseException) -> str:
    """The operating system's word for it, or the kind of error; never the library's own text."""
    system = getattr(error, "os_error", error)
    if isinstance(system, ssl.SSLError):
        return f"TLS: {system.reason or 'no handshake'}".replace("_", " ").lower()
    if isinstance(system, socket.gaierror):
        return "its name is not known"
    if isinstance(system, OSError) and system.errno:
        return os.strerror(system.errno).lower()
    return type(error).__name__
