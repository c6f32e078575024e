"""Content on its way upstream, in a task of its own: the upstream may answer before it ends."""

from __future__ import annotations

import asyncio

from reauth_proxy.clients.connection import ClientConnection
from reauth_proxy.clients.writing import ClientGone
from reauth_proxy.errors import Refusal
from reauth_proxy.forward.content import Streamed
from reauth_proxy.forward.route import Route
from reauth_proxy.http1.response import Interim
from reauth_proxy.http1.wire import CONTINUE
from reauth_proxy.upstream.broken import ConnectionBroken
from reauth_proxy.upstream.connection import Connection
from reauth_proxy.upstream.exchange import IDEMPOTENT, Response, connect, received


class Upload:
    """One request whose content is streamed.

    Args:
        expect: the head asks for 100 Continue, so that a 401 comes before the content.
        client_expects: so did the client; it is told to go on when the upstream is.
    """

    def __init__(self, client: ClientConnection, content: Streamed, *, expect: bool, client_expects: bool) -> None:
        self._client = client
        self._content = content
        self._expect = expect
        self._client_expects = client_expects
        self._task: asyncio.Task[None] | None = None

    async def exchange(self, route: Route, head: bytes, method: str, interim: Interim | None) -> Response:
        """Send the head, start the content after it, and return the answer's head.

        Raises:
            UpstreamUnreachable, UpstreamMalformed, UpstreamTimeout, UpstreamBusy: of the upstream.
            BadRequest, ContentTooLarge, RequestTimeout: of the client's content.
        """
        connection = await connect(route.pool, method)
        while True:
            try:
                connection.begin(head, head=method == "HEAD", interim=interim)
                self._task = asyncio.create_task(self._pump(route, connection), name="upload")
                await connection.response()
            except ConnectionBroken as broken:
                connection.close()
                await self.stop()
                if not (broken.stale and method in IDEMPOTENT and self._content.replayable):
                    raise
                connection = await route.pool.dial()
            except BaseException:
                connection.close()
                await self.stop()
                raise
            else:
                break
        if not self._content.ended or not self._task.done():
            # An answer before the end of the request: the upstream would take what comes next for the rest of it.
            connection.reusable = False
            if connection.status >= 400:
                await self.stop()
        return received(route.pool, connection)

    async def _pump(self, route: Route, connection: Connection) -> None:
        try:
            if self._expect:
                await connection.await_continue(route.expect_timeout)
                if connection.head_done:
                    return
            if self._client_expects:
                self._client.write(CONTINUE)
                self._client_expects = False
                self._client.holding = False
            async for data in self._content.wire():
                connection.write(data)
                await connection.drain()
            connection.start_clock(route.response_timeout)
        except ConnectionBroken:
            pass  # the upstream closed; whoever waits for its answer learns it there
        except (Refusal, ClientGone) as error:
            connection.fail(error)  # A request that was cut off is never completed upstream.

    async def stop(self) -> None:
        """Stop reading from the client; return when nobody reads any more."""
        task = self._task
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait([task])
