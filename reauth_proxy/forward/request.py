"""A client's request as it will be sent upstream: judged and filtered once, headed anew for each try."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from reauth_proxy.errors import BadRequest, TransferCodingUnsupported
from reauth_proxy.forward.capture import asked
from reauth_proxy.forward.fields import RequestRules
from reauth_proxy.forward.route import Route
from reauth_proxy.http1 import framing
from reauth_proxy.http1.request import Request
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


class ClientRequest:
    """What of a request goes upstream, whatever the token.

    Attributes:
        target: in origin-form, byte for byte.
        length: its Content-Length, or None; `chunked`: it comes in the chunked coding.
        expects: the client waits for 100 Continue before it sends its content (RFC 9110 section 10.1.1).
        websocket: the client asks for a WebSocket (RFC 6455 section 4.1); any other Upgrade is dropped.
        old: the client speaks HTTP/1.0.
        keep_alive: the client's connection may stay open afterwards.
        host: its Host field's value; `marks`, `credentials`: what the guard reads besides.
        hops: how many more an OPTIONS may make (RFC 9110 section 7.6.2); 0: it ends here.
        id: the client's X-Request-Id where it is a sane one; the caller makes one otherwise.
    """

    __slots__ = (
        "_tail",
        "chunked",
        "credentials",
        "expects",
        "given_id",
        "hops",
        "host",
        "keep_alive",
        "length",
        "marks",
        "method",
        "old",
        "target",
        "websocket",
    )

    def __init__(self, request: Request, peer: str | None, rules: RequestRules) -> None:
        """Judge and filter a request.

        Args:
            peer: the client's address, if it has one.

        Raises:
            BadRequest, MethodNotSupported, ExpectationFailed, TransferCodingUnsupported, VersionNotSupported: it is
                refused.
        """
        self.method = request.method
        framing.check_version(request.version)
        framing.check_method(self.method)
        found = rules.filter(request.fields)
        self.target = framing.origin_form(request.target, found.host)
        old = self.old = request.version < (1, 1)
        if found.host is None and not old:
            raise BadRequest("There is no Host field.")
        self.chunked = request.chunked
        self.length: int | None = None
        lines = found.lines
        if found.coding is not None:
            if old:
                raise BadRequest("An HTTP/1.0 request must not have a transfer coding.")
            if found.coding.strip().lower() != b"chunked":
                raise TransferCodingUnsupported("The only transfer coding supported is chunked.")
            lines.append(_CHUNKED)
        elif found.length is not None:
            self.length = int(found.length)
        self.expects = found.expect is not None and not old and framing.expects_continue(found.expect)
        self.keep_alive = request.persistent and not found.close
        self.hops = framing.max_forwards(lines) if self.method == "OPTIONS" else None
        self.given_id = found.request_id
        self.host = found.host
        self.marks = found.marks
        self.credentials = found.credentials
        self.websocket = (
            found.upgrade is not None
            and request.upgrade
            and self.method == "GET"
            and not old
            and found.upgrade.lower() == b"websocket"
            and self.length is None
            and not self.chunked
        )
        if self.websocket:
            lines.append(_UPGRADE)
        lines.append(_forwarded(peer, found.host, old))
        self._tail = b"\r\n".join(lines)

    def plainly(self) -> None:
        """Ask for an answer that can be read: whole, and not compressed."""
        self.websocket = False
        self._tail = b"\r\n".join(asked(self._tail.split(b"\r\n")))

    def head(self, route: Route, request_id: bytes, token: AccessToken | None, *, expect: bool = False) -> bytes:
        """Return the request's header section for one try."""
        return b"".join(
            (
                self.method.encode(),
                b" ",
                route.base,
                self.target,
                route.constant,
                self._tail,
                b"\r\nX-Request-Id: ",
                request_id,
                b"\r\n",
                b"" if token is None else route.authorization(token),
                _EXPECT if expect else b"",
                b"\r\n",
            )
        )
