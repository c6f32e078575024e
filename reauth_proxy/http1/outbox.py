"""Writes of one turn of the event loop, made together behind it.

A peer that sleeps is woken by what it gets; it is awake for the next one, if that follows soon. So many small messages
to few processes cost less one behind the other than one now and one then.
"""

from __future__ import annotations

import asyncio


class Outbox:
    """Holds messages until all that came in this turn was read; nobody else writes to their transports meanwhile."""

    __slots__ = ("_loop", "_pending")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: list[tuple[asyncio.Transport, bytes]] = []

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Have `data` written at the end of this turn."""
        if not self._pending:
            self._loop.call_soon(self.flush)
        self._pending.append((transport, data))

    def flush(self) -> None:
        """Write what waits; whoever has left meanwhile gets nothing."""
        pending, self._pending = self._pending, []
        for transport, data in pending:
            if not transport.is_closing():
                transport.write(data)

    def __repr__(self) -> str:
        return f"<Outbox waiting={len(self._pending)}>"
