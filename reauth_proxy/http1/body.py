"""Content as it comes, for one reader, with back-pressure; both ends use it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol

#: Bytes that wait for their reader at which the peer is told to wait, and what the event loop reads at once.
HIGH_WATER: Final = 256 * 1024
ONE_READ: Final = 256 * 1024


class Source(Protocol):
    """Where content comes from."""

    def pause_reading(self) -> None:
        """Read no more: too much waits."""

    def resume_reading(self) -> None:
        """Read on."""


class Body:
    """The content of one message after the other.

    Args:
        source: is paused while too much waits for the reader.
        high_water: how much that is, in bytes.

    Attributes:
        received: how many bytes of this message's content have come.
        complete: all of it has come.
        error: why it never will.
    """

    __slots__ = (
        "_chunks",
        "_high_water",
        "_sink",
        "_source",
        "_waiter",
        "_waiting",
        "complete",
        "error",
        "paused",
        "received",
    )

    def __init__(self, source: Source, high_water: int = HIGH_WATER) -> None:
        self._source = source
        self._high_water = high_water
        self._waiter: asyncio.Future[None] | None = None
        self._sink: Callable[[bytes], None] | None = None
        self.paused = False
        self.begin()

    def begin(self) -> None:
        """Make ready for the next message."""
        self._chunks: list[bytes] = []
        self._waiting = self.received = 0
        self.complete = False
        self.error: Exception | None = None

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        size = len(data)
        self.received += size
        if self._sink is not None:
            self._sink(data)
            return
        self._chunks.append(data)
        self._waiting += size
        if self._waiting > self._high_water:
            self.hold()
        if self._waiter is not None:
            self._wake()

    def hold(self) -> None:
        """Let no more come."""
        if not self.paused:
            self.paused = True
            self._source.pause_reading()

    def flow(self) -> None:
        """Let more come."""
        if self.paused:
            self.paused = False
            self._source.resume_reading()

    def finish(self) -> None:
        """All has come."""
        self.complete = True
        if self._waiter is not None:
            self._wake()

    def fail(self, error: Exception) -> None:
        """Nothing more will come; the first error counts, and none does where all has come."""
        if not self.complete and self.error is None:
            self.error = error
            self._wake()

    def take(self) -> bytes:
        """Return what has come and was not read yet, without waiting, and let more come."""
        chunks = self._chunks
        if not chunks:
            return b""
        self._chunks = []
        self._waiting = 0
        if self.paused:
            self.flow()
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def read(self) -> bytes:
        """Return what has come since the last call, waiting for some; b"" at the end. Raises the error."""
        while not self._chunks:
            if self.complete:
                return b""
            await self._news()
        return self.take()

    async def pour(self, sink: Callable[[bytes], None]) -> None:
        """Hand what comes to `sink` as it comes, and return at the end; what has come before is not taken.

        Args:
            sink: must not raise; :meth:`hold` and :meth:`flow` are its back-pressure.

        Raises:
            Exception: the error.
        """
        self._sink = sink
        try:
            while not self.complete:
                await self._news()
        finally:
            self._sink = None

    async def _news(self) -> None:
        """Wait for more, or for the end. Raises the error."""
        if self.error is not None:
            raise self.error
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    async def read_all(self) -> bytes:
        """Return all that was not read yet, once it has come. Raises the error."""
        data = self.take()
        if self.complete:
            return data
        parts = [data]
        while part := await self.read():
            parts.append(part)
        return b"".join(parts)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def __repr__(self) -> str:
        state = "failed" if self.error is not None else "complete" if self.complete else "coming"
        return f"<Body {state} received={self.received} waiting={self._waiting}>"


class _Nobody:
    """Whose content nobody waits for."""

    def pause_reading(self) -> None:
        """Nothing comes."""

    def resume_reading(self) -> None:
        """Nothing comes."""


#: The content of no message.
NOTHING: Final = Body(_Nobody())
NOTHING.finish()
