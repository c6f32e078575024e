"""The connections to one upstream: kept alive, reused newest first, bounded, and dialled a bounded number at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

from reauth_proxy.errors import UpstreamBusy, UpstreamTimeout
from reauth_proxy.upstream.connection import Connection
from reauth_proxy.upstream.deadlines import Deadlines
from reauth_proxy.upstream.dial import Origin, dial, resolve

#: Connections being dialled at once. A request that finds them all taken gets a released connection or the next
#: turn to dial, whichever comes first: 2,000 released requests share a few dozen connections.
MAX_DIALS: Final = 32
#: Seconds after which the upstream's name is looked up again, while there are connections.
LOOK_AGAIN: Final = 30.0


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """Bounds on the connections to one upstream; times in seconds.

    Attributes:
        connections: how many there may be.
        queue: how many requests may wait for one.
        connect_timeout: for DNS, TCP and TLS together.
        wait_timeout: for a request that waits for its turn.
        write_timeout: during which the upstream takes not one byte.
        keepalive: how long an unused connection is kept.
    """

    connections: int = 10_000
    queue: int = 10_000
    connect_timeout: float = 5.0
    wait_timeout: float = 60.0
    write_timeout: float = 60.0
    keepalive: float = 30.0


@dataclass(frozen=True, slots=True)
class Census:
    """How many connections there are, by what they do, and how many requests wait for one."""

    idle: int
    busy: int
    waiting: int


def _give_up(turn: asyncio.Future[Connection | None]) -> None:
    if not turn.done():
        turn.set_exception(UpstreamTimeout("No connection to the upstream became free in time."))


class Pool:
    """Connections to one :class:`Origin`."""

    def __init__(self, origin: Origin, limits: PoolLimits) -> None:
        self.origin = origin
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._idle: list[Connection] = []  # newest last
        self._open: set[Connection] = set()
        self._dialling = 0
        # Requests that wait for a released connection, or None: their turn to dial.
        self._waiting: dict[asyncio.Future[Connection | None], None] = {}
        self._deadlines = Deadlines(self._loop)
        self._sweeper: asyncio.TimerHandle | None = None
        self._looked_at = self._loop.time()
        self._looking: asyncio.Task[None] | None = None
        self._retired = False
        self._elders: list[Pool] = []  # those before this one that still have connections
        self._heir: Pool | None = None

    @property
    def place(self) -> tuple[str, int, bool, str | None]:
        """Where its connections lead; pools before and after a reload are compared by it."""
        origin = self.origin
        return origin.host, origin.port, origin.tls is not None, origin.path

    def census(self) -> Census:
        """Count, with what pools before this one still have."""
        open_now = len(self._open) + sum(len(elder._open) for elder in self._elders)
        return Census(len(self._idle), open_now - len(self._idle), len(self._waiting))

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
            UpstreamUnreachable, UpstreamTimeout, UpstreamBusy: none could be had.
        """
        connection = self.take()
        if connection is not None:
            return connection
        if self._may_dial():
            self._dialling += 1
        else:
            released = await self._wait()
            if released is not None:
                return released
        return await self._dial()

    async def dial(self) -> Connection:
        """Return a connection that nobody used before, in the place of one that broke."""
        self._dialling += 1
        return await self._dial()

    def _may_dial(self) -> bool:
        elders = sum(len(elder._open) + elder._dialling for elder in self._elders)
        return self._dialling < MAX_DIALS and len(self._open) + self._dialling + elders < self._limits.connections

    async def _wait(self) -> Connection | None:
        """Wait for a released connection, or for a turn to dial, which is counted then."""
        if len(self._waiting) >= self._limits.queue:
            raise UpstreamBusy("Too many requests wait for a connection to the upstream already.", 1.0)
        turn: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiting[turn] = None
        timer = self._loop.call_later(self._limits.wait_timeout, _give_up, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._hand_back(turn.result())
            raise
        finally:
            timer.cancel()
            self._waiting.pop(turn, None)

    async def _dial(self) -> Connection:
        """Dial with a turn that is already counted."""
        limits = self._limits
        try:
            connection = await dial(
                self.origin,
                lambda: Connection(self._loop, self._lost, limits.write_timeout, self._deadlines),
                limits.connect_timeout,
            )
            if connection.transport is not None:  # it may be lost already
                self._open.add(connection)
        finally:
            self._dialling -= 1
            self._serve_waiting()
            if self._heir is not None:
                self._heir._elder_shrank(self)
        if self._retired:
            connection.retired = True
        self._arm()
        return connection

    def _serve_waiting(self) -> None:
        """Give free turns to dial to the first in line."""
        waiting = self._waiting
        while waiting and self._may_dial():
            turn = next(iter(waiting))
            del waiting[turn]
            if not turn.done():
                self._dialling += 1
                turn.set_result(None)

    def _hand_back(self, given: Connection | None) -> None:
        """Take back what somebody was given who has left."""
        if given is None:
            self._dialling -= 1
            self._serve_waiting()
        else:
            self._pass_on(given)

    def _pass_on(self, connection: Connection) -> None:
        waiting = self._waiting
        while waiting:
            turn = next(iter(waiting))
            del waiting[turn]
            if not turn.done():
                turn.set_result(connection)
                return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)

    def release(self, connection: Connection) -> None:
        """Take back a connection after an exchange; one that cannot carry another is closed."""
        if not (connection.complete and connection.reusable) or connection.closed or connection.retired:
            connection.close()
        elif self._waiting:
            self._pass_on(connection)
        else:
            connection.idle_since = self._loop.time()
            self._idle.append(connection)

    # -- what becomes of kept connections ----------------------------------------------------------------------

    def _arm(self) -> None:
        if self._sweeper is None and self._open:
            self._sweeper = self._loop.call_later(min(self._limits.keepalive / 2, LOOK_AGAIN), self._sweep)

    def _sweep(self) -> None:
        """Close what was unused for too long; now and then look whether the upstream has moved."""
        self._sweeper = None
        limit = self._loop.time() - self._limits.keepalive
        for connection in self._idle:
            if connection.idle_since <= limit:
                connection.close()
        self._idle = [connection for connection in self._idle if not connection.closed]
        if self._loop.time() - self._looked_at >= LOOK_AGAIN and self._looking is None:
            self._looked_at = self._loop.time()
            self._looking = asyncio.create_task(self.look_again(), name="look up upstream")
        self._arm()

    async def look_again(self) -> None:
        """Look the upstream's name up, and use connections to addresses that it has no more for no new request."""
        try:
            addresses = await resolve(self.origin)
        except OSError:
            return  # the name server is away; the connections are not
        finally:
            self._looking = None
        for connection in self._open:
            if addresses and connection.address not in addresses:
                connection.retired = True
        self._close_retired()

    def _close_retired(self) -> None:
        for connection in self._idle:
            if connection.retired:
                connection.close()
        self._idle = [connection for connection in self._idle if not connection.closed]

    def _lost(self, connection: Connection) -> None:
        self._open.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if self._waiting:
            self._serve_waiting()
        if self._heir is not None:
            self._heir._elder_shrank(self)

    def _elder_shrank(self, elder: Pool) -> None:
        if not (elder._open or elder._dialling) and elder in self._elders:
            self._elders.remove(elder)
        self._serve_waiting()

    def succeed(self, elder: Pool) -> None:
        """Take another pool's place: what it and those before it still have open counts within our bound.

        They may still dial, for requests that began with them and have to be sent again.
        """
        elder.retire()
        self._elders = [pool for pool in (*elder._elders, elder) if pool._open or pool._dialling]
        elder._elders = []
        for pool in self._elders:
            pool._heir = self

    def retire(self) -> None:
        """Let exchanges under way finish, and keep no connection afterwards."""
        self._retired = True
        for connection in self._open:
            connection.retired = True
        self._close_retired()

    def close(self) -> None:
        """Close every connection, in use or not."""
        self.retire()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        if self._looking is not None:
            self._looking.cancel()
        self._deadlines.close()
        for connection in list(self._open):
            connection.close()

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
