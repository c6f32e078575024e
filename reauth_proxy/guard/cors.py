"""CORS for the origins that `access.origins` lists (Fetch Standard, "CORS protocol"). Pure.

The proxy decides alone: an upstream's own Access-Control-* fields are about its own name, and never pass.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import formatdate
from functools import lru_cache
from typing import Final

#: What a frontend may read of answers besides the fields that Fetch lets everybody read.
EXPOSED: Final = (b"Reauth-Signal", b"Proxy-Status", b"Retry-After")
#: Seconds for which a browser need not ask again.
MAX_AGE: Final = 600
#: How answers depend on the request, where origins are listed.
VARY: Final = b"Vary: Origin"

_TOKEN: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_METHOD: Final = b"access-control-request-method"
_EXPOSE: Final = b"access-control-expose-headers"


def _tokens(value: bytes) -> list[bytes]:
    """Return a list field's members, those that are field names."""
    return [name for part in value.split(b",") if _TOKEN.fullmatch(name := part.strip())]


def lines(origin: bytes, fields: Iterable[tuple[bytes, bytes]] = ()) -> list[bytes]:
    """Return the field lines with which a page of `origin` may read an answer.

    Args:
        fields: the upstream's answer's; what it exposes stays exposed.
    """
    more: tuple[bytes, ...] = ()
    for name, value in fields:
        if len(name) == len(_EXPOSE) and name.lower() == _EXPOSE:
            more += tuple(name for name in _tokens(value) if name != b"*")
    return list(_lines(origin, more))


@lru_cache(maxsize=256)
def _lines(origin: bytes, more: tuple[bytes, ...]) -> tuple[bytes, ...]:
    return (
        b"Access-Control-Allow-Origin: " + origin,
        b"Access-Control-Allow-Credentials: true",
        b"Access-Control-Expose-Headers: " + b", ".join((*EXPOSED, *more)),
        VARY,
    )


def is_preflight(fields: Iterable[tuple[bytes, bytes]]) -> bool:
    """Tell whether an OPTIONS request with an Origin is a preflight."""
    return any(name.lower() == _METHOD for name, _ in fields)


def preflight(
    origin: bytes, fields: Iterable[tuple[bytes, bytes]], *, keep_alive: bool, date: float | None = None
) -> bytes:
    """Return the answer to a preflight.

    Args:
        origin: listed.
        fields: the request's.
        keep_alive: whether the connection stays open afterwards.
        date: epoch seconds for the Date field, or None for now.
    """
    method = b""
    headers: list[bytes] = []
    for name, value in fields:
        lower = name.lower()
        if lower == _METHOD:
            method = value
        elif lower == b"access-control-request-headers":
            headers += _tokens(value)
    answer = [
        b"HTTP/1.1 204 No Content",
        b"Access-Control-Allow-Origin: " + origin,
        b"Access-Control-Allow-Credentials: true",
        # A wildcard means nothing where there are credentials; a page that is listed may do what any client may.
        b"Access-Control-Allow-Methods: " + (method if _TOKEN.fullmatch(method) else b"GET"),
        *([b"Access-Control-Allow-Headers: " + b", ".join(headers)] if headers else []),
        b"Access-Control-Max-Age: %d" % MAX_AGE,
        b"Vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers",
        b"Cache-Control: no-store",
        b"Date: " + formatdate(date, usegmt=True).encode(),
        *([] if keep_alive else [b"Connection: close"]),
    ]
    return b"\r\n".join([*answer, b"", b""])
