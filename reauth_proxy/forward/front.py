"""A client's connection: aiohttp's, with the bounds on clients that it lacks, and our own answers.

aiohttp bounds a line and counts fields. Here are: the size and the deadline of a whole header section, a least rate for
content, and an end for clients that take nothing. None of it costs a timer per request: the listener looks at all
connections about once a second.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog
from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from reauth_proxy.errors import (
    BadRequest,
    FieldsTooLarge,
    InternalError,
    Refusal,
    RequestTimeout,
    VersionNotSupported,
)
from reauth_proxy.forward import answers
from reauth_proxy.forward.limits import Limits
from reauth_proxy.forward.relay import CLOSED, LINGERING, ClientGone, write
from reauth_proxy.upstream.sending import unsent

log = structlog.get_logger(__name__)

#: Seconds that a connection has to be idle while draining before it is closed: its next request may be on its way.
IDLE_GRACE: Final = 0.5


class FrontConnection(RequestHandler):
    """One client's connection.

    Attributes:
        holding: the client waits for us to say 100 Continue, and cannot be too slow.
    """

    __slots__ = (
        "_drain_mark",
        "_head_at",
        "_head_size",
        "_incoming",
        "_mark",
        "_refused",
        "_stuck",
        "_wire",
        "holding",
        "limits",
    )

    def __init__(
        self, manager: web.Server, limits: Limits, *, loop: asyncio.AbstractEventLoop, **settings: Any
    ) -> None:
        super().__init__(manager, loop=loop, **settings)
        self.limits = limits
        self.holding = False
        self._wire: asyncio.Transport | None = None  # unlike aiohttp's own, until the connection is lost
        self._head_at = 0.0
        self._head_size = 0  # of a header section that is not complete yet
        self._incoming: StreamReader | None = None  # the newest request's content
        self._mark: tuple[StreamReader, int, float] | None = None  # how much of which content had come, and when
        self._stuck: tuple[int, float] | None = None  # how much was unsent, and since when
        self._drain_mark: tuple[int, float] | None = None  # after which request it is idle, and since when
        self._refused = False

    # -- asyncio.Protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = transport  # type: ignore[assignment]
        super().connection_made(transport)

    def data_received(self, data: bytes) -> None:
        """Give the parser one header section at a time: what is wrong with one must not take those before with it."""
        start = 0
        while not self._refused:
            incoming = self._incoming
            receiving = incoming is not None and not incoming.is_eof()
            end = len(data)
            if not (receiving or self._upgraded or self._buffer_paused):
                head_end = data.find(b"\r\n\r\n", start) + 4
                if head_end > 3:
                    end = head_end
            self._feed(data[start:end] if end - start < len(data) else data, incoming if receiving else None)
            if end == len(data):
                break
            start = end

    def _feed(self, data: bytes, receiving: StreamReader | None) -> None:
        before = self._request_count
        super().data_received(data)
        arrived = self._request_count - before
        if arrived:
            message, self._incoming = self._messages[-1]
            if receiving is not None and isinstance(message, _ErrInfo) and not receiving.is_eof():
                # aiohttp queues the error behind the request that waits for its content, and leaves that waiting.
                self._refused = True
                receiving.set_exception(BadRequest("The content's framing is not valid."))
            if self._head_size + len(data) > self.limits.header_bytes:
                self._measure_heads(arrived)
            self._head_size = 0
        elif receiving is None and not self._upgraded:
            self._part_of_a_head(data)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = None

    def _part_of_a_head(self, data: bytes) -> None:
        if not self._head_size:
            if not data.strip(b"\r\n"):
                return  # empty lines before a request (RFC 9112 section 2.2), or the end of the head before
            self._head_at = self._loop.time()
        self._head_size += len(data)
        if self._head_size > self.limits.header_bytes:
            self._refuse(_too_long(self.limits))

    def _measure_heads(self, arrived: int) -> None:
        """Much has come at once: refuse the first of the new requests whose header section is too long."""
        for index in range(len(self._messages) - arrived, len(self._messages)):
            message = self._messages[index][0]
            if isinstance(message, _ErrInfo):
                continue
            size = len(message.method) + len(message.path) + 14
            size += sum(len(name) + len(value) + 4 for name, value in message.raw_headers)
            if size > self.limits.header_bytes:
                while len(self._messages) > index:
                    self._messages.pop()
                self._refuse(_too_long(self.limits))
                return

    def _refuse(self, refusal: Refusal) -> None:
        """Answer in its turn, and read no more."""
        self._refused = True
        self._head_size = 0
        self._messages.append((_ErrInfo(status=refusal.status, exc=refusal, message=""), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- the sweep ---------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether the connection is between two requests."""
        return self._waiter is not None and not self._head_size

    def sweep(self, now: float) -> None:
        """Look whether the client is too slow. `now` is the loop's time."""
        if self._head_size and now - self._head_at >= self.limits.header_timeout:
            self._refuse(RequestTimeout("The header section took longer than `limits.header_timeout` allows."))
        if self._incoming is not None:
            self._judge_content(self._incoming, now)
        if self._wire is not None and (self._paused or self._wire.is_closing()):
            self._judge_writing(self._wire, now)

    def _judge_content(self, incoming: StreamReader, now: float) -> None:
        limits = self.limits
        if incoming.is_eof():
            self._incoming = self._mark = None
        elif self._reading_paused or self.holding or self._mark is None or self._mark[0] is not incoming:
            self._mark = (incoming, incoming.total_bytes, now)
        elif now - self._mark[2] >= limits.header_timeout:
            if incoming.total_bytes - self._mark[1] < limits.content_rate * (now - self._mark[2]):
                self._incoming = None
                self._refused = True
                incoming.set_exception(RequestTimeout("The content came slower than `limits.content_rate` allows."))
            else:
                self._mark = (incoming, incoming.total_bytes, now)

    def _judge_writing(self, wire: asyncio.Transport, now: float) -> None:
        left = unsent(wire)
        if self._stuck is None or left < self._stuck[0]:
            self._stuck = (left, now)
        elif now - self._stuck[1] >= self.limits.write_timeout:
            log.info("client.stalled", unsent=left)
            wire.abort()

    def close_if_idle(self, now: float) -> None:
        """While draining: close a connection that no request came on for a moment."""
        if not self.idle:
            self._drain_mark = None
        elif self._drain_mark is None or self._drain_mark[0] != self._request_count:
            self._drain_mark = (self._request_count, now)
        elif now - self._drain_mark[1] >= IDLE_GRACE:
            self.force_close()

    # -- answers -----------------------------------------------------------------------------------------------

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what was refused before it became a request; anything else that gets here is a defect of ours."""
        refusal = refusal_for(exc)
        if isinstance(refusal, InternalError):
            log.error("request.failed", exc_info=exc)
        else:
            log.debug("request.refused", code=refusal.code, detail=refusal.detail)
        self._refused = True
        try:
            write(request, answers.render(refusal, head=False, keep_alive=False))
        except ClientGone:
            return CLOSED
        return LINGERING


def front_of(request: web.BaseRequest) -> FrontConnection:
    """Return the connection that a request came on."""
    assert isinstance(request.protocol, FrontConnection)
    return request.protocol


def refusal_for(error: BaseException | None) -> Refusal:
    """Return the answer to what aiohttp's parser, or we, could not take."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, LineTooLong):
        return FieldsTooLarge("A line is longer than `limits.header_bytes` allows.")
    if isinstance(error, HttpProcessingError):
        if "Too many headers" in error.message:
            return FieldsTooLarge("There are more fields than `limits.header_fields` allows.")
        if "Invalid HTTP version" in error.message:
            return VersionNotSupported("Only HTTP/1.1 and HTTP/1.0 are supported.")
        return BadRequest("This is not a valid HTTP/1.1 request.")
    return InternalError("The proxy failed; its log says why.")


def _too_long(limits: Limits) -> FieldsTooLarge:
    return FieldsTooLarge(
        f"The header section is longer than the {limits.header_bytes} bytes that `limits.header_bytes` allows."
    )
