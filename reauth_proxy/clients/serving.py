"""aiohttp's loop over the requests of a connection, without what this program never uses.

aiohttp makes a task for each request, so that each has its own context variables, and a request object that knows its
URL. We have no such variables and never ask for the URL: one task for each connection, and a bare request, are cheaper.
What happens otherwise, and in which order, is aiohttp's (3.14, ``web_protocol.RequestHandler.start``).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.http_writer import StreamWriter
from aiohttp.web_protocol import ERROR, RequestHandler, _ErrInfo

from reauth_proxy.clients.writing import LINGERING, OPEN

if TYPE_CHECKING:
    from aiohttp import StreamReader
    from aiohttp.http_parser import RawRequestMessage


class BareRequest(web.BaseRequest):
    """What the forwarder asks for, and nothing else: no URL, no state, no addresses."""

    def __init__(
        self,
        message: RawRequestMessage,
        payload: StreamReader,
        protocol: RequestHandler,
        payload_writer: Any,
        task: asyncio.Task[None],
    ) -> None:
        self._message = message
        self._protocol = protocol
        self._payload_writer = payload_writer
        self._payload = payload
        self._headers = message.headers
        self._method = message.method
        self._version = message.version
        self._cache: dict[str, Any] = {}
        self._task = task


class Serving(RequestHandler):
    """Answers a connection's requests, one after the other."""

    __slots__ = ()

    def answered(self) -> None:
        """Nothing is being answered now: a subclass may go on with what it held back."""

    async def start(self) -> None:
        """Answer requests until the connection is to be closed."""
        try:
            while not self._force_close and await self._serve_one():
                self._arm_keepalive()
        except Exception as error:
            self.log_exception("Unhandled exception", exc_info=error)
            self.force_close()
        except BaseException:  # the client has left, or the daemon ends
            self.force_close()
            raise
        if not self._force_close:
            self._task_handler = None
            if self.transport is not None:
                self.transport.close()

    async def _serve_one(self) -> bool:
        """Wait for a request and answer it; return whether the connection stays open."""
        message, payload = await self._next_message()
        assert self._request_handler is not None
        handler = self._request_handler
        if isinstance(message, _ErrInfo):
            handler = self._make_error_handler(message)
            message = ERROR
        assert self._task_handler is not None
        request = BareRequest(message, payload, self, StreamWriter(self, self._loop), self._task_handler)
        try:
            response, gone = await self._answer(request, handler)
            if gone:
                return False
            self._keepalive = bool(response.keep_alive)
            if response is LINGERING or not payload.is_eof():
                await self._linger(payload, until_closed=response is LINGERING)
            payload.set_exception(_TOO_LATE)
        finally:
            request._task = None  # type: ignore[assignment]  # no cycle through a traceback
        return self._keepalive and not self._close and not self._force_close

    async def _answer(self, request: web.BaseRequest, handler: Any) -> tuple[web.StreamResponse, bool]:
        """Return the response, and whether the client has left meanwhile. Handlers here let no exception out."""
        self._request_in_progress = True
        self._current_request = request
        try:
            response = await handler(request)
            if response is OPEN and not self._upgraded:
                return response, False  # it is written, and the connection stays as it is
            return await self.finish_response(request, response, None)
        finally:
            self._current_request = None
            self._request_in_progress = False
            if self._handler_waiter is not None:
                self._handler_waiter.set_result(None)

    async def _next_message(self) -> tuple[Any, StreamReader]:
        if not self._messages:
            self.answered()
        if not self._messages:
            self._waiter = self._loop.create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        message = self._messages.popleft()
        if self._parser is not None:
            self._parser.message_consumed()
        return message

    async def _linger(self, payload: StreamReader, *, until_closed: bool) -> None:
        """Read and forget what nobody wanted, for a while (RFC 9112 section 9.6).

        Args:
            until_closed: also what follows the content, until the client closes its side: we are cancelled then.
        """
        if self._lingering_time and not self._force_close:
            try:
                async with asyncio.timeout(self._lingering_time):
                    await _forget(payload)
                    if until_closed:
                        await self._loop.create_future()
            except TimeoutError:
                pass
        if not payload.is_eof() and not self._force_close:
            self.close()

    def _arm_keepalive(self) -> None:
        close_time = self._loop.time() + self._keepalive_timeout
        self._next_keepalive_close_time = close_time
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(close_time, self._process_keepalive)


async def _forget(payload: StreamReader) -> None:
    with contextlib.suppress(Exception):  # its framing may turn out to be broken, which changes nothing any more
        while not payload.is_eof():
            await payload.readany()


class _TooLate(Exception):
    """The content is read after the answer was sent."""


_TOO_LATE = _TooLate()
