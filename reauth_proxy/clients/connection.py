"""A client's connection: requests come in, one at a time, and somebody answers them.

There is no task and no timer for a connection that waits: the listener looks at all of them about once a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from reauth_proxy.clients.limits import READ_BUFFER, Limits
from reauth_proxy.clients.pace import Stall, Trickle
from reauth_proxy.clients.writing import CLOSED, LINGER, LINGERING, OPEN, ClientGone, Sent
from reauth_proxy.errors import BadRequest, ClientDenied, FieldsTooLarge, Refusal, RequestTimeout
from reauth_proxy.guard.peers import is_stranger
from reauth_proxy.http1 import problems
from reauth_proxy.http1.body import Body
from reauth_proxy.http1.request import Request, RequestReader
from reauth_proxy.http1.sockets import hung_up, unsent

log = structlog.get_logger(__name__)

#: Bytes behind a request that is being answered, beyond which no more are read until it is.
MOST_HELD: Final = 64 * 1024

Handler = Callable[["Request", "ClientConnection"], Awaitable[Sent]]


class ClientConnection(asyncio.Protocol):
    """One client's connection.

    Args:
        connections: those that there are; this one is among them until it is lost.
        handle: answers a request, writes the answer itself, and is cancelled when the client leaves.

    Attributes:
        transport: None once the connection is lost.
        peer: the client's address; None where it has none.
        holding: the client waits for us to say 100 Continue, and cannot be too slow.
        writing_paused: the client takes no more for now.
    """

    __slots__ = (
        "_body",
        "_connections",
        "_discarding",
        "_drained",
        "_ended",
        "_handle",
        "_head_at",
        "_held",
        "_held_back",
        "_idle_since",
        "_loop",
        "_reader",
        "_request",
        "_requests",
        "_stall",
        "_task",
        "_trickle",
        "holding",
        "limits",
        "peer",
        "transport",
        "writing_paused",
    )

    def __init__(
        self,
        connections: set[ClientConnection],
        handle: Handler,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._connections = connections
        self._handle = handle
        self._loop = loop
        self.limits = limits
        self.transport: asyncio.Transport | None = None
        self.peer: str | None = None
        self.holding = False
        self.writing_paused = False
        self._drained: asyncio.Future[None] | None = None  # the one writer that waits
        self._body = Body(self, 2 * READ_BUFFER)
        self._reader = RequestReader(self._body, limits.header_bytes, limits.header_fields)
        self._request: Request | None = None  # that is being answered
        self._requests = 0
        self._task: asyncio.Task[None] | None = None
        self._held = b""  # what has come behind the request that is being answered
        self._held_back = False  # so much that nothing is read
        self._ended = False  # nothing that comes is taken any more
        self._discarding = False  # what comes of the content is of no use any more
        self._idle_since = loop.time()
        self._head_at = 0.0  # when the first byte of a header section came that is not whole; 0.0: none has
        self._trickle = Trickle()
        self._stall = Stall()

    # -- asyncio.Protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # as asyncio's own classes have it
        self._connections.add(self)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = peer[0]
        if is_stranger(transport.get_extra_info("socket")):
            self._refuse(ClientDenied("Another user of this machine listens here."))

    def data_received(self, data: bytes) -> None:
        """Take one header section, or content of one request, at a time; what comes behind waits here."""
        if self._held:
            data, self._held = self._held + data, b""
        start, size = 0, len(data)
        while start < size:
            if self._ended:
                return
            if self._request is None:
                start = self._take_head(data, start)
            elif not self._body.complete:
                start = self._take_content(data, start)
            else:
                self._hold(data[start:])
                return

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._ended = True
        self._held = b""
        self._reader.forget()
        self._body.fail(ClientGone("the client closed its connection"))
        if self._task is not None:
            self._task.cancel()
        self.resume_writing()
        self._connections.discard(self)

    def pause_writing(self) -> None:
        self.writing_paused = True
        self._stall.begin()

    def resume_writing(self) -> None:
        self.writing_paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # -- what comes ---------------------------------------------------------------------------------------------

    def _take_head(self, data: bytes, start: int) -> int:
        try:
            end, request = self._reader.take_head(data, start)
        except Refusal as refusal:
            self._refuse(refusal)
            return len(data)
        if request is None:
            if not self._head_at and data[start:end].strip(b"\r\n"):  # not for empty lines (RFC 9112 section 2.2)
                self._head_at = self._loop.time()
            return end
        self._head_at = 0.0
        self._request = request
        self._requests += 1
        self._task = self._loop.create_task(self._answer(request))
        return end

    def _take_content(self, data: bytes, start: int) -> int:
        try:
            end = self._reader.take_content(data, start)
        except BadRequest as refusal:
            self._break_off(refusal)
            return len(data)
        if self._discarding:
            self._body.take()
            if self._body.complete and self.transport is not None:
                self._ended = True
                self.transport.close()
        return end

    def _break_off(self, refusal: Refusal) -> None:
        """Let whoever reads the content have a refusal, and take no more."""
        self._ended = True
        self._body.fail(refusal)

    def _hold(self, data: bytes) -> None:
        self._held = data
        if len(data) >= MOST_HELD and not self._held_back:
            self._held_back = True
            self.pause_reading()

    def take_held(self) -> bytes:
        """Return what has come behind the request that is being answered, and read on."""
        held, self._held = self._held, b""
        if self._held_back:
            self._held_back = False
            self.resume_reading()
        return held

    def pause_reading(self) -> None:
        """Read no more: what has come waits here."""
        if self.transport is None or self.transport.is_closing() or (self._held_back and self._body.paused):
            return  # The other one has paused it already.
        self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on, unless something else waits still."""
        if self.transport is None or self.transport.is_closing() or self._held_back or self._body.paused:
            return
        self.transport.resume_reading()

    # -- answers ------------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> None:
        """Have a request answered, and go on as that says."""
        sent = CLOSED
        try:
            sent = await self._handle(request, self)
        except Exception as error:
            log.error("request.failed", exc_info=error)
            self.abort()
        except BaseException:  # The client has left, or the daemon ends.
            self.abort()
            raise
        finally:
            self._task = None
        self._answered(sent)

    def _answered(self, sent: Sent) -> None:
        self.holding = False
        if self.transport is None:
            return
        if sent is not OPEN or self._ended or not self._body.complete:
            self._end(until_closed=sent is LINGERING)
            return
        self._request = None
        self._body.take()  # What nobody has read.
        self._idle_since = self._loop.time()
        if self._held:
            self.data_received(self.take_held())

    def _end(self, *, until_closed: bool) -> None:
        """Close, once the rest of the content, or whatever comes, was read for a while (RFC 9112 section 9.6)."""
        transport = self.transport
        assert transport is not None
        self.take_held()
        self._body.take()
        if until_closed:
            self._ended = True
            if transport.can_write_eof() and not transport.is_closing():
                transport.write_eof()
        elif self._body.complete or self._ended:
            self._ended = True
            transport.close()
            return
        self._discarding = not until_closed
        self._loop.call_later(LINGER, transport.close)

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what is no request, and take no more."""
        log.debug("request.refused", code=refusal.code, detail=refusal.detail)
        # What is malformed may say anything; what is too long was readable.
        as_page = isinstance(refusal, FieldsTooLarge) and problems.asks_for_page(self._reader.head)
        self._ended = True
        self._head_at = 0.0
        try:
            self.write(problems.render(refusal, head=False, keep_alive=False, as_page=as_page))
        except ClientGone:
            return
        self._end(until_closed=True)

    def write(self, data: bytes) -> None:
        """Write to the client. Raises ClientGone if it has left."""
        transport = self.transport
        if transport is None or transport.is_closing():
            raise ClientGone("the client closed its connection")
        transport.write(data)

    async def drain(self) -> None:
        """Wait until the client takes more; a client that takes nothing is cut by :meth:`sweep`."""
        if self.writing_paused and self.transport is not None:
            self._drained = self._loop.create_future()
            try:
                await self._drained
            finally:
                self._drained = None
        if self.transport is None:
            raise ClientGone("the client closed its connection")

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()

    async def shutdown(self, timeout: float) -> None:
        """End, after `timeout` seconds at the latest."""
        task = self._task
        if task is not None:
            await asyncio.wait([task], timeout=timeout)
            task.cancel()
        if self.transport is not None:
            self.transport.close()

    # -- the sweep ----------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether the connection is between two requests."""
        return self._request is None and not self._head_at and not self._ended

    def sweep(self, now: float) -> None:
        """Look whether the client is too slow. `now` is the loop's time."""
        transport = self.transport
        if transport is None:
            return
        if self._head_at:
            if now - self._head_at >= self.limits.header_timeout:
                self._refuse(RequestTimeout("The header section took longer than `limits.header_timeout` allows."))
        elif self._request is None:
            self._reader.rest()
            if not self._ended and now - self._idle_since >= self.limits.idle_timeout:
                transport.close()
        elif not (self._body.complete or self._ended):
            self._judge_content(now)
        if (self.writing_paused or transport.is_closing()) and self._stall.too_long(
            left := unsent(transport), now, self.limits.write_timeout
        ):
            log.info("client.stalled", unsent=left)
            transport.abort()
        if (self._held_back or self._body.paused) and transport.get_protocol() is self and hung_up(transport):
            transport.abort()  # A client has left whose end is behind what nobody reads now, such as a parked upload.

    def _judge_content(self, now: float) -> None:
        limits, body = self.limits, self._body
        if body.paused or self.holding:
            self._trickle.begin(self._requests, body.received, now)
        elif self._trickle.too_slow(self._requests, body.received, now, limits.header_timeout, limits.content_rate):
            self._break_off(RequestTimeout("The content came slower than `limits.content_rate` allows."))

    def close_if_idle(self, since: float) -> None:
        """Close, if there has been no request since then."""
        if self.idle and self._idle_since <= since and self.transport is not None:
            self.transport.close()

    def limit(self, limits: Limits) -> None:
        """Put new limits in force."""
        self.limits = limits
        self._reader.header_bytes, self._reader.header_fields = limits.header_bytes, limits.header_fields

    def __repr__(self) -> str:
        state = "lost" if self.transport is None else "ended" if self._ended else "idle" if self.idle else "busy"
        return f"<ClientConnection {state} requests={self._requests} {self._request!r}>"
