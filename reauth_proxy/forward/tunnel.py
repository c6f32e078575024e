"""A raw tunnel between a client and an upstream that switched to WebSocket (RFC 9110 section 7.8).

Bytes go from one transport straight to the other, with no task and no queue of ours in between: a peer that takes no
more makes us stop reading the other one. A half-close is passed on as one.
"""

from __future__ import annotations

import asyncio
from typing import Final

from reauth_proxy.forward.listener import FrontConnection
from reauth_proxy.upstream.connection import Connection

SWITCHING: Final = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"


class Tunnel:
    """One tunnel, once the 101 has been passed on.

    Attributes:
        passed: bytes that went to the client.
    """

    def __init__(self, front: FrontConnection, connection: Connection) -> None:
        self._front = front
        self._connection = connection
        self._client = front.transport
        self._upstream = connection.transport
        self._ended = asyncio.get_running_loop().create_future()
        self._halves_open = 2
        self.passed = 0

    async def run(self) -> None:
        """Pass bytes both ways until both sides have ended, or one is gone."""
        if self._client is None or self._upstream is None:
            return
        self._front.tunnel = self
        early = self._connection.take_body()
        self._connection.tunnel = self
        if early:
            self.from_upstream(early)
        # Gives us what the client sends, what it sent early included.
        self._front.set_parser(self)  # type: ignore[arg-type]  # only these two methods of a parser are called
        await self._ended

    def close(self) -> None:
        """Close both sides; what has been passed on already is still delivered to the client."""
        self._front.tunnel = None
        self._connection.tunnel = None
        self._connection.close()
        if self._client is not None:
            self._client.close()

    def _end(self) -> None:
        if not self._ended.done():
            self._ended.set_result(None)

    # -- the client's side: what aiohttp's connection calls ----------------------------------------------------

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take bytes from the client."""
        assert self._upstream is not None
        self._upstream.write(data)
        return False, b""

    def feed_eof(self) -> None:
        """The client's connection is gone."""
        self._end()

    def client_ended(self) -> bool:
        """The client sends no more: tell the upstream, and go on the other way."""
        return self._half_closed(self._upstream)

    def client_full(self) -> None:
        """Stop reading the upstream."""
        if self._upstream is not None:
            self._upstream.pause_reading()

    def client_drained(self) -> None:
        """Read the upstream again."""
        if self._upstream is not None and not self._upstream.is_closing():
            self._upstream.resume_reading()

    # -- the upstream's side -----------------------------------------------------------------------------------

    def from_upstream(self, data: bytes) -> None:
        """Pass bytes on to the client."""
        assert self._client is not None
        self.passed += len(data)
        self._client.write(data)

    def upstream_ended(self) -> bool:
        """The upstream sends no more: tell the client, and go on the other way."""
        return self._half_closed(self._client)

    def upstream_full(self) -> None:
        """Stop reading the client."""
        if self._client is not None:
            self._client.pause_reading()

    def upstream_drained(self) -> None:
        """Read the client again."""
        if self._client is not None and not self._client.is_closing():
            self._client.resume_reading()

    def lost(self) -> None:
        """The upstream's connection is gone."""
        self._end()

    def _half_closed(self, other: asyncio.Transport | None) -> bool:
        self._halves_open -= 1
        if self._halves_open == 0 or other is None or not other.can_write_eof():
            self._end()
            return True
        other.write_eof()
        return True
