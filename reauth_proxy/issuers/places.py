"""Where secrets may go, and which of the environment's proxies leads there (`trust_env`). Pure."""

from __future__ import annotations

import base64
import ipaddress
import re
import urllib.request
from collections.abc import Mapping
from urllib.parse import urlsplit

from yarl import URL


def is_safe(url: str, *, allow_insecure: bool) -> bool:
    """Tell whether secrets may go to this URL: https, or loopback, or insecure ones are allowed."""
    if not re.fullmatch(r"[\x21-\x7e]{1,2048}", url):
        return False
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or parts.username is not None or parts.password is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and (allow_insecure or is_loopback(host)))


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def proxy_for(url: str, proxies: Mapping[str, str]) -> tuple[URL, dict[str, str]] | None:
    """Return the proxy that leads to a URL and the fields for it, or None where there is to be none.

    Only https has one, as a tunnel (RFC 9110 section 9.3.6): no proxy gets to see a token. This machine has none.

    Args:
        proxies: as :func:`urllib.request.getproxies_environment` returns them.

    Raises:
        ValueError: the proxy is not an http URL. The text holds nothing of it: there may be a password in it.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    written = proxies.get("https") or proxies.get("all")
    if parts.scheme != "https" or not written or is_loopback(host):
        return None
    if urllib.request.proxy_bypass_environment(f"{host}:{parts.port or 443}", dict(proxies)):  # type: ignore[attr-defined]
        return None
    try:
        proxy = URL(written if "://" in written else f"http://{written}")
    except ValueError:
        proxy = URL()
    if proxy.scheme != "http" or not proxy.raw_host:
        raise ValueError("HTTPS_PROXY is not an http URL such as http://proxy.example.com:3128")
    fields = {}
    if proxy.user is not None:
        pair = f"{proxy.user}:{proxy.password or ''}".encode()
        fields["Proxy-Authorization"] = f"Basic {base64.b64encode(pair).decode()}"
    return proxy.with_user(None), fields
