"""Which requests are refused before they can confuse anyone. Pure.

The parser in front has already refused what is not HTTP/1.1; what it lets through and a lenient peer could read two
ways is refused here.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from reauth_proxy.errors import BadRequest, MethodNotSupported

#: What a request target may be made of: no controls, no space (RFC 9112 section 3.2); raw UTF-8 is passed on.
_TARGET: Final = re.compile(rb"[\x21\x22\x24-\x7e\x80-\xff]+")


def origin_form(target: bytes, host: bytes | None) -> bytes:
    """Return the request target in origin-form, byte for byte (RFC 9112 section 3.2).

    Args:
        target: as the client sent it.
        host: the Host field's value.

    Raises:
        BadRequest: it is none that a gateway takes, or an absolute-form for another authority (section 3.2.2).
    """
    if not _TARGET.fullmatch(target):
        raise BadRequest("The request target has characters that it must not have.")
    if target[:1] == b"/":
        return target
    if target[:7].lower() == b"http://" or target[:8].lower() == b"https://":
        try:
            authority = urlsplit(target.decode("latin-1")).netloc
        except ValueError:
            raise BadRequest("The request target is not a valid URI.") from None
        if host is None or authority.lower().encode("latin-1") != host.lower():
            raise BadRequest("The request target names another authority than the Host field.")
        rest = target[target.index(b"//") + 2 + len(authority) :]
        return rest if rest[:1] == b"/" else b"/" + rest
    raise BadRequest("The request target has to start with a slash.")


def check_method(method: str) -> None:
    """Refuse the methods that would send the token somewhere else or back (RFC 9110 sections 9.3.6 and 9.3.8).

    Raises:
        MethodNotSupported: for CONNECT and TRACE.
    """
    if method in ("CONNECT", "TRACE"):
        raise MethodNotSupported(f"{method} is not supported.")
