"""The main listener: makes, bounds, sweeps and drains clients' connections."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from reauth_proxy.clients.connection import ClientConnection, Handler
from reauth_proxy.clients.limits import Limits
from reauth_proxy.errors import TooManyConnections
from reauth_proxy.http1 import problems
from reauth_proxy.session.stopped import grace

#: Seconds that a connection beyond the bound gets to send something, so that it can be told why it is closed.
SURPLUS_PATIENCE: Final = 1.0
#: How many such connections there may be, and which part of the bound; any more are closed at once.
SURPLUS: Final = 256
SURPLUS_SHARE: Final = 5
#: The fewest connections that are looked at in one turn, and into how many turns a look at all of them is divided:
#: slow ones often come and go in crowds, and refusing a thousand at once kept everybody else waiting for 60 ms.
SWEPT: Final = 16
SWEEPS: Final = 64
#: Seconds between two looks at idle connections while draining, and how many are looked at in a turn of the loop: to
#: close ten thousand in one takes half a second, and requests under way would wait for it.
DRAIN_SWEEP: Final = 0.1
#: Seconds that a connection has to be idle while draining before it is closed: its next request may be on its way.
IDLE_GRACE: Final = 0.5
DRAIN_BATCH: Final = 64


class OverLimitConnection(asyncio.Protocol):
    """A connection beyond the bound: it is told so as soon as it says something, and closed."""

    def __init__(self, server: Listener) -> None:
        self._server = server
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # as asyncio's own classes have it
        if len(self._server.surplus) >= min(SURPLUS, self._server.limits.connections // SURPLUS_SHARE + 1):
            self.close()
            return
        self._server.surplus.add(self)
        self._timer = asyncio.get_running_loop().call_later(SURPLUS_PATIENCE, transport.close)

    def data_received(self, data: bytes) -> None:
        assert self._transport is not None
        refusal = TooManyConnections("There are as many connections as `limits.connections` allows.", 1.0)
        as_page = problems.asks_for_page(data)
        self._transport.write(
            problems.render(refusal, head=data.startswith(b"HEAD "), keep_alive=False, as_page=as_page)
        )
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.surplus.discard(self)
        if self._timer is not None:
            self._timer.cancel()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()


class Listener:
    """Makes a :class:`ClientConnection` for each client, and sweeps them.

    Args:
        handle: answers a request; it writes the answer itself.
        limits: on clients; :meth:`limit` replaces them.
    """

    def __init__(self, handle: Handler, limits: Limits) -> None:
        self._handle = handle
        self._loop = asyncio.get_running_loop()
        self._connections: set[ClientConnection] = set()
        self.surplus: set[OverLimitConnection] = set()
        #: Who has not been looked at in this round.
        self._unswept: deque[ClientConnection] = deque()
        self._swept = 1
        self._pause = 0.0
        self.limit(limits)
        self._sweep_due = self._loop.time() + self._every
        self._sweeper = self._loop.call_at(self._sweep_due, self._sweep)

    def limit(self, limits: Limits) -> None:
        """Put new limits in force, for connections that there are, too."""
        self.limits = limits
        shortest = min(limits.header_timeout, limits.write_timeout, limits.idle_timeout)
        self._every = min(1.0, max(0.02, shortest / 8))
        for connection in self._connections:
            connection.limit(limits)

    def __call__(self) -> asyncio.Protocol:
        """Return the protocol of a new connection."""
        if len(self._connections) >= self.limits.connections:
            return OverLimitConnection(self)
        return ClientConnection(self._connections, self._handle, self.limits, self._loop)

    def _sweep(self) -> None:
        """Look at some of the connections, so that all have been looked at within `_every` seconds."""
        unswept = self._unswept
        if not unswept:
            unswept.extend(self._connections)
            self._swept = max(SWEPT, -(-len(unswept) // SWEEPS))
            self._pause = self._every / max(1, -(-len(unswept) // self._swept))
        now, due = self._loop.time(), self._sweep_due
        late = grace(due, now)
        self._sweep_due = now + (late or self._pause)
        self._sweeper = self._loop.call_at(self._sweep_due, self._sweep)  # first: whatever happens, there is a next one
        if late:
            return  # The process was stopped: what came meanwhile is read before anybody is too slow.
        for _ in range(min(self._swept, len(unswept))):
            unswept.popleft().sweep(now)

    async def drained(self) -> None:
        """From now on close connections that are idle; return when there is none."""
        began = self._loop.time()
        while self._connections:
            since = self._loop.time() - IDLE_GRACE
            for number, connection in enumerate(list(self._connections), 1):
                if since >= began:
                    connection.close_if_idle(since)
                if number % DRAIN_BATCH == 0:
                    await asyncio.sleep(0)
            await asyncio.sleep(DRAIN_SWEEP)

    @property
    def count(self) -> int:
        """How many connections there are."""
        return len(self._connections)

    async def shutdown(self, timeout: float) -> None:
        """End all connections, after `timeout` seconds at the latest."""
        self._sweeper.cancel()
        for surplus in list(self.surplus):
            surplus.close()
        if busy := [asyncio.ensure_future(connection.over()) for connection in self._connections]:
            _, unfinished = await asyncio.wait(busy, timeout=timeout)
            for waiting in unfinished:
                waiting.cancel()
        for connection in list(self._connections):
            connection.end()
