"""A client's connection: requests come in, one at a time, and somebody answers them.

There is no task and no timer for a connection that waits: the listener looks at all of them about once a second.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Final

import structlog

from reauth_proxy.clients.limits import READ_BUFFER, Limits
from reauth_proxy.clients.pace import Trickle
from reauth_proxy.clients.writing import CLOSED, LINGER, LINGERING, OPEN, Answer, ClientGone, Sent, Writing
from reauth_proxy.errors import BadRequest, ClientDenied, FieldsTooLarge, Refusal, RequestTimeout
from reauth_proxy.guard.peers import is_stranger
from reauth_proxy.http1 import problems
from reauth_proxy.http1.body import NOTHING, Body
from reauth_proxy.http1.request import Request, RequestReader
from reauth_proxy.http1.sockets import hung_up

log = structlog.get_logger(__name__)

#: Bytes behind a request that is being answered, beyond which no more are read until it is.
MOST_HELD: Final = 64 * 1024

Handler = Callable[["Request", "ClientConnection"], Answer]


class ClientConnection(Writing, asyncio.Protocol):
    """One client's connection.

    Args:
        connections: those that there are; this one is among them until it is lost.
        handle: answers a request, and writes the answer itself; a coroutine is cancelled when the client leaves.

    Attributes:
        peer: the client's address; None where it has none.
        holding: the client waits for us to say 100 Continue, and cannot be too slow.
    """

    __slots__ = (
        "_body",
        "_connections",
        "_discarding",
        "_ended",
        "_fresh",
        "_handle",
        "_head_at",
        "_held",
        "_held_back",
        "_idle_since",
        "_reader",
        "_request",
        "_requests",
        "_trickle",
        "holding",
        "limits",
        "peer",
    )

    def __init__(
        self,
        connections: set[ClientConnection],
        handle: Handler,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        super().__init__(loop)
        self._connections = connections
        self._handle = handle
        self.limits = limits
        self.peer: str | None = None
        self.holding = False
        #: None, and no content, while nothing comes: they are made anew in 1 µs, and are a fifth of a connection.
        self._reader: RequestReader | None = None
        self._body: Body = NOTHING
        self._request: Request | None = None  # that is being answered
        self._requests = 0
        self._fresh: Request | None = None  # that nobody answers yet
        self._held = b""  # what has come behind the request that is being answered
        self._held_back = False  # so much that nothing is read
        self._ended = False  # nothing that comes is taken any more
        self._discarding = False  # what comes of the content is of no use any more
        self._idle_since = loop.time()
        self._head_at = 0.0  # when the first byte of a header section came that is not whole; 0.0: none has
        self._trickle: Trickle | None = None

    # -- asyncio.Protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # as asyncio's own classes have it
        self._connections.add(self)
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.peer = sys.intern(peer[0])
        elif is_stranger(transport.get_extra_info("socket")):
            self._refuse(ClientDenied("Another user of this machine listens here."))

    def data_received(self, data: bytes) -> None:
        """Take one header section, or content of one request, at a time; what comes behind waits here."""
        if self._held:
            data, self._held = self._held + data, b""
        start, size = 0, len(data)
        while start < size:
            if self._ended:
                break
            if self._request is None:
                start = self._take_head(data, start)
            elif not self._body.complete:
                start = self._take_content(data, start)
            else:
                self._hold(data[start:])
                break
        if self._fresh is not None:
            self._have_answered(self._fresh)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._ended = True
        self._held = b""
        if self._reader is not None:
            self._reader.forget()
        self._body.fail(ClientGone("the client closed its connection"))
        self.resume_writing()
        self._connections.discard(self)
        self._leave()

    # -- what comes ---------------------------------------------------------------------------------------------

    def _take_head(self, data: bytes, start: int) -> int:
        reader = self._reader
        if reader is None:
            self._body = Body(self, 2 * READ_BUFFER)
            reader = self._reader = RequestReader(self._body, self.limits.header_bytes, self.limits.header_fields)
        try:
            end, request = reader.take_head(data, start)
        except Refusal as refusal:
            self._refuse(refusal)
            return len(data)
        if request is None:
            if not self._head_at and data[start:end].strip(b"\r\n"):  # not for empty lines (RFC 9112 section 2.2)
                self._head_at = self._loop.time()
            return end
        self._head_at = 0.0
        self._request = self._fresh = request
        self._requests += 1
        return end

    def _take_content(self, data: bytes, start: int) -> int:
        assert self._reader is not None, "a request has come"
        try:
            end = self._reader.take_content(data, start)
        except BadRequest as refusal:
            self._break_off(refusal)
            return len(data)
        if self._discarding:
            self._body.take()
            if self._body.complete:
                self._ended = True
                self.close()
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

    def _have_answered(self, request: Request) -> None:
        self._fresh = None
        answer = self._handle(request, self)
        if isinstance(answer, Sent):
            self.answered(answer)
        elif callable(answer):
            self._cancel = answer
        else:
            self.go_on(answer)

    def go_on(self, way: Coroutine[None, None, Sent]) -> None:
        """Have a task answer the request, or go on with it."""
        task = self._loop.create_task(self._answer(way))
        # Not before its first step: what never began could not end in order, either.
        self._cancel = partial(self._loop.call_soon, task.cancel)

    async def _answer(self, way: Coroutine[None, None, Sent]) -> None:
        sent = CLOSED
        try:
            sent = await way
        except Exception as error:
            log.error("request.failed", exc_info=error)
            self.abort()
        except BaseException:  # The client has left, or the daemon ends.
            self.abort()
            raise
        self.answered(sent)

    def answered(self, sent: Sent) -> None:
        """The request was answered: go on as that says."""
        self.holding = False
        self._rest()
        if self.transport is None:
            return
        if sent is not OPEN or self._ended or not self._body.complete:
            self._end(until_closed=sent is LINGERING)
            return
        self._request = None
        self._body.take()  # What nobody has read.
        self._idle_since = self._loop.time()
        if self._held:  # In a turn of its own: others have theirs between two requests that came in one packet.
            self._loop.call_soon(self._resume)

    def _resume(self) -> None:
        if self._held and self._request is None:
            self.data_received(self.take_held())

    def _end(self, *, until_closed: bool) -> None:
        """Close, once the rest of the content, or whatever comes, was read for a while (RFC 9112 section 9.6)."""
        transport = self.transport
        assert transport is not None
        self.settle()
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
        head = b"" if self._reader is None else self._reader.head
        as_page = isinstance(refusal, FieldsTooLarge) and problems.asks_for_page(head)
        self._ended = True
        self._head_at = 0.0
        try:
            self.write(problems.render(refusal, head=False, keep_alive=False, as_page=as_page))
        except ClientGone:
            return
        self._end(until_closed=True)

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
            self._sleep()
            if not self._ended and now - self._idle_since >= self.limits.idle_timeout:
                self.close()
        elif not (self._body.complete or self._ended):
            self._judge_content(now)
        self.cut_if_stalled(now, self.limits.write_timeout)
        if (self._held_back or self._body.paused) and transport.get_protocol() is self and hung_up(transport):
            transport.abort()  # A client has left whose end is behind what nobody reads now, such as a parked upload.

    def _sleep(self) -> None:
        if self._reader is not None and not self._reader.head and not self._held and not self._ended:
            self._reader.forget()
            self._reader, self._body = None, NOTHING

    def _judge_content(self, now: float) -> None:
        limits, body = self.limits, self._body
        trickle = self._trickle = self._trickle or Trickle()
        if body.paused or self.holding:
            trickle.begin(self._requests, body.received, now)
        elif trickle.too_slow(self._requests, body.received, now, limits.header_timeout, limits.content_rate):
            self._break_off(RequestTimeout("The content came slower than `limits.content_rate` allows."))

    def close_if_idle(self, since: float) -> None:
        """Close, if there has been no request since then."""
        if self.idle and self._idle_since <= since:
            self.close()

    def limit(self, limits: Limits) -> None:
        """Put new limits in force."""
        self.limits = limits
        if self._reader is not None:
            self._reader.header_bytes, self._reader.header_fields = limits.header_bytes, limits.header_fields

    def __repr__(self) -> str:
        state = "lost" if self.transport is None else "ended" if self._ended else "idle" if self.idle else "busy"
        return f"<ClientConnection {state} requests={self._requests} {self._request!r}>"
