"""Exchanges with a token endpoint on a connection of their own, which keep every byte that it sends."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import math
import re
import socket
import ssl
from collections.abc import Mapping
from typing import Final

import aiohappyeyeballs
from yarl import URL

from reauth_proxy.issuers.causes import broke, cut_short, no_url, not_http, too_slow, unreachable
from reauth_proxy.issuers.message import Message
from reauth_proxy.issuers.receiving import BROKE, TOO_LONG, receive
from reauth_proxy.issuers.reply import Answer, media_type
from reauth_proxy.session.protocols import Confirm
from reauth_proxy.session.tokens import Unavailable

#: Head start of the first address family, in seconds (RFC 8305 section 8).
HAPPY_EYEBALLS_DELAY: Final = 0.25
_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FRAMING: Final = frozenset({"content-length", "transfer-encoding", "connection"})


class _CutOff(Exception):
    """The connection ended before what its content's framing announced."""


class Connection(asyncio.Protocol):
    """A connection, and the answer that comes on it; what has come stays readable however it ends.

    Attributes:
        ended: nothing more comes; `error`: what broke the connection, or None.
        news: something has come, or the end, since `progress` returned.
    """

    def __init__(self) -> None:
        self.message = Message()
        self.ended = self.news = False
        self.error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport | None = None

    def send(self, data: bytes) -> None:
        """Send a request."""
        assert self._transport is not None
        self._transport.write(data)

    def close(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    async def progress(self) -> None:
        """Wait until something has come, or the connection has ended."""
        if not (self.news or self.ended):
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        self.news = False

    # -- Incoming ----------------------------------------------------------------------------------------------

    @property
    def coding(self) -> str:
        return self.message.fields.get("content-encoding", "")

    @property
    def size(self) -> int:
        return self.message.size

    @property
    def too_long(self) -> bool:
        return self.message.too_long

    @property
    def complete(self) -> bool:
        return self.message.complete

    @property
    def beyond(self) -> bool:
        return self.message.beyond

    @property
    def faulty(self) -> bool:
        return self.message.faulty

    def readings(self) -> tuple[bytes, ...]:
        return self.message.readings()

    async def more(self) -> bool:
        await self.progress()
        if not self.ended:
            return True
        if self.error is not None:
            raise self.error
        if not (self.complete or self.message.until_close):
            raise _CutOff
        return False

    # -- asyncio.Protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        message = self.message
        if not (message.nonsense or message.too_long):
            message.feed(data)
        elif self._transport is not None:
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._end(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._end(exc)

    def _end(self, error: Exception | None) -> None:
        if not self.ended:
            self.ended, self.error = True, error
            self.message.end()
        self._wake()

    def _wake(self) -> None:
        self.news = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


async def exchange(
    method: str,
    url: str,
    fields: Mapping[str, str],
    content: bytes | None,
    *,
    place: str,
    tls: ssl.SSLContext | bool,
    connect_timeout: float,
    moment: float,
    silence: float,
    confirm: Confirm | None = None,
) -> Answer | Unavailable:
    """Send a request on a new connection and read the answer; never raises for what the network or the peer does.

    Args:
        fields: besides those that say where the request goes and where its content ends.
        place: how causes name the endpoint.
        tls, connect_timeout, moment, silence: see :class:`~reauth_proxy.issuers.transport.Transport`.
        confirm: awaited once there is a connection; what it raises is passed on, and nothing has been sent.
    """
    target = _target(url)
    if target is None:
        return no_url()
    data = request(method, target, fields, content)
    if data is None:
        return Unavailable("the request to the token endpoint has a header that cannot be sent", misconfigured=True)
    context = _context(tls) if target.scheme == "https" else None
    limit = asyncio.timeout(connect_timeout)
    try:
        async with limit:
            connection = await _connect(target, context)
    except (OSError, UnicodeError) as error:  # TimeoutError is one, whoever raises it
        return too_slow(place, connect_timeout) if limit.expired() else unreachable(place, error)
    try:
        if confirm is not None:
            await confirm()
        connection.send(data)
        return await _answer(connection, place, moment, silence)
    finally:
        connection.close()


def request(method: str, url: URL, fields: Mapping[str, str], content: bytes | None) -> bytes | None:
    """Return a request's bytes; None if there is something in it that cannot be sent."""
    given = {name.lower() for name in fields}
    lines = [f"{method.upper()} {url.raw_path_qs} HTTP/1.1"]
    if "host" not in given:
        lines.append(f"Host: {url.host_port_subcomponent}")
    lines += [f"{name}: {value}" for name, value in fields.items() if name.lower() not in _FRAMING]
    if content is not None and "content-type" not in given:
        lines.append("Content-Type: application/octet-stream")
    if content is not None or method.upper() != "GET":
        lines.append(f"Content-Length: {len(content or b'')}")
    lines.append("Connection: close")
    if not all(_TOKEN.fullmatch(name) for name in (method, *fields)) or any(map(_CONTROLS.search, lines)):
        return None
    try:
        return "\r\n".join((*lines, "", "")).encode() + (content or b"")
    except UnicodeEncodeError:
        return None


def _target(url: str) -> URL | None:
    try:
        target = URL(url)
        host = target.raw_host
        if target.scheme not in ("http", "https") or not host or not target.port:
            return None
    except ValueError:
        return None
    # The system would take 127.1 and 2130706433 for addresses.
    return None if host.replace(".", "").isdigit() and not _is_literal(host) else target


def _is_literal(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@functools.cache
def _own_context(verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _context(tls: ssl.SSLContext | bool) -> ssl.SSLContext:
    return tls if isinstance(tls, ssl.SSLContext) else _own_context(tls)


def _literal_address(host: str, port: int) -> list[aiohappyeyeballs.AddrInfoType]:
    """A literal address needs no resolver, and so no thread."""
    return list(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST))


async def _connect(url: URL, context: ssl.SSLContext | None) -> Connection:
    """Connect to the first address that takes a connection, and speaks TLS if it is to."""
    loop = asyncio.get_running_loop()
    host, port = url.raw_host, url.port
    assert host is not None
    assert port is not None
    if _is_literal(host):
        addresses = _literal_address(host, port)
    else:
        addresses = list(await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    while True:
        sock = await aiohappyeyeballs.start_connection(addresses, happy_eyeballs_delay=HAPPY_EYEBALLS_DELAY)
        tried = addresses
        try:
            peer = sock.getpeername()
        except OSError:  # it is gone already
            sock.close()
            raise
        try:
            name = host.rstrip(".") if context is not None else None
            _, connection = await loop.create_connection(Connection, sock=sock, ssl=context, server_hostname=name)
        except ssl.SSLCertVerificationError:
            raise
        except OSError:
            # Another machine of that name may do better; nothing has been sent yet.
            addresses = [one for one in tried if one[4][:2] != peer[:2]]
            if not addresses or len(addresses) == len(tried):
                raise
        else:
            return connection


async def _answer(connection: Connection, place: str, moment: float, silence: float) -> Answer | Unavailable:
    message = connection.message
    while not message.head_done:
        if message.nonsense:
            return not_http(place)
        if connection.ended:
            return broke(place)
        await connection.progress()
    good = 200 <= message.status < 300
    body, cut = await receive(connection, moment, silence if good else math.inf)
    if cut and not good:
        return not_http(place) if message.faulty and cut != TOO_LONG else cut_short(place, cut)
    if message.mistaken and cut == BROKE and not body:
        return not_http(place)
    fields = message.fields
    content_type = media_type(fields.get("content-type", ""))
    return Answer(message.status, body, content_type, fields.get("retry-after"), fields.get("date"), cut)
