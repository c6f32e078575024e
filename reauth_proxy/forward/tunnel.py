"""Raw tunnels between clients and upstreams that switched to WebSocket (RFC 9110 section 7.8).

After the 101, each transport gets a protocol that writes what it reads straight to the other transport: no task, no
queue, no parser in between. A peer that takes no more makes us stop reading the other one. A half-close is passed on
as one.
"""

from __future__ import annotations

import asyncio
from typing import Final, Literal

from reauth_proxy.clients.connection import ClientConnection
from reauth_proxy.clients.writing import CLOSED, ClientGone, Sent
from reauth_proxy.forward.exchange import Exchange
from reauth_proxy.forward.route import Route
from reauth_proxy.http1.wire import SWITCHING, section
from reauth_proxy.session.stopped import grace
from reauth_proxy.upstream.connection import Connection
from reauth_proxy.upstream.exchange import Response

#: Seconds in which an upstream may take what a tunnel has passed on before its end.
FLUSH: Final = 5.0


class _End(asyncio.Protocol):
    """One side of a tunnel.

    Attributes:
        passed: bytes that came from this side.
    """

    __slots__ = ("_other", "_owner", "_tunnel", "_write", "passed")

    def __init__(self, tunnel: Tunnel, owner: asyncio.Protocol, other: asyncio.Transport) -> None:
        self._tunnel = tunnel
        self._owner = owner  # whose transport it was; it still wants to know of the end
        self._other = other
        self._write = other.write
        self.passed = 0

    def data_received(self, data: bytes) -> None:
        self.passed += len(data)
        self._write(data)

    def eof_received(self) -> bool:
        return self._tunnel.half_closed(self._other)

    def pause_writing(self) -> None:
        self._tunnel.full(self._other)

    def resume_writing(self) -> None:
        self._tunnel.drained(self._other)

    def connection_lost(self, exc: Exception | None) -> None:
        self._tunnel.end()
        self._owner.connection_lost(exc)


class Tunnel:
    """One tunnel, once the 101 has been passed on."""

    def __init__(self, client: ClientConnection, connection: Connection, route: Route, life: int) -> None:
        assert client.transport is not None
        assert connection.transport is not None
        self._client_connection = client
        self._connection = connection
        self._client = client.transport
        self._upstream = connection.transport
        self._ended = asyncio.get_running_loop().create_future()
        self._halves_open = 2
        self._from_client = _End(self, client, self._upstream)
        self._from_upstream = _End(self, connection, self._client)
        #: Kept by :class:`Tunnels`: how much had passed at the last sweep that saw a change, and when that was.
        self.seen = (0, 0.0)
        self.route = route
        #: Of the token that its handshake brought; 0 for none.
        self.life = life

    @property
    def passed(self) -> int:
        """Bytes that went to the client."""
        return self._from_upstream.passed

    @property
    def traffic(self) -> int:
        """Bytes that passed in either direction."""
        return self._from_upstream.passed + self._from_client.passed

    async def run(self) -> None:
        """Pass bytes both ways until both sides have ended, or one is gone."""
        sent_early = self._client_connection.take_held()
        early = self._connection.body.take()
        self._client.set_protocol(self._from_client)
        self._upstream.set_protocol(self._from_upstream)
        if early:
            self._from_upstream.data_received(early)
        if sent_early:
            self._from_client.data_received(sent_early)
        await self._ended

    def end(self) -> None:
        """Let :meth:`run` return."""
        if not self._ended.done():
            self._ended.set_result(None)

    def close(self) -> None:
        """Close both sides; what has been passed on already is still delivered, for a while."""
        self._upstream.set_protocol(self._connection)
        self._client.set_protocol(self._client_connection)
        self._upstream.close()
        self._client.close()
        asyncio.get_running_loop().call_later(FLUSH, self._connection.close)

    def half_closed(self, other: asyncio.Transport) -> bool:
        """One side sends no more: tell the other, and go on the other way; return whether that is possible."""
        self._halves_open -= 1
        if self._halves_open == 0 or not other.can_write_eof():
            self.end()
        else:
            other.write_eof()
        return True

    def full(self, other: asyncio.Transport) -> None:
        """One side takes no more: stop reading the other."""
        if not other.is_closing():
            other.pause_reading()

    def drained(self, other: asyncio.Transport) -> None:
        """One side takes more again: read the other."""
        if not other.is_closing():
            other.resume_reading()


class Tunnels:
    """All tunnels there are, and when they end.

    Args:
        idle_timeout: seconds that a tunnel may be without one byte either way; 0 for ever.
        on_logout: what happens to tunnels when their session signs out.
    """

    def __init__(self, idle_timeout: float, on_logout: Literal["keep", "close"]) -> None:
        self._loop = asyncio.get_running_loop()
        self._open: set[Tunnel] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._due = 0.0
        self.adjust(idle_timeout, on_logout)

    def adjust(self, idle_timeout: float, on_logout: Literal["keep", "close"]) -> None:
        """Put new settings in force."""
        self._idle_timeout = idle_timeout
        self._on_logout = on_logout

    def __len__(self) -> int:
        return len(self._open)

    async def run(self, tunnel: Tunnel) -> None:
        """Run a tunnel to its end."""
        tunnel.seen = (0, self._loop.time())
        self._open.add(tunnel)
        self._arm()
        try:
            await tunnel.run()
        finally:
            self._open.discard(tunnel)

    async def carry(self, exchange: Exchange, response: Response, lines: list[bytes]) -> Sent:
        """Pass a 101 on, and then bytes both ways until either side ends.

        Args:
            lines: the field lines that the client gets.

        Raises:
            ClientGone: one side has left already.
        """
        assert response.connection is not None
        client = exchange.connection
        connection = response.connection
        if client.transport is None or connection.transport is None:
            connection.close()
            raise ClientGone("one side left before there was a tunnel")
        tunnel = Tunnel(client, connection, exchange.route, 0 if exchange.token is None else exchange.token.life)
        try:
            client.write(SWITCHING + section(lines))
            await self.run(tunnel)
        finally:
            exchange.size = tunnel.passed
            tunnel.close()
        return CLOSED

    def end_all(self) -> None:
        """End every tunnel."""
        for tunnel in self._open:
            tunnel.end()

    def _arm(self) -> None:
        if self._sweeper is None and self._open:
            every = min(1.0, max(0.02, self._idle_timeout / 8)) if self._idle_timeout else 1.0
            self._due = self._loop.time() + every
            self._sweeper = self._loop.call_at(self._due, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        now = self._loop.time()
        late = grace(self._due, now)  # The process was stopped, and what came meanwhile is not read yet.
        for tunnel in self._open:
            if self._on_logout == "close" and tunnel.life and tunnel.route.session.life != tunnel.life:
                tunnel.end()
            elif tunnel.traffic != tunnel.seen[0]:
                tunnel.seen = (tunnel.traffic, now)
            elif self._idle_timeout and now - tunnel.seen[1] >= self._idle_timeout and not late:
                tunnel.end()
        self._arm()

    def close(self) -> None:
        """Sweep no more."""
        if self._sweeper is not None:
            self._sweeper.cancel()
