"""One exchange with an upstream: a request goes out on a connection of its pool, and an answer's head comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from reauth_proxy.http1.outbox import Outbox
from reauth_proxy.http1.response import Interim
from reauth_proxy.upstream.broken import ConnectionBroken
from reauth_proxy.upstream.connection import MOST_UNREAD, Connection
from reauth_proxy.upstream.pool import Pool

#: Methods that may be sent again after a lost connection (RFC 9110 section 9.2.2).
IDEMPOTENT: Final = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PROPFIND", "SEARCH", "QUERY"})

#: Seconds of silence after which a kept-alive connection is looked at before it gets a request that must not be sent
#: twice: an upstream that closes what is idle may just have done so.
SILENCE: Final = 0.5


@dataclass(slots=True)
class Response:
    """The header section of an upstream's answer, and its content or where that comes from.

    Attributes:
        body: content that is already here.
        connection: what the rest comes from; None where `body` is all.
        dated: it has a Date.
    """

    status: int
    reason: bytes
    fields: list[tuple[bytes, bytes]]
    length: int | None
    bodiless: bool
    body: bytes
    connection: Connection | None
    dated: bool = True

    @property
    def size_at_most(self) -> int:
        """How many bytes of content are held, or may be before anybody reads them."""
        if self.connection is None:
            return len(self.body)
        return MOST_UNREAD if self.length is None else min(self.length, MOST_UNREAD)

    def discard(self) -> None:
        """Give it up: nobody will read it."""
        self.body = b""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def take(pool: Pool, method: str) -> Connection | None:
    """Return a kept-alive connection at once; for what must not be sent twice, one that still seems open."""
    while (connection := pool.take()) is not None:
        if _sound(connection, method):
            return connection
        connection.close()
    return None


def _sound(connection: Connection, method: str) -> bool:
    return method in IDEMPOTENT or not (connection.silent(SILENCE) and connection.readable())


async def connect(pool: Pool, method: str) -> Connection:
    """Return a connection for a request, a kept-alive one, a released one or a new one.

    Raises:
        UpstreamUnreachable, UpstreamTimeout, UpstreamBusy: none could be had.
    """
    while (connection := take(pool, method)) is None:
        connection = await pool.acquire()
        if connection.closed:  # while it was handed over
            continue
        if _sound(connection, method):
            break
        connection.close()
    return connection


def begin(
    connection: Connection,
    data: bytes,
    method: str,
    timeout: float,
    *,
    interim: Interim | None,
    outbox: Outbox,
    receiver: Callable[[], None],
) -> None:
    """Send a request that is here as a whole, without waiting.

    Args:
        timeout: seconds until the upstream's header section must have arrived.
        outbox: writes it.
        receiver: is called once, when that has arrived, or never will.
    """
    connection.begin(data, head=method == "HEAD", interim=interim, outbox=outbox)
    connection.start_clock(timeout)
    connection.receiver = receiver


async def exchange(
    pool: Pool,
    request: Callable[[], bytes],
    method: str,
    timeout: float,
    *,
    websocket: bool = False,
    interim: Interim | None = None,
    begun: Connection | None = None,
) -> Response:
    """Send a request that is here as a whole, and return the answer's head.

    A kept-alive connection that the upstream closed before one byte of an answer is replaced by a new one where
    the method allows it (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1).

    Args:
        request: returns it, when it is to be sent.
        timeout: seconds until the upstream's header section must have arrived.
        websocket: 101 is an answer.
        begun: on which it was sent already.

    Raises:
        UpstreamUnreachable, UpstreamMalformed, UpstreamTimeout, UpstreamBusy.
    """
    connection = begun or await connect(pool, method)
    while True:
        try:
            if connection is not begun:
                connection.begin(request(), head=method == "HEAD", switch=websocket, interim=interim)
                connection.start_clock(timeout)
            await connection.response()
        except ConnectionBroken as broken:
            connection.close()
            if not (broken.unsent or (broken.stale and method in IDEMPOTENT)):
                raise
            connection = await pool.dial()
        except BaseException:
            connection.close()
            raise
        else:
            return received(pool, connection)


def received(pool: Pool, connection: Connection) -> Response:
    """Turn a connection whose header section arrived into a Response; one that is whole goes back to the pool."""
    body = connection.body
    whole = body.complete
    response = Response(
        connection.status,
        connection.reason,
        connection.fields,
        connection.length,
        connection.bodiless,
        body.take() if whole else b"",
        None if whole else connection,
        connection.dated,
    )
    if whole:
        pool.release(connection)
    return response


def finished(pool: Pool, response: Response) -> None:
    """All of an answer has been received: its connection may carry another exchange."""
    if response.connection is not None:
        pool.release(response.connection)
        response.connection = None
