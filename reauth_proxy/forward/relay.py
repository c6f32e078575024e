"""An upstream's answer on its way to the client: framed, streamed with back-pressure, and never made to look whole."""

from __future__ import annotations

from typing import Final

from reauth_proxy.clients.writing import ClientGone
from reauth_proxy.errors import Refusal
from reauth_proxy.forward.exchange import Exchange
from reauth_proxy.http1.body import Body
from reauth_proxy.http1.sockets import cut_off
from reauth_proxy.http1.wire import LAST_CHUNK, as_chunk, date, head_of
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


def whole(exchange: Exchange, response: Response, lines: list[bytes], *, keep_alive: bool) -> tuple[bytes, bool]:
    """Return an answer of which nothing is to come any more, and whether the client's connection stays open.

    Args:
        lines: the field lines that it gets.
        keep_alive: whether the connection may stay open.
    """
    head, chunked, keep_alive = _head(response, lines, keep_alive=keep_alive, old_client=exchange.old)
    body = response.body
    exchange.size = len(body)
    if chunked:
        body = as_chunk(body) + LAST_CHUNK if body else LAST_CHUNK
    return head + body, keep_alive


async def relay(exchange: Exchange, response: Response, lines: list[bytes], *, keep_alive: bool) -> bool:
    """Pass an answer on to the client, as it comes.

    Args:
        lines: the field lines that it gets.
        keep_alive: whether the client's connection may stay open.

    Returns:
        Whether the connection stays open.

    Raises:
        Refusal: the upstream broke off before anything was passed on.
        CutOff: it broke off later; the client's connection has been aborted.
        ClientGone, asyncio.CancelledError: the client left; the upstream's connection has been closed.
    """
    client, connection = exchange.connection, response.connection
    if connection is not None and connection.broken is not None:
        raise connection.broken  # while the answer was held back
    try:
        if connection is None:
            data, keep_alive = whole(exchange, response, lines, keep_alive=keep_alive)
            client.write(data)
            await client.drain()
            return keep_alive
        head, chunked, keep_alive = _head(response, lines, keep_alive=keep_alive, old_client=exchange.old)
        await _stream(exchange, connection.body, head, chunked=chunked)
    except BaseException as error:
        if connection is not None:
            connection.close()
        if client.transport is not None:
            cut_off(client.transport, ends_with_connection=response.length is None and exchange.old)
        if isinstance(error, Refusal):
            raise CutOff(error) from error
        raise
    return keep_alive


async def _stream(exchange: Exchange, body: Body, head: bytes, *, chunked: bool) -> None:
    """Write a header section, and then content as it comes; whoever sends it waits while the client takes no more."""
    client = exchange.connection

    def pass_on(data: bytes) -> None:
        exchange.size += len(data)
        try:
            client.write(as_chunk(data) if chunked else data)
        except ClientGone as gone:
            body.fail(gone)

    data = body.take()
    exchange.size += len(data)
    if chunked and data:
        data = as_chunk(data)
    client.feeder = body
    try:
        client.write_both(head, data)
        if client.writing_paused:  # since before; nobody will say so again
            body.hold()
        await body.pour(pass_on)
    finally:
        client.feeder = None
        body.flow()  # The connection's next answer is somebody else's.
    if chunked:
        client.write(LAST_CHUNK)
    await client.drain()


def _head(response: Response, lines: list[bytes], *, keep_alive: bool, old_client: bool) -> tuple[bytes, bool, bool]:
    """Return an answer's header section, whether it comes in chunks, and whether the connection stays open."""
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
    return head_of(response.status, response.reason, lines), chunked, keep_alive
