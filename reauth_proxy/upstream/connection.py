"""One HTTP/1.1 connection to an upstream (RFC 9112), on httptools' parser.

A connection carries one exchange at a time: :meth:`Connection.begin` writes a request, :meth:`Connection.response`
waits for the header section, and its body has the content as it comes. Whoever holds the connection hands it
back to its pool when the message is complete, or closes it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import httptools

from reauth_proxy.errors import UpstreamMalformed, UpstreamTimeout
from reauth_proxy.http1.body import HIGH_WATER, ONE_READ
from reauth_proxy.http1.outbox import Outbox
from reauth_proxy.http1.response import Interim, ResponseMessage
from reauth_proxy.http1.sockets import readable, was_notified
from reauth_proxy.upstream.broken import ConnectionBroken
from reauth_proxy.upstream.deadlines import Deadlines
from reauth_proxy.upstream.sending import Sending

#: Bytes of content that may wait for their reader: at the first of these the upstream is told to wait.
MOST_UNREAD: Final = HIGH_WATER + ONE_READ
#: Bytes that an upstream's header section may have.
MAX_HEAD_BYTES: Final = 256 * 1024


class Connection(ResponseMessage, Sending, asyncio.Protocol):
    """A transport, and the response that is being received on it.

    Args:
        on_lost: told when the connection has ended.
        write_timeout: seconds that the upstream may take not one byte of what it is sent.
        deadlines: of all connections to this upstream.

    Attributes:
        receiver: is called once, when the header section has arrived or never will; a coroutine that waits for
            :meth:`response` needs none.
        exchanges: how many were begun; more than one means a kept-alive connection.
        address: the upstream's, as text; empty for a Unix socket.
        retired: it is closed after this exchange.
    """

    __slots__ = (
        "_closing",
        "_continue_waiter",
        "_deadlines",
        "_drain_waiter",
        "_head_size",
        "_loop",
        "_on_lost",
        "_orderly",
        "_outbox",
        "_receiving",
        "_touched",
        "_waiter",
        "_watching",
        "_write_timeout",
        "_writing_paused",
        "address",
        "exchanges",
        "idle_since",
        "receiver",
        "retired",
        "transport",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_lost: Callable[[Connection], None],
        write_timeout: float,
        deadlines: Deadlines,
    ) -> None:
        super().__init__(self)
        self._loop = loop
        self._write_timeout = write_timeout
        self._deadlines = deadlines
        self._writing_paused = False
        self._drain_waiter = self._continue_waiter = self._watching = None
        self.transport = None
        self.address = ""
        self.retired = False
        self._on_lost = on_lost  # the pool forgets us
        self._waiter: asyncio.Future[None] | None = None  # the one reader
        self.receiver: Callable[[], None] | None = None
        self._outbox: Outbox | None = None  # may hold the request until the end of a turn
        self._closing = False
        self.exchanges = 0
        self.idle_since = 0.0
        self._receiving = False
        self._orderly = False  # the upstream said that it would send no more
        self._reset(expect_none=False, switch=False, interim=None)

    def _reset(self, *, expect_none: bool, switch: bool, interim: Interim | None) -> None:
        self._expect(expect_none=expect_none, switch=switch, interim=interim)
        self._head_size = 0
        self._touched = False

    # -- what the forwarder calls ------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        return self._closing or self.transport is None or self.transport.is_closing()

    @property
    def broken(self) -> Exception | None:
        """Why the response that is being received will never be whole; None as long as it may."""
        return None if self.complete else self.body.error

    def silent(self, seconds: float) -> bool:
        """Tell whether a kept-alive connection has been unused for so long."""
        return self.exchanges > 0 and self._loop.time() - self.idle_since > seconds

    def readable(self) -> bool:
        """Tell whether the kernel has something for an idle connection: its end, or bytes that nobody asked for."""
        return self.transport is not None and readable(self.transport)

    def begin(
        self,
        data: bytes,
        *,
        head: bool,
        switch: bool = False,
        interim: Interim | None = None,
        outbox: Outbox | None = None,
    ) -> None:
        """Start an exchange by writing `data`.

        Args:
            head: the method is HEAD, so no content will come.
            switch: the request asks for WebSocket, so 101 is an answer (RFC 9110 section 7.8).
            interim: takes interim responses other than 100 and 101; None drops them.
            outbox: writes `data` at the end of the turn; None: it is written now.
        """
        transport = self.transport
        if transport is None or self._closing:
            raise ConnectionBroken("The upstream closed the connection.", stale=self.exchanges > 0)
        self._reset(expect_none=head, switch=switch, interim=interim)
        self._receiving = True
        self.exchanges += 1
        self._outbox = outbox
        if outbox is None:
            transport.write(data)
        else:
            outbox.write(transport, data)

    def write(self, data: bytes) -> None:
        """Send more content."""
        if self.transport is None or self._closing:
            raise self.body.error or self._broken()
        self.transport.write(data)

    def start_clock(self, timeout: float) -> None:
        """Give the upstream `timeout` seconds for its header section, counted from now."""
        self._deadlines.start(self, timeout)

    async def response(self) -> None:
        """Wait until the final header section has arrived.

        Raises:
            UpstreamTimeout, UpstreamMalformed, ConnectionBroken: the connection is closed then.
        """
        try:
            while not self.head_done:
                if self.body.error is not None:
                    raise self.body.error
                await self._progress()
        finally:
            self._deadlines.stop(self)

    def fail(self, error: Exception) -> None:
        """Close, and let whoever waits for the response have `error`."""
        if not self.complete:
            self._fail(error)

    async def await_continue(self, timeout: float) -> None:
        """Wait for 100 Continue, a final header section, or the end of `timeout` seconds, whichever comes first."""
        if self.continued or self.head_done or self.body.error or self.closed:
            return
        await self._continued_within(timeout)

    def pause_reading(self) -> None:
        """Read no more: too much content waits."""
        if self.transport is not None and not self._closing:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self.transport is not None and not self._closing:
            self.transport.resume_reading()

    def close(self) -> None:
        """Close at once; nothing more is sent or delivered."""
        self._closing = True
        self._receiving = False
        if self.transport is not None:
            self.transport.abort()

    def abandon(self) -> None:
        """Close: nobody waits for the answer any more."""
        self.receiver = None
        self._deadlines.stop(self)
        self.close()

    async def _progress(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._continue_waiter is not None:
            self._go_on()
        receiver = self.receiver
        if receiver is not None and (self.head_done or self.body.error is not None):
            self.receiver = None
            self._deadlines.stop(self)
            receiver()

    def _fail(self, error: Exception) -> None:
        self.body.fail(error)
        self.close()
        self._wake()
        self._release_writer()

    def _broken(self) -> ConnectionBroken:
        what = "in the middle of its answer" if self._touched else "without an answer"
        stale = self.exchanges > 1 and not self._touched
        return ConnectionBroken(f"The upstream closed the connection {what}.", stale=stale, unsent=self._unsent)

    @property
    def _unsent(self) -> bool:
        """Whether the request has not been written yet."""
        return self._outbox is not None and self._outbox.holds(self.transport)

    def time_out(self) -> None:
        """The header section did not come in time."""
        if not self.head_done:
            self._fail(UpstreamTimeout("The upstream did not answer in time."))

    # -- asyncio.Protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple):
            self.address = str(peer[0])

    def data_received(self, data: bytes) -> None:
        if self.switched:
            self.body.feed(data)
            return
        body = self.body
        if not self._receiving or body.complete:
            # Bytes after the end of a response, or before a request: never given to the next request.
            self.reusable = False
            self.close()
            return
        if self._counted:
            self._count(data)
            return
        if not self._touched:
            if self._unsent:
                self._fail(self._broken())  # Nobody asked for this.
                return
            if data[:7] != b"HTTP/1."[: len(data)]:  # the parser takes RTSP for HTTP
                self._fail(UpstreamMalformed("The upstream's answer is not valid HTTP/1.1."))
                return
            self._touched = True
        self._framing += len(data)
        parser = self._parser
        if parser is None:
            parser = self._parser = httptools.HttpResponseParser(self)
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if not self.switched:
                self._fail(UpstreamMalformed("The upstream switched protocols without being asked."))
                return
            if early := data[upgrade.args[0] :]:
                self.body.feed(early)
            self._wake()
            return
        except httptools.HttpParserError:
            # Includes what our own callbacks below raise. An answer that was whole already stays whole.
            if self.complete:
                self.reusable = False
                self.close()
            else:
                self._fail(UpstreamMalformed("The upstream's answer is not valid HTTP/1.1."))
        else:
            if not self.head_done:
                self._head_size += len(data)
                if self._head_size > MAX_HEAD_BYTES:
                    self._fail(UpstreamMalformed("The upstream's header section is too long."))
                    return
                if self.continued:
                    self._go_on()
                return
            if self._framing > MAX_HEAD_BYTES and not body.complete:
                self._fail(UpstreamMalformed("There is too much framing around the upstream's content."))
                return
            if self._counted and not body.complete:
                self._parser = None  # It would copy the rest.
        self._wake()

    def _count(self, data: bytes) -> None:
        """Take content of which a number is to come, and nothing else."""
        assert self.length is not None
        left = self.length - self.body.received
        if len(data) < left:
            self.body.feed(data)
            return
        self.body.feed(data[:left])
        self.body.finish()
        if len(data) > left:
            self.reusable = False
            self.close()

    def eof_received(self) -> None:
        """Note an end that is no cut: under TLS one with a close_notify (RFC 9112 section 9.8)."""
        assert self.transport is not None
        tls = self.transport.get_extra_info("ssl_object")
        self._orderly = tls is None or was_notified(tls)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        if self._receiving and not self.complete and self.body.error is None:
            if self._until_close and exc is None and self._orderly:
                self.body.finish()  # RFC 9112 section 6.3 rule 8: ends with the connection
            else:
                self.body.fail(self._broken())
        self.transport = None
        self._wake()
        self._release_writer()
        self._on_lost(self)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "receiving" if self._receiving and not self.complete else "idle"
        return f"<Connection {state} exchanges={self.exchanges} status={self.status}>"
