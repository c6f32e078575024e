"""The writing half of a client's connection, and what becomes of the connection after an answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Final

import structlog

from reauth_proxy.clients.pace import Stall
from reauth_proxy.http1.body import Body
from reauth_proxy.http1.outbox import Outbox
from reauth_proxy.http1.sockets import unsent

log = structlog.get_logger(__name__)

#: Seconds in which a client that was refused may end its side of the connection.
LINGER: Final = 2.0
#: Bytes that are not copied to save a call of the system: that costs about as much as to copy so many.
LONG: Final = 64 * 1024


class Sent(Enum):
    """An answer was written, and the connection ..."""

    OPEN = "stays open for the next request"
    CLOSED = "is closed"
    #: To close a connection while bytes come would reset it, and might take the answer from the client before it could
    #: read it (RFC 9112 section 9.6).
    LINGERING = "is closed on our side, and read for a while: the client may still be sending"


OPEN: Final = Sent.OPEN
CLOSED: Final = Sent.CLOSED
LINGERING: Final = Sent.LINGERING


#: What becomes of a request: it was answered; a coroutine answers it; or somebody will call `answered` or `go_on`, and
#: this is called if the client leaves before.
Answer = Sent | Coroutine[None, None, Sent] | Callable[[], None]


class ClientGone(ConnectionError):
    """The client closed its connection; there is nobody to answer."""


class Writing:
    """A client's transport that is written to by one writer at a time.

    Attributes:
        transport: None once the connection is lost.
        writing_paused: the client takes no more for now.
        feeder: whose content is written as it comes; it is held while the client takes no more.
    """

    __slots__ = ("_cancel", "_drained", "_loop", "_outbox", "_over", "_stall", "feeder", "transport", "writing_paused")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._drained: asyncio.Future[None] | None = None  # the one writer that waits
        self._cancel: Callable[[], object] | None = None  # for whoever answers, if the client leaves
        self._over: asyncio.Future[None] | None = None  # for whoever ends the connection
        self._stall: Stall | None = None
        self.feeder: Body | None = None
        self._outbox: Outbox | None = None  # the last one that was given something
        self.transport: asyncio.Transport | None = None
        self.writing_paused = False

    def pause_writing(self) -> None:
        """The client takes no more."""
        self.writing_paused = True
        self._stall = None
        if self.feeder is not None:
            self.feeder.hold()

    def resume_writing(self) -> None:
        """The client takes more, or has left."""
        self.writing_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        if self.feeder is not None:
            self.feeder.flow()

    def write(self, data: bytes) -> None:
        """Write to the client. Raises ClientGone if it has left."""
        self.settle()
        self._reachable().write(data)

    def write_both(self, head: bytes, content: bytes) -> None:
        """Write to the client, and copy no long content for that. Raises ClientGone if it has left."""
        if len(content) < LONG:
            self.write(head + content)
        else:
            self.write(head)
            self.write(content)

    def post(self, data: bytes, outbox: Outbox) -> None:
        """Have an answer written at the end of this turn. Raises ClientGone if the client has left."""
        outbox.write(self._reachable(), data)
        self._outbox = outbox

    def _reachable(self) -> asyncio.Transport:
        if self.transport is None or self.transport.is_closing():
            raise ClientGone("the client closed its connection")
        return self.transport

    def settle(self) -> None:
        """Have what was posted written now."""
        if self._outbox is not None and self._outbox.holds(self.transport):
            self._outbox.flush()

    async def drain(self) -> None:
        """Wait until the client takes more; a client that takes nothing is cut by :meth:`cut_if_stalled`."""
        if self.writing_paused and self.transport is not None:
            self._drained = self._loop.create_future()
            try:
                await self._drained
            finally:
                self._drained = None
        if self.transport is None:
            raise ClientGone("the client closed its connection")

    def close(self) -> None:
        """Close, once what was written has gone out."""
        self.settle()
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        self.settle()
        if self.transport is not None:
            self.transport.abort()

    def _rest(self) -> Callable[[], object] | None:
        """Nobody answers a request any more; return what had to be called if the client left."""
        cancel, self._cancel = self._cancel, None
        if self._over is not None and not self._over.done():
            self._over.set_result(None)
        return cancel

    def _leave(self) -> None:
        if (cancel := self._rest()) is not None:
            cancel()

    async def over(self) -> None:
        """Return once nobody answers a request, or the client has left."""
        if self._cancel is not None:
            self._over = self._loop.create_future()
            await self._over

    def end(self) -> None:
        """End, whatever is under way."""
        self._leave()
        self.close()

    def cut_if_stalled(self, now: float, limit: float) -> None:
        """Close if the client took nothing of what waits for `limit` seconds. `now` is the loop's time."""
        transport = self.transport
        if transport is None or not (self.writing_paused or transport.is_closing()):
            return
        left = unsent(transport)
        if self._stall is None:
            self._stall = Stall()
        if self._stall.too_long(left, now, limit):
            log.info("client.stalled", unsent=left)
            transport.abort()
