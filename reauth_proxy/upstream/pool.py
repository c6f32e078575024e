"""The connections to one upstream: kept alive, reused newest first, dialled a bounded number at a time."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from reauth_proxy.upstream.connection import Connection
from reauth_proxy.upstream.dial import Origin, dial

#: Seconds that an unused connection is kept; below what most servers keep, so that we close first.
KEEPALIVE: Final = 30.0
#: Connections being dialled at once. A request that finds them all taken gets a released connection or the next
#: turn to dial, whichever comes first: 2,000 released requests share a few dozen connections.
MAX_DIALS: Final = 32


class Pool:
    """Connections to one :class:`Origin`.

    Args:
        origin: where the upstream listens.
        connect_timeout: seconds for DNS, TCP and TLS together.
    """

    def __init__(self, origin: Origin, connect_timeout: float) -> None:
        self.origin = origin
        self._connect_timeout = connect_timeout
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []  # newest last
        self._open: set[Connection] = set()
        self._dialling = 0
        # Requests that wait for a released connection, or None: their turn to dial.
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._sweeper: asyncio.TimerHandle | None = None
        self._closed = False

    def take(self) -> Connection | None:
        """Return a kept-alive connection at once, or None if there is none."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.closed:
                return connection
        return None

    async def acquire(self) -> Connection:
        """Return a connection that may carry an exchange: a kept-alive one, a released one, or a new one.

        Raises:
            UpstreamUnreachable, UpstreamTimeout: none could be had.
        """
        connection = self.take()
        if connection is not None:
            return connection
        if self._dialling >= MAX_DIALS:
            turn: asyncio.Future[Connection | None] = self._loop.create_future()
            self._waiting.append(turn)
            try:
                released = await turn
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._pass_on(turn.result())
                raise
            if released is not None:
                return released
        else:
            self._dialling += 1
        return await self._dial()

    async def dial(self) -> Connection:
        """Return a connection that nobody used before."""
        self._dialling += 1
        return await self._dial()

    async def _dial(self) -> Connection:
        """Dial with a turn that is already counted, and give the turn to the next in line."""
        try:
            connection = await dial(self.origin, lambda: Connection(self._loop, self._lost), self._connect_timeout)
        finally:
            self._pass_on(None)
        if self._closed:
            connection.close()
        self._open.add(connection)
        return connection

    def _pass_on(self, connection: Connection | None) -> None:
        """Give a released connection, or (None) a turn to dial, to the next request in line."""
        waiting = self._waiting
        while waiting:
            turn = waiting.popleft()
            if not turn.done():
                turn.set_result(connection)
                return
        if connection is None:
            self._dialling -= 1
        else:
            self._keep(connection)

    def release(self, connection: Connection) -> None:
        """Take back a connection after an exchange; one that cannot carry another is closed."""
        if not (connection.complete and connection.reusable) or connection.closed or self._closed:
            connection.close()
        elif self._waiting:
            self._pass_on(connection)
        else:
            self._keep(connection)

    def _keep(self, connection: Connection) -> None:
        connection.idle_since = self._loop.time()
        self._idle.append(connection)
        if self._sweeper is None:
            self._sweeper = self._loop.call_later(KEEPALIVE / 2, self._sweep)

    def _sweep(self) -> None:
        self._sweeper = None
        limit = self._loop.time() - KEEPALIVE
        kept: list[Connection] = []
        for connection in self._idle:
            if connection.closed:
                continue
            if connection.idle_since <= limit:
                connection.close()
            else:
                kept.append(connection)
        self._idle = kept
        if kept:
            self._sweeper = self._loop.call_later(KEEPALIVE / 2, self._sweep)

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)

    def close(self) -> None:
        """Close every connection, in use or not."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in list(self._open):
            connection.close()
        self._idle.clear()

    @property
    def open(self) -> int:
        """How many connections are open."""
        return len(self._open)

    @property
    def idle(self) -> int:
        """How many of them wait for a request."""
        return len(self._idle)

    def __repr__(self) -> str:
        return f"<Pool {self.origin} open={self.open} idle={self.idle} dialling={self._dialling}>"
