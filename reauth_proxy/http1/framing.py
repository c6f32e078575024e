"""Which requests are refused before they can confuse anyone. Pure.

The parser in front has already refused what is not HTTP/1.1; what it lets through and a lenient peer could read two
ways is refused here.
"""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

from reauth_proxy.errors import BadRequest, ExpectationFailed, MethodNotSupported, VersionNotSupported

#: What a request target may be made of: no controls, no space (RFC 9112 section 3.2); raw UTF-8 is passed on.
_TARGET: Final = re.compile(rb"[\x21\x22\x24-\x7e\x80-\xff]+")

#: Methods that are answered with 405.
_REFUSED: Final = frozenset({"CONNECT", "TRACE"})

#: uri-host [ ":" port ] (RFC 9110 section 7.2, RFC 3986 section 3.2.2): no userinfo, no list, IP literals in brackets.
_HOST: Final = re.compile(
    rb"(?:\[[0-9A-Fa-f:.]+\]|(?:[A-Za-z0-9._~!$&'()*+;=-]|%[0-9A-Fa-f]{2})*)(?::(?P<port>[0-9]{0,5}))?"
)


def check_host(host: bytes) -> None:
    """Refuse a Host field that names no host (RFC 9112 section 3.2).

    Raises:
        BadRequest: it has userinfo, a bad port, or characters that none has.
    """
    match = _HOST.fullmatch(host)
    if match is None or host[:1] in (b"", b":") or int(match["port"] or 0) > 65_535:
        raise BadRequest("The Host field is not valid.")


def check_version(version: tuple[int, int]) -> None:
    """Refuse what is neither HTTP/1.1 nor HTTP/1.0 (RFC 9112 section 2.3).

    Raises:
        VersionNotSupported: it is another one.
    """
    if version not in ((1, 1), (1, 0)):
        raise VersionNotSupported("Only HTTP/1.1 and HTTP/1.0 are supported.")


def expects_continue(expect: bytes) -> bool:
    """Tell whether an Expect field asks for 100 Continue (RFC 9110 section 10.1.1).

    Raises:
        ExpectationFailed: it asks for something else.
    """
    members = {member.strip().lower() for member in expect.split(b",")} - {b""}
    if members - {b"100-continue"}:
        raise ExpectationFailed("The only expectation that can be met is 100-continue.")
    return bool(members)


def max_forwards(lines: list[bytes]) -> int | None:
    """Count an OPTIONS request's Max-Forwards down, in place; return what it was (RFC 9110 section 7.6.2).

    Args:
        lines: the request's field lines.

    Raises:
        BadRequest: it is not a number, or there are several.
    """
    found = [index for index, line in enumerate(lines) if line[:13].lower() == b"max-forwards:"]
    if not found:
        return None
    name, _, value = lines[found[0]].partition(b":")
    value = value.strip()
    if len(found) > 1 or not value.isdigit() or len(value) > 9:
        raise BadRequest("Max-Forwards is not a number.")
    lines[found[0]] = b"%b: %d" % (name, max(0, int(value) - 1))
    return int(value)


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
    if target[:7].lower() == b"http://":  # https did not come this way (RFC 9110 section 7.4)
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
    if method in _REFUSED:
        raise MethodNotSupported(f"{method} is not supported.")
