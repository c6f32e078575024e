"""The main listener: aiohttp's low-level server, answering in the proxy's own words where it would answer itself."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any, Protocol

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError, LineTooLong
from aiohttp.web_protocol import RequestHandler

from reauth_proxy.errors import BadRequest, Refusal
from reauth_proxy.forward import answers
from reauth_proxy.forward.relay import CLOSED, ClientGone, write

log = structlog.get_logger(__name__)


class TunnelEnd(Protocol):
    """What a client's connection tells the tunnel that it has become a part of."""

    def client_ended(self) -> bool:
        """The client will send no more; return whether it can still be sent to."""
        ...

    def client_full(self) -> None:
        """The client takes no more for now."""

    def client_drained(self) -> None:
        """The client takes more again."""


class FrontConnection(RequestHandler):
    """One client's connection."""

    __slots__ = ("tunnel",)

    def __init__(self, manager: web.Server, *, loop: asyncio.AbstractEventLoop, **settings: Any) -> None:
        super().__init__(manager, loop=loop, **settings)
        self.tunnel: TunnelEnd | None = None

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio.Protocol's own type is bool | None
        return self.tunnel is not None and self.tunnel.client_ended()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self.tunnel is not None:
            self.tunnel.client_full()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self.tunnel is not None:
            self.tunnel.client_drained()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what the parser refused (400); anything else that gets here is a defect of ours (500)."""
        refusal: Refusal
        if isinstance(exc, HttpProcessingError):
            what = "A line is too long." if isinstance(exc, LineTooLong) else "This is not a valid HTTP/1.1 request."
            refusal = BadRequest(what)
            log.debug("request.refused", code=refusal.code, detail=refusal.detail)
        else:
            refusal = answers.InternalError("The proxy failed; its log says why.")
            log.error("request.failed", exc_info=exc)
        if request.writer.output_size == 0:
            with contextlib.suppress(ClientGone):
                write(request, answers.render(refusal, head=False, keep_alive=False))
        return CLOSED


class FrontServer(web.Server):
    """Makes a :class:`FrontConnection` for each client.

    Args:
        handler: answers a request; it writes the answer itself.
        keepalive_timeout: seconds that an idle connection is kept.
    """

    def __init__(self, handler: Any, *, keepalive_timeout: float) -> None:
        super().__init__(
            handler,
            # A client that leaves cancels its handler: its upstream request is dropped, the refresh is not.
            handler_cancellation=True,
            access_log=None,
            auto_decompress=False,
            keepalive_timeout=keepalive_timeout,
            max_line_size=32 * 1024,
            max_field_size=32 * 1024,
            lingering_time=2.0,
        )

    def __call__(self) -> RequestHandler:
        return FrontConnection(self, loop=asyncio.get_running_loop(), **self._kwargs)

    def close_idle(self) -> None:
        """Close the connections that are between two requests."""
        for connection in self.connections:
            if connection._waiter is not None:
                connection.close()
