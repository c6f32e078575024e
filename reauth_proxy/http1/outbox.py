"""Writes of one turn of the event loop, made together behind it.

A peer that sleeps is woken by what it gets; it is awake for the next one, if that follows soon. So many small messages
to few processes cost less one behind the other than one now and one then.
"""

from __future__ import annotations

import asyncio


class Outbox:
    """Holds messages until all that came in this turn was read.

    Whoever wants to do something else with a transport before asks whether it :meth:`holds` something for it, and calls
    :meth:`flush` then.
    """

    __slots__ = ("_loop", "_pending")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._pending: dict[asyncio.Transport, bytes] = {}

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        """Have `data` written at the end of this turn."""
        if not self._pending:
            self._loop.call_soon(self.flush)
        self._pending[transport] = self._pending.get(transport, b"") + data

    def holds(self, transport: asyncio.Transport | None) -> bool:
        """Tell whether something waits for a transport."""
        return transport in self._pending

    def flush(self) -> None:
        """Write what waits; whoever has left meanwhile gets nothing."""
        pending, self._pending = self._pending, {}
        for transport, data in pending.items():
            if not transport.is_closing():
                try:
                    transport.write(data)
                except Exception:  # The others' messages are not lost with it.
                    transport.abort()

    def __repr__(self) -> str:
        return f"<Outbox waiting={len(self._pending)}>"
