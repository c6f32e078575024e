"""How an answer is written to a client, and what becomes of its connection."""

from __future__ import annotations

from typing import Final

from aiohttp import web

#: Seconds in which a client that was refused may end its side of the connection.
LINGER: Final = 2.0


class Sent(web.StreamResponse):
    """Tells aiohttp's server that the answer has been written already, and whether the connection stays open."""

    def __init__(self, *, keep_alive: bool) -> None:
        super().__init__()
        self._stays_open = keep_alive

    @property
    def keep_alive(self) -> bool:
        return self._stays_open

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write nothing."""
        if request.content.exception() is not None:
            request.content.feed_eof()  # we ended it, and aiohttp would read on, and stumble over it

    async def write_eof(self, data: bytes = b"") -> None:
        """Write nothing."""


class _Lingering(Sent):
    """Closes our side of the connection; the other is read for a while.

    To close a connection while bytes come would reset it, and might take the answer from the client before it could
    read it (RFC 9112 section 9.6).
    """

    async def prepare(self, request: web.BaseRequest) -> None:
        """End our side."""
        await super().prepare(request)
        transport = request.transport
        if transport is not None and transport.can_write_eof() and not transport.is_closing():
            transport.write_eof()


#: The connection stays open for the next request / is closed.
OPEN: Final = Sent(keep_alive=True)
CLOSED: Final = Sent(keep_alive=False)
#: The same after a refusal, when the client may still be sending.
LINGERING: Final = _Lingering(keep_alive=False)


class ClientGone(ConnectionError):
    """The client closed its connection; there is nobody to answer."""


def write(request: web.BaseRequest, data: bytes) -> None:
    """Write to the client.

    Raises:
        ClientGone: it has left.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ClientGone("the client closed its connection")
    transport.write(data)
