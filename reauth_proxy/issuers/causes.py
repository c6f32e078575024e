"""Why there is no answer of a token endpoint, in words that hold nothing of what it sent or was sent."""

from __future__ import annotations

import errno
import os
import socket
import ssl

from yarl import URL

from reauth_proxy.issuers.receiving import TOO_LONG
from reauth_proxy.session.tokens import Unavailable


def place_of(url: str) -> str:
    """Return host and port; a URL's path and query may hold secrets."""
    try:
        parsed = URL(url)
        host = parsed.raw_host or "?"
        return f"[{host}]:{parsed.port}" if ":" in host else f"{host}:{parsed.port}"
    except ValueError:
        return "the token endpoint"


def describe(error: Exception) -> str:
    """Say in a few words why there is no connection; nothing of it comes from the peer."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate was not accepted ({getattr(error, 'verify_message', 'no reason given')})"
    if isinstance(error, ssl.SSLError):
        return "the TLS handshake failed; is it https?"
    if isinstance(error, socket.gaierror | UnicodeError):
        return "its name could not be resolved"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError):
        return "connection reset"
    if isinstance(error, OSError) and error.errno is not None and error.errno in errno.errorcode:
        return os.strerror(error.errno).lower()
    return "the connection failed"


def unreachable(place: str, error: Exception) -> Unavailable:
    """Nothing was sent."""
    return Unavailable(f"cannot connect to {place}: {describe(error)}")


def too_slow(place: str, seconds: float) -> Unavailable:
    """Nothing was sent."""
    return Unavailable(f"cannot connect to {place}: no answer within {seconds:g} s")


def no_url() -> Unavailable:
    """Nothing can be sent to such a URL."""
    return Unavailable("the token endpoint's URL is not one that can be called", misconfigured=True)


def broke(place: str) -> Unavailable:
    """The request may have been sent."""
    return Unavailable(f"the connection to {place} broke before its answer was complete", broken=True)


def cut_short(place: str, cut: str) -> Unavailable:
    """An answer that is no 2xx counts only if it is whole; `cut` is why it is not."""
    return Unavailable(f"{place} sent an answer longer than 1 MiB") if cut == TOO_LONG else broke(place)


def not_http(place: str) -> Unavailable:
    """Whoever it was may have used the token up; and of what came, nothing can be had."""
    cause = f"{place} answered with something that is not HTTP, or with a mistake in it, as in Content-Length"
    return Unavailable(cause, answered=True)
