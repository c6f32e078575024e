"""An upstream that takes RFC 9112 by its letter, and notes whoever does not."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+) (/[\x21-\x7e\x80-\xff]*) HTTP/1\.1")
_FIELD: Final = re.compile(
    rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]+): ?([\x21-\x7e\x80-\xff](?:[\t -~\x80-\xff]*[\x21-\x7e\x80-\xff])?)?"
)
_SIZE: Final = re.compile(rb"[0-9A-Fa-f]{1,15}\r\n")


class Violation(Exception):
    """Something that no upstream should have to interpret."""


@dataclass
class Seen:
    """One whole request."""

    head: bytes
    target: bytes
    content: bytes


def frame(head: bytes) -> tuple[bytes, int | None]:
    """Return the target of a header section, and the length of its content; None: chunked.

    Raises:
        Violation: it is not what RFC 9112 asks a sender for, or could be read in two ways.
    """
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    first = _LINE.fullmatch(lines[0])
    if first is None:
        raise Violation(f"request line {lines[0]!r}")
    fields: list[tuple[bytes, bytes]] = []
    for line in lines[1:]:
        match = _FIELD.fullmatch(line)
        if match is None:
            raise Violation(f"field line {line!r}")
        fields.append((match[1].lower(), match[2] or b""))
    hosts, lengths, codings = (
        [value for name, value in fields if name == wanted]
        for wanted in (b"host", b"content-length", b"transfer-encoding")
    )
    if len(hosts) != 1 or not hosts[0]:
        raise Violation(f"Host {hosts!r}")
    if len(lengths) + len(codings) > 1:
        raise Violation(f"framed twice: {lengths!r} {codings!r}")
    if codings and codings != [b"chunked"]:
        raise Violation(f"Transfer-Encoding {codings!r}")
    if lengths and not re.fullmatch(rb"[0-9]{1,18}", lengths[0]):
        raise Violation(f"Content-Length {lengths!r}")
    return first[2], None if codings else int(lengths[0]) if lengths else 0


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    content = bytearray()
    while True:
        line = await reader.readuntil(b"\n")
        if not _SIZE.fullmatch(line):
            raise Violation(f"chunk size {line!r}")
        size = int(line, 16)
        content += await reader.readexactly(size)
        if await reader.readexactly(2) != b"\r\n":
            raise Violation("the end of a chunk, or a trailer")
        if not size:
            return bytes(content)


class StrictUpstream:
    """Answers each whole request with 200 and its target as content.

    Attributes:
        seen: whole requests.
        violations: what could not be read in exactly one way.
        writers: of the connections that are open.
    """

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.violations: list[str] = []
        self.open = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self.writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self.writers:
            writer.close()
        while self.open:
            await asyncio.sleep(0)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.writers.add(writer)
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
                while True:
                    seen = await self._one(reader, writer)
                    self.seen.append(seen)
                    await self.answer(seen.target, reader, writer)
        except Violation as violation:
            self.violations.append(str(violation))
        finally:
            writer.close()
            self.writers.discard(writer)
            self.open -= 1

    async def answer(self, target: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer a request."""
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Seen:
        head = await reader.readuntil(b"\r\n\r\n")
        target, length = frame(head)
        if b"\r\nexpect: 100-continue\r\n" in head.lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        content = await _chunks(reader) if length is None else await reader.readexactly(length)
        return Seen(head, target, content)


@asynccontextmanager
async def running(upstream: StrictUpstream) -> AsyncIterator[StrictUpstream]:
    """Run one."""
    await upstream.start()
    try:
        yield upstream
    finally:
        await upstream.stop()
