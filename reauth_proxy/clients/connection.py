"""A client's connection: aiohttp's, with the bounds on clients that it lacks, and our own answers.

aiohttp bounds a line and counts fields. Here are: the size and the deadline of a whole header section, a least rate for
content, and an end for clients that take nothing. None of it costs a timer per request: the listener looks at all
connections about once a second.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final

import structlog
from aiohttp import StreamReader, web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD
from aiohttp.web_protocol import _ErrInfo

from reauth_proxy.clients.limits import Limits
from reauth_proxy.clients.serving import Serving
from reauth_proxy.clients.writing import CLOSED, LINGERING, ClientGone, write
from reauth_proxy.errors import (
    BadRequest,
    ClientDenied,
    FieldsTooLarge,
    InternalError,
    Refusal,
    RequestTimeout,
    VersionNotSupported,
)
from reauth_proxy.guard.peers import is_stranger
from reauth_proxy.http1 import problems
from reauth_proxy.http1.extent import Chunked, Counted
from reauth_proxy.http1.sockets import hung_up, unsent

log = structlog.get_logger(__name__)

#: Seconds that a connection has to be idle while draining before it is closed: its next request may be on its way.
IDLE_GRACE: Final = 0.5
#: Bytes behind a request that is being answered, beyond which no more are read until it is.
MOST_HELD: Final = 64 * 1024

_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(rb"\r\n[Cc]ontent-[Ll]ength: ([0-9]{1,9})\r\n")
#: RFC 9112 section 3, after empty lines (section 2.2); methods are those in capitals that a registry may have.
_REQUEST_LINE: Final = re.compile(rb"(?:\r\n)*[A-Z][A-Z_-]{0,31} [\x21-\x7e\x80-\xff]+ HTTP/[0-9]\.[0-9]\r\n")


class FrontConnection(Serving):
    """One client's connection.

    Attributes:
        holding: the client waits for us to say 100 Continue, and cannot be too slow.
    """

    __slots__ = (
        "_drain_mark",
        "_extent",
        "_framing",
        "_head",
        "_head_at",
        "_held",
        "_incoming",
        "_mark",
        "_refused",
        "_refused_head",
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
        self._head = bytearray()  # a header section that is not complete yet
        self._head_at = 0.0  # when its first byte came; 0.0: none has
        self._held = b""  # what has come behind the request that is being answered
        self._extent: Counted | Chunked | None = None  # where the content that comes now will end
        self._framing = 0  # bytes of framing since the last byte of content
        self._incoming: StreamReader | None = None  # the newest request's content
        self._mark: tuple[StreamReader, int, float] | None = None  # how much of which content had come, and when
        self._stuck: tuple[int, float] | None = None  # how much was unsent, and since when
        self._drain_mark: tuple[int, float] | None = None  # after which request it is idle, and since when
        self._refused = False
        self._refused_head = b""  # a header section that came whole, and was refused

    # -- asyncio.Protocol --------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._wire = transport  # type: ignore[assignment]
        super().connection_made(transport)
        if is_stranger(transport.get_extra_info("socket")):
            self._refuse(ClientDenied("Another user of this machine listens here."))

    def data_received(self, data: bytes) -> None:
        """Give the parser one header section, or the content of one request, at a time.

        What is wrong with one request cannot take those before with it, and what comes behind one waits here until
        that is answered.
        """
        if self._held:
            data, self._held = self._held + data, b""
        elif not data:
            self._take_content(b"")  # aiohttp asks for what the parser holds back
            return
        start = 0
        while start < len(data) and not self._refused:
            if self._extent is not None:
                end = self._extent.end(data, start)
                if self._extent.done:
                    self._extent = None
                self._take_content(data[start:end] if end - start < len(data) else data)
                if self._extent is None and self._parsing and not self._reading_paused:
                    # The parser waits for more: it reads the framing in another way, as of a trailer that ends in LF.
                    assert self._incoming is not None
                    self._break_off(self._incoming, BadRequest("The content's framing is not valid."))
            elif self._messages or self._request_in_progress or self._parsing:
                self._hold(data[start:])
                return
            else:
                end = head_end = self._end_of_head(data, start)
                if end < len(data) and (size := _LENGTH.search(data, start, end)) and end + int(size[1]) == len(data):
                    end = len(data)  # all that follows is its content: 2 µs less than to take it on its own
                self._take_head(data[start:end] if end - start < len(data) else data, head_end - start)
            start = end

    @property
    def _parsing(self) -> bool:
        """Whether the parser holds content back that nobody has had room for."""
        return self._incoming is not None and not self._incoming.is_eof()

    def _hold(self, data: bytes) -> None:
        self._held = data
        if len(data) >= MOST_HELD and not self._buffer_paused:
            self._pause_reading_for_buffer()

    def take_held(self) -> bytes:
        """Return what has come behind the request that is being answered, and read on."""
        held, self._held = self._held, b""
        if self._buffer_paused:
            self._resume_reading_for_buffer()
        return held

    def answered(self) -> None:
        """The request has been answered: go on with what has come behind it."""
        self.holding = False
        if self._held and not self._refused:
            self.data_received(self.take_held())

    def _end_of_head(self, data: bytes, start: int) -> int:
        """Return where the next header section ends, or all ends; its end may have begun in what came before."""
        if self._head and not start:
            before = self._head[-3:]
            found = (before + data).find(_END) + len(_END) - len(before)
            return found if found > 0 and found + len(before) > 3 else len(data)
        found = data.find(_END, start)
        return found + len(_END) if found >= 0 else len(data)

    def _take_head(self, data: bytes, size: int) -> None:
        """Take a header section, a part of one, or one with all its content; `size`: how many bytes are head."""
        before = self._request_count
        try:
            super().data_received(data)
        except ValueError:  # aiohttp's Python parser, of a number with thousands of digits
            self._refuse(BadRequest("This is not a valid HTTP/1.1 request."))
            return
        if self._request_count == before:
            self._part_of_a_head(data)
            return
        message, payload = self._messages[-1]
        content_here = len(data) - size
        head: bytes | bytearray = data
        if self._head:
            head = self._head + data
            size += len(self._head)
        self._forget_head()
        if isinstance(message, _ErrInfo):
            self._refused_head = bytes(head)
            return
        too_long = size > self.limits.header_bytes
        # The C parser takes two spaces for one, and RTSP for HTTP.
        if too_long or not _REQUEST_LINE.match(head):
            self._messages.pop()
            self._refused_head = bytes(head)
            self._refuse(_too_long(self.limits) if too_long else BadRequest("The request line is not valid."))
            return
        self._incoming = payload
        if not payload.is_eof() and message.method != "CONNECT":
            length = message.headers.get("Content-Length")
            self._extent = Chunked() if message.chunked or length is None else Counted(int(length) - content_here)

    def _take_content(self, data: bytes) -> None:
        incoming = self._incoming
        if incoming is None or (not data and incoming.is_eof()):
            return
        before, size = self._request_count, incoming.total_bytes
        super().data_received(data)
        if self._request_count != before and not incoming.is_eof():
            # aiohttp queues the error behind the request that waits for its content, and leaves that waiting.
            self._break_off(incoming, BadRequest("The content's framing is not valid."))
        elif incoming.total_bytes != size:
            self._framing = 0
        else:
            self._framing += len(data)
            if self._framing > self.limits.header_bytes:
                self._break_off(incoming, BadRequest("There is too much framing around the content."))

    def _break_off(self, incoming: StreamReader, refusal: Refusal) -> None:
        """Let whoever reads content have a refusal, and read no more."""
        self._refused = True
        self._incoming = None
        incoming.set_exception(refusal)

    def pause_writing(self) -> None:
        self._paused = True
        self._stuck = None

    def resume_writing(self) -> None:
        if self._paused:  # a tunnel may have paused in our place
            super().resume_writing()

    def _part_of_a_head(self, data: bytes) -> None:
        if not self._head_at and data.strip(b"\r\n"):  # not for empty lines before it (RFC 9112 section 2.2)
            self._head_at = self._loop.time()
        self._head += data
        if len(self._head) > self.limits.header_bytes:
            self._refuse(_too_long(self.limits))

    def _forget_head(self) -> None:
        self._head.clear()
        self._head_at = 0.0

    def _refuse(self, refusal: Refusal) -> None:
        """Answer in its turn, and read no more."""
        self._refused = True
        self._forget_head()
        self._messages.append((_ErrInfo(status=refusal.status, exc=refusal, message=""), EMPTY_PAYLOAD))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # -- the sweep ---------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether the connection is between two requests."""
        return self._waiter is not None and not self._head_at

    def sweep(self, now: float) -> None:
        """Look whether the client is too slow. `now` is the loop's time."""
        if self._head_at and now - self._head_at >= self.limits.header_timeout:
            self._refuse(RequestTimeout("The header section took longer than `limits.header_timeout` allows."))
        if self._incoming is not None:
            self._judge_content(self._incoming, now)
        if self._wire is not None and (self._paused or self._wire.is_closing()):
            self._judge_writing(self._wire, now)
        if self._wire is not None and (self._reading_paused or self._buffer_paused):
            self._judge_presence(self._wire)

    def _judge_presence(self, wire: asyncio.Transport) -> None:
        """Look whether a client has left whose end is behind what nobody reads now, such as a parked upload."""
        if wire.get_protocol() is self and hung_up(wire):
            wire.abort()

    def _judge_content(self, incoming: StreamReader, now: float) -> None:
        limits = self.limits
        if incoming.is_eof():
            self._incoming = self._mark = None
        elif self._reading_paused or self.holding or self._mark is None or self._mark[0] is not incoming:
            self._mark = (incoming, incoming.total_bytes, now)
        elif now - self._mark[2] >= limits.header_timeout:
            if incoming.total_bytes - self._mark[1] < limits.content_rate * (now - self._mark[2]):
                slow = RequestTimeout("The content came slower than `limits.content_rate` allows.")
                self._break_off(incoming, slow)
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
        # What is malformed may say anything; what is too long was readable.
        as_page = isinstance(refusal, FieldsTooLarge) and problems.asks_for_page(self._refused_head)
        try:
            write(request, problems.render(refusal, head=False, keep_alive=False, as_page=as_page))
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
