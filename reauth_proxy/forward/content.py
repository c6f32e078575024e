"""A request's content: read as a whole where it is small, streamed where it is not, and kept for a replay meanwhile.

Whoever sends asks :attr:`replayable` after a rejected answer; only bytes that we own are ever sent twice.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from reauth_proxy.clients.limits import READ_BUFFER
from reauth_proxy.errors import ContentTooLarge
from reauth_proxy.forward.spool import Copy, Spool
from reauth_proxy.http1.body import Body
from reauth_proxy.http1.wire import LAST_CHUNK, as_chunk

#: What a request whose content nobody reads may hold.
UNREAD: Final = 2 * READ_BUFFER + 256 * 1024


class Kept:
    """Content that is here as a whole.

    Attributes:
        wire: the content in the framing in which it is sent.
    """

    __slots__ = ("_size", "_spool", "wire")
    replayable: Final = True

    def __init__(self, data: bytes, *, chunked: bool, spool: Spool | None = None) -> None:
        self._spool = spool
        self._size = len(data)
        if chunked:
            self.wire = as_chunk(data) + LAST_CHUNK if data else LAST_CHUNK
        else:
            self.wire = data

    def may_wait(self, held: int) -> bool:
        """Tell whether the request may be parked: its content was counted when it was read, and no answer is held."""
        return True

    def waited(self) -> None:
        """The request waits no more; its content is counted on."""

    def close(self) -> None:
        """Count the content no more."""
        if self._spool is not None:
            self._spool.free(self._size)
            self._spool = None


EMPTY: Final = Kept(b"", chunked=False)


class Streamed:
    """Content that goes on to the upstream while it comes from the client.

    Args:
        reader: where it comes from.
        length: its Content-Length; None for the chunked coding.
        longest: how long it may be (`limits.content`); 0 for no limit.
    """

    __slots__ = ("_copy", "_longest", "_passed", "_reader", "_reserved", "_spool", "ended", "length")

    def __init__(self, reader: Body, length: int | None, spool: Spool, longest: int) -> None:
        self._reader = reader
        self.length = length
        self._spool = spool
        self._longest = longest
        self._copy = Copy(spool)
        self._passed = 0
        self._reserved = 0
        self.ended = False

    @property
    def too_long(self) -> bool:
        """Whether it is known to be longer than what can be kept."""
        return self.length is not None and self.length > self._spool.keeping.limit

    @property
    def replayable(self) -> bool:
        """Whether all that has passed was kept, or nothing has passed yet."""
        return self._copy.whole

    def may_wait(self, held: int) -> bool:
        """Tell whether the request may be parked: what its connection buffers is counted until :meth:`waited`.

        Args:
            held: bytes of an answer that are kept meanwhile, and counted too.
        """
        if not self._reserved:
            held += UNREAD if self.length is None else min(self.length, UNREAD)
            if not self._spool.reserve(held):
                return False
            self._reserved = held
        return True

    def waited(self) -> None:
        """The request waits no more, and its content flows."""
        self._spool.free(self._reserved)
        self._reserved = 0

    async def wire(self) -> AsyncIterator[bytes]:
        """Yield the content in the framing in which it is sent, from the beginning.

        Raises:
            ContentTooLarge: it is longer than it may be.
            BadRequest, RequestTimeout: the client broke the framing, or was too slow.
            ClientGone: the client left.
        """
        chunked = self.length is None
        if self._passed:
            async for data in self._copy.read():
                yield as_chunk(data) if chunked else data
        reader, copy = self._reader, self._copy
        while data := await reader.read():
            self._passed += len(data)
            if self._longest and self._passed > self._longest:
                raise too_large(self._longest)
            if self.too_long:
                copy.give_up()
            else:  # whichever try this is: a connection may break, and a token be rejected after that
                await copy.append(data)
            yield as_chunk(data) if chunked else data
        self.ended = True
        if chunked:
            yield LAST_CHUNK

    def close(self) -> None:
        """Keep and count the content no more."""
        if self._copy.whole:
            self._copy.give_up()
        self.waited()


Content = Kept | Streamed


def too_large(longest: int) -> ContentTooLarge:
    """Return the answer to content longer than `longest` bytes."""
    return ContentTooLarge(f"The request's content is longer than the {longest} bytes that `limits.content` allows.")


def at_hand(reader: Body, length: int | None, *, chunked: bool, spool: Spool, longest: int = 0) -> Content | None:
    """Return a request's content as it is now: whole, or one that will be streamed.

    Args:
        reader: the request's content.
        length: its Content-Length, or None.
        chunked: it comes in the chunked transfer coding.
        spool: counts what is kept.
        longest: how long it may be; 0 for no limit.

    Returns:
        None: it is small, and counted already, but not all of it is here.

    Raises:
        ContentTooLarge: it is longer than it may be.
    """
    if chunked:
        if longest and reader.received > longest:
            raise too_large(longest)
        if not reader.complete or not _fits(reader.received, spool, longest):
            return Streamed(reader, None, spool, longest)
        return Kept(reader.take(), chunked=True, spool=spool)
    if not length:
        return EMPTY
    if longest and length > longest:
        raise too_large(longest)
    if not _fits(length, spool, longest):
        return Streamed(reader, length, spool, longest)
    return Kept(reader.take(), chunked=False, spool=spool) if reader.complete else None


async def read(reader: Body, length: int | None, *, chunked: bool, spool: Spool, longest: int = 0) -> Content:
    """Return a request's content, read as a whole where it is known to be small.

    Args:
        as :func:`at_hand`.

    Raises:
        ContentTooLarge: it is longer than it may be.
        BadRequest, RequestTimeout: the client broke the framing, or was too slow.
        ClientGone: the client left.
    """
    found = at_hand(reader, length, chunked=chunked, spool=spool, longest=longest)
    if found is not None:
        return found
    assert length is not None
    try:
        data = await reader.read_all()
    except BaseException:
        spool.free(length)
        raise
    return Kept(data, chunked=False, spool=spool)


def _fits(size: int, spool: Spool, longest: int) -> bool:
    """Reserve `size` bytes of memory if they are few enough."""
    return size <= spool.keeping.memory and not (longest and size > longest) and spool.reserve(size)
