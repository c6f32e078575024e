"""An upstream's answer on its way to the client: framed, streamed with back-pressure, and never made to look whole."""

from __future__ import annotations

from typing import Final

from reauth_proxy.clients.connection import ClientConnection
from reauth_proxy.errors import Refusal
from reauth_proxy.forward.exchange import Exchange
from reauth_proxy.http1.sockets import cut_off
from reauth_proxy.http1.wire import LAST_CHUNK, as_chunk, date, section, status_line
from reauth_proxy.upstream.exchange import Response

_CHUNKED: Final = b"Transfer-Encoding: chunked"
_CLOSE: Final = b"Connection: close"
_KEEP_ALIVE_1_0: Final = b"Connection: keep-alive"


class CutOff(Exception):
    """The upstream broke off in the middle of an answer of which the client has a part.

    Attributes:
        refusal: what the answer would have been.
    """

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


async def relay(exchange: Exchange, response: Response, lines: list[bytes], *, keep_alive: bool) -> tuple[int, bool]:
    """Pass an answer on to the client.

    Args:
        lines: the field lines that it gets.
        keep_alive: whether the client's connection may stay open.

    Returns:
        How many bytes of content were passed on, and whether the connection stays open.

    Raises:
        Refusal: the upstream broke off before anything was passed on.
        CutOff: it broke off later; the client's connection has been aborted.
        ClientGone, asyncio.CancelledError: the client left; the upstream's connection has been closed.
    """
    if response.connection is not None and response.connection.broken is not None:
        raise response.connection.broken  # while the answer was held back
    client, old_client = exchange.connection, exchange.request.version < (1, 1)
    try:
        return await _relay(client, response, lines, keep_alive=keep_alive, old_client=old_client)
    except BaseException as error:
        if response.connection is not None:
            response.connection.close()
        if client.transport is not None:
            cut_off(client.transport, ends_with_connection=response.length is None and old_client)
        if isinstance(error, Refusal):
            raise CutOff(error) from error
        raise


async def _relay(
    client: ClientConnection, response: Response, lines: list[bytes], *, keep_alive: bool, old_client: bool
) -> tuple[int, bool]:
    chunked = response.length is None and not response.bodiless
    if chunked and old_client:
        chunked = keep_alive = False  # the content ends with the connection
    if chunked:
        lines.append(_CHUNKED)
    if not response.dated:
        lines.append(date())
    if not keep_alive:
        lines.append(_CLOSE)
    elif old_client:
        lines.append(_KEEP_ALIVE_1_0)
    head = status_line(response.status, response.reason) + section(lines)
    connection = response.connection
    if connection is None:
        body = response.body
        if chunked:
            body = as_chunk(body) + LAST_CHUNK if body else LAST_CHUNK
        client.write(head + body)
        if client.writing_paused:
            await client.drain()
        return len(response.body), keep_alive
    size = 0
    data = connection.body.take()
    while True:
        if data:
            size += len(data)
            head += as_chunk(data) if chunked else data
        if head:
            client.write(head)
            head = b""
            if client.writing_paused:
                await client.drain()
        data = await connection.body.read()
        if not data:
            break
    if chunked:
        client.write(LAST_CHUNK)
    return size, keep_alive
