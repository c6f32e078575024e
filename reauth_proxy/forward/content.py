"""A request's content: kept for a replay where it is small, streamed where it is not.

Whoever sends asks :attr:`replayable` after a rejected answer; only bytes that we own are ever sent twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from aiohttp import StreamReader

LAST_CHUNK: Final = b"0\r\n\r\n"


def as_chunk(data: bytes) -> bytes:
    """Return one chunk of the chunked transfer coding (RFC 9112 section 7.1)."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Kept:
    """Content that is here as a whole.

    Attributes:
        wire: the content in the framing in which it is sent.
    """

    __slots__ = ("wire",)
    replayable: Final = True

    def __init__(self, data: bytes, *, chunked: bool) -> None:
        if chunked:
            self.wire = as_chunk(data) + LAST_CHUNK if data else LAST_CHUNK
        else:
            self.wire = data


EMPTY: Final = Kept(b"", chunked=False)


class Streamed:
    """Content that goes on to the upstream while it comes from the client.

    Args:
        reader: where it comes from.
        length: its Content-Length; None for the chunked coding.
        limit: how many bytes are kept for a replay while they pass.
    """

    __slots__ = ("_kept", "_kept_size", "_limit", "_reader", "ended", "length", "started")

    def __init__(self, reader: StreamReader, length: int | None, limit: int) -> None:
        self._reader = reader
        self.length = length
        self._limit = limit
        # Known to be too long: nothing is kept.
        self._kept: list[bytes] | None = [] if length is None or length <= limit else None
        self._kept_size = 0
        self.started = False
        self.ended = False

    @property
    def replayable(self) -> bool:
        """Whether all of it has passed and been kept."""
        return self.ended and self._kept is not None

    async def wire(self) -> AsyncIterator[bytes]:
        """Yield the content in the framing in which it is sent."""
        chunked = self.length is None
        self.started = True
        async for data in self._read():
            yield as_chunk(data) if chunked else data
        if chunked:
            yield LAST_CHUNK

    async def _read(self) -> AsyncIterator[bytes]:
        reader = self._reader
        while data := await reader.readany():
            if self._kept is not None:
                self._kept_size += len(data)
                if self._kept_size > self._limit:
                    self._kept = None
                else:
                    self._kept.append(data)
            yield data
        self.ended = True

    async def keep(self) -> Kept | None:
        """Read what is still to come, as far as it can be kept; None where the content is too long to send again."""
        if not self.ended and self._kept is not None:
            async for _ in self._read():
                if self._kept is None:
                    break
        if not self.replayable:
            return None
        assert self._kept is not None
        return Kept(b"".join(self._kept), chunked=self.length is None)


Content = Kept | Streamed


async def capture(reader: StreamReader, *, length: int | None, chunked: bool, limit: int) -> Content:
    """Return a request's content, read as a whole where it is known to be small.

    Args:
        reader: the request's content.
        length: its Content-Length, or None.
        chunked: it comes in the chunked transfer coding.
        limit: how many bytes may be kept in memory (`replay.memory`).

    Raises:
        ConnectionError, aiohttp's payload errors: the client left, or broke the framing, in the middle.
    """
    if chunked:
        if not reader.is_eof() or reader.total_bytes > limit:
            return Streamed(reader, None, limit)
        return Kept(reader.read_nowait(), chunked=True)
    if not length:
        return EMPTY
    if length > limit:
        return Streamed(reader, length, limit)
    if reader.is_eof():
        return Kept(reader.read_nowait(), chunked=False)
    return Kept(await reader.read(), chunked=False)
