"""Content on its way upstream, in a task of its own: the upstream may answer before it ends."""

from __future__ import annotations

import asyncio
from typing import Final

from aiohttp import web

from reauth_proxy.errors import BadRequest, Refusal
from reauth_proxy.forward import answers
from reauth_proxy.forward.content import Streamed
from reauth_proxy.forward.relay import ClientGone, write
from reauth_proxy.forward.route import Response, Route
from reauth_proxy.upstream.connection import Connection

#: Seconds that content waits for the upstream's 100 Continue before it is sent all the same (RFC 9110 section
#: 10.1.1 asks not to wait for ever); as long as curl waits.
CONTINUE_TIMEOUT: Final = 1.0


class Upload:
    """One request whose content is streamed.

    Args:
        expect: the head asks for 100 Continue, so that a 401 comes before the content.
        client_expects: so did the client; it is told to go on when the upstream is.
    """

    def __init__(self, request: web.BaseRequest, content: Streamed, *, expect: bool, client_expects: bool) -> None:
        self._request = request
        self._content = content
        self._expect = expect
        self._client_expects = client_expects
        self._task: asyncio.Task[None] | None = None

    async def exchange(self, route: Route, head: bytes) -> Response:
        """Send the head, start the content after it, and return the answer's head.

        Raises:
            UpstreamUnreachable, UpstreamMalformed, UpstreamTimeout: of the upstream.
            BadRequest: the client's content broke off.
        """
        connection = await route.pool.acquire()
        if connection.closed:  # while it was handed over
            connection = await route.pool.dial()
        try:
            connection.begin(head, head=False)
            self._task = asyncio.create_task(self._pump(route, connection), name="upload")
            await connection.response()
        except BaseException:
            connection.close()
            await self.stop()
            raise
        if not self._content.ended:
            # An answer before the end of the request: the upstream would take what comes next for the rest of it.
            connection.reusable = False
        return route.received(connection)

    async def _pump(self, route: Route, connection: Connection) -> None:
        try:
            if self._expect:
                await connection.await_continue(CONTINUE_TIMEOUT)
                if connection.head_done:
                    return
            if self._client_expects:
                write(self._request, answers.CONTINUE)
            async for data in self._content.wire():
                connection.write(data)
                await connection.drain()
            connection.start_clock(route.response_timeout)
        except Refusal:
            pass  # the upstream closed; whoever waits for its answer learns it there
        except ClientGone as gone:
            connection.fail(gone)
        except Exception:
            # aiohttp's payload errors: a request that was cut off is never completed upstream.
            connection.fail(BadRequest("The request's content broke off."))

    async def stop(self) -> None:
        """Stop reading from the client; return when nobody reads any more."""
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])
