"""A client's request as it will be sent upstream: judged and filtered once, headed anew for each try."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from reauth_proxy.errors import BadRequest, TransferCodingUnsupported
from reauth_proxy.forward.capture import asked
from reauth_proxy.forward.exchange import Exchange
from reauth_proxy.http1 import framing
from reauth_proxy.session.tokens import AccessToken

_CHUNKED: Final = b"Transfer-Encoding: chunked"
_UPGRADE: Final = b"Connection: Upgrade\r\nUpgrade: websocket"
_EXPECT: Final = b"Expect: 100-continue\r\n"


@lru_cache(maxsize=1024)
def _forwarded(peer: str | None, host: bytes | None, old: bool) -> bytes:
    """Return what this hop adds: X-Forwarded-* and Via (RFC 9110 section 7.6.3). Raises BadRequest for a bad Host."""
    if host is not None:
        framing.check_host(host)
    lines = []
    if peer:
        lines.append(b"X-Forwarded-For: " + peer.encode())
    if host:
        lines.append(b"X-Forwarded-Host: " + host)
    lines.append(b"X-Forwarded-Proto: http")
    lines.append(b"Via: 1.0 reauth-proxy" if old else b"Via: 1.1 reauth-proxy")
    return b"\r\n".join(lines)


def judge(exchange: Exchange) -> None:
    """Judge and filter a request; what becomes of it stands in the exchange.

    Raises:
        BadRequest, MethodNotSupported, ExpectationFailed, TransferCodingUnsupported, VersionNotSupported: it is
            refused.
    """
    request = exchange.request
    if request.version != (1, 1):
        framing.check_version(request.version)
        exchange.old = True
    method, old = exchange.method, exchange.old
    framing.check_method(method)
    found = exchange.found = exchange.plan.request_rules.filter(request.fields)
    exchange.target = framing.origin_form(request.target, found.host)
    if found.host is None and not old:
        raise BadRequest("There is no Host field.")
    lines = found.lines
    if found.coding is not None:
        if old:
            raise BadRequest("An HTTP/1.0 request must not have a transfer coding.")
        if found.coding.strip().lower() != b"chunked":
            raise TransferCodingUnsupported("The only transfer coding supported is chunked.")
        lines.append(_CHUNKED)
    elif found.length is not None:
        exchange.length = int(found.length)
    if found.expect is not None and not old:
        exchange.expects = framing.expects_continue(found.expect)
    if method == "OPTIONS":
        exchange.hops = framing.max_forwards(lines)
    if found.upgrade is not None and request.upgrade and method == "GET" and not old:
        content = exchange.length is not None or request.chunked
        exchange.websocket = found.upgrade.lower() == b"websocket" and not content
        if exchange.websocket:
            lines.append(_UPGRADE)
    lines.append(_forwarded(exchange.connection.peer, found.host, old))
    exchange.tail = b"\r\n".join(lines)


def plainly(exchange: Exchange) -> None:
    """Ask for an answer that can be read: whole, and not compressed."""
    exchange.websocket = False
    exchange.tail = b"\r\n".join(asked(exchange.tail.split(b"\r\n")))


def bring_own(exchange: Exchange) -> None:
    """Pass the client's own Authorization on, unless it is the client token of the guard."""
    found = exchange.found.credentials or []
    if exchange.plan.guard.client_token is not None and not any(name == b"reauth-client-token" for name, _ in found):
        return  # It was let in by what stands there.
    own = [b"Authorization: " + value for name, value in found if name == b"authorization"]
    exchange.tail = b"\r\n".join([exchange.tail, *own])


def head(exchange: Exchange, token: AccessToken | None, *, expect: bool = False) -> bytes:
    """Return the request's header section for one try."""
    route = exchange.route
    return b"".join(
        (
            exchange.method.encode(),
            b" ",
            route.base,
            exchange.target,
            route.constant,
            exchange.tail,
            b"\r\nX-Request-Id: ",
            exchange.id.encode(),
            b"\r\n",
            b"" if token is None and not exchange.cookies else route.authorization(token, exchange.cookies),
            _EXPECT if expect else b"",
            b"\r\n",
        )
    )
